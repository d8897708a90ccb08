package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the engine
)

// lite is a SQLite database.
type lite struct {
	db   *DB
	pool *sql.DB // one connection: writers queue here instead of failing with "busy"
	read *sql.DB
	conn *sql.Conn // the writing connection

	jobs    chan *job // transactions waiting for the writer
	closing chan struct{}
	done    chan struct{}

	writeStmts map[string]*sql.Stmt // used by the writer alone
	last       lasting              // what the writing connection is set to
	readStmts  sync.Map             // query -> *sql.Stmt
}

// pragmas go into the address so that every connection of a pool gets them.
// synchronous FULL: a commit that was acknowledged survives power loss (see
// lasting for the exception).
var pragmas = []string{"journal_mode(WAL)", "busy_timeout(10000)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)"}

// openSQLite opens the database at path, and makes it if it is not there.
func openSQLite(ctx context.Context, db *DB, path string) (*lite, error) {
	l := &lite{
		db: db, jobs: make(chan *job, 256), closing: make(chan struct{}), done: make(chan struct{}),
		writeStmts: map[string]*sql.Stmt{},
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	var err error
	if l.pool, err = sql.Open("sqlite", dsn(path, "_txlock=immediate")); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	l.pool.SetMaxOpenConns(1)
	if _, err := migrate(ctx, "sqlite", l.pool); err != nil {
		return nil, errors.Join(err, l.pool.Close())
	}
	if l.read, err = sql.Open("sqlite", dsn(path, "_pragma=query_only(1)")); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), l.pool.Close())
	}
	l.read.SetMaxOpenConns(8)
	l.read.SetMaxIdleConns(8)
	if l.conn, err = l.pool.Conn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), l.pool.Close(), l.read.Close())
	}
	if err := l.skipEvents(ctx); err != nil {
		return nil, errors.Join(err, l.conn.Close(), l.pool.Close(), l.read.Close())
	}
	go l.writer()
	return l, nil
}

// skipEvents leaves out some numbers of events. A hasty transaction that a power
// cut took back may have shown its events to somebody who asks for what came
// after them: a number must not be given to another event. There are at most
// as many of them as runs at once.
func (l *lite) skipEvents(ctx context.Context) error {
	const runs = 10_000
	if _, err := l.conn.ExecContext(ctx, `UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'event'`, runs); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	return nil
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

// now is in engine.
func (l *lite) now() time.Time {
	if l.db.opt.Now != nil {
		return l.db.opt.Now()
	}
	return time.Now()
}

// announce is in engine: there is no other node.
func (l *lite) announce(changes) {}

// close is in engine.
func (l *lite) close() error {
	close(l.closing)
	<-l.done
	var errs []error
	// With a statement open the engine would leave its log behind, and the
	// database file would not be whole by itself.
	for _, s := range l.writeStmts {
		errs = append(errs, s.Close())
	}
	errs = append(errs, l.conn.Close(), l.read.Close(), l.pool.Close())
	return errors.Join(errs...)
}

// view is in engine.
func (l *lite) view(ctx context.Context, fn func(*Tx) error) error {
	tx, err := l.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing was written
	return fn(l.db.newTx(readTx{l, tx}, l.now()))
}

// reader answers single statements from the reading pool.
func (l *lite) reader() querier { return reader{l} }

type reader struct{ *lite }

func (r reader) exec(context.Context, string, ...any) (int64, error) {
	return 0, errWriteOutside
}

func (r reader) query(ctx context.Context, query string, args ...any) (rows, error) {
	defer r.db.observe("read", time.Now())
	s, err := r.readStmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return liteRows(s.QueryContext(ctx, args...))
}

func (r reader) row(ctx context.Context, query string, args ...any) scanner {
	defer r.db.observe("read", time.Now())
	s, err := r.readStmt(ctx, query)
	if err != nil {
		return r.read.QueryRowContext(ctx, query, args...) // has the error in it
	}
	return s.QueryRowContext(brief(ctx), args...)
}

// brief is ctx for a read that ends in no time: one that can be cancelled costs
// a goroutine to watch it, and a seventh of reading a row.
func brief(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

func (l *lite) readStmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := l.readStmts.Load(query); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := l.read.PrepareContext(context.WithoutCancel(ctx), query)
	if err != nil {
		return nil, err
	}
	if other, loaded := l.readStmts.LoadOrStore(query, s); loaded {
		_ = s.Close() // someone else prepared it in the meantime
		return other.(*sql.Stmt), nil
	}
	return s, nil
}

// readTx runs statements in a reading transaction.
type readTx struct {
	*lite
	tx *sql.Tx
}

func (r readTx) exec(context.Context, string, ...any) (int64, error) {
	return 0, errWriteOutside
}

func (r readTx) query(ctx context.Context, query string, args ...any) (rows, error) {
	s, err := r.readStmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return liteRows(r.tx.StmtContext(ctx, s).QueryContext(ctx, args...))
}

func (r readTx) row(ctx context.Context, query string, args ...any) scanner {
	s, err := r.readStmt(ctx, query)
	if err != nil {
		return r.tx.QueryRowContext(ctx, query, args...)
	}
	return r.tx.StmtContext(ctx, s).QueryRowContext(brief(ctx), args...)
}

// closeQuietly is a *sql.Rows in the form of rows: what reading went wrong is
// in Err already.
type closeQuietly struct{ *sql.Rows }

// Close is in rows.
func (r closeQuietly) Close() { _ = r.Rows.Close() }

func liteRows(r *sql.Rows, err error) (rows, error) {
	if err != nil {
		return nil, err
	}
	return closeQuietly{r}, nil
}
