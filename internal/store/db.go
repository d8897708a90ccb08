package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

//go:embed migrations
var migrations embed.FS

// ErrUnavailable: the database does not answer or cannot be written.
var ErrUnavailable = fault.New(fault.Unavailable, "database_unavailable", "The service is not available at the moment; please try again")

// Options set up a DB.
type Options struct {
	// Observe, if set, hears how long each transaction or read took.
	Observe func(kind string, took time.Duration)
	Log     *slog.Logger
	Now     func() time.Time // default: the system's clock
}

// DB is an open database.
type DB struct {
	write *sql.DB // one connection: writers queue here instead of failing with "busy"
	read  *sql.DB
	conn  *sql.Conn // the writing connection
	opt   Options

	jobs    chan *job // transactions waiting for the writer
	closing chan struct{}
	done    chan struct{}

	writeStmts map[string]*sql.Stmt // used by the writer alone
	readStmts  sync.Map             // query -> *sql.Stmt

	wake map[task.Queue]chan struct{}
	hub  *hub
}

// pragmas go into the address so that every connection of a pool gets them.
// synchronous FULL: a commit that was acknowledged survives power loss.
var pragmas = []string{"journal_mode(WAL)", "busy_timeout(10000)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)"}

// readPragmas are those of the reading connections besides. They read the file
// through memory: a third less time for a list, and no more of it among a
// million rows. Only reading is so: a disk that fails under a write is an
// error, under a mapped page it ends the process.
const readPragmas = "_pragma=query_only(1)&_pragma=mmap_size(1073741824)"

// Open opens the SQLite database at path, makes it if it is not there, and
// brings its schema up to date. A schema newer than this program is refused.
func Open(ctx context.Context, path string, opt Options) (*DB, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	db := &DB{
		opt: opt, jobs: make(chan *job, 256), closing: make(chan struct{}), done: make(chan struct{}),
		writeStmts: map[string]*sql.Stmt{}, wake: map[task.Queue]chan struct{}{}, hub: newHub(),
	}
	for _, q := range []task.Queue{task.Quick, task.Imports, task.Housework} {
		db.wake[q] = make(chan struct{}, 1)
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	var err error
	if db.write, err = sql.Open("sqlite", dsn(path, "_txlock=immediate")); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.write.SetMaxOpenConns(1)
	if err := migrate(ctx, db.write); err != nil {
		return nil, errors.Join(err, db.write.Close())
	}
	if db.read, err = sql.Open("sqlite", dsn(path, readPragmas)); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), db.write.Close())
	}
	db.read.SetMaxOpenConns(8)
	db.read.SetMaxIdleConns(8)
	if db.conn, err = db.write.Conn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), db.write.Close(), db.read.Close())
	}
	go db.writer()
	return db, nil
}

// makePrivate makes a new database readable by its owner only, whatever the
// folder allows: addresses of images may hold credentials. The engine gives
// the files beside it the same mode.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	return f.Close()
}

func dsn(path, extra string) string {
	v := url.Values{"_pragma": pragmas}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + v.Encode() + "&" + extra
}

func migrate(ctx context.Context, db *sql.DB) error {
	dir, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	sources := p.ListSources()
	if newest := sources[len(sources)-1].Version; have > newest {
		return fmt.Errorf("the database has schema version %d, newer than %d, the newest this program knows; use a newer program", have, newest)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	return nil
}

// Close waits for the transaction under way and closes the database.
func (db *DB) Close() error {
	close(db.closing)
	<-db.done
	var errs []error
	// With a statement open the engine would leave its log behind, and the
	// database file would not be whole by itself.
	for _, s := range db.writeStmts {
		errs = append(errs, s.Close())
	}
	errs = append(errs, db.conn.Close(), db.read.Close(), db.write.Close())
	return errors.Join(errs...)
}

// Ping reports whether the database answers and can be written.
func (db *DB) Ping(ctx context.Context) error {
	return db.tx(ctx, func(t *Tx) error {
		_, err := t.exec(ctx, `SELECT 1`)
		return err
	})
}

// Tx is one transaction, for all domains.
type Tx struct {
	q   querier
	db  *DB
	now time.Time // the same for all the transaction writes
	// wakes are the queues in which a task became ready; signalled after the
	// commit.
	wakes map[task.Queue]bool
	// ended are the tasks that ended; who waits for them hears of it after the
	// commit.
	ended []string
}

func (t *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	return t.q.exec(ctx, query, args...)
}

func (t *Tx) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.q.query(ctx, query, args...)
}

func (t *Tx) row(ctx context.Context, query string, args ...any) *sql.Row {
	return t.q.row(ctx, query, args...)
}

// view runs fn on one consistent state of the database.
func (db *DB) view(ctx context.Context, fn func(*Tx) error) error {
	start := time.Now()
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return translate(err)
	}
	defer tx.Rollback() // nothing was written
	err = fn(&Tx{q: readTx{db, tx}, db: db, now: db.now()})
	db.observe("view", start)
	return translate(err)
}

// now is the database's clock, in the finest step it keeps.
func (db *DB) now() time.Time { return db.opt.Now().UTC().Truncate(time.Microsecond) }

func (db *DB) observe(kind string, start time.Time) {
	if db.opt.Observe != nil {
		db.opt.Observe(kind, time.Since(start))
	}
}

// reader answers single statements from the reading pool.
func (db *DB) reader() querier { return reader{db} }

type reader struct{ db *DB }

func (r reader) exec(context.Context, string, ...any) (int64, error) {
	return 0, errors.New("write outside a transaction")
}

func (r reader) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	defer r.db.observe("read", time.Now())
	s, err := r.db.readStmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (r reader) row(ctx context.Context, query string, args ...any) *sql.Row {
	defer r.db.observe("read", time.Now())
	s, err := r.db.readStmt(ctx, query)
	if err != nil {
		return r.db.read.QueryRowContext(ctx, query, args...) // has the error in it
	}
	return s.QueryRowContext(brief(ctx), args...)
}

// brief is ctx for a read that ends in no time: one that can be cancelled costs
// a goroutine to watch it, and a seventh of reading a row.
func brief(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

func (db *DB) readStmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := db.readStmts.Load(query); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := db.read.PrepareContext(context.WithoutCancel(ctx), query)
	if err != nil {
		return nil, err
	}
	if other, loaded := db.readStmts.LoadOrStore(query, s); loaded {
		_ = s.Close() // someone else prepared it in the meantime
		return other.(*sql.Stmt), nil
	}
	return s, nil
}

// readTx runs statements in a reading transaction.
type readTx struct {
	db *DB
	tx *sql.Tx
}

func (r readTx) exec(context.Context, string, ...any) (int64, error) {
	return 0, errors.New("write in a view")
}

func (r readTx) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := r.db.readStmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return r.tx.StmtContext(ctx, s).QueryContext(ctx, args...)
}

func (r readTx) row(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := r.db.readStmt(ctx, query)
	if err != nil {
		return r.tx.QueryRowContext(ctx, query, args...)
	}
	return r.tx.StmtContext(ctx, s).QueryRowContext(brief(ctx), args...)
}

// translate turns what the engine says into our errors, in this one place.
func translate(err error) error {
	var se *sqlite.Error
	if err == nil || !errors.As(err, &se) {
		return err
	}
	switch se.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		return ErrUnavailable.Because(err)
	}
	return err
}

// isUnique reports whether err is a violated uniqueness rule.
func isUnique(err error) bool {
	var se *sqlite.Error
	if !errors.As(err, &se) {
		return false
	}
	return se.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || se.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

// missing turns "no rows" into the error of the domain.
func missing(err, as error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return as
	}
	return translate(err)
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// marks is "$from, $from+1, ..." for n arguments.
func marks(from, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", from+i)
	}
	return b.String()
}
