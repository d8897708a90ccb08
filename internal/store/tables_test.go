package store

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/internal/pgtest"
)

// firstColumn reads the first column of a query.
func firstColumn(t *testing.T, p *plain, query string, args ...any) (out []string) {
	t.Helper()
	rows, err := p.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// migrated is a database with the schema alone.
func migrated(t *testing.T, address string) *plain {
	t.Helper()
	if _, err := Migrate(context.Background(), address); err != nil {
		t.Fatal(err)
	}
	p, err := openPlain(address, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// listed fails the test unless the tables are all in the list or left out.
func listed(t *testing.T, have []string) {
	t.Helper()
	for _, name := range have {
		_, out := leftOut[name]
		in := slices.ContainsFunc(tables, func(t table) bool { return t.name == name })
		if in == out {
			t.Errorf("table %s is to be exported, or left out for a reason: list it in tables or leftOut", name)
		}
	}
	for _, t2 := range tables {
		if !slices.Contains(have, t2.name) {
			t.Errorf("there is no table %s", t2.name)
		}
	}
}

// TestTables holds the list of tables to what the migrations make of SQLite.
func TestTables(t *testing.T) {
	p := migrated(t, filepath.Join(t.TempDir(), "tables.db"))
	listed(t, firstColumn(t, p, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`))
	before := map[string]bool{}
	for _, of := range tables {
		before[of.name] = true
		for _, other := range firstColumn(t, p, `SELECT DISTINCT "table" FROM pragma_foreign_key_list($1)`, of.name) {
			if !before[other] {
				t.Errorf("%s refers to %s, which comes later", of.name, other)
			}
		}
		if key := firstColumn(t, p, `SELECT name FROM pragma_table_info($1) WHERE pk > 0 ORDER BY pk`, of.name); !slices.Equal(key, of.key) {
			t.Errorf("the key of %s is %v", of.name, key)
		}
		sql := firstColumn(t, p, `SELECT sql FROM sqlite_schema WHERE name = $1`, of.name)[0]
		if strings.Contains(sql, "AUTOINCREMENT") != of.numbered {
			t.Errorf("numbered of %s should be %v", of.name, !of.numbered)
		}
		if _, err := p.columns(t.Context(), p, of); err != nil {
			t.Error(err)
		}
	}
}

// TestTablesPostgres holds that both engines have the same tables, keys and
// columns, and what a boolean is.
func TestTablesPostgres(t *testing.T) {
	p, lite := migrated(t, pgtest.New(t)), migrated(t, filepath.Join(t.TempDir(), "tables.db"))
	listed(t, firstColumn(t, p, `SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()`))
	for _, of := range tables {
		var columns [2][]column
		for i, db := range []*plain{lite, p} {
			var err error
			if columns[i], err = db.columns(t.Context(), db, of); err != nil {
				t.Fatal(err)
			}
			for j := range columns[i] {
				columns[i][j].typ = ""
			}
		}
		if d := cmp.Diff(columns[0], columns[1], cmp.AllowUnexported(column{})); d != "" {
			t.Errorf("columns of %s, in SQLite and PostgreSQL (see bools of tables): %s", of.name, d)
		}
		key := firstColumn(t, p, `SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
			WHERE i.indrelid = $1::text::regclass AND i.indisprimary ORDER BY array_position(i.indkey::int2[], a.attnum)`, of.name)
		if !slices.Equal(key, of.key) {
			t.Errorf("the key of %s is %v", of.name, key)
		}
		if of.numbered {
			if _, err := p.sequence(t.Context(), p, of.name, of.key[0]); err != nil {
				t.Error(err)
			}
		}
	}
}
