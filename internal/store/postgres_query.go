package store

import (
	"context"
	"database/sql"
	"net/url"

	"github.com/jackc/pgx/v5"
)

// pgTx runs statements in a transaction, under the transaction's own deadline.
type pgTx struct {
	conn *pgx.Conn
	ctx  context.Context
}

func (q pgTx) exec(_ context.Context, query string, args ...any) (int64, error) {
	tag, err := q.conn.Exec(q.ctx, query, args...)
	return tag.RowsAffected(), err
}

func (q pgTx) query(_ context.Context, query string, args ...any) (rows, error) {
	return q.conn.Query(q.ctx, query, args...)
}

func (q pgTx) row(_ context.Context, query string, args ...any) scanner {
	return q.conn.QueryRow(q.ctx, query, args...)
}

// pgWriter is a transaction that may change things. It remembers its locks and,
// once it has one, the transaction's id.
type pgWriter struct {
	pgTx
	held map[string]bool
	xid  string
}

// lock is in locker.
func (q *pgWriter) lock(ctx context.Context, name string) error {
	if q.held[name] {
		return nil
	}
	return q.lockOf(ctx, `$1::text`, ``, name)
}

// lockOf is in locker.
func (q *pgWriter) lockOf(ctx context.Context, name, from string, args ...any) error {
	var locked string
	err := q.row(ctx, `SELECT l.name, pg_current_xact_id()::text, pg_advisory_xact_lock(hashtextextended(l.name, 0))::text
		FROM (SELECT `+name+` AS name `+from+`) l`, args...).Scan(&locked, &q.xid, new(string))
	if err == nil {
		q.held[locked] = true
	}
	return missing(err, nil)
}

// reader is in engine.
func (p *postgres) reader() querier { return pgReader{p} }

// pgReader answers single statements from the pool.
type pgReader struct{ p *postgres }

func (r pgReader) exec(context.Context, string, ...any) (int64, error) { return 0, errWriteOutside }

func (r pgReader) query(ctx context.Context, query string, args ...any) (rows, error) {
	if r.p.closed.Load() {
		return nil, ErrUnavailable.Because(sql.ErrConnDone)
	}
	run, cancel := context.WithTimeout(ctx, txPatience)
	found, err := r.p.pool.Query(run, query, args...)
	if err != nil {
		cancel()
		return nil, r.late(ctx, run, err)
	}
	return &pgRows{Rows: found, r: r, ctx: ctx, run: run, cancel: cancel}, nil
}

func (r pgReader) row(ctx context.Context, query string, args ...any) scanner {
	return pgRow{r, ctx, query, args}
}

// late says that the database is away where our patience ended before the
// caller's.
func (r pgReader) late(ctx, run context.Context, err error) error {
	if err != nil && run.Err() != nil && ctx.Err() == nil {
		return ErrUnavailable.Because(err)
	}
	return err
}

// pgRows ends its deadline when it is closed.
type pgRows struct {
	pgx.Rows
	r        pgReader
	ctx, run context.Context
	cancel   context.CancelFunc
}

// Close is in rows.
func (r *pgRows) Close() {
	r.Rows.Close()
	r.cancel()
}

// Err is in rows.
func (r *pgRows) Err() error { return r.r.late(r.ctx, r.run, r.Rows.Err()) }

// pgRow asks when it is scanned; once more if it met a connection that had
// died in the pool.
type pgRow struct {
	r     pgReader
	ctx   context.Context
	query string
	args  []any
}

// Scan is in scanner.
func (r pgRow) Scan(dest ...any) error {
	err := r.scan(dest)
	if err != nil && away(err) && r.ctx.Err() == nil && !r.r.p.closed.Load() {
		err = r.scan(dest)
	}
	return err
}

func (r pgRow) scan(dest []any) error {
	if r.r.p.closed.Load() {
		return ErrUnavailable.Because(sql.ErrConnDone)
	}
	run, cancel := context.WithTimeout(r.ctx, txPatience)
	defer cancel()
	return r.r.late(r.ctx, run, r.r.p.pool.QueryRow(run, r.query, r.args...).Scan(dest...))
}

// hasPoolSize reports whether the address says how many connections to keep.
func hasPoolSize(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Query().Has("pool_max_conns")
}
