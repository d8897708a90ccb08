package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// provider knows the migrations of one engine. The folder has the name of the
// engine.
func provider(folder string, db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations/"+folder)
	if err != nil {
		return nil, err
	}
	dialect := goose.DialectSQLite3
	if folder == "postgres" {
		dialect = goose.DialectPostgres
	}
	p, err := goose.NewProvider(dialect, db, dir)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}

// migrate brings the schema up to date and returns the version it had. One
// that is newer than this program is refused.
func migrate(ctx context.Context, folder string, db *sql.DB) (from int64, err error) {
	p, err := provider(folder, db)
	if err != nil {
		return 0, err
	}
	if from, err = p.GetDBVersion(ctx); err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	s := Schema{Have: from, Want: newest(p)}
	if s.Current() {
		return from, nil
	}
	if err := s.newer(); err != nil {
		return from, err
	}
	if _, err := p.Up(ctx); err != nil {
		return from, fmt.Errorf("migrate database: %w", err)
	}
	return from, nil
}

func newest(p *goose.Provider) int64 {
	sources := p.ListSources()
	return sources[len(sources)-1].Version
}

// Schema is the version of a database's schema, 0 where there is none, and
// the newest one that this program knows.
type Schema struct{ Have, Want int64 }

// Current reports whether the schema is up to date.
func (s Schema) Current() bool { return s.Have == s.Want }

// newer refuses a schema that this program does not know.
func (s Schema) newer() error {
	if s.Have > s.Want {
		return fmt.Errorf("the database has schema version %d, newer than %d, the newest this program knows; use a newer program", s.Have, s.Want)
	}
	return nil
}

// need refuses a schema that is not up to date.
func (s Schema) need() error {
	if s.Current() {
		return nil
	}
	if err := s.newer(); err != nil {
		return err
	}
	return fmt.Errorf("the database has schema version %d, and this program needs %d; bring it up to date with drivebay migrate up", s.Have, s.Want)
}

// ReadSchema reads the version of the schema at the address (see Open). It
// changes nothing, and makes no database.
func ReadSchema(ctx context.Context, address string) (s Schema, err error) {
	p, err := openPlain(address, false)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return p.schema(ctx, p.DB)
}

// Migrate brings the schema at the address up to date, as Open does, and
// returns the version it had.
func Migrate(ctx context.Context, address string) (from int64, err error) {
	err = alone(ctx, address, func(ctx context.Context, p *plain) error {
		from, err = migrate(ctx, p.folder(), p.DB)
		return err
	})
	return from, err
}
