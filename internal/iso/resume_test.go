package iso_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// Killed ahead of any write, or of any piece, or around the storing: the
// import ends the same, and no byte is downloaded twice.
func TestKillDuringImport(t *testing.T) {
	t.Parallel()
	outcome := func(t *testing.T, w *worldtest.World, i iso.ISO) {
		t.Helper()
		w.Succeeds(importOf(i))
		if bytes, _ := w.Source.Served(url); bytes != len(image) {
			t.Errorf("%d bytes were sent, the image has %d", bytes, len(image))
		}
		if got := read(t, w, i.ID); got.Label != "DISC" || got.SHA256 != worldtest.Digest("sha256", image) {
			t.Errorf("imported: %+v", got)
		}
		w.Check()
		removed(t, w, i.ID)
		w.Check()
	}
	t.Run("writes", func(t *testing.T) {
		t.Parallel()
		for n := 1; ; n++ {
			w := newWorld(t, worldtest.Options{})
			var i iso.ISO
			killed := w.KillAtWrite(n, func() task.Task {
				i = begun(t, w, worldtest.Client, wanted(url))
				return importOf(i)
			})
			w.Succeeds(importOf(i))
			// A piece whose checkpoint was not written comes once more.
			if bytes, _ := w.Source.Served(url); bytes > len(image)+(len(image)+worldtest.Pieces-1)/worldtest.Pieces {
				t.Errorf("killed at write %d: %d bytes were sent, the image has %d", n, bytes, len(image))
			}
			w.Check()
			if !killed {
				if n < 6 {
					t.Errorf("an import has %d writes only", n-1)
				}
				return
			}
		}
	})
	for piece := range worldtest.Pieces + 1 {
		t.Run("piece", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			reached, n := make(chan struct{}), 0
			w.Source.Hook(url, func(ctx context.Context, done int) error {
				if n++; n == piece+1 {
					dying := w.Dying()
					close(reached)
					<-dying
					return errors.New("killed")
				}
				return nil
			})
			i := begun(t, w, worldtest.Client, wanted(url))
			<-reached
			w.Restart()
			outcome(t, w, i)
		})
	}
	for _, after := range []bool{false, true} {
		t.Run(map[bool]string{false: "before storing", true: "after storing"}[after], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			var i iso.ISO
			w.KillAt("TPA1", "ImportISO", after, func() { i = begun(t, w, worldtest.Client, wanted(url)) })
			outcome(t, w, i)
		})
	}
}

// A node that takes an import over does not have the file that another node
// downloaded: it downloads it again, and what it gets must be the same.
func TestTakeoverWithoutFile(t *testing.T) {
	t.Parallel()
	for name, other := range map[string][]byte{"same": image, "changed": worldtest.Image("OTHER", true)} {
		for _, claimed := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " after the claim", false: " before the claim"}[claimed], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, worldtest.Options{})
				d := w.Drivers["TPA1"]
				reached := make(chan struct{})
				stop := func() {
					dying := w.Dying()
					close(reached)
					<-dying
				}
				if claimed {
					d.On("ImportISO").Block(nil)
				} else {
					w.Source.Hook(url, func(_ context.Context, done int) error {
						if done == len(image) {
							stop()
						}
						return nil
					})
				}
				i := begun(t, w, worldtest.Client, wanted(url))
				if claimed {
					if err := d.WaitCalls(ctx, "ImportISO", 1); err != nil {
						t.Fatal(err)
					}
				} else {
					<-reached
				}
				w.Kill()
				d.Reset()
				w.Source.Hook(url, nil)
				w.Source.Put(url, other)
				if err := os.Remove(filepath.Join(w.Staging, i.ID+".part")); err != nil {
					t.Fatal(err)
				}
				w.Start()
				if claimed && name == "changed" {
					w.Fails(importOf(i), "source_changed")
					failed(t, w, i, "source_changed", "")
					return
				}
				w.Succeeds(importOf(i))
				if got := read(t, w, i.ID); got.SHA256 != worldtest.Digest("sha256", other) {
					t.Errorf("imported: %+v", got)
				}
				w.Check()
			})
		}
	}
}

// Pieces of two versions, put together over a restart, are downloaded once
// more before the checksum is called wrong.
func TestMismatchAfterResume(t *testing.T) {
	t.Parallel()
	for name, last := range map[string][]byte{"right at last": image, "wrong for good": worldtest.Image("OTHER", true)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			half := worldtest.Image("OTHER", true)
			w.Source.Put(url, half)
			reached := make(chan struct{})
			w.Source.Hook(url, func(_ context.Context, done int) error {
				if done == len(image)/2 {
					dying := w.Dying()
					close(reached)
					<-dying
				}
				return nil
			})
			req := wanted(url)
			req.Checksum = "sha256:" + worldtest.Digest("sha256", image)
			i := begun(t, w, worldtest.Client, req)
			<-reached
			w.Kill()
			w.Source.Hook(url, nil)
			w.Source.Put(url, last)
			w.Start()
			if name == "right at last" {
				w.Succeeds(importOf(i))
				w.Check()
			} else {
				w.Fails(importOf(i), "checksum_mismatch")
				failed(t, w, i, "checksum_mismatch", worldtest.Digest("sha256", last))
			}
			if _, n := w.Source.Served(url); n != 3 {
				t.Errorf("%d downloads, want the broken one, its rest, and one more", n)
			}
		})
	}
}

func TestCleanStaging(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	if err := w.ISOs.CleanStaging(nil); err != nil {
		t.Errorf("without a folder: %v", err)
	}
	if err := os.Mkdir(w.Staging, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(w.Staging, id+".part"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.ISOs.CleanStaging([]string{"b", "d"}); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(w.Staging)
	if err != nil || len(left) != 1 || left[0].Name() != "b.part" {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := w.ISOs.CleanStaging(nil); err != nil {
		t.Fatal(err)
	}
}
