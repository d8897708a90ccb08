package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/drivebay/drivebay/internal/archive"
)

// Import fills the database at the address (see Open) with the rows of an
// exported file, whichever engine they are from. The database must have no
// rows, and gets its schema if it has none; the file must be of this program's
// schema. All rows come true at once, when the file has proved to be whole and
// as it was written; with an error there is none.
func Import(ctx context.Context, address string, r io.Reader) (h archive.Header, err error) {
	in, err := archive.NewReader(r)
	if err != nil {
		return h, err
	}
	h = in.Header()
	err = alone(ctx, address, func(ctx context.Context, p *plain) error {
		if err := fits(ctx, p, h); err != nil {
			return err
		}
		if _, err := migrate(ctx, p.folder(), p.DB); err != nil {
			return err
		}
		conn, err := p.Conn(ctx)
		if err != nil {
			return because("open database", err)
		}
		defer conn.Close() // and with it a transaction that has not ended
		l := &load{plain: p, conn: conn, in: in}
		return l.run(ctx)
	})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // whatever it came out as
	}
	return h, err
}

// fits refuses a file or a database of another schema.
func fits(ctx context.Context, p *plain, h archive.Header) error {
	s, err := p.schema(ctx, p.DB)
	if err != nil {
		return err
	}
	if s.Have != 0 {
		if err := s.need(); err != nil {
			return err
		}
	}
	switch {
	case h.Schema > s.Want:
		return fmt.Errorf("the file has schema version %d, newer than %d, the newest this program knows; use a newer program", h.Schema, s.Want)
	case h.Schema < s.Want:
		return fmt.Errorf("the file has schema version %d, and this program needs %d; import it with the program that wrote it, then bring the schema up to date with this one",
			h.Schema, s.Want)
	case !slices.EqualFunc(h.Tables, tables, func(a archive.Table, b table) bool { return a.Name == b.name }):
		return errors.New("the file does not have the tables of this program's schema, although it says so")
	}
	return nil
}

// load is one import.
type load struct {
	*plain
	conn *sql.Conn
	in   *archive.Reader

	row  *archive.Row // read, not yet stored; nil at the end
	done error        // how reading ended; io.EOF if all is well
}

// run fills the database, in one transaction.
func (l *load) run(ctx context.Context) error {
	ended := context.WithoutCancel(ctx)
	if err := l.fill(ctx); err != nil {
		_, _ = l.conn.ExecContext(ended, `ROLLBACK`) // else closing the connection does it
		return err
	}
	if _, err := l.conn.ExecContext(ended, `COMMIT`); err != nil {
		_, _ = l.conn.ExecContext(ended, `ROLLBACK`)
		return because("commit", err)
	}
	return nil
}

func (l *load) fill(ctx context.Context) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	l.read()
	for _, t := range tables {
		if err := l.table(ctx, t); err != nil {
			return l.reason(ctx, fmt.Errorf("store %s: %w", t.name, err))
		}
	}
	if l.done != io.EOF {
		return l.reason(ctx, l.done)
	}
	for i, t := range tables {
		if err := l.number(ctx, t, l.in.Header().Tables[i].Last); err != nil {
			return err
		}
	}
	return nil
}

// begin starts the transaction on a database without rows, which no one else
// writes to until its end.
func (l *load) begin(ctx context.Context) error {
	statements := []string{`BEGIN IMMEDIATE`, `PRAGMA defer_foreign_keys = ON`} // a row may come before the one it refers to
	if l.postgres {
		var names []string
		for _, t := range tables {
			names = append(names, quoted(t.name))
		}
		statements = []string{`BEGIN`, `LOCK TABLE ` + strings.Join(names, ", ") + ` IN SHARE ROW EXCLUSIVE MODE`}
	}
	for _, s := range statements {
		if _, err := l.conn.ExecContext(ctx, s); err != nil {
			return because("begin", err)
		}
	}
	if l.postgres {
		if err := patiently(ctx, l.conn); err != nil {
			return err
		}
	}
	names := slices.Sorted(maps.Keys(leftOut))
	for _, t := range tables {
		names = append(names, t.name)
	}
	for _, name := range names {
		if name == versionTable {
			continue
		}
		var some bool
		if err := l.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+quoted(name)+`)`).Scan(&some); err != nil {
			return because("look for rows", err)
		}
		if some {
			return fmt.Errorf("the database is not empty: its table %s has rows; import into a new database, before any server has used it", name)
		}
	}
	return nil
}

// read reads the next row.
func (l *load) read() {
	if l.row, l.done = l.in.Next(); l.done != nil {
		l.row = nil
	}
}

// reason is why nothing is stored: what the database refused is of no interest
// if the file is damaged.
func (l *load) reason(ctx context.Context, err error) error {
	for l.done == nil && ctx.Err() == nil {
		l.read()
	}
	if l.done != nil && l.done != io.EOF {
		return l.done
	}
	return translate(err)
}

// table stores the rows of one table.
func (l *load) table(ctx context.Context, t table) error {
	if l.row == nil || l.row.Table != t.name {
		return nil
	}
	columns, err := l.columns(ctx, l.conn, t)
	if err != nil {
		return err
	}
	rows := &rowsOf{l: l, table: t.name, columns: columns, names: namesOf(columns), values: make([]any, len(columns))}
	if l.postgres {
		err = l.copyIn(ctx, rows)
	} else {
		err = l.insert(ctx, rows)
	}
	if rows.err != nil {
		return rows.err // the engine only repeats it
	}
	return err
}

// copyIn stores rows in one statement, so that they may refer to each other in
// any order.
func (l *load) copyIn(ctx context.Context, rows *rowsOf) error {
	return l.conn.Raw(func(c any) error {
		_, err := c.(*stdlib.Conn).Conn().CopyFrom(ctx, pgx.Identifier{rows.table}, rows.names, rows)
		return err
	})
}

func (l *load) insert(ctx context.Context, rows *rowsOf) (err error) {
	names := make([]string, len(rows.names))
	for i, n := range rows.names {
		names[i] = quoted(n)
	}
	insert, err := l.conn.PrepareContext(ctx, `INSERT INTO `+quoted(rows.table)+` (`+strings.Join(names, ", ")+`) VALUES (`+marks(1, len(names))+`)`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return nil // it is in rows
		}
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	return nil
}

// rowsOf are the rows of one table, as pgx.CopyFromSource has them.
type rowsOf struct {
	l       *load
	table   string
	columns []column
	names   []string
	values  []any
	begun   bool
	err     error
}

// Next is in pgx.CopyFromSource.
func (r *rowsOf) Next() bool {
	if r.begun {
		r.l.read()
	}
	r.begun = true
	return r.err == nil && r.l.row != nil && r.l.row.Table == r.table
}

// Values is in pgx.CopyFromSource.
func (r *rowsOf) Values() ([]any, error) {
	row := r.l.row
	if !slices.Equal(row.Columns, r.names) {
		r.err = fmt.Errorf("the file has a row with other columns than those of the schema: %s", strings.Join(row.Columns, ", "))
		return nil, r.err
	}
	for i, c := range r.columns {
		v, ok := c.value(row.Values[i])
		if !ok {
			r.err = fmt.Errorf("the file has a value of another type in column %s", c.name)
			return nil, r.err
		}
		if b, is := v.(bool); is && !r.l.postgres {
			v = int64(0)
			if b {
				v = int64(1)
			}
		}
		r.values[i] = v
	}
	return r.values, nil
}

// Err is in pgx.CopyFromSource. Rows that ended because the file is damaged
// did not end.
func (r *rowsOf) Err() error {
	if r.err == nil && r.l.done != nil && r.l.done != io.EOF {
		return r.l.done
	}
	return r.err
}

// value is what a column holds of a value in the file.
func (c column) value(v any) (_ any, ok bool) {
	if v == nil {
		return nil, true
	}
	switch c.kind {
	case number8:
		_, ok = v.(int64)
	case boolean:
		_, ok = v.(bool)
	case plainText:
		_, ok = v.(string)
	case binary:
		s, is := v.(string)
		b, err := base64.StdEncoding.Strict().DecodeString(s)
		return b, is && err == nil
	}
	return v, ok
}

// number lets the database hand out numbers above those of the rows, and above
// last.
func (l *load) number(ctx context.Context, t table, last int64) error {
	if l.postgres {
		return l.numberPostgres(ctx, t, last)
	}
	if last == 0 || !t.numbered {
		return nil
	}
	_, err := l.conn.ExecContext(ctx, `UPDATE sqlite_sequence SET seq = max(seq, $2) WHERE name = $1`, t.name, last)
	if err == nil {
		_, err = l.conn.ExecContext(ctx, `INSERT INTO sqlite_sequence (name, seq)
			SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = $1)`, t.name, last)
	}
	return because("set sequence of "+t.name, err)
}

// numberPostgres also sees to the tables whose numbers SQLite takes from the
// rows alone. Unlike setval, RESTART is undone with the transaction.
func (l *load) numberPostgres(ctx context.Context, t table, last int64) error {
	var identity bool
	err := l.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name = $1 AND column_name = $2 AND is_identity = 'YES')`, t.name, t.key[0]).Scan(&identity)
	if err != nil || !identity {
		return because("read sequence of "+t.name, err)
	}
	var most int64
	if err := l.conn.QueryRowContext(ctx, `SELECT coalesce(max(`+quoted(t.key[0])+`), 0) FROM `+quoted(t.name)).Scan(&most); err != nil {
		return because("read "+t.name, err)
	}
	if most = max(most, last); most == 0 {
		return nil
	}
	_, err = l.conn.ExecContext(ctx, fmt.Sprintf(`ALTER TABLE %s ALTER COLUMN %s RESTART WITH %d`, quoted(t.name), quoted(t.key[0]), most+1))
	return because("set sequence of "+t.name, err)
}
