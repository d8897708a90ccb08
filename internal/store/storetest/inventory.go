package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/event"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

func testFacilities(t *testing.T, w *world) {
	ctx, s := t.Context(), w.VPS()
	is(t, second(s.Facility(ctx, "tpa1")), vps.ErrFacilityNotFound)
	is(t, w.Volumes().Facility(ctx, "nowhere"), vps.ErrFacilityNotFound)
	is(t, w.ISOs().Facility(ctx, "nowhere"), vps.ErrFacilityNotFound)
	check(t, w.Volumes().Facility(ctx, tpa))
	check(t, w.ISOs().Facility(ctx, tpa))

	before := must(s.Facility(ctx, tpa))(t)
	same(t, "default prices", len(must(w.Billing().Prices(ctx, new(tpa)))(t)), len(billing.DefaultPrices(tpa)))
	check(t, w.Billing().DeletePrice(ctx, tpa, 50))

	after := must(s.PutFacility(ctx, vps.Facility{Code: tpa, Title: unicode, City: "c", State: "", Country: "US"}))(t)
	same(t, "id of a changed facility", after.ID, before.ID)
	equal(t, "facility", must(s.Facility(ctx, tpa))(t), after)
	same(t, "prices of a changed facility", len(must(w.Billing().Prices(ctx, new(tpa)))(t)), len(billing.DefaultPrices(tpa))-1)

	var codes []string
	for _, f := range must(s.Facilities(ctx))(t) {
		codes = append(codes, f.Code)
	}
	equal(t, "facilities", codes, []string{lax, tpa})
}

func testDevices(t *testing.T, w *world) {
	ctx, s := t.Context(), w.VPS()
	want := vps.Device{
		ID: dev1, ClientID: 7, FacilityCode: tpa, Hostname: "host-1001", Status: vps.Running, VCPU: 2, MemoryMB: 4096, MaxVolumes: 8,
		Ref: "1001", CreatedAt: w.clock.Now().Truncate(time.Microsecond),
	}
	equal(t, "device", must(s.Device(ctx, only(7), dev1))(t), want)
	for name, err := range map[string]error{
		"unknown":          second(s.Device(ctx, everyone, 4711)),
		"another client's": second(s.Device(ctx, only(8), dev1)),
		"by nobody":        second(s.Device(ctx, access.Scope{}, dev1)),
		"by volumes":       second(w.Volumes().Device(ctx, only(8, 9), dev1)),
	} {
		t.Run(name, func(t *testing.T) { is(t, err, vps.ErrDeviceNotFound) })
	}
	same(t, "device as volumes see it", must(w.Volumes().Device(ctx, only(8, 7), dev1))(t).ID, dev1)

	ids := func(sc access.Scope, f vps.Filter) string {
		var out []int64
		for _, d := range must(s.List(ctx, sc, f))(t) {
			out = append(out, d.ID)
		}
		return fmt.Sprint(out)
	}
	for _, c := range []struct {
		scope access.Scope
		f     vps.Filter
		want  string
	}{
		{everyone, vps.Filter{}, "[1001 1002 1003 2001]"},
		{only(7), vps.Filter{}, "[1001 1002 1003]"},
		{only(7, 8, 9), vps.Filter{FacilityCode: new(tpa)}, "[1001 1002 2001]"},
		{only(9), vps.Filter{}, "[]"},
		{access.Scope{}, vps.Filter{}, "[]"},
		{everyone, vps.Filter{After: 1001, Limit: 2}, "[1002 1003]"},
		{only(7), vps.Filter{FacilityCode: new(lax), After: 1003}, "[]"},
	} {
		same(t, fmt.Sprintf("list %+v %+v", c.scope, c.f), ids(c.scope, c.f), c.want)
	}

}

func testDeviceChanges(t *testing.T, w *world) {
	ctx, s := t.Context(), w.VPS()
	next := w.addDevice(t, vps.Device{ClientID: 8, FacilityCode: lax})
	same(t, "next free id", next.ID, other+1)
	add := func(d vps.Device) error {
		return s.Tx(ctx, func(tx vps.Tx) error {
			_, err := tx.AddDevice(ctx, d, "refused", volume.GiB)
			return err
		})
	}
	is(t, add(vps.Device{ID: dev1, ClientID: 8, FacilityCode: tpa}), vps.ErrDeviceExists)
	is(t, add(vps.Device{ID: 5, ClientID: 8, FacilityCode: tpa, Ref: "1001"}), vps.ErrDeviceExists)
	is(t, add(vps.Device{ID: 5, ClientID: 4711, FacilityCode: tpa}), access.ErrNoSuchClient)
	is(t, add(vps.Device{ID: 5, ClientID: 7, FacilityCode: "nowhere"}), vps.ErrUnknownFacility)
	w.noVolume(t, "refused")
	check(t, add(vps.Device{ID: 5, ClientID: 8, FacilityCode: lax, Ref: "1001"}))

	check(t, s.Tx(ctx, func(tx vps.Tx) error { return tx.SetStatus(ctx, dev1, vps.Stopped) }))
	same(t, "status", must(s.Device(ctx, everyone, dev1))(t).Status, vps.Stopped)
	is(t, s.Tx(ctx, func(tx vps.Tx) error { return tx.SetStatus(ctx, 4711, vps.Stopped) }), vps.ErrDeviceNotFound)
	is(t, s.Tx(ctx, func(tx vps.Tx) error { return tx.ShowRoot(ctx, dev1, "nothing") }), volume.ErrNotFound)

	root := w.readVolume(t, "root-1001")
	same(t, "root device", root.DeviceID, dev1)
	same(t, "root state", root.State, volume.Attached)
	v := w.vol(t, "data")
	w.tx(t, func(tx volume.Tx) error { return tx.Attach(ctx, v, dev1) })
	same(t, "data volumes, ROOT not counted", must(s.Device(ctx, everyone, dev1))(t).Volumes, 1)
}

// testDrive holds the CD drive's compare-and-swap.
func testDrive(t *testing.T, w *world) {
	ctx := t.Context()
	w.putISO(t, "one", nil)
	w.putISO(t, "two", nil)
	seen := must(w.VPS().Device(ctx, everyone, dev1))(t)
	set := func(d vps.Device, isoID string) error {
		return w.ISOs().Tx(ctx, func(tx iso.Tx) error { return tx.SetDrive(ctx, d, isoID) })
	}
	check(t, set(seen, "one"))
	is(t, set(seen, "two"), iso.ErrStale)
	now := must(w.VPS().Device(ctx, everyone, dev1))(t)
	same(t, "drive", now.ISOID, "one")
	same(t, "generation", now.ISOGeneration, seen.ISOGeneration+1)
	check(t, set(must(w.VPS().Device(ctx, everyone, dev2))(t), "one"))
	equal(t, "devices of the ISO", must(w.ISOs().Get(ctx, everyone, "one"))(t).DeviceIDs, []int64{dev1, dev2})
	testBootOnce(t, w, now)
	check(t, set(now, ""))
	same(t, "empty drive", must(w.VPS().Device(ctx, everyone, dev1))(t).ISOID, "")
	equal(t, "stage in an empty drive", must(w.VPS().Device(ctx, everyone, dev1))(t).Boot, vps.BootOnce{})
	equal(t, "devices of the ISO", must(w.ISOs().Get(ctx, everyone, "one"))(t).DeviceIDs, []int64{dev2})
	is(t, set(vps.Device{ID: 4711}, "one"), iso.ErrStale)
	if err := set(must(w.VPS().Device(ctx, everyone, dev3))(t), "no such ISO"); err == nil {
		t.Error("a drive took an ISO that is not there")
	}
}

// testBootOnce holds how far an ISO has come, on the drive with one in it.
func testBootOnce(t *testing.T, w *world, d vps.Device) {
	t.Helper()
	ctx := t.Context()
	set := func(d vps.Device, b vps.BootOnce) error {
		return w.ISOs().Tx(ctx, func(tx iso.Tx) error { return tx.SetBoot(ctx, d, b) })
	}
	booting := func(code string) (ids []int64) {
		for _, d := range must(w.ISOs().Booting(ctx, code))(t) {
			ids = append(ids, d.ID)
		}
		return ids
	}
	same(t, "nothing boots once", len(booting(tpa)), 0)
	armed := vps.BootOnce{Stage: vps.BootArmed, Starts: "4"}
	check(t, set(d, armed))
	equal(t, "stage", must(w.VPS().Device(ctx, everyone, dev1))(t).Boot, armed)
	reset := vps.BootOnce{Stage: vps.BootDone, Starts: "4", At: w.clock.Now().Truncate(time.Microsecond)}
	check(t, set(d, reset))
	equal(t, "stage by a reset", must(w.VPS().Device(ctx, everyone, dev1))(t).Boot, reset)
	equal(t, "who boots once", booting(tpa), []int64{dev1})
	same(t, "who boots once elsewhere", len(booting(lax)), 0)
	d.ISOGeneration--
	is(t, set(d, armed), iso.ErrStale)
}

func testEvents(t *testing.T, w *world) {
	ctx := t.Context()
	k := w.enqueue(t, task.New{Lane: "l", ClientID: 7, DeviceID: dev1, VolumeID: "v", ISOID: "i", Kind: "volume.create"})
	w.enqueue(t, task.New{Lane: "m", ClientID: 7, DeviceID: dev2})
	w.enqueue(t, task.New{Lane: "n", ClientID: 7})
	err := w.VPS().Tx(ctx, func(tx vps.Tx) error {
		return tx.(*store.Tx).Emit(ctx, event.Event{ClientID: 8, DeviceID: dev1, Type: "DEVICE.STOP", Level: event.Warning, State: event.Completed, Text: unicode})
	})
	check(t, err)
	got := must(w.VPS().Events(ctx, dev1, 10))(t)
	if len(got) != 2 {
		t.Fatalf("%d events, want 2: %+v", len(got), got)
	}
	if got[0].Seq <= got[1].Seq || got[0].ID == got[1].ID || got[0].ID == "" {
		t.Errorf("events have no order or identity: %+v", got)
	}
	now := w.clock.Now().Truncate(time.Microsecond)
	want := []event.Event{
		{Seq: got[0].Seq, ID: got[0].ID, At: now, ClientID: 8, DeviceID: dev1, Type: "DEVICE.STOP", Level: event.Warning, State: event.Completed, Text: unicode},
		{Seq: got[1].Seq, ID: got[1].ID, At: now, ClientID: 7, DeviceID: dev1, TaskID: k.ID, Type: "VOLUME.CREATE", Level: event.Info, State: event.Scheduled},
	}
	equal(t, "events", got, want)
	same(t, "newest only", len(must(w.VPS().Events(ctx, dev1, 1))(t)), 1)
	same(t, "unknown device", len(must(w.VPS().Events(ctx, 4711, 10))(t)), 0)
}
