package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/drivebay/drivebay/internal/access"
)

// writeFile replaces a file that only its owner may read, whole or not at all.
func writeFile(path string, content []byte) error {
	if err := stage(path, content); err != nil {
		return err
	}
	return publish(path)
}

// stagedPath is where the next content of a file waits for its name. It is
// always the same, so that a process killed in between leaves one file, which
// the next write takes over, and not one more each time.
func stagedPath(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
}

// stage makes the next content of a file durable without showing it.
func stage(path string, content []byte) (err error) {
	f, err := os.OpenFile(stagedPath(path), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// publish shows what was staged.
func publish(path string) error { return os.Rename(stagedPath(path), path) }

// instanceID is the id in the file, which is made if it is not there.
func instanceID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 1 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id := newID()
	return id, writeFile(path, []byte(id+"\n"))
}

// firstKey makes an operator's key where there is none, so that a new
// installation can be set up. It is left in admin.key in the data folder and
// never shown elsewhere. It is on the disk before it is in the database: a
// process killed in between must not leave a key that nobody can read.
func (s *Server) firstKey(ctx context.Context) error {
	path := filepath.Join(s.cfg.DataDir, "admin.key")
	n, err := s.Access.Operators(ctx)
	if err != nil {
		return err
	}
	if n > 0 {
		if err := publish(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write first key: %w", err)
		}
		return nil
	}
	token, _ := access.NewToken()
	if err := stage(path, []byte(token+"\n")); err != nil {
		return fmt.Errorf("write first key: %w", err)
	}
	if _, _, err := s.Access.CreateKey(ctx, access.NewKey{Name: "first", Permissions: []access.Permission{access.Admin}, Token: token}); err != nil {
		return fmt.Errorf("make first key: %w", err)
	}
	if err := publish(path); err != nil {
		return fmt.Errorf("write first key: %w", err)
	}
	s.log.Info("made the first operator's key; make your own with it and revoke it", "file", path)
	return nil
}
