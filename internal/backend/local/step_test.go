//go:build unix

package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/drivebay/drivebay/internal/backend"
)

// steps notes the steps on disk of a driver, and fails one of them.
type steps struct {
	mu   sync.Mutex
	seen []string
	fail int // the index of the step that fails; -1 is none
	err  error
}

func (s *steps) step(step, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, step)
	if len(s.seen)-1 == s.fail {
		return s.err
	}
	return nil
}

// next begins a count.
func (s *steps) next(fail int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.fail, s.err = nil, fail, err
}

type stepCase struct {
	name string
	call func(ctx context.Context, d *Driver) error
	want string // the steps of a call that has something to do
	idle string // of a repeat
}

const (
	made  = "create write sync rename syncdir"
	saved = "write sync"
)

var stepKey = strings.Repeat("ab", 32)

// stepCases follow one another. importPath has a one-byte file when it begins.
func stepCases(importPath, importSteps string) []stepCase {
	return []stepCase{
		{"EnsureVM", func(ctx context.Context, d *Driver) error { return d.EnsureVM(ctx, backend.VM{Ref: "vm"}) }, made, ""},
		{"EnsureVolume", func(ctx context.Context, d *Driver) error {
			return d.EnsureVolume(ctx, backend.VolumeSpec{ID: "v", Bytes: 4096})
		}, "create write rename sync syncdir", "sync syncdir"},
		{"GrowVolume", func(ctx context.Context, d *Driver) error { return d.GrowVolume(ctx, "v", 8192) }, "write sync", "sync"},
		{"EnsureAttached", func(ctx context.Context, d *Driver) error { return d.EnsureAttached(ctx, "vm", "v") }, saved, ""},
		{"ImportISO", func(ctx context.Context, d *Driver) error {
			return d.ImportISO(ctx, backend.ISOSpec{Key: stepKey, Bytes: 1}, importPath)
		}, importSteps, "syncdir"},
		{"SetMedia", func(ctx context.Context, d *Driver) error { return d.SetMedia(ctx, "vm", stepKey, false) }, saved, ""},
		{"Power", func(ctx context.Context, d *Driver) error { return d.Power(ctx, "vm", backend.PowerOff) }, saved, ""},
		{"SetBoot", func(ctx context.Context, d *Driver) error {
			_, err := d.SetBoot(ctx, "vm", true)
			return err
		}, saved, ""},
		{"Eject", func(ctx context.Context, d *Driver) error { return d.SetMedia(ctx, "vm", "", false) }, saved, ""},
		{"EnsureDetached", func(ctx context.Context, d *Driver) error {
			return d.EnsureDetached(ctx, "vm", "v", backend.DetachOptions{})
		}, saved, ""},
		{"DeleteVolume", func(ctx context.Context, d *Driver) error { return d.DeleteVolume(ctx, "v") }, "unlink syncdir", "unlink syncdir"},
		{"DeleteISO", func(ctx context.Context, d *Driver) error { return d.DeleteISO(ctx, stepKey) }, "unlink syncdir", "unlink syncdir"},
	}
}

// A file with content is fsynced before it gets its name, and the folder after
// that: this order is what makes a call durable, and its length is what a call
// costs. The two at the end of a new volume go side by side.
func TestStepsAreInDurableOrder(t *testing.T) {
	t.Parallel()
	for name, otherDisk := range map[string]bool{"Move": false, "Copy": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, path := t.TempDir(), filepath.Join(t.TempDir(), "iso")
			ok(t, os.WriteFile(path, []byte("x"), 0o600))
			d := open(t, dir)
			s := &steps{fail: -1}
			d.onStep = s.step
			importSteps := "sync rename syncdir"
			if otherDisk {
				d.rename = renameWithin(dir)
				importSteps = "sync rename " + made // it tries to move first
			}
			for _, c := range stepCases(path, importSteps) {
				for _, want := range []string{c.want, c.idle} {
					s.next(-1, nil)
					ok(t, c.call(t.Context(), d))
					if got := strings.Join(s.seen, " "); got != want {
						t.Errorf("%s took the steps %q, want %q", c.name, got, want)
					}
				}
			}
		})
	}
}

// Each step of each call fails once. What is seen then is the state before or
// after the call, the same after a restart, and a repeat completes the call.
func TestEveryStepMayFail(t *testing.T) {
	t.Parallel()
	for cause, want := range map[error]error{
		syscall.ENOSPC: backend.ErrNoSpace,
		syscall.EDQUOT: backend.ErrNoSpace,
		syscall.EIO:    backend.ErrUnavailable,
		syscall.EFBIG:  backend.ErrUnsupported,
	} {
		for name, otherDisk := range map[string]bool{"Move": false, "Copy": true} {
			t.Run(cause.Error()+"/"+name, func(t *testing.T) {
				t.Parallel()
				failEveryStep(t, otherDisk, cause, want)
			})
		}
	}
}

func failEveryStep(t *testing.T, otherDisk bool, cause, want error) {
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "iso")
	ok(t, os.WriteFile(path, []byte("x"), 0o600))
	s := &steps{fail: -1}
	start := func() *Driver {
		d := open(t, dir)
		d.onStep = s.step
		if otherDisk {
			d.rename = renameWithin(dir)
		}
		return d
	}
	d := start()
	for _, c := range stepCases(path, "") {
		before := view(t, d)
		for fail := 0; ; fail++ {
			s.next(fail, cause)
			err := c.call(t.Context(), d)
			last := s.seen[len(s.seen)-1]
			s.next(-1, nil)
			if err == nil {
				break
			}
			if !errors.Is(err, want) || !errors.Is(err, cause) {
				t.Fatalf("%s: got %v, want %v", c.name, err, want)
			}
			seen := view(t, d)
			if diff := diffViews(before, seen); diff != "" && last != "syncdir" && last != "sync" {
				t.Fatalf("%s failed at %s and changed this:\n%s", c.name, last, diff)
			}
			if left := strays(t, dir, d); len(left) > 0 {
				t.Fatalf("%s failed at %s and left %q", c.name, last, left)
			}
			ok(t, d.Close())
			d = start()
			if diff := diffViews(seen, view(t, d)); diff != "" {
				t.Fatalf("%s failed at %s: a restart changed this:\n%s", c.name, last, diff)
			}
			if diffViews(before, seen) != "" {
				break // there, though not surely durable; the repeat below heals it
			}
		}
		ok(t, c.call(t.Context(), d))
		if diffViews(before, view(t, d)) == "" {
			t.Fatalf("%s changed nothing", c.name)
		}
	}
}

// When the last fsync of a change fails, a repeat finds nothing to change but
// must not answer before that fsync went well.
func TestFailedFolderSyncIsRepeated(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	s := &steps{fail: -1}
	d.onStep = s.step
	for _, c := range stepCases("none", "") {
		if c.name == "ImportISO" {
			break
		}
		s.next(strings.Count(c.want, " "), syscall.EIO) // the last step
		if err := c.call(t.Context(), d); !errors.Is(err, backend.ErrUnavailable) {
			t.Fatalf("%s: got %v", c.name, err)
		}
		for _, fails := range []bool{true, false} {
			s.next(-1, nil)
			if fails {
				s.next(0, syscall.EIO)
			}
			err := c.call(t.Context(), d)
			if (err != nil) != fails {
				t.Fatalf("%s, repeated: got %v", c.name, err)
			}
			if fails {
				continue
			}
			if last := s.seen[len(s.seen)-1]; !slices.Contains([]string{"syncdir", "sync"}, last) {
				t.Fatalf("%s, repeated, ended with %q", c.name, last)
			}
		}
	}
}

func view(t testing.TB, d *Driver) backend.View {
	t.Helper()
	all, err := d.InspectAll(context.Background())
	ok(t, err)
	return all
}

func diffViews(a, b backend.View) string { return cmp.Diff(a, b, cmpopts.EquateEmpty()) }
