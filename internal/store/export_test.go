package store

import (
	"context"
	"fmt"
)

// Queued is how many transactions wait for the writer.
func (db *DB) Queued() int { return len(db.engine.(*lite).jobs) }

// Statements are the texts that a closed database has prepared.
func (db *DB) Statements() []string {
	l := db.engine.(*lite)
	var out []string
	for q := range l.writeStmts {
		out = append(out, q)
	}
	l.readStmts.Range(func(q, _ any) bool {
		out = append(out, q.(string))
		return true
	})
	return out
}

// LimitPages lets the file grow by n more pages at most, as a full disk would;
// 0 lifts that. No transaction may be under way.
func (db *DB) LimitPages(n int) error {
	l, ctx := db.engine.(*lite), context.Background()
	limit := int64(1 << 30)
	if n > 0 {
		if err := l.conn.QueryRowContext(ctx, "PRAGMA page_count").Scan(&limit); err != nil {
			return err
		}
		limit += int64(n)
	}
	var got int64
	return l.conn.QueryRowContext(ctx, fmt.Sprint("PRAGMA max_page_count = ", limit)).Scan(&got)
}

// TableNames are the tables that an export has.
func TableNames() (out []string) {
	for _, t := range tables {
		out = append(out, t.name)
	}
	return out
}

// Booleans are the columns of a table that hold a boolean.
func Booleans(name string) []string {
	for _, t := range tables {
		if t.name == name {
			return t.bools
		}
	}
	return nil
}
