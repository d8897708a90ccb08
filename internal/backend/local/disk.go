package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/drivebay/drivebay/internal/backend"
)

// step lets a test fail, or end the process, ahead of a step on disk.
func (d *Driver) step(step, name string) error {
	if d.onStep == nil {
		return nil
	}
	return d.onStep(step, name)
}

// create makes a file in tmp/ that will be called name, and fills it. The caller
// closes it. On an error nothing is left.
func (d *Driver) create(name string, fill func(*os.File) error) (temp string, f *os.File, err error) {
	temp = filepath.Join(d.tmp, name+"."+strconv.FormatUint(d.tempSeq.Add(1), 36))
	if err := d.step("create", name); err != nil {
		return "", nil, err
	}
	f, err = os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err = d.step("write", name); err == nil {
		err = fill(f)
	}
	if err != nil {
		_ = os.Remove(temp)
		return "", nil, errors.Join(err, f.Close())
	}
	return temp, f, nil
}

// stage is create, and the file is on the disk and closed then. It returns the
// path for publish.
func (d *Driver) stage(name string, fill func(*os.File) error) (temp string, err error) {
	temp, f, err := d.create(name, fill)
	if err != nil {
		return "", err
	}
	if err = errors.Join(d.syncFile(f, name), f.Close()); err != nil {
		_ = os.Remove(temp)
	}
	return temp, err
}

// publish gives the file at temp the name to. The caller makes that durable
// with the folder's sync. On an error the file at temp is removed.
func (d *Driver) publish(ctx context.Context, temp, to string) error {
	err := ctx.Err() // the last moment at which giving up leaves nothing
	if err == nil {
		err = d.step("rename", filepath.Base(to))
	}
	if err == nil {
		err = d.rename(temp, to)
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}

func (d *Driver) syncFile(f *os.File, name string) error {
	if err := d.step("sync", name); err != nil {
		return err
	}
	return f.Sync()
}

// unlink removes the file, if it is there, and makes that durable.
func (d *Driver) unlink(from *folder, name string) error {
	if err := d.step("unlink", name); err != nil {
		return err
	}
	if err := os.Remove(from.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return from.sync() // where it was gone too: the call that removed it may have failed here
}

// fileLen returns the length of the regular file at path, and whether there is
// one. Anything else of that name is an error.
func fileLen(path string) (bytes int64, there bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if !info.Mode().IsRegular() {
		return 0, false, fmt.Errorf("%s is not a regular file", path)
	}
	return info.Size(), true, nil
}

// ioError says in the words of package backend what went wrong on disk. doing
// is for the log. Errors of the context and of a driver stay as they are.
func ioError(doing string, err error) error {
	var known *backend.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	because := fmt.Errorf("%s: %w", doing, err)
	switch {
	case isNoSpace(err):
		return backend.ErrNoSpace.Because(because)
	case isTooLarge(err):
		return backend.ErrUnsupported.Because(because)
	}
	return backend.ErrUnavailable.Because(because)
}
