//go:build unix

package local

import (
	"errors"
	"os"
	"syscall"
)

// lockFolder takes the lock file for this process. The kernel gives it back
// when the process ends, however it ends.
func lockFolder(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, ErrLocked
	}
	return nil, &os.PathError{Op: "lock", Path: path, Err: err}
}

// unlockFolder gives the lock back. Closing alone would leave it with a program
// that is just being started and still has a copy of the descriptor.
func unlockFolder(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	return errors.Join(err, f.Close())
}

// syncDir fsyncs a folder. A filesystem that has no such thing says EINVAL or
// ENOTSUP; there is nothing more to be done on it.
func syncDir(dir *os.File) error {
	err := dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isTooLarge: the filesystem has no files of that length.
func isTooLarge(err error) bool { return errors.Is(err, syscall.EFBIG) }

// isOtherDisk: a rename would cross from one filesystem to another.
func isOtherDisk(err error) bool { return errors.Is(err, syscall.EXDEV) }
