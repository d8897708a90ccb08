package local

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// folder is a directory whose entries are made durable by sync.
type folder struct {
	path string
	dir  *os.File // for fsync
	step func(step, name string) error

	turn sync.Mutex // held while an fsync runs
	mu   sync.Mutex
	next *syncRound // callers who wait for the next fsync; nil when there is none
}

type syncRound struct {
	done chan struct{}
	err  error // set before done closes
}

// open makes the folder if needed, and durable what is in it: a process killed
// between rename and fsync may have left a name that is not yet on the disk.
func (f *folder) open(path string, step func(step, name string) error) error {
	f.path, f.step = path, step
	if err := makeDir(path); err != nil {
		return err
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	f.dir = dir
	return syncDir(dir)
}

func (f *folder) close() error {
	if f.dir == nil {
		return nil
	}
	return f.dir.Close()
}

func (f *folder) file(name string) string { return filepath.Join(f.path, name) }

// sync returns once every change made to the folder before the call is on the
// disk. Callers who come while an fsync runs share the one after it.
func (f *folder) sync() error {
	f.mu.Lock()
	round := f.next
	if round != nil {
		f.mu.Unlock()
		<-round.done
		return round.err
	}
	round = &syncRound{done: make(chan struct{})}
	f.next = round
	f.mu.Unlock()

	f.turn.Lock()
	defer f.turn.Unlock()
	f.mu.Lock()
	f.next = nil // who comes from here on may have changed something too late for us
	f.mu.Unlock()
	round.err = f.step("syncdir", filepath.Base(f.path))
	if round.err == nil {
		round.err = syncDir(f.dir)
	}
	close(round.done)
	return round.err
}

// each calls found with the name, without suffix, and length of every regular
// file that has the suffix, in no order.
func (f *folder) each(ctx context.Context, suffix string, found func(name string, bytes int64)) error {
	dir, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := dir.ReadDir(1024)
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), suffix)
			if !ok || !e.Type().IsRegular() {
				continue
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted since
			}
			if err != nil {
				return err
			}
			found(name, info.Size())
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// makeDir makes path and its parents, private to this user, and their names
// durable. There already: nil.
func makeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrExist):
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "mkdir", Path: path, Err: fs.ErrExist}
		}
		return err
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path:
		if err := makeDir(filepath.Dir(path)); err != nil {
			return err
		}
		return makeDir(path)
	default:
		return err
	}
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	return syncDir(parent)
}
