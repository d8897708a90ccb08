package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/idempotency"
	"github.com/drivebay/drivebay/internal/task"
)

// ErrUnavailable: the database does not answer or cannot be written.
var ErrUnavailable = fault.New(fault.Unavailable, "database_unavailable", "The service is not available at the moment; please try again")

// Options set up a DB.
type Options struct {
	// Observe, if set, hears how long each transaction or read took.
	Observe func(kind string, took time.Duration)
	Log     *slog.Logger
	// Now is the clock of all that is written, leases too; nil: the
	// database's own, which all nodes share.
	Now func() time.Time
}

// DB is an open database.
type DB struct {
	engine engine
	opt    Options
	wake   map[task.Queue]chan struct{}
	hub    *hub
}

// engine is what stands below the SQL that all engines share.
type engine interface {
	// write runs fn in one transaction. On return without error everything fn
	// wrote is as lasting as asked for; with an error nothing of it is there. fn
	// may be run again after it failed, and must not wait for anything.
	write(ctx context.Context, l lasting, fn func(*Tx) error) error
	// view runs fn on one consistent state of the database.
	view(ctx context.Context, fn func(*Tx) error) error
	// reader answers single statements.
	reader() querier
	// now is the database's clock, or nearly.
	now() time.Time
	// announce tells the other nodes of a change, if there are any.
	announce(c changes)
	close() error
}

// lasting is what a commit waits for.
type lasting int

const (
	// durable: what was written survives a power cut.
	durable lasting = iota
	// hasty: what was written is there for everybody and survives the end of
	// the process. It becomes durable with the next durable transaction, and a
	// power cut before that takes it back, together with all hasty ones after
	// it. Only an engine without other nodes may make a difference: after a
	// power cut nobody must be left who acts on what was taken back.
	hasty
)

// Open opens the database at the address, "sqlite:PATH" (or a path alone) or
// "postgres://...", makes a SQLite database that is not there, and brings the
// schema up to date. A schema newer than this program is refused. Several
// nodes may do so at once.
func Open(ctx context.Context, address string, opt Options) (*DB, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	db := &DB{opt: opt, wake: map[task.Queue]chan struct{}{}, hub: newHub()}
	for _, q := range []task.Queue{task.Quick, task.Imports, task.Housework} {
		db.wake[q] = make(chan struct{}, 1)
	}
	var err error
	if IsPostgres(address) {
		db.engine, err = openPostgres(ctx, db, address)
	} else {
		db.engine, err = openSQLite(ctx, db, strings.TrimPrefix(address, "sqlite:"))
	}
	if err != nil {
		return nil, err
	}
	return db, nil
}

// IsPostgres reports whether the address is that of a PostgreSQL database.
func IsPostgres(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}

// Close waits for the transactions under way and closes the database.
func (db *DB) Close() error { return db.engine.close() }

// Ping reports whether the database answers and can be written.
func (db *DB) Ping(ctx context.Context) error {
	return db.tx(ctx, func(t *Tx) error {
		_, err := t.exec(ctx, `SELECT 1`)
		return err
	})
}

// Tx is one transaction, for all domains.
type Tx struct {
	q       querier
	db      *DB
	now     time.Time // the same for all the transaction writes
	changes changes
	claim   *idempotency.Request // whose key the transaction holds; nil: none
}

// changes is what others wait for; they are told after the commit.
type changes struct {
	ready map[task.Queue]bool // queues in which a task became ready
	ended []string            // tasks that ended
}

func (c changes) none() bool { return len(c.ready) == 0 && len(c.ended) == 0 }

func (db *DB) newTx(q querier, now time.Time) *Tx {
	return &Tx{q: q, db: db, now: now.UTC().Truncate(time.Microsecond), changes: changes{ready: map[task.Queue]bool{}}}
}

func (t *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	return t.q.exec(ctx, query, args...)
}

func (t *Tx) query(ctx context.Context, query string, args ...any) (rows, error) {
	return t.q.query(ctx, query, args...)
}

func (t *Tx) row(ctx context.Context, query string, args ...any) scanner {
	return t.q.row(ctx, query, args...)
}

// locker is a transaction of an engine with several writers.
type locker interface {
	// lock keeps the name to this transaction; again: nothing.
	lock(ctx context.Context, name string) error
	// lockOf is lock of the name that a statement makes, if it finds a row.
	lockOf(ctx context.Context, name, from string, args ...any) error
}

// own keeps a client's objects, lanes and tasks to this transaction. Everything
// that is accepted or ended for a client takes this lock before anything else,
// so that there is no other order to get wrong. SQLite has one writer, which
// owns everything.
func (t *Tx) own(ctx context.Context, clientID int64) error {
	return t.exclusive(ctx, fmt.Sprintf("client:%d", clientID))
}

// ownerOf is own for the client of a row, which never changes. From is the
// rest of a SELECT that has a client_id; no row: nothing is locked.
func (t *Tx) ownerOf(ctx context.Context, from string, args ...any) error {
	if l, ok := t.q.(locker); ok {
		return l.lockOf(ctx, `'client:' || coalesce(client_id, 0)`, from, args...)
	}
	return nil
}

// exclusive keeps a name to this transaction.
func (t *Tx) exclusive(ctx context.Context, name string) error {
	if l, ok := t.q.(locker); ok {
		return l.lock(ctx, name)
	}
	return nil
}

// lock is the end of a SELECT of one table whose rows are about to be changed.
func (t *Tx) lock() string {
	if _, ok := t.q.(locker); ok {
		return " FOR UPDATE"
	}
	return ""
}

// skipLocked is lock for a SELECT that leaves out what others are changing.
func (t *Tx) skipLocked() string {
	if _, ok := t.q.(locker); ok {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// tx runs fn in one transaction. On return without error everything fn wrote
// is durable; with an error nothing of it is. fn must not wait for anything,
// and may be run more than once.
func (db *DB) tx(ctx context.Context, fn func(*Tx) error) error {
	return db.write(ctx, durable, fn)
}

func (db *DB) write(ctx context.Context, l lasting, fn func(*Tx) error) error {
	defer db.observe("tx", time.Now())
	var last *Tx
	err := db.engine.write(ctx, l, func(t *Tx) error {
		last = t
		if err := claimKey(ctx, t); err != nil {
			return err
		}
		return safely(t, fn)
	})
	if err != nil {
		return translate(err)
	}
	if !last.changes.none() {
		db.tell(last.changes)
		db.engine.announce(last.changes)
	}
	return nil
}

// errPanic marks a transaction that panicked; it is rolled back.
var errPanic = errors.New("panic in transaction")

func safely(t *Tx, fn func(*Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	return fn(t)
}

// tell wakes who waits in this process: one dispatcher of each queue, and those
// who wait for a task's end.
func (db *DB) tell(c changes) {
	for q := range c.ready {
		signal(db.wake[q])
	}
	db.hub.notify(c.ended...)
}

// anything is every change there can be.
func (db *DB) anything() changes {
	c := changes{ready: map[task.Queue]bool{}}
	for q := range db.wake {
		c.ready[q] = true
	}
	return c
}

// errWriteOutside: single statements only read.
var errWriteOutside = errors.New("write outside a transaction")

// view runs fn on one consistent state of the database.
func (db *DB) view(ctx context.Context, fn func(*Tx) error) error {
	defer db.observe("view", time.Now())
	return translate(db.engine.view(ctx, fn))
}

// reader answers single statements.
func (db *DB) reader() querier { return db.engine.reader() }

// now is the database's clock, in the finest step it keeps. What decides about
// a lease takes a transaction's.
func (db *DB) now() time.Time { return db.engine.now().UTC().Truncate(time.Microsecond) }

func (db *DB) observe(kind string, start time.Time) {
	if db.opt.Observe != nil {
		db.opt.Observe(kind, time.Since(start))
	}
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
