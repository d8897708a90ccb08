package iso_test

import (
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// ISOs of two clients share one content: it stays until the last of them goes.
func TestSharedContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	const copied = "http://other.example/copy.iso"
	w.Source.Put(copied, image)
	a := ready(t, w, worldtest.Client, "TPA1")
	b := begun(t, w, worldtest.Other, wanted(copied))
	w.Succeeds(importOf(b))
	if n := len(stored(t, w, "TPA1")); n != 1 {
		t.Fatalf("%d images are stored", n)
	}
	k, err := w.ISOs.Attach(ctx, theirs, 2001, b.ID, false)
	w.Succeeds(accepted(t, k, err))
	removed(t, w, a.ID)
	w.Check()
	if n := len(stored(t, w, "TPA1")); n != 1 || !read(t, w, b.ID).Ready() {
		t.Fatalf("%d images are stored after the first delete", n)
	}
	k, err = w.ISOs.Detach(ctx, theirs, 2001, false)
	w.Succeeds(accepted(t, k, err))
	removed(t, w, b.ID)
	w.Check()
	if n := len(stored(t, w, "TPA1")); n != 0 {
		t.Fatalf("%d images are stored after both", n)
	}
}

// A delete and an import of the same content meet at each point of either:
// the image is there at the end, and the ISO that was deleted is not.
func TestDeleteMeetsImport(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method string
		after  bool
	}{
		"import while the image is about to be removed": {"DeleteISO", false},
		"import while the image has just been removed":  {"DeleteISO", true},
		"delete while the image is about to be stored":  {"ImportISO", false},
		"delete while the image has just been stored":   {"ImportISO", true},
	} {
		for _, crash := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", then killed", false: ""}[crash], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, worldtest.Options{})
				d := w.Drivers["TPA1"]
				old := ready(t, w, worldtest.Client, "TPA1")
				gate := make(chan struct{})
				if c.after {
					d.On(c.method).BlockAfter(gate)
				} else {
					d.On(c.method).Block(gate)
				}
				calls := d.Count(c.method)
				var deletion task.Task
				var i iso.ISO
				remove := func() {
					var err error
					deletion, err = w.ISOs.Delete(ctx, mine, old.ID, nil)
					accepted(t, deletion, err)
				}
				if c.method == "DeleteISO" {
					remove()
				} else {
					i = begun(t, w, worldtest.Other, wanted(url))
				}
				if err := d.WaitCalls(ctx, c.method, calls+1); err != nil {
					t.Fatal(err)
				}
				if c.method == "DeleteISO" {
					i = begun(t, w, worldtest.Other, wanted(url))
					// It comes as far as the claim, and waits there.
					w.Until("the claim to be refused", func() bool {
						k, err := w.Tasks.Get(ctx, everyone, i.TaskID)
						return err == nil && k.Failures > 0
					})
					if got := read(t, w, i.ID); got.SHA256 != "" || got.Ready() {
						t.Errorf("it claimed what is being removed: %+v", got)
					}
				} else {
					remove()
					w.Succeeds(deletion) // gives up its share only
				}
				if crash {
					w.Kill()
					d.Reset()
					w.Start()
				}
				close(gate)
				w.Succeeds(deletion)
				w.Succeeds(importOf(i))
				w.Check()
				if n := len(stored(t, w, "TPA1")); n != 1 {
					t.Errorf("%d images are stored", n)
				}
			})
		}
	}
}

// A failed import shares nothing that could be missed: neither its delete nor
// its stay hurts another ISO of the same content.
func TestFailedImportShares(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	d := w.Drivers["TPA1"]
	d.On("ImportISO").Fail(deny, 1)
	bad := begun(t, w, worldtest.Client, wanted(url))
	w.Fails(importOf(bad), "denied")
	good := ready(t, w, worldtest.Other, "TPA1")
	w.Check()
	removed(t, w, bad.ID)
	w.Check()
	if !read(t, w, good.ID).Ready() || len(stored(t, w, "TPA1")) != 1 {
		t.Error("the image of the good one is gone")
	}
	removed(t, w, good.ID)
	w.Check()
}

// Whatever befalls the removal of the image: no ISO is ready without it, no
// image is left without an ISO, and the ISO can be deleted again.
func TestDeleteFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			d := w.Drivers["TPA1"]
			i := ready(t, w, worldtest.Client, "TPA1")
			if f.short {
				w.Hurry(120 * time.Millisecond)
			}
			f.inject(d.On("DeleteISO"))
			k, err := w.ISOs.Delete(ctx, mine, i.ID, nil)
			ended := w.Ended(accepted(t, k, err).ID)
			if f.want != "any" && string(ended.Reason) != f.want {
				t.Fatalf("ended %s: %s %s", ended.State, ended.Reason, ended.Error)
			}
			w.Check() // mends the driver
			w.Hurry(0)
			if ended.State == task.Done {
				return
			}
			if got := read(t, w, i.ID); !got.Ready() {
				t.Errorf("a failed delete left %+v", got)
			}
			removed(t, w, i.ID)
			w.Check()
		})
	}
}

// A storage that does not answer at all leaves it open whether the image is
// still there; so the ISO is not ready, and can be deleted.
func TestDeleteWithoutAnswer(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"removed": true, "kept": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			d := w.Drivers["TPA1"]
			i := ready(t, w, worldtest.Client, "TPA1")
			if lost {
				d.On("DeleteISO").Lose(deny, 1)
			} else {
				d.On("DeleteISO").Fail(deny, 1)
			}
			d.On("ImportISO").Fail(backend.ErrUnavailable, 0)
			k, err := w.ISOs.Delete(ctx, mine, i.ID, nil)
			w.Fails(accepted(t, k, err), "denied")
			if got := read(t, w, i.ID); got.State != iso.Failed || got.Reason != "denied" {
				t.Errorf("after the delete: %+v", got)
			}
			w.Check()
			removed(t, w, i.ID)
			w.Check()
		})
	}
}

// Killed ahead of any write of a delete or around the removal, it ends well.
func TestKillDuringDelete(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(map[bool]string{false: "before", true: "after"}[after], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			i := ready(t, w, worldtest.Client, "TPA1")
			var k task.Task
			w.KillAt("TPA1", "DeleteISO", after, func() {
				var err error
				k, err = w.ISOs.Delete(ctx, mine, i.ID, nil)
				accepted(t, k, err)
			})
			w.Succeeds(k)
			w.Check()
		})
	}
	t.Run("writes", func(t *testing.T) {
		t.Parallel()
		for n := 1; ; n++ {
			w := newWorld(t, worldtest.Options{})
			i := ready(t, w, worldtest.Client, "TPA1")
			var k task.Task
			killed := w.KillAtWrite(n, func() task.Task {
				var err error
				k, err = w.ISOs.Delete(ctx, mine, i.ID, nil)
				return accepted(t, k, err)
			})
			w.Succeeds(k)
			w.Check()
			if !killed {
				if n != 3 {
					t.Errorf("a delete has %d writes, not the release and the end", n-1)
				}
				return
			}
		}
	})
}
