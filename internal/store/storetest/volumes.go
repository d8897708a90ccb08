package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

func testVolumes(t *testing.T, w *world) {
	ctx, s := t.Context(), w.Volumes()
	v := w.vol(t, "v1", func(v *volume.Volume) { v.CreatedAt = v.CreatedAt.Truncate(time.Microsecond) })
	equal(t, "volume", must(s.Get(ctx, only(7), "v1"))(t), v)
	is(t, second(s.Get(ctx, everyone, "nothing")), volume.ErrNotFound)
	is(t, second(s.Get(ctx, only(8, 9), "v1")), volume.ErrNotFound)

	changed := v
	changed.State, changed.Bytes, changed.ProductID, changed.Monthly = volume.Resizing, 100*volume.GiB, 1100, 1000
	changed.CreatedAt = v.CreatedAt.Add(time.Hour)
	w.tx(t, func(tx volume.Tx) error { return tx.PutVolume(ctx, changed) })
	equal(t, "changed volume", w.readVolume(t, "v1"), changed)

	for _, hidden := range []volume.State{volume.Creating, volume.Discarded} {
		changed.State = hidden
		w.tx(t, func(tx volume.Tx) error { return tx.PutVolume(ctx, changed) })
		is(t, second(s.Get(ctx, everyone, "v1")), volume.ErrNotFound)
		same(t, "hidden volumes in the list", len(must(s.List(ctx, only(7), volume.Filter{FacilityCode: new(lax)}))(t)), 1) // its ROOT
		same(t, "readable inside", w.readVolume(t, "v1").State, hidden)
	}
	w.vol(t, "v2", func(v *volume.Volume) { v.State, v.CreatedAt = volume.Discarded, w.clock.Now().Add(-time.Hour) })
	old := must(s.Discarded(ctx, tpa, 10))(t)
	if len(old) != 2 || old[0].ID != "v2" || old[1].ID != "v1" {
		t.Fatalf("discarded: %+v", old)
	}
	same(t, "discarded, at most one", len(must(s.Discarded(ctx, tpa, 1))(t)), 1)

	w.tx(t, func(tx volume.Tx) error { return tx.Attach(ctx, w.readVolumeIn(t, tx, "v2"), dev1) })
	w.tx(t, func(tx volume.Tx) error { return tx.RemoveVolume(ctx, "v2") })
	w.noVolume(t, "v2")
	same(t, "data volumes of the device", must(w.VPS().Device(ctx, everyone, dev1))(t).Volumes, 0)
	is(t, s.Tx(ctx, func(tx volume.Tx) error { return tx.RemoveVolume(ctx, "v2") }), volume.ErrNotFound)

	for name, bad := range map[string]volume.Volume{
		"no facility": {ID: "x", ClientID: 7, FacilityCode: "nowhere", Bytes: 1},
		"no client":   {ID: "x", ClientID: 4711, FacilityCode: tpa, Bytes: 1},
		"no bytes":    {ID: "x", ClientID: 7, FacilityCode: tpa},
	} {
		if s.Tx(ctx, func(tx volume.Tx) error { return tx.PutVolume(ctx, bad) }) == nil {
			t.Errorf("a volume with %s was taken", name)
		}
	}
}

func (w *world) readVolumeIn(t testing.TB, tx volume.Tx, id string) volume.Volume {
	t.Helper()
	v, err := tx.Volume(context.Background(), id)
	if err != nil {
		t.Error(err)
	}
	return v
}

func testVolumeScopes(t *testing.T, w *world) {
	ctx := t.Context()
	for i, x := range []struct {
		client int64
		code   string
		device int64
	}{{7, tpa, dev1}, {7, tpa, dev1}, {7, tpa, 0}, {7, lax, dev3}, {8, tpa, other}, {9, tpa, 0}} {
		at := w.clock.add(time.Second)
		v := w.vol(t, fmt.Sprintf("v%d", i), func(v *volume.Volume) { v.ClientID, v.FacilityCode, v.CreatedAt = x.client, x.code, at })
		if x.device != 0 {
			w.tx(t, func(tx volume.Tx) error { return tx.Attach(ctx, v, x.device) })
		}
	}
	for _, c := range []struct {
		scope access.Scope
		f     volume.Filter
		want  string
	}{
		{only(7), volume.Filter{DeviceID: new(dev1)}, "v1 v0 root-1001"},
		{everyone, volume.Filter{DeviceID: new(dev1)}, "v1 v0 root-1001"},
		{only(8), volume.Filter{DeviceID: new(dev1)}, ""},
		{only(8, 7), volume.Filter{DeviceID: new(dev1), FacilityCode: new(tpa)}, "v1 v0 root-1001"},
		{only(7), volume.Filter{DeviceID: new(dev1), FacilityCode: new(lax)}, ""},
		{only(7), volume.Filter{FacilityCode: new(tpa)}, "v2 v1 v0 root-1002 root-1001"},
		{only(7, 9), volume.Filter{FacilityCode: new(tpa)}, "v5 v2 v1 v0 root-1002 root-1001"},
		{everyone, volume.Filter{FacilityCode: new(tpa)}, "v5 v4 v2 v1 v0 root-2001 root-1002 root-1001"},
		{access.Scope{}, volume.Filter{FacilityCode: new(tpa)}, ""},
		{everyone, volume.Filter{FacilityCode: new("nowhere")}, ""},
	} {
		got := ""
		for i, v := range must(w.Volumes().List(ctx, c.scope, c.f))(t) {
			if i > 0 {
				got += " "
			}
			got += v.ID
			if c.f.DeviceID != nil {
				same(t, "device of "+v.ID, v.DeviceID, *c.f.DeviceID)
			}
		}
		same(t, fmt.Sprintf("list of %+v %+v", c.scope, c.f), got, c.want)
	}
}

// testAttachment holds the compare-and-swap and the one attachment per volume.
func testAttachment(t *testing.T, w *world) {
	ctx := t.Context()
	attach := func(v volume.Volume, device int64) error {
		return w.Volumes().Tx(ctx, func(tx volume.Tx) error { return tx.Attach(ctx, v, device) })
	}
	detach := func(v volume.Volume) error {
		return w.Volumes().Tx(ctx, func(tx volume.Tx) error { return tx.Detach(ctx, v) })
	}
	v0 := w.vol(t, "v1")
	is(t, detach(v0), volume.ErrStale)
	check(t, attach(v0, dev1))
	v1 := w.readVolume(t, "v1")
	same(t, "device", v1.DeviceID, dev1)
	same(t, "generation", v1.Generation, v0.Generation+1)

	is(t, attach(v0, dev2), volume.ErrStale) // a stale reader
	is(t, attach(v1, dev2), volume.ErrStale) // a fresh one: it is attached already
	is(t, attach(v1, dev1), volume.ErrStale)
	is(t, attach(volume.Volume{ID: "nothing"}, dev1), volume.ErrStale)
	equal(t, "after refusals", w.readVolume(t, "v1"), v1)

	wrong := v1
	wrong.DeviceID = dev2
	is(t, detach(wrong), volume.ErrStale)
	is(t, detach(v0), volume.ErrStale)
	check(t, detach(v1))
	is(t, detach(v1), volume.ErrStale)
	is(t, attach(v1, dev2), volume.ErrStale)
	v2 := w.readVolume(t, "v1")
	same(t, "device after the detach", v2.DeviceID, int64(0))
	same(t, "generation after the detach", v2.Generation, v1.Generation+1)
	check(t, attach(v2, dev2))
	same(t, "device at last", w.readVolume(t, "v1").DeviceID, dev2)
	if err := attach(w.vol(t, "v3"), 4711); err == nil || errors.Is(err, volume.ErrStale) {
		t.Errorf("attached to no device: %v", err)
	}
}

// testAttachmentRace lets many attach what all have read alike: one wins.
func testAttachmentRace(t *testing.T, w *world) {
	ctx := t.Context()
	v := w.vol(t, "v1")
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for i := range cap(errs) {
		wg.Go(func() {
			errs <- w.Volumes().Tx(ctx, func(tx volume.Tx) error { return tx.Attach(ctx, v, []int64{dev1, dev2}[i%2]) })
		})
	}
	wg.Wait()
	close(errs)
	won := 0
	for err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, volume.ErrStale) {
			t.Error(err)
		}
	}
	same(t, "winners", won, 1)
	same(t, "generation", w.readVolume(t, "v1").Generation, int64(1))
}

// testReadYourWrites: what was acknowledged is in every read that begins
// afterwards, by id and in lists, however many read the same meanwhile.
func testReadYourWrites(t *testing.T, w *world) {
	ctx := t.Context()
	v := w.vol(t, "v1")
	w.tx(t, func(tx volume.Tx) error { return tx.Attach(ctx, v, dev2) })
	done := make(chan struct{})
	var wg sync.WaitGroup
	read := func() (one, listed int64, err error) {
		got, err := w.Volumes().Get(ctx, only(7), "v1")
		if err != nil {
			return 0, 0, err
		}
		list, err := w.Volumes().List(ctx, only(7), volume.Filter{DeviceID: new(dev2)})
		for _, l := range list {
			if l.ID == "v1" {
				listed = l.Bytes
			}
		}
		return got.Bytes, listed, err
	}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, _, err := read(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range int64(100) {
		v.Bytes = volume.GiB + n
		w.tx(t, func(tx volume.Tx) error { return tx.PutVolume(ctx, v) })
		one, listed, err := read()
		if err != nil || one != v.Bytes || listed != v.Bytes {
			t.Errorf("wrote %d, read %d and listed %d: %v", v.Bytes, one, listed, err)
			break
		}
	}
	close(done)
	wg.Wait()
}

// testClose: what is asked of a closed database is refused, what was
// acknowledged before is there.
func testClose(t *testing.T, w *world) {
	db := w.data.Open(t, openOptions(w))
	var wg sync.WaitGroup
	acked := make([]bool, 50)
	started := make(chan struct{}, len(acked))
	for i := range acked {
		wg.Go(func() {
			started <- struct{}{}
			err := db.Volumes().Tx(t.Context(), func(tx volume.Tx) error {
				return tx.PutVolume(t.Context(), volume.Volume{ID: fmt.Sprint("c", i), ClientID: 7, FacilityCode: tpa, Type: volume.DataDisk, State: volume.Detached, Bytes: 1})
			})
			acked[i] = err == nil
		})
	}
	for range 10 {
		<-started
	}
	check(t, db.Close())
	wg.Wait()
	if err := db.Ping(t.Context()); err == nil {
		t.Error("a closed database answers")
	}
	for i, ok := range acked {
		if ok {
			w.readVolume(t, fmt.Sprint("c", i))
		} else {
			w.noVolume(t, fmt.Sprint("c", i))
		}
	}
}

// testReopen: everything is there after a restart, tasks in their order.
func testReopen(t *testing.T, w *world) {
	ctx := t.Context()
	a := w.enqueue(t, task.New{Lane: "l", ClientID: 7, Args: map[string]int{"n": 1}})
	b := w.enqueue(t, task.New{Lane: "l", ClientID: 7, DeviceID: dev1})
	want := must(w.Tasks().List(ctx, everyone, task.Filter{Limit: 10}))(t)
	check(t, w.DB.Ping(ctx))
	db := w.data.Open(t, openOptions(w))
	equal(t, "tasks", must(db.Tasks().List(ctx, everyone, task.Filter{Limit: 10}))(t), want)
	same(t, "devices", len(must(db.VPS().List(ctx, everyone, vps.Filter{}))(t)), 4)
	c := must(db.Tasks().Claim(ctx, task.Quick, "n/b", time.Minute, 10))(t)
	if len(c) != 1 || c[0].ID != a.ID {
		t.Errorf("claimed %+v", c)
	}
	check(t, db.Close())
	same(t, "the next of the lane", w.task(t, b.ID).State, task.Waiting)
}
