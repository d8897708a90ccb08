package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// plain is a database of either engine seen as tables of rows, past all
// domains.
type plain struct {
	*sql.DB
	postgres bool
}

// openPlain opens the database at the address (see Open), to read it or to
// write it too. Only who writes makes a SQLite database that is not there; to
// others it is an empty one.
func openPlain(address string, write bool) (*plain, error) {
	if IsPostgres(address) {
		db, err := plainPostgres(address)
		return &plain{DB: db, postgres: true}, err
	}
	path, extra := strings.TrimPrefix(address, "sqlite:"), "_pragma=query_only(1)"
	if write {
		// The rows come in another order than that of the indexes.
		extra = "_pragma=cache_size(-65536)"
		if err := makePrivate(path); err != nil {
			return nil, err
		}
	}
	name := dsn(path, extra)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		name = ":memory:"
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.SetMaxOpenConns(1)
	return &plain{DB: db}, nil
}

// alone runs fn with the schema to itself: whoever else would change it, or
// open the store, waits for the end of fn.
func alone(ctx context.Context, address string, fn func(context.Context, *plain) error) (err error) {
	if IsPostgres(address) {
		return withMigrations(ctx, address, func(ctx context.Context, db *sql.DB) error {
			return fn(ctx, &plain{DB: db, postgres: true})
		})
	}
	p, err := openPlain(address, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return fn(ctx, p)
}

// folder is that of the engine's migrations.
func (p *plain) folder() string {
	if p.postgres {
		return "postgres"
	}
	return "sqlite"
}

// asker answers queries: a database, a connection or a transaction.
type asker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// schema reads the version of the schema. Unlike goose it makes no table.
func (p *plain) schema(ctx context.Context, q asker) (s Schema, err error) {
	g, err := provider(p.folder(), p.DB)
	if err != nil {
		return s, err
	}
	s.Want = newest(g)
	there := `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = $1)`
	if p.postgres {
		there = `SELECT to_regclass($1) IS NOT NULL`
	}
	var is bool
	if err := q.QueryRowContext(ctx, there, versionTable).Scan(&is); err != nil || !is {
		return s, because("read schema version", err)
	}
	err = q.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionTable).Scan(&s.Have)
	return s, because("read schema version", err)
}

// because says what was being done when an engine's error came up.
func because(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, translate(err))
}

// kind is what a column holds, in the file and in both engines.
type kind int

const (
	number8 kind = iota
	plainText
	boolean
	binary
)

// kinds are the engines' names for them. A test holds all columns to these.
var kinds = map[string]kind{
	"INTEGER": number8, "TEXT": plainText, "BLOB": binary,
	"bigint": number8, "text": plainText, "json": plainText, "boolean": boolean, "bytea": binary,
}

// column is one column of a table.
type column struct {
	name string
	typ  string // as the engine calls it
	kind kind
}

// columns reads the columns of a table, by name: the engines may have them in
// another order.
func (p *plain) columns(ctx context.Context, q asker, t table) ([]column, error) {
	query := `SELECT name, type FROM pragma_table_info($1)`
	if p.postgres {
		query = `SELECT column_name::text, data_type::text FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1`
	}
	rows, err := q.QueryContext(ctx, query, t.name)
	if err != nil {
		return nil, because("read columns of "+t.name, err)
	}
	defer rows.Close()
	var out []column
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.typ); err != nil {
			return nil, because("read columns of "+t.name, err)
		}
		var ok bool
		if c.kind, ok = kinds[c.typ]; !ok {
			return nil, fmt.Errorf("column %s of %s is of type %s, which no export knows", c.name, t.name, c.typ)
		}
		if slices.Contains(t.bools, c.name) {
			c.kind = boolean
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b column) int { return strings.Compare(a.name, b.name) })
	return out, because("read columns of "+t.name, rows.Err())
}

func namesOf(columns []column) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.name
	}
	return out
}

// sequence is the name of what numbers a column; PostgreSQL only.
func (p *plain) sequence(ctx context.Context, q asker, table, column string) (name string, err error) {
	err = q.QueryRowContext(ctx, `SELECT pg_get_serial_sequence($1, $2)`, table, column).Scan(&name)
	return name, because("read sequence of "+table, err)
}

// quoted is a name in SQL.
func quoted(name string) string { return `"` + name + `"` }
