//go:build unix

package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/backendtest"
)

func open(t testing.TB, dir string) *Driver {
	t.Helper()
	d, err := Open(dir, Options{MaxVolumes: 128})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content is everything in the folder: lengths by path.
func content(t testing.TB, dir string) map[string]int64 {
	t.Helper()
	files := make(map[string]int64)
	ok(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		name, _ := filepath.Rel(dir, path)
		files[name] = info.Size()
		return err
	}))
	return files
}

// strays are the files that no volume, image or guest of d accounts for.
func strays(t testing.TB, dir string, d *Driver) []string {
	t.Helper()
	files := content(t, dir)
	delete(files, "lock")
	delete(files, "storage.id")
	all, err := d.InspectAll(context.Background())
	ok(t, err)
	for _, v := range all.Volumes {
		delete(files, filepath.Join("volumes", v.ID+".raw"))
	}
	for _, v := range all.ISOs {
		delete(files, filepath.Join("isos", v.Key+".iso"))
	}
	for _, v := range all.VMs {
		delete(files, filepath.Join("vms", v.Ref+".json"))
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	return names
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for name, otherDisk := range map[string]bool{"Move": false, "Copy": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backendtest.Run(t, func(t *testing.T) backendtest.Harness { return harness(t, otherDisk) })
		})
	}
}

// harness opens a driver on a fresh folder. With otherDisk, files to import are
// as on another filesystem.
func harness(t *testing.T, otherDisk bool) backendtest.Harness {
	dir := t.TempDir()
	var (
		d    *Driver
		full atomic.Bool
	)
	start := func(t *testing.T) backend.Driver {
		if d != nil {
			ok(t, d.Close())
		}
		d = open(t, dir)
		d.onStep = func(step, name string) error {
			if full.Load() && step == "write" {
				return syscall.ENOSPC
			}
			return nil
		}
		if otherDisk {
			d.rename = renameWithin(dir)
		}
		return d
	}
	path := func(id string) string { return filepath.Join(dir, "volumes", id+".raw") }
	return backendtest.Harness{
		Driver:     start(t),
		Reopen:     start,
		LockTray:   func(t *testing.T, ref string, locked bool) { ok(t, d.SetTrayLocked(ref, locked)) },
		HoldVolume: func(t *testing.T, ref, id string, hold bool) { ok(t, d.SetGuestHolds(ref, id, hold)) },
		StopGuest:  func(t *testing.T, ref string) { ok(t, d.StopGuest(ref)) },
		Deafen:     func(t *testing.T, ref string, deaf bool) { ok(t, d.SetDeaf(ref, deaf)) },
		Fill:       func(_ *testing.T, on bool) { full.Store(on) },
		Read: func(t *testing.T, id string) []byte {
			b, err := os.ReadFile(path(id))
			ok(t, err)
			return b
		},
		Write: func(t *testing.T, id string, data []byte) {
			f, err := os.OpenFile(path(id), os.O_WRONLY, 0)
			ok(t, err)
			_, err = f.WriteAt(data, 0)
			ok(t, errors.Join(err, f.Close()))
		},
		Strays: func(t *testing.T) []string {
			if d.gate.Held() != 0 {
				return []string{"locks in memory"}
			}
			select {
			case <-d.gate.Closing(): // a case may end with the driver closed
				return nil
			default:
				return strays(t, dir, d)
			}
		},
	}
}

// renameWithin renames inside dir only, as if all else were another filesystem.
func renameWithin(dir string) func(from, to string) error {
	return func(from, to string) error {
		if !strings.HasPrefix(from, dir+string(filepath.Separator)) {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EXDEV}
		}
		return os.Rename(from, to)
	}
}

func TestFolderIsLocked(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b") // made with its parents
	d := open(t, dir)
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("got %v, want ErrLocked", err)
	}
	ok(t, d.Close())
	open(t, dir)
}

func TestOpenOnAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(path, nil, 0o600))
	if _, err := Open(path, Options{}); err == nil {
		t.Fatal("a file was opened as a folder")
	}
	if _, err := Open(filepath.Join(path, "sub"), Options{}); err == nil {
		t.Fatal("a folder below a file was opened")
	}
}

func TestPrivateAndSparse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir)
	const size = 1 << 40
	ok(t, d.EnsureVolume(t.Context(), backend.VolumeSpec{ID: "big", Bytes: size}))
	info, err := os.Stat(filepath.Join(dir, "volumes", "big.raw"))
	ok(t, err)
	if info.Size() != size || info.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes with mode %v", info.Size(), info.Mode())
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Blocks > 64 {
		t.Errorf("%d blocks are taken", st.Blocks)
	}
	path := filepath.Join(t.TempDir(), "iso")
	ok(t, os.WriteFile(path, []byte("x"), 0o666))
	key := strings.Repeat("a", 64)
	ok(t, d.ImportISO(t.Context(), backend.ISOSpec{Key: key, Bytes: 1}, path))
	info, err = os.Stat(filepath.Join(dir, "isos", key+".iso"))
	ok(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("an image has mode %v", info.Mode())
	}
}

func TestOpenRemovesWhatWasHalfMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ok(t, open(t, dir).Close())
	ok(t, os.WriteFile(filepath.Join(dir, "tmp", "v.raw.1"), []byte("half"), 0o600))
	d := open(t, dir)
	if left := strays(t, dir, d); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestKnobsOutliveRestart(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), t.Context()
	d := open(t, dir)
	ok(t, d.EnsureVM(ctx, backend.VM{Ref: "vm"}))
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "v", Bytes: 1}))
	ok(t, d.EnsureAttached(ctx, "vm", "v"))
	ok(t, d.SetTrayLocked("vm", true))
	ok(t, d.SetGuestHolds("vm", "v", true))
	ok(t, d.Close())

	d = open(t, dir)
	if err := d.SetMedia(ctx, "vm", "", false); err != nil {
		t.Errorf("an eject of nothing moves no tray: %v", err)
	}
	err := d.EnsureDetached(ctx, "vm", "v", backend.DetachOptions{Timeout: 1})
	if !errors.Is(err, backend.ErrGuestDidNotRelease) {
		t.Errorf("got %v, want ErrGuestDidNotRelease", err)
	}
	g, _ := d.read(d.guest("vm"))
	if !g.TrayLocked {
		t.Error("the tray is not locked any more")
	}
	for _, err := range []error{d.SetTrayLocked("none", true), d.SetGuestHolds("none", "v", true), d.StopGuest("none")} {
		if !errors.Is(err, backend.ErrVMNotFound) {
			t.Errorf("got %v, want ErrVMNotFound", err)
		}
	}
	if err := d.SetGuestHolds("vm", "../v", true); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}

// Close ends a detach that waits for its guest, and waits for it.
func TestCloseEndsWaiting(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	d := open(t, t.TempDir())
	ok(t, d.EnsureVM(ctx, backend.VM{Ref: "vm"}))
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "v", Bytes: 1}))
	ok(t, d.EnsureAttached(ctx, "vm", "v"))
	ok(t, d.SetGuestHolds("vm", "v", true))
	done := make(chan error, 1)
	go func() { done <- d.EnsureDetached(ctx, "vm", "v", backend.DetachOptions{}) }()
	ok(t, d.Close())
	if err := <-done; !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func TestFilesThatAreNoVolume(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), t.Context()
	d := open(t, dir)
	ok(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600))
	ok(t, os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "volumes", "link.raw")))
	ok(t, os.WriteFile(filepath.Join(dir, "volumes", "README"), nil, 0o600))
	all, err := d.InspectAll(ctx)
	ok(t, err)
	if len(all.Volumes) != 0 {
		t.Errorf("listed %v", all.Volumes)
	}
	if err := d.GrowVolume(ctx, "link", 100); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if got := content(t, dir)["secret"]; got != 6 {
		t.Errorf("the file behind the link now has %d bytes", got)
	}
}

// Nobody is let go by an fsync that began before he came.
func TestFolderSyncComesAfterTheChange(t *testing.T) {
	t.Parallel()
	const callers, rounds = 8, 200
	var (
		f       folder
		wg      sync.WaitGroup
		changed [callers]atomic.Int32
		synced  [callers]atomic.Int32 // what the last fsync to begin had seen
	)
	ok(t, f.open(t.TempDir(), func(string, string) error {
		for i := range changed {
			synced[i].Store(changed[i].Load())
		}
		return nil
	}))
	defer f.close()
	for i := range callers {
		wg.Go(func() {
			for n := range int32(rounds) {
				changed[i].Store(n + 1)
				if err := f.sync(); err != nil {
					t.Error(err)
				}
				if got := synced[i].Load(); got < n+1 {
					t.Errorf("change %d came back with %d on the disk", n+1, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestFolderSyncErrorReachesAll(t *testing.T) {
	t.Parallel()
	var f folder
	ok(t, f.open(t.TempDir(), func(string, string) error { return syscall.EIO }))
	defer f.close()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := f.sync(); !errors.Is(err, syscall.EIO) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
}

// An empty file is what a power cut may leave of a volume that was being made.
func TestEmptyFileIsNoVolume(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), t.Context()
	d := open(t, dir)
	ok(t, d.EnsureVM(ctx, backend.VM{Ref: "vm"}))
	path := filepath.Join(dir, "volumes", "v.raw")
	ok(t, os.WriteFile(path, nil, 0o600))
	_, err := d.InspectVolume(ctx, "v")
	for _, err := range []error{err, d.GrowVolume(ctx, "v", 10), d.EnsureAttached(ctx, "vm", "v")} {
		if !errors.Is(err, backend.ErrVolumeNotFound) {
			t.Errorf("got %v, want ErrVolumeNotFound", err)
		}
	}
	if all := view(t, d); len(all.Volumes) > 0 {
		t.Errorf("listed %v", all.Volumes)
	}
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "v", Bytes: 10}))
	if got, err := d.InspectVolume(ctx, "v"); err != nil || got.Bytes != 10 {
		t.Errorf("got %+v, %v", got, err)
	}
	ok(t, os.WriteFile(filepath.Join(dir, "volumes", "w.raw"), nil, 0o600))
	ok(t, d.DeleteVolume(ctx, "w"))
	if left := strays(t, dir, d); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}
