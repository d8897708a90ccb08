package app

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockFolder keeps the data folder to this process until unlock, or its end:
// an open file cannot be removed here.
func lockFolder(dir string) (unlock func() error, err error) {
	path := filepath.Join(dir, "lock")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("the data folder %s is in use by another drivebay", dir)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data folder %s is in use by another drivebay", dir)
	}
	return f.Close, nil
}
