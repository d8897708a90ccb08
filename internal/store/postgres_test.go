package store_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/drivebay/drivebay/internal/pgtest"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/store/storetest"
)

// base is a PostgreSQL database under test.
type base struct{ address string }

func (b base) Open(t testing.TB, opt store.Options) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), b.address, opt)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func (b base) Exec(t testing.TB, statement string) error {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), statement)
	return err
}

func TestPostgres(t *testing.T) {
	pgtest.Need(t)
	template, drop := pgtest.Make(t, "template0")
	t.Cleanup(drop)
	if err := (base{template}).Open(t, store.Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("Suite", func(t *testing.T) {
		storetest.Run(t, func(t testing.TB) storetest.Database {
			return base{pgtest.Copy(t, pgtest.Name(template))}
		})
	})
}
