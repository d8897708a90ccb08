package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/archive"
)

// Export writes all rows of the database at the address (see Open) to w, as
// they are at one moment, while servers go on; at is what the file says of the
// moment. It takes constant memory. The schema must be this program's.
//
// With SQLite the log of writes grows until it ends.
func Export(ctx context.Context, address string, w io.Writer, at time.Time) (_ archive.Header, err error) {
	p, err := openPlain(address, false)
	if err != nil {
		return archive.Header{}, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	opt := &sql.TxOptions{ReadOnly: true}
	if p.postgres {
		opt.Isolation = sql.LevelRepeatableRead
	}
	tx, err := p.BeginTx(ctx, opt)
	if err != nil {
		return archive.Header{}, because("read database", err)
	}
	defer tx.Rollback() // nothing was written
	if p.postgres {
		if err := patiently(ctx, tx); err != nil {
			return archive.Header{}, err
		}
	}
	d := dump{p: p, tx: tx}
	return d.write(ctx, w, at)
}

// patiently lifts the limits on how long a transaction may take.
func patiently(ctx context.Context, q interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}) error {
	_, err := q.ExecContext(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0`)
	return because("read database", err)
}

// dump is one export.
type dump struct {
	p  *plain
	tx *sql.Tx
}

func (d dump) write(ctx context.Context, w io.Writer, at time.Time) (h archive.Header, err error) {
	s, err := d.p.schema(ctx, d.tx)
	switch {
	case err != nil:
		return h, err
	case s.Have == 0:
		return h, errors.New("there is no database yet: nothing has been set up at this address")
	}
	if err := s.need(); err != nil {
		return h, err
	}
	h = archive.Header{Schema: s.Have, Time: at}
	for _, t := range tables {
		of := archive.Table{Name: t.name}
		if err := d.tx.QueryRowContext(ctx, `SELECT count(*) FROM `+quoted(t.name)).Scan(&of.Rows); err != nil {
			return h, because("count "+t.name, err)
		}
		if t.numbered {
			if of.Last, err = d.last(ctx, t); err != nil {
				return h, err
			}
		}
		h.Tables = append(h.Tables, of)
	}
	out, err := archive.NewWriter(w, h)
	if err != nil {
		return h, err
	}
	for _, t := range tables {
		if err := d.table(ctx, out, t); err != nil {
			return h, err
		}
	}
	return h, out.Close()
}

// last is the last number that the database has handed out for the table.
// PostgreSQL's are not part of the snapshot: there it may be a later one.
func (d dump) last(ctx context.Context, t table) (n int64, err error) {
	query := `SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '` + t.name + `'`
	if d.p.postgres {
		name, err := d.p.sequence(ctx, d.tx, t.name, t.key[0])
		if err != nil {
			return 0, err
		}
		query = `SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM ` + name
	}
	err = d.tx.QueryRowContext(ctx, query).Scan(&n)
	return n, because("read sequence of "+t.name, err)
}

// table writes the rows of one table.
func (d dump) table(ctx context.Context, out *archive.Writer, t table) error {
	columns, err := d.p.columns(ctx, d.tx, t)
	if err != nil {
		return err
	}
	rows, err := d.tx.QueryContext(ctx, d.query(t, columns))
	if err != nil {
		return because("read "+t.name, err)
	}
	defer rows.Close()
	names, values, into := namesOf(columns), make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return because("read "+t.name, err)
		}
		for i, c := range columns {
			if n, is := values[i].(int64); is && c.kind == boolean {
				values[i] = n != 0
			}
		}
		if err := out.Row(t.name, names, values); err != nil {
			return fmt.Errorf("write file: %w", err)
		}
	}
	return because("read "+t.name, rows.Err())
}

// query reads a table's columns in the order of its key, which is that of the
// bytes in both engines.
func (d dump) query(t table, columns []column) string {
	var what, order []string
	for _, c := range columns {
		expr := quoted(c.name)
		if as := t.as[c.name]; as != "" {
			expr = as
		}
		if c.typ == "json" {
			expr += "::text"
		}
		what = append(what, expr)
	}
	for _, k := range t.key {
		expr := quoted(k)
		for _, c := range columns {
			if c.name == k && c.typ == "text" {
				expr += ` COLLATE "C"`
			}
		}
		order = append(order, expr)
	}
	return `SELECT ` + strings.Join(what, ", ") + ` FROM ` + quoted(t.name) + ` ORDER BY ` + strings.Join(order, ", ")
}
