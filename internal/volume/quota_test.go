package volume_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/worldtest"
)

func setQuota(t worldtest.TB, w *worldtest.World, q access.Quota) {
	t.Helper()
	if err := w.DB.Access().PutQuota(ctx, worldtest.Client, q); err != nil {
		t.Fatalf("put quota: %v", err)
	}
}

func usage(t worldtest.TB, w *worldtest.World, client int64) access.Usage {
	t.Helper()
	_, u, err := w.DB.Access().Usage(ctx, client)
	if err != nil {
		t.Fatalf("read usage: %v", err)
	}
	return u
}

// What is used is the sum of what the client has and asked for, and a request
// is refused if and only if it would use more than the quota. Between requests
// tasks run, or wait.
func TestRandomQuota(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := worldtest.New(t, worldtest.Options{})
		w.Stop()
		most := access.Usage{Volumes: rapid.Int64Range(0, 8).Draw(t, "volumes"), GiB: rapid.Int64Range(0, 1200).Draw(t, "gib")}
		setQuota(t, w, access.Quota{Volumes: &most.Volumes, GiB: &most.GiB})
		type held struct {
			id      string
			device  int64
			size    int
			deleted bool
		}
		var all []*held
		sum := func() (u access.Usage) {
			for _, h := range all {
				u.Volumes++
				u.GiB += int64(h.size)
			}
			return u
		}
		pick := func(t *rapid.T) *held {
			if len(all) == 0 {
				t.Skip("no volume yet")
			}
			return rapid.SampledFrom(all).Draw(t, "volume")
		}
		// decided compares an answer with what the quota says. Other reasons are
		// other tests' matter.
		decided := func(err error, volumes, gib int) bool {
			u := sum()
			over := u.Volumes+int64(volumes) > most.Volumes && volumes > 0 || u.GiB+int64(gib) > most.GiB
			switch reason := fault.ReasonOf(err); {
			case err == nil && over:
				t.Fatalf("%d more volumes and %d GiB were accepted: %+v used of %+v", volumes, gib, u, most)
			case err != nil && reason == access.ErrQuota.Reason && !over:
				t.Fatalf("%d more volumes and %d GiB were refused: %+v used of %+v", volumes, gib, u, most)
			case err != nil && reason == "internal":
				t.Fatalf("%v", err)
			}
			return err == nil
		}
		create := func(t *rapid.T) {
			device, size := rapid.SampledFrom(devices).Draw(t, "device"), rapid.SampledFrom(sizes).Draw(t, "size")
			k, err := w.Volumes.Create(ctx, mine, device, size)
			if decided(err, 1, size) {
				all = append(all, &held{id: k.VolumeID, device: device, size: size})
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": create, "create more": create,
			"resize": func(t *rapid.T) {
				h, size := pick(t), rapid.SampledFrom(sizes).Draw(t, "size")
				if _, err := w.Volumes.Resize(ctx, mine, h.id, size, &h.device); decided(err, 0, size-h.size) {
					h.size = size
				}
			},
			"delete": func(t *rapid.T) {
				h := pick(t)
				if _, err := w.Volumes.Delete(ctx, mine, h.id, &h.device); err == nil {
					h.deleted = true
				}
			},
			"run": func(*rapid.T) {
				w.Start()
				w.Quiet()
				w.Stop()
				var left []*held
				for _, h := range all {
					if !h.deleted {
						left = append(left, h)
					}
				}
				all = left
			},
			"": func(*rapid.T) {
				u := usage(t, w, worldtest.Client)
				if want := sum(); u.Volumes != want.Volumes || u.GiB != want.GiB {
					t.Fatalf("%+v is used, by the model %+v", u, want)
				}
				if u.Volumes > most.Volumes || u.GiB > most.GiB {
					t.Fatalf("%+v is used of %+v", u, most)
				}
			},
		})
	})
}

// A failed task gives back what was reserved for it, and a quota is its own
// client's.
func TestQuotaOfFailedTasks(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	setQuota(t, w, access.Quota{Volumes: ptr(int64(2)), GiB: ptr(int64(250))})
	id := made(t, w, 1001, 50)
	used := func(volumes, gib int64) {
		t.Helper()
		if u := usage(t, w, worldtest.Client); u.Volumes != volumes || u.GiB != gib {
			t.Fatalf("%+v is used, want %d volumes, %d GiB", u, volumes, gib)
		}
	}
	used(1, 50)
	w.Drivers["TPA1"].SetFull(true)
	k, err := w.Volumes.Create(ctx, mine, 1001, 200)
	w.Fails(accepted(t, k, err), string(backend.ErrNoSpace.Reason))
	used(1, 50)
	w.Drivers["TPA1"].SetFull(false)
	w.Drivers["TPA1"].SetFull(true)
	k, err = w.Volumes.Resize(ctx, mine, id, 200, ptr(int64(1001)))
	w.Fails(accepted(t, k, err), string(backend.ErrNoSpace.Reason))
	used(1, 50)
	w.Drivers["TPA1"].SetFull(false)

	made(t, w, 1003, 200)
	used(2, 250)
	refused(t, w, access.ErrQuota, func() (task.Task, error) { return w.Volumes.Create(ctx, mine, 1002, 50) })
	refused(t, w, access.ErrQuota, func() (task.Task, error) { return w.Volumes.Resize(ctx, mine, id, 100, ptr(int64(1001))) })
	k, err = w.Volumes.Create(ctx, family, 3001, 50) // the child's
	w.Succeeds(accepted(t, k, err))
	if u := usage(t, w, worldtest.Child); u.Volumes != 1 || u.GiB != 50 {
		t.Errorf("the child uses %+v", u)
	}
	setQuota(t, w, access.Quota{Volumes: ptr(int64(0)), GiB: ptr(int64(300))}) // below what is there
	k, err = w.Volumes.Resize(ctx, mine, id, 100, ptr(int64(1001)))
	w.Succeeds(accepted(t, k, err))
	setQuota(t, w, access.Quota{})
	made(t, w, 1002, 500)
}

// Requests at once on several devices never take more than there is.
func TestQuotaOfCrowd(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	setQuota(t, w, access.Quota{Volumes: ptr(int64(5))})
	answers := make(chan error, 12)
	for n := range cap(answers) {
		go func() {
			_, err := w.Volumes.Create(ctx, mine, devices[n%3], 50)
			answers <- err
		}()
	}
	taken := 0
	for range cap(answers) {
		switch err := <-answers; {
		case err == nil:
			taken++
		case fault.ReasonOf(err) != access.ErrQuota.Reason && fault.ReasonOf(err) != volume.ErrDeviceFull.Reason:
			t.Error(err)
		}
	}
	w.Quiet()
	if u := usage(t, w, worldtest.Client); taken != 5 || u.Volumes != 5 {
		t.Errorf("%d were accepted, %+v is used", taken, u)
	}
}
