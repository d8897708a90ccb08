// Package store keeps everything in a database, SQLite or PostgreSQL. One SQL
// text serves both; DESIGN.md beside this file says how. All domains share one transaction type, and each
// gets a thin adapter that speaks its own words.
package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"
)

// querier is the part of a database a statement needs, inside a transaction or
// on a reading connection. Placeholders are $1, $2, ...
type querier interface {
	exec(ctx context.Context, query string, args ...any) (changed int64, err error)
	query(ctx context.Context, query string, args ...any) (rows, error)
	row(ctx context.Context, query string, args ...any) scanner
}

// rows is the answer of a query, read one after the other.
type rows interface {
	scanner
	Next() bool
	Err() error
	Close()
}

// scanner is a row of either kind.
type scanner interface{ Scan(dest ...any) error }

// all reads every row of a query with scan.
func all[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make([]T, 0, 8)
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// one changes exactly one row, or answers missing.
func one(changed int64, err, missing error) error {
	if err != nil {
		return err
	}
	if changed != 1 {
		return missing
	}
	return nil
}

// nextID is the id of a new row of a table whose ids callers may choose too:
// one above the highest, and above least.
func (t *Tx) nextID(ctx context.Context, table string, least int64) (id int64, err error) {
	if err := t.exclusive(ctx, "id of "+table); err != nil {
		return 0, err
	}
	err = t.row(ctx, `SELECT coalesce(max(id), $1) + 1 FROM `+table, least).Scan(&id)
	return id, err
}

// limitOf is a LIMIT that 0 does not set.
func limitOf(n int) int64 {
	if n == 0 {
		return math.MaxInt64
	}
	return int64(n)
}

// micros is how times are stored; a zero time is NULL.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func fromMicros(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMicro(n.Int64).UTC()
}

func at(n int64) time.Time { return time.UnixMicro(n).UTC() }

// text and number are scanned into without reflection, which is most of what
// reading a row costs besides the engine. NULL is "" and 0.
type (
	text   string
	number int64
)

// Scan implements sql.Scanner.
func (t *text) Scan(src any) error {
	switch v := src.(type) {
	case string:
		*t = text(v)
	case []byte:
		*t = text(v)
	case nil:
		*t = ""
	default:
		return fmt.Errorf("a column has a %T where text belongs", src)
	}
	return nil
}

// Scan implements sql.Scanner.
func (n *number) Scan(src any) error {
	switch v := src.(type) {
	case int64:
		*n = number(v)
	case nil:
		*n = 0
	default:
		return fmt.Errorf("a column has a %T where a number belongs", src)
	}
	return nil
}

// orNull stores the zero value of T as NULL.
func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}
