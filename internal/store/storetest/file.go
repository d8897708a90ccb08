package storetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/drivebay/drivebay/internal/store"
)

// schema is a SQLite database without rows. Under the race detector the
// migrations take longer than most tests, so a process runs them once.
var schema = sync.OnceValues(func() (db []byte, err error) {
	dir, err := os.MkdirTemp("", "schema")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "schema.db")
	open, err := store.Open(context.Background(), path, store.Options{})
	if err != nil {
		return nil, err
	}
	if err := open.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// File makes a SQLite database that has the schema and no rows, gone after the
// test, and returns its path.
func File(t testing.TB) string {
	t.Helper()
	db, err := schema()
	if err != nil {
		t.Fatalf("make the schema: %v", err)
	}
	path := filepath.Join(t.TempDir(), "test.db")
	if err := os.WriteFile(path, db, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
