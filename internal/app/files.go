package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/drivebay/drivebay/internal/access"
)

// writeFile replaces a file that only its owner may read, whole or not at all.
func writeFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// firstKey makes an operator's key where there is none, so that a new
// installation can be set up. It is left in admin.key in the data folder and
// never shown elsewhere.
func (s *Server) firstKey(ctx context.Context) error {
	n, err := s.Access.Operators(ctx)
	if err != nil || n > 0 {
		return err
	}
	_, token, err := s.Access.CreateKey(ctx, access.NewKey{Name: "first", Permissions: []access.Permission{access.Admin}})
	if err != nil {
		return fmt.Errorf("make first key: %w", err)
	}
	path := filepath.Join(s.cfg.DataDir, "admin.key")
	if err := writeFile(path, []byte(token+"\n")); err != nil {
		return fmt.Errorf("write first key: %w", err)
	}
	s.log.Info("made the first operator's key; make your own with it and revoke it", "file", path)
	return nil
}
