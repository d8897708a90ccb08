package reconcile_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// A history takes a database of its own, so there are fewer than rapid would
// make; -rapid.checks still says how many.
func init() {
	if err := flag.Set("rapid.checks", strconv.Itoa(testneed.Rounds(2, 5))); err != nil {
		panic(err)
	}
}

var (
	ctx      = context.Background()
	everyone = access.Scope{All: true}
	image    = worldtest.Image("DISC", true)
)

const url = "http://mirror.example/a.iso"

// inhabited is a world with an attached and a detached volume and an ISO in a
// drive, in TPA1.
type inhabited struct {
	*worldtest.World
	t             worldtest.TB
	on, off, disc string
}

func inhabit(t worldtest.TB) *inhabited {
	t.Helper()
	w := &inhabited{World: worldtest.New(t, worldtest.Options{}), t: t}
	w.Source.Put(url, image)
	w.on = w.done(w.Volumes.Create(ctx, everyone, 1001, 50)).VolumeID
	w.off = w.done(w.Volumes.Create(ctx, everyone, 1002, 100)).VolumeID
	w.done(w.Volumes.Detach(ctx, everyone, 1002, w.off))
	w.disc = w.imported()
	w.done(w.ISOs.Attach(ctx, everyone, 1001, w.disc, false))
	return w
}

// imported imports the image.
func (w *inhabited) imported() string {
	w.t.Helper()
	i, err := w.ISOs.Create(ctx, worldtest.Client, iso.Create{FacilityCode: "TPA1", Name: "disc", URL: url, Bootable: true})
	if err != nil {
		w.t.Fatalf("create ISO: %v", err)
	}
	w.Succeeds(task.Task{ID: i.TaskID})
	return i.ID
}

// done waits for an accepted task.
func (w *inhabited) done(k task.Task, err error) task.Task {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("refused: %v", err)
	}
	return w.Succeeds(k)
}

// doctor runs the reconciler and returns what is open then.
func (w *inhabited) doctor(repair bool) []reconcile.Finding {
	w.t.Helper()
	w.done(w.Reconcile.Start(ctx, reconcile.Request{Repair: repair}))
	list, err := w.Reconcile.Findings(ctx, reconcile.Filter{Limit: 1000})
	if err != nil {
		w.t.Fatalf("list findings: %v", err)
	}
	return list
}

func words(list []reconcile.Finding) string {
	var out []string
	for _, f := range list {
		out = append(out, string(f.Class)+" "+f.Object)
	}
	return strings.Join(out, ", ")
}

// hidden is a driver call behind everybody's back.
func (w *inhabited) hidden(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("spoil: %v", err)
	}
}

func (w *inhabited) key() string {
	w.t.Helper()
	i, err := w.ISOs.Get(ctx, everyone, w.disc, nil)
	if err != nil {
		w.t.Fatalf("read ISO: %v", err)
	}
	return i.SHA256
}

// TestHealthy holds that a world in order has no findings.
func TestHealthy(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	if got := w.doctor(true); len(got) > 0 {
		t.Errorf("findings in a healthy world: %+v", got)
	}
	w.Check()
}

// TestSpoiled spoils a random world in each known way and holds that the
// finding is exactly the one expected, that what can be repaired is, and that
// nothing is ever deleted.
func TestSpoiled(t *testing.T) {
	t.Parallel()
	for _, h := range harms {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				w := inhabit(t)
				w.wander(t)
				w.Check()
				want := fmt.Sprintf("%s %s", h.class, h.do(w))
				for _, d := range w.Drivers {
					d.ClearCalls()
				}
				got := w.doctor(false)
				if words(got) != want || !got[0].Confirmed || got[0].Looks != 2 {
					t.Fatalf("found %q, want %q, confirmed: %+v", words(got), want, got)
				}
				if !h.unseen && len(w.Wrong()) == 0 {
					t.Fatalf("the world's own check does not see it")
				}
				got = w.doctor(true)
				for code, d := range w.Drivers {
					if n := d.Count("DeleteVolume") + d.Count("DeleteISO"); n > 0 {
						t.Fatalf("%d deletions in %s", n, code)
					}
				}
				if h.byHand {
					if words(got) != want {
						t.Fatalf("after a repair there is %q, want %q still", words(got), want)
					}
					return
				}
				if len(got) > 0 {
					t.Fatalf("after the repair: %+v", got)
				}
				w.Check()
				if n := w.Count(`SELECT count(*) FROM quarantine`); n != h.held {
					t.Fatalf("%d in quarantine, want %d", n, h.held)
				}
				if got = w.doctor(true); len(got) > 0 || w.Count(`SELECT count(*) FROM quarantine`) != h.held {
					t.Fatalf("after another repair: %+v", got)
				}
			})
		})
	}
}

// wander does a few random things to other volumes. A device that has one already
// takes three more, and a harm may need a place.
func (w *inhabited) wander(t *rapid.T) {
	for range rapid.IntRange(0, worldtest.MaxVolumes-2).Draw(t, "volumes") {
		at := rapid.SampledFrom([]int64{1001, 1003, 2001}).Draw(t, "device")
		size := rapid.SampledFrom([]int{50, 100, 200}).Draw(t, "size")
		v := w.done(w.Volumes.Create(ctx, everyone, at, size)).VolumeID
		switch rapid.IntRange(0, 3).Draw(t, "fate") {
		case 0:
			w.done(w.Volumes.Resize(ctx, everyone, v, 500, &at))
		case 1:
			w.done(w.Volumes.Detach(ctx, everyone, at, v))
		case 2:
			w.done(w.Volumes.Delete(ctx, everyone, v, &at))
		}
	}
	w.Clock.Add(time.Duration(rapid.IntRange(0, 25*24).Draw(t, "hours")) * time.Hour)
}

// TestLoad looks without end while clients work and servers are killed: what is
// under way is never taken for a difference.
func TestLoad(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := inhabit(t)
		kills := rapid.IntRange(0, 3).Draw(t, "kills")
		requests := rapid.SliceOfN(rapid.IntRange(0, 7), 20, 40).Draw(t, "requests")
		stop, looked := make(chan struct{}), make(chan error, 1)
		looks := 0
		go func() {
			for {
				select {
				case <-stop:
					looked <- nil
					return
				default:
				}
				found, err := w.Reconcile.Pass(ctx)
				looks++
				found = slices.DeleteFunc(found, func(f reconcile.Finding) bool { return f.Class == reconcile.Unavailable })
				if err == nil && len(found) > 0 {
					err = fmt.Errorf("found %+v", found)
				}
				if err != nil {
					looked <- err
					return
				}
			}
		}()
		var ids []string
		for n, r := range requests {
			w.ask(r, n, &ids)
			if kills > 0 && n%8 == 5 {
				kills--
				w.Restart()
			}
		}
		w.Quiet()
		close(stop)
		if err := <-looked; err != nil {
			t.Fatalf("look %d: %v", looks, err)
		}
		w.Check()
	})
}

// ask sends one request, which may be refused.
func (w *inhabited) ask(kind, n int, ids *[]string) {
	at := []int64{1001, 1002, 1003}[n%3]
	id := ""
	if len(*ids) > 0 {
		id = (*ids)[n%len(*ids)]
	}
	switch kind {
	case 0, 1:
		if k, err := w.Volumes.Create(ctx, everyone, at, 50); err == nil {
			*ids = append(*ids, k.VolumeID)
		}
	case 2:
		_, _ = w.Volumes.Attach(ctx, everyone, at, id)
	case 3:
		_, _ = w.Volumes.Detach(ctx, everyone, at, id)
	case 4:
		_, _ = w.Volumes.Resize(ctx, everyone, id, 200, &at)
	case 5:
		_, _ = w.Volumes.Delete(ctx, everyone, id, &at)
	case 6:
		link := fmt.Sprintf("http://mirror.example/%d.iso", n%2)
		w.Source.Put(link, worldtest.Image(fmt.Sprint("D", n%2), true))
		if i, err := w.ISOs.Create(ctx, worldtest.Client, iso.Create{FacilityCode: "TPA1", Name: "d", URL: link}); err == nil && n%4 < 2 {
			_, _ = w.ISOs.Delete(ctx, everyone, i.ID, nil)
		}
	case 7:
		_, _ = w.ISOs.Detach(ctx, everyone, 1001, false)
		_, _ = w.ISOs.Attach(ctx, everyone, 1001, w.disc, false)
	}
}
