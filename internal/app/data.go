package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/drivebay/drivebay/internal/config"
	"github.com/drivebay/drivebay/internal/store"
)

// What the commands do that work on the database themselves. "-" is a path
// that stands for the standard streams.

// Schema reads the version of the database's schema, 0 where there is none,
// and the newest that this program knows. It changes nothing.
func Schema(ctx context.Context, cfg config.Config) (have, want int64, err error) {
	s, err := store.ReadSchema(ctx, cfg.DatabaseAddress())
	return s.Have, s.Want, err
}

// Migrate brings the database's schema up to date, as a server's start does,
// and returns the version it had.
func Migrate(ctx context.Context, cfg config.Config) (from int64, err error) {
	if have, want, err := Schema(ctx, cfg); err != nil || have == want {
		return have, err
	}
	err = alone(cfg, func() error {
		from, err = store.Migrate(ctx, cfg.DatabaseAddress())
		return err
	})
	return from, err
}

// alone runs fn while no server runs on the data folder. PostgreSQL's own lock
// sees to that where the database is there.
func alone(cfg config.Config, fn func() error) error {
	if cfg.Postgres() {
		return fn()
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	unlock, err := lockFolder(cfg.DataDir)
	if err != nil {
		return err
	}
	return errors.Join(fn(), unlock())
}

// Export writes the whole database to the file, which only its owner may read
// and which is there whole or not at all, or to stdout. Servers may run.
func Export(ctx context.Context, cfg config.Config, path string, stdout io.Writer) (rows int64, err error) {
	write := func(w io.Writer) error {
		h, err := store.Export(ctx, cfg.DatabaseAddress(), w, time.Now().Truncate(time.Second))
		rows = h.Rows()
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx) // whatever it came out as
		}
		return err
	}
	if path == "-" {
		err = write(stdout)
	} else {
		err = replaceFile(path, write)
	}
	return rows, err
}

// replaceFile is writeFile for what is too large for memory, and for a folder
// in which others may do the same at this moment.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	switch info, err := os.Stat(path); {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file that could be replaced; write - for standard output", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Import fills the database with what Export has written to the file, or what
// comes from stdin. The database must be empty, and no server run on it.
func Import(ctx context.Context, cfg config.Config, path string, stdin io.Reader) (rows int64, err error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return 0, err
		}
		defer f.Close() // it was read only
		stdin = f
	}
	err = alone(cfg, func() error {
		h, err := store.Import(ctx, cfg.DatabaseAddress(), stdin)
		rows = h.Rows()
		return err
	})
	return rows, err
}
