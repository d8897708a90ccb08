package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/drivebay/drivebay/internal/task"
)

// A commit costs an fsync, and while one is under way more transactions
// arrive. The writer runs those that wait in one SQLite transaction, each
// inside its own savepoint, and commits them together: each still happens
// whole or not at all, and no caller hears of success before the fsync.

// maxBatch bounds how many transactions share a commit.
const maxBatch = 64

type job struct {
	ctx  context.Context
	fn   func(*Tx) error
	done chan error
	tx   *Tx
	err  error
}

// errPanic marks a transaction that panicked; it is rolled back.
var errPanic = errors.New("panic in transaction")

// tx runs fn in one transaction. On return without error everything fn wrote
// is durable; with an error nothing of it is. fn must not wait for anything.
func (db *DB) tx(ctx context.Context, fn func(*Tx) error) error {
	defer db.observe("tx", time.Now())
	j := &job{ctx: ctx, fn: fn, done: make(chan error, 1)}
	select {
	case db.jobs <- j:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-db.closing:
		return ErrUnavailable.Because(sql.ErrConnDone)
	}
	select {
	case err := <-j.done:
		return translate(err)
	case <-db.done:
		// The writer has gone. It may have answered just before.
		select {
		case err := <-j.done:
			return translate(err)
		default:
			return ErrUnavailable.Because(sql.ErrConnDone)
		}
	}
}

// writer runs transactions until the database is closed.
func (db *DB) writer() {
	defer close(db.done)
	for {
		select {
		case j := <-db.jobs:
			db.batch(j)
		case <-db.closing:
			return
		}
	}
}

// batch runs first and whatever else waits, and commits once. It answers
// every job it took.
func (db *DB) batch(first *job) {
	jobs := []*job{first}
	// No caller's context reaches the engine: interrupting one statement could
	// roll back what others did in the same commit.
	ctx := context.Background()
	if err := db.control(ctx, "BEGIN IMMEDIATE"); err != nil {
		first.done <- err
		return
	}
	// The first job needs no savepoint: if it fails alone, all is rolled back.
	db.runJob(first)
	if first.err != nil {
		db.rollback(ctx)
		first.done <- first.err
		return
	}
	for len(jobs) < maxBatch {
		var j *job
		select {
		case j = <-db.jobs:
		default:
		}
		if j == nil {
			break
		}
		if err := db.runInSavepoint(ctx, j); err != nil {
			// The transaction itself is broken, so nothing of it will stay.
			db.rollback(ctx)
			for _, k := range append(jobs, j) {
				k.done <- err
			}
			return
		}
		if j.err != nil {
			j.done <- j.err
			continue
		}
		jobs = append(jobs, j)
	}
	err := db.control(ctx, "COMMIT")
	if err != nil {
		db.rollback(ctx)
	}
	for _, j := range jobs {
		if err == nil {
			db.signal(j.tx.wakes)
			db.hub.notify(j.tx.ended...)
		}
		j.done <- err
	}
}

// runInSavepoint runs j so that it can fail without the others. Its own
// failure is in j.err; the error returned is of the transaction around it.
func (db *DB) runInSavepoint(ctx context.Context, j *job) error {
	if err := db.control(ctx, "SAVEPOINT job"); err != nil {
		return err
	}
	db.runJob(j)
	if j.err != nil {
		if err := db.control(ctx, "ROLLBACK TO job"); err != nil {
			// What broke the job, a full disk perhaps, broke the whole.
			return errors.Join(j.err, err)
		}
	}
	return db.control(ctx, "RELEASE job")
}

func (db *DB) runJob(j *job) {
	defer func() {
		if p := recover(); p != nil {
			j.err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	if j.err = context.Cause(j.ctx); j.err != nil {
		return
	}
	j.tx = &Tx{q: writeTx{db}, db: db, now: db.now(), wakes: map[task.Queue]bool{}}
	j.err = j.fn(j.tx)
}

func (db *DB) rollback(ctx context.Context) {
	if err := db.control(ctx, "ROLLBACK"); err != nil {
		db.opt.Log.Error("roll back", "error", err)
	}
}

func (db *DB) control(ctx context.Context, statement string) error {
	s, err := db.writeStmt(ctx, statement)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(ctx)
	return err
}

func (db *DB) writeStmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := db.writeStmts[query]; s != nil {
		return s, nil
	}
	s, err := db.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	db.writeStmts[query] = s
	return s, nil
}

// signal wakes one dispatcher of each queue; a signal not yet taken serves
// for both.
func (db *DB) signal(queues map[task.Queue]bool) {
	for q := range queues {
		signal(db.wake[q])
	}
}

// writeTx runs statements on the writing connection, free of the caller's
// cancellation.
type writeTx struct{ db *DB }

func (w writeTx) exec(_ context.Context, query string, args ...any) (int64, error) {
	s, err := w.db.writeStmt(context.Background(), query)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (w writeTx) query(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := w.db.writeStmt(context.Background(), query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.Background(), args...)
}

func (w writeTx) row(_ context.Context, query string, args ...any) *sql.Row {
	s, err := w.db.writeStmt(context.Background(), query)
	if err != nil {
		return w.db.conn.QueryRowContext(context.Background(), query, args...)
	}
	return s.QueryRowContext(context.Background(), args...)
}
