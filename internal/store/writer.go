package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/drivebay/drivebay/internal/idempotency"
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
	err  error
	want lasting
}

// write is in engine.
func (l *lite) write(ctx context.Context, want lasting, fn func(*Tx) error) error {
	j := &job{ctx: ctx, fn: fn, done: make(chan error, 1), want: want}
	select {
	case l.jobs <- j:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.closing:
		return ErrUnavailable.Because(sql.ErrConnDone)
	}
	select {
	case err := <-j.done:
		return err
	case <-l.done:
		// The writer has gone. It may have answered just before.
		select {
		case err := <-j.done:
			return err
		default:
			return ErrUnavailable.Because(sql.ErrConnDone)
		}
	}
}

// writer runs transactions until the database is closed.
func (l *lite) writer() {
	defer close(l.done)
	for {
		select {
		case j := <-l.jobs:
			for j != nil {
				j = l.batch(j)
			}
		case <-l.closing:
			return
		}
	}
}

// batch runs first and whatever else waits, and commits once, as lasting as
// first asks for. It answers every job it took but the one it returns, which
// asks for more.
func (l *lite) batch(first *job) (next *job) {
	if err := l.set(first.want); err != nil {
		first.done <- err
		return nil
	}
	jobs := []*job{first}
	var taken []*job // turned away by a request that is perhaps not committed yet
	// No caller's context reaches the engine: interrupting one statement could
	// roll back what others did in the same commit.
	ctx := context.Background()
	if err := l.control(ctx, "BEGIN IMMEDIATE"); err != nil {
		first.done <- err
		return nil
	}
	// The first job needs no savepoint: if it fails alone, all is rolled back.
	l.runJob(first)
	if first.err != nil {
		l.rollback(ctx)
		first.done <- first.err
		return nil
	}
	for len(jobs)+len(taken) < maxBatch {
		var j *job
		select {
		case j = <-l.jobs:
		default:
		}
		if j == nil {
			break
		}
		if j.want < first.want {
			next = j
			break
		}
		if err := l.runInSavepoint(ctx, j); err != nil {
			// The transaction itself is broken, so nothing of it will stay.
			l.rollback(ctx)
			for _, k := range slices.Concat(jobs, taken, []*job{j}) {
				k.done <- err
			}
			return nil
		}
		if errors.Is(j.err, idempotency.ErrTaken) {
			taken = append(taken, j)
			continue
		}
		if j.err != nil {
			j.done <- j.err
			continue
		}
		jobs = append(jobs, j)
	}
	err := l.control(ctx, "COMMIT")
	if err != nil {
		l.rollback(ctx)
	}
	for _, j := range jobs {
		j.done <- err
	}
	for _, j := range taken {
		j.done <- j.err // now there is an answer to look for, or the key is free
	}
	return next
}

// set makes the commits from here on as lasting as asked for.
func (l *lite) set(want lasting) error {
	if l.last == want {
		return nil
	}
	level := "PRAGMA synchronous = FULL"
	if want == hasty {
		level = "PRAGMA synchronous = NORMAL" // syncs at checkpoints alone
	}
	// Not prepared: the engine may run it while it prepares.
	if _, err := l.conn.ExecContext(context.Background(), level); err != nil {
		return err
	}
	l.last = want
	return nil
}

// runInSavepoint runs j so that it can fail without the others. Its own
// failure is in j.err; the error returned is of the transaction around it.
func (l *lite) runInSavepoint(ctx context.Context, j *job) error {
	if err := l.control(ctx, "SAVEPOINT job"); err != nil {
		return err
	}
	l.runJob(j)
	if j.err != nil {
		if err := l.control(ctx, "ROLLBACK TO job"); err != nil {
			// What broke the job, a full disk perhaps, broke the whole.
			return errors.Join(j.err, err)
		}
	}
	return l.control(ctx, "RELEASE job")
}

func (l *lite) runJob(j *job) {
	if j.err = context.Cause(j.ctx); j.err == nil {
		j.err = j.fn(l.db.newTx(writeTx{l}, l.now()))
	}
}

func (l *lite) rollback(ctx context.Context) {
	if err := l.control(ctx, "ROLLBACK"); err != nil {
		l.db.opt.Log.Error("roll back", "error", err)
	}
}

func (l *lite) control(ctx context.Context, statement string) error {
	s, err := l.writeStmt(ctx, statement)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(ctx)
	return err
}

func (l *lite) writeStmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := l.writeStmts[query]; s != nil {
		return s, nil
	}
	s, err := l.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	l.writeStmts[query] = s
	return s, nil
}

// writeTx runs statements on the writing connection, free of the caller's
// cancellation.
type writeTx struct{ *lite }

func (w writeTx) exec(_ context.Context, query string, args ...any) (int64, error) {
	s, err := w.writeStmt(context.Background(), query)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (w writeTx) query(_ context.Context, query string, args ...any) (rows, error) {
	s, err := w.writeStmt(context.Background(), query)
	if err != nil {
		return nil, err
	}
	return liteRows(s.QueryContext(context.Background(), args...))
}

func (w writeTx) row(_ context.Context, query string, args ...any) scanner {
	s, err := w.writeStmt(context.Background(), query)
	if err != nil {
		return w.conn.QueryRowContext(context.Background(), query, args...)
	}
	return s.QueryRowContext(context.Background(), args...)
}
