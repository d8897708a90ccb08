package storetest

import (
	"maps"
	"testing"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/adopt"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// testAdopt holds what taking guests over reads and writes.
func testAdopt(t *testing.T, w *world) {
	ctx, s := t.Context(), w.Adoptions()
	check(t, s.Client(ctx, 7))
	is(t, s.Client(ctx, 4711), access.ErrNoSuchClient)
	check(t, s.Facility(ctx, tpa))
	is(t, s.Facility(ctx, "nowhere"), vps.ErrFacilityNotFound)

	w.vol(t, "ours")
	theirs := w.vol(t, "theirs", func(v *volume.Volume) { v.ClientID, v.FacilityCode = 8, lax })
	adopted := func(what, facility string, want map[string]string) {
		t.Helper()
		if got := must(w.Volumes().Adopted(ctx, facility))(t); !maps.Equal(got, want) {
			t.Fatalf("adopted %s: %v, want %v", what, got, want)
		}
	}
	adopted("of volumes named by their ids", tpa, map[string]string{})
	set := func(id, source string) error {
		return s.Tx(ctx, 7, func(tx adopt.Tx) error { return tx.SetSource(ctx, id, source) })
	}
	check(t, set("ours", "/images/a.raw"))
	check(t, set("theirs", "/images/a.raw")) // another facility's
	adopted("here", tpa, map[string]string{"/images/a.raw": "ours"})
	is(t, set("root-1001", "/images/a.raw"), adopt.ErrDiskTaken)
	is(t, set("nothing", "/images/b.raw"), volume.ErrNotFound)
	w.tx(t, func(tx volume.Tx) error { return tx.PutVolume(ctx, theirs) })
	adopted("written anew", lax, map[string]string{"/images/a.raw": "theirs"})

	for _, c := range []struct{ facility, source, id, want string }{
		{tpa, "/images/a.raw", "", "ours"},
		{lax, "/images/a.raw", "", "theirs"},
		{tpa, "/images/a.raw", "theirs", "theirs"}, // the id is the better witness
		{tpa, "", "ours", "ours"},
		{tpa, "", "", ""},
		{tpa, "/images/b.raw", "nothing", ""},
	} {
		err := s.View(ctx, func(tx adopt.Tx) error {
			v, err := tx.VolumeOf(ctx, c.facility, c.source, c.id)
			same(t, "volume of "+c.source+" or "+c.id, v.ID, c.want)
			return err
		})
		if c.want == "" {
			is(t, err, volume.ErrNotFound)
		} else {
			check(t, err)
		}
	}
	is(t, s.Tx(ctx, 8, func(tx adopt.Tx) error {
		_, err := tx.AddDevice(ctx, vps.Device{ClientID: 8, FacilityCode: tpa, Ref: "1001", Status: vps.Running}, "refused", volume.GiB)
		return err
	}), vps.ErrDeviceExists)
	w.noVolume(t, "refused")
}

// testForget holds that a device goes with its ROOT volume, and gives its guest
// back where it could not be made.
func testForget(t *testing.T, w *world) {
	ctx, s := t.Context(), w.VPS()
	add := func(d vps.Device) (out vps.Device, err error) {
		d.ClientID, d.FacilityCode, d.Status = 7, tpa, vps.Creating
		err = s.Tx(ctx, func(tx vps.Tx) error {
			out, err = tx.AddDevice(ctx, d, "", 0)
			return err
		})
		return out, err
	}
	d := must(add(vps.Device{Ref: "guest"}))(t)
	same(t, "volumes of a device without ROOT", len(must(w.Volumes().List(ctx, everyone, volume.Filter{DeviceID: &d.ID}))(t)), 0)
	check(t, s.Tx(ctx, func(tx vps.Tx) error {
		has, err := tx.DeviceByRef(ctx, tpa, "guest")
		same(t, "device by guest", has.ID, d.ID)
		return err
	}))
	is(t, second(add(vps.Device{Ref: "guest"})), vps.ErrDeviceExists)
	check(t, s.Tx(ctx, func(tx vps.Tx) error { return tx.ReleaseGuest(ctx, d.ID) }))
	is(t, s.Tx(ctx, func(tx vps.Tx) error { return tx.ReleaseGuest(ctx, 4711) }), vps.ErrDeviceNotFound)
	must(add(vps.Device{Ref: "guest"}))(t)

	check(t, s.Tx(ctx, func(tx vps.Tx) error { return tx.RemoveDevice(ctx, dev1) }))
	is(t, second(s.Device(ctx, everyone, dev1)), vps.ErrDeviceNotFound)
	w.noVolume(t, "root-1001")
	w.readVolume(t, "root-1002")
	is(t, s.Tx(ctx, func(tx vps.Tx) error { return tx.RemoveDevice(ctx, dev1) }), vps.ErrDeviceNotFound)
	v := w.vol(t, "data")
	w.tx(t, func(tx volume.Tx) error { return tx.Attach(ctx, v, dev2) })
	if err := s.Tx(ctx, func(tx vps.Tx) error { return tx.RemoveDevice(ctx, dev2) }); err == nil {
		t.Error("a device went that has a data volume")
	}
	w.readVolume(t, "root-1002")
}
