package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/drivebay/drivebay/internal/event"
)

// What is not a test of a limit meets none: the suites ask for much at once, and
// the machine may be slow and busy.
func init() {
	connectPatience, lockPatience, idlePatience = time.Minute, time.Minute, time.Minute
	patience, txPatience = 2*time.Minute, 3*time.Minute
}

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

// Write runs fn in a transaction that is hasty or durable. fn hears how the
// engine will commit it: 2 is FULL, 1 is NORMAL.
func (db *DB) Write(ctx context.Context, isHasty bool, fn func(synchronous int) error) error {
	want := durable
	if isHasty {
		want = hasty
	}
	return db.write(ctx, want, func(t *Tx) error {
		var level int
		if err := t.row(ctx, `PRAGMA synchronous`).Scan(&level); err != nil {
			return err
		}
		return fn(level)
	})
}

// EmitOne adds an event and returns its number.
func (db *DB) EmitOne(ctx context.Context) (seq int64, err error) {
	err = db.tx(ctx, func(t *Tx) error {
		if err := t.Emit(ctx, event.Event{ClientID: 7, Type: "x", Level: event.Info}); err != nil {
			return err
		}
		return t.row(ctx, `SELECT max(seq) FROM event`).Scan(&seq)
	})
	return seq, err
}

// MigrateTo makes a SQLite database with the schema of an earlier version.
func MigrateTo(ctx context.Context, path string, version int64) error {
	db, err := sql.Open("sqlite", dsn(path, "_txlock=immediate"))
	if err != nil {
		return err
	}
	p, err := provider("sqlite", db)
	if err == nil {
		_, err = p.UpTo(ctx, version)
	}
	return errors.Join(err, db.Close())
}

// ConnectsAtOnce is what a node makes at a time.
const ConnectsAtOnce = connectsAtOnce
