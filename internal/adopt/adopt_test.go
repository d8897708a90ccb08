package adopt_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/adopt"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

var (
	ctx  = context.Background()
	mine = access.Scope{Clients: []int64{worldtest.Client}}
)

// uuid is the ref of the n-th guest.
func uuid(n int) string { return fmt.Sprintf("6a1d3f0e-0000-4000-8000-%012d", n) }

// raw is a disk in the format of volumes.
func raw(source, target string, bytes int64) backend.GuestDisk {
	return backend.GuestDisk{Source: source, Target: target, Bytes: bytes, Format: "raw"}
}

// web is a guest with a ROOT disk that is no volume's kind, one disk of a size
// on sale, and one that is not even whole GiB.
func web() backend.Guest {
	root := raw("/images/web.qcow2", "sda", 20<<30)
	root.Format = "qcow2"
	return backend.Guest{
		Ref: uuid(1), Name: "web", Host: "h1", Running: true, VCPU: 4, MemoryMB: 8192,
		Disks: []backend.GuestDisk{root, raw("/images/data.raw", "sdb", 100<<30), raw("rbd/odd", "sdc", 7<<30+512)},
	}
}

func world(t *testing.T, guests ...backend.Guest) *worldtest.World {
	t.Helper()
	w := worldtest.New(t, worldtest.Options{Hosts: true})
	for _, g := range guests {
		w.Drivers[worldtest.Lab].AddGuest(g)
	}
	return w
}

func all() adopt.Request {
	return adopt.Request{FacilityCode: worldtest.Lab, ClientID: worldtest.Client, All: true}
}

func run(t *testing.T, w *worldtest.World, r adopt.Request) []adopt.Guest {
	t.Helper()
	list, err := w.Adopt.Import(ctx, r)
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	return list
}

// only is the single guest of a list.
func only(t *testing.T, list []adopt.Guest) adopt.Guest {
	t.Helper()
	if len(list) != 1 {
		t.Fatalf("%d guests, want one: %+v", len(list), list)
	}
	return list[0]
}

func rows(w *worldtest.World) int {
	return w.Count(`SELECT (SELECT count(*) FROM device) + (SELECT count(*) FROM volume) + (SELECT count(*) FROM service) + (SELECT count(*) FROM charge) + (SELECT count(*) FROM event)`)
}

// look compares twice, a grace time apart, and returns what is confirmed.
func look(t *testing.T, w *worldtest.World, repair bool) []reconcile.Finding {
	t.Helper()
	k, err := w.Reconcile.Start(ctx, reconcile.Request{FacilityCode: worldtest.Lab, Grace: new(time.Duration), Repair: repair})
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(k)
	list, err := w.Reconcile.Findings(ctx, reconcile.Filter{FacilityCode: new(worldtest.Lab), Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestImport(t *testing.T) {
	t.Parallel()
	w := world(t, web())
	before := rows(w)
	dry := all()
	dry.DryRun = true
	planned := only(t, run(t, w, dry))
	if planned.Result != adopt.Importable || planned.DeviceID != 0 || len(planned.Disks) != 3 || planned.Disks[1].VolumeID != "" || rows(w) != before {
		t.Fatalf("a dry run: %+v, %d rows more", planned, rows(w)-before)
	}
	got := only(t, run(t, w, all()))
	if got.Result != adopt.Imported || got.DeviceID == 0 || got.MaxVolumes != 16 {
		t.Fatalf("imported: %+v", got)
	}
	d, err := w.VPS.Get(ctx, mine, got.DeviceID)
	if err != nil || d.Hostname != "web" || d.Ref != uuid(1) || d.VCPU != 4 || d.MemoryMB != 8192 || d.Status != vps.Running || d.Volumes != 2 {
		t.Errorf("its device: %+v, %v", d, err)
	}
	for i, want := range []struct {
		typ              volume.Type
		bytes            int64
		monthly, product int
	}{{volume.Root, 20 << 30, 0, 0}, {volume.DataDisk, 100 << 30, 1000, 1100}, {volume.DataDisk, 7<<30 + 512, 0, 0}} {
		disk := got.Disks[i]
		v, err := w.Volumes.Get(ctx, mine, disk.VolumeID)
		if err != nil || v.Type != want.typ || v.Bytes != want.bytes || int(v.Monthly) != want.monthly || v.ProductID != want.product ||
			v.State != volume.Attached || v.DeviceID != d.ID || v.FacilityCode != worldtest.Lab {
			t.Errorf("disk %d: %+v, %v", i, v, err)
		}
		if adopted, err := w.DB.Volumes().Adopted(ctx, worldtest.Lab); err != nil || adopted[web().Disks[i].Source] != v.ID || len(adopted) != 3 {
			t.Errorf("the source of disk %d is not in %v, %v", i, adopted, err)
		}
	}
	events, err := w.VPS.Events(ctx, mine, d.ID, 10)
	if err != nil || len(events) != 1 || events[0].Type != "DEVICE.IMPORT" {
		t.Errorf("its events: %+v, %v", events, err)
	}
	w.Check()

	// Once more: nothing. To the same request, repeated, it tells the same.
	after := rows(w)
	if again := only(t, run(t, w, all())); again.Result != adopt.Registered || again.DeviceID != d.ID || rows(w) != after {
		t.Errorf("a second import: %+v, %d rows more", again, rows(w)-after)
	}
	repeat := all()
	repeat.Since = time.Unix(1, 0) // the database has its own clock here
	if diff := cmp.Diff(got, only(t, run(t, w, repeat))); diff != "" || rows(w) != after {
		t.Errorf("the same import: %s, %d rows more", diff, rows(w)-after)
	}
	if found := look(t, w, true); len(found) > 0 {
		t.Errorf("the reconciler finds %+v", found)
	}
	w.Clock.Add(70 * 24 * time.Hour) // months go on for the one that costs something and the other
	w.Check()
}

// What was taken over is a volume like others.
func TestAdoptedVolumesWork(t *testing.T) {
	t.Parallel()
	w := world(t, web())
	g := only(t, run(t, w, all()))
	data, odd := g.Disks[1].VolumeID, g.Disks[2].VolumeID

	w.Clock.Add(10 * 24 * time.Hour)
	grown, err := w.Volumes.Resize(ctx, mine, odd, 50, &g.DeviceID)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(grown)
	if v, err := w.Volumes.Get(ctx, mine, odd); err != nil || v.Bytes != 50<<30 || v.Monthly != 500 || v.ProductID != 1050 {
		t.Errorf("of a size on sale: %+v, %v", v, err)
	}
	for range 2 {
		off, err := w.Volumes.Detach(ctx, mine, g.DeviceID, data)
		if err != nil {
			t.Fatal(err)
		}
		w.Succeeds(off)
		w.Check()
		if found := look(t, w, true); len(found) > 0 {
			t.Errorf("detached, the reconciler finds %+v", found)
		}
		on, err := w.Volumes.Attach(ctx, mine, g.DeviceID, data)
		if err != nil {
			t.Fatal(err)
		}
		w.Succeeds(on)
		w.Check()
	}
	gone, err := w.Volumes.Delete(ctx, mine, data, &g.DeviceID)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(gone)
	made, err := w.Volumes.Create(ctx, mine, g.DeviceID, 50)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(made)
	w.Check()
	if found := look(t, w, true); len(found) > 0 {
		t.Errorf("the reconciler finds %+v", found)
	}
	guests, err := w.Drivers[worldtest.Lab].Guests(ctx)
	if err != nil || len(guests[0].Disks) != 3 || guests[0].Disks[2].VolumeID != made.VolumeID {
		t.Errorf("the guest has %+v, %v", guests, err)
	}
}

// TestRefusals: each guest by itself, for its own reason, and nothing written.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*backend.Guest)
		want  *fault.Error
	}{
		"no disk":                 {func(g *backend.Guest) { g.Disks = nil }, adopt.ErrNoDisk},
		"shared ROOT":             {func(g *backend.Guest) { g.Disks[0].Shared = true }, adopt.ErrShared},
		"ROOT for reading":        {func(g *backend.Guest) { g.Disks[0].ReadOnly = true }, adopt.ErrShared},
		"ROOT of unknown size":    {func(g *backend.Guest) { g.Disks[0].Bytes = 0 }, adopt.ErrNoSize},
		"one disk twice":          {func(g *backend.Guest) { g.Disks[2].Source = g.Disks[1].Source }, adopt.ErrDiskTaken},
		"a disk of another guest": {func(g *backend.Guest) { g.Disks[1].Source = "/images/taken.raw" }, adopt.ErrDiskTaken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world(t, backend.Guest{Ref: uuid(9), Name: "first", Host: "h1", Disks: []backend.GuestDisk{raw("/images/taken.raw", "sda", 1<<30)}})
			run(t, w, all())
			g := web()
			c.spoil(&g)
			w.Drivers[worldtest.Lab].AddGuest(g)
			before := rows(w)
			list := run(t, w, all())
			if len(list) != 2 || list[0].Result != adopt.Registered || list[1].Result != adopt.Refused || list[1].Why == nil || list[1].Why.Reason != c.want.Reason {
				t.Errorf("%+v", list)
			}
			if after := rows(w); after != before {
				t.Errorf("%d rows more", after-before)
			}
		})
	}
}

// TestLeftOut: disks that cannot be volumes stay the guest's own.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	g := web()
	image := raw("/images/x.qcow2", "sdd", 50<<30)
	image.Format = "qcow2"
	shared, unknown := raw("/images/shared.raw", "sde", 50<<30), raw("/images/gone.raw", "sdf", 0)
	shared.Shared = true
	device := raw("/dev/vg/data", "sdg", 50<<30)
	device.Foreign = true
	g.Disks[0].Foreign = true // nothing is done to a ROOT disk
	g.Disks = append(g.Disks, image, shared, unknown, device)
	w := world(t, g)
	got := only(t, run(t, w, all()))
	var why []fault.Reason
	for _, d := range got.Disks {
		if (d.Why == nil) != (d.VolumeID != "") {
			t.Errorf("disk %+v", d)
		}
		if d.Why != nil {
			why = append(why, d.Why.Reason)
		}
	}
	if diff := cmp.Diff([]fault.Reason{"disk_format", "disk_shared", "disk_size_unknown", "disk_storage"}, why); diff != "" || got.Result != adopt.Imported {
		t.Errorf("%s: %s", got.Result, diff)
	}
	w.Check()
}

func TestOtherClients(t *testing.T) {
	t.Parallel()
	w := world(t, web())
	first := only(t, run(t, w, all()))
	theirs := all()
	theirs.ClientID = worldtest.Other
	got := only(t, run(t, w, theirs))
	if got.Result != adopt.Refused || got.Why.Reason != vps.ErrGuestTaken.Reason || got.DeviceID != 0 {
		t.Errorf("another client's guest: %+v", got)
	}
	// A disk that the guest was given by us, under its id.
	made, err := w.Volumes.Create(ctx, mine, first.DeviceID, 50)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(made)
	w.Drivers[worldtest.Lab].AddGuest(backend.Guest{Ref: uuid(2), Name: "thief", Host: "h1", Disks: []backend.GuestDisk{
		raw("/images/thief.raw", "sda", 1<<30), {Source: "pool/x", Target: "sdb", Bytes: 50 << 30, VolumeID: made.VolumeID},
	}})
	theirs.All, theirs.Domains = false, []string{"thief"}
	if got := only(t, run(t, w, theirs)); got.Result != adopt.Refused || got.Why.Reason != adopt.ErrDiskTaken.Reason {
		t.Errorf("another client's volume: %+v", got)
	}
}

// Quotas and the number of volumes a guest takes do not keep a guest out.
func TestBounds(t *testing.T) {
	t.Parallel()
	g := backend.Guest{Ref: uuid(1), Name: "many", Host: "h1", Disks: []backend.GuestDisk{raw("root", "vda", 1<<30)}}
	for i := range 20 {
		g.Disks = append(g.Disks, raw(fmt.Sprintf("data-%d", i), fmt.Sprintf("vd%c", 'b'+i), 50<<30))
	}
	w := world(t, g)
	if err := w.DB.Access().PutQuota(ctx, worldtest.Client, access.Quota{Volumes: new(int64(1)), GiB: new(int64(1))}); err != nil {
		t.Fatal(err)
	}
	got := only(t, run(t, w, all()))
	if d, err := w.VPS.Get(ctx, mine, got.DeviceID); err != nil || d.Volumes != 20 || d.MaxVolumes != 20 || got.MaxVolumes != 20 {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := w.Volumes.Create(ctx, mine, got.DeviceID, 50); !errors.Is(err, volume.ErrDeviceFull) {
		t.Errorf("one more: %v", err)
	}
	w.Check()
}

func TestChoice(t *testing.T) {
	t.Parallel()
	disk := func(name string) []backend.GuestDisk { return []backend.GuestDisk{raw(name, "sda", 1<<30)} }
	w := world(t,
		backend.Guest{Ref: uuid(1), Name: "a", Host: "h1", Disks: disk("1")}, backend.Guest{Ref: uuid(2), Name: "a", Host: "h2", Disks: disk("2")},
		backend.Guest{Ref: uuid(3), Name: "b", Host: "h2", Disks: disk("3")})
	dry := func(host string, all bool, domains ...string) (out string) {
		t.Helper()
		for _, g := range run(t, w, adopt.Request{FacilityCode: worldtest.Lab, ClientID: worldtest.Client, Host: host, All: all, Domains: domains, DryRun: true}) {
			if out += " " + g.Name + "@" + g.Host; g.Why != nil {
				out += " " + string(g.Why.Reason)
			}
		}
		return out
	}
	for _, c := range []struct{ got, want string }{
		{dry("", true), " a@h1 a@h2 b@h2"},
		{dry("h2", true), " a@h2 b@h2"},
		{dry("h3", true), ""},
		{dry("", false, "b", uuid(3), "B"), " b@h2 B@ guest_not_found"},
		{dry("", false, "a"), " a@ guest_ambiguous"},
		{dry("h1", false, "a", "b"), " a@h1 b@ guest_not_found"},
		{dry("", false, uuid(2)), " a@h2"},
	} {
		if c.got != c.want {
			t.Errorf("chosen:%s, want%s", c.got, c.want)
		}
	}
	if none := run(t, w, adopt.Request{FacilityCode: worldtest.Lab, ClientID: worldtest.Client, Host: "h3", All: true}); none == nil {
		t.Error("no guests are nil, not an empty list")
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	w := world(t, web())
	for name, c := range map[string]struct {
		change func(*adopt.Request)
		want   fault.Reason
	}{
		"neither all nor some": {func(r *adopt.Request) { r.All = false }, "domains_required"},
		"both":                 {func(r *adopt.Request) { r.Domains = []string{"web"} }, "domains_required"},
		"no such client":       {func(r *adopt.Request) { r.ClientID = 4711 }, "client_unknown"},
		"no such facility":     {func(r *adopt.Request) { r.FacilityCode = "XXX9" }, "facility_unknown"},
		"guests made here":     {func(r *adopt.Request) { r.FacilityCode = "TPA1" }, "guests_made_here"},
	} {
		r := all()
		c.change(&r)
		if _, err := w.Adopt.Import(ctx, r); fault.ReasonOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.Drivers[worldtest.Lab].On("Guests").Fail(backend.ErrUnavailable, 1)
	if _, err := w.Adopt.Import(ctx, all()); fault.KindOf(err) != fault.Unavailable || fault.ReasonOf(err) != "backend_unavailable" {
		t.Errorf("a host that is away: %v", err)
	}
}

// A guest that vanishes is shown as missing and keeps nobody from anything.
func TestVanished(t *testing.T) {
	t.Parallel()
	w := world(t, web())
	g := only(t, run(t, w, all()))
	driver := w.Drivers[worldtest.Lab]
	status := func() vps.Status {
		t.Helper()
		d, err := w.VPS.Get(ctx, mine, g.DeviceID)
		if err != nil {
			t.Fatal(err)
		}
		return d.Status
	}
	driver.StopGuest(g.Ref)
	if found := look(t, w, false); len(found) > 0 || status() != vps.Stopped {
		t.Errorf("of a guest that is off: %s, %+v", status(), found)
	}
	driver.RemoveGuest(g.Ref)
	found := look(t, w, true)
	if len(found) != 1 || found[0].Class != reconcile.MissingGuest || found[0].Object != fmt.Sprint(g.DeviceID) || status() != vps.Missing {
		t.Fatalf("of a guest that is gone: %s, %+v", status(), found)
	}
	back := web()
	driver.AddGuest(back)
	if found := look(t, w, true); len(found) > 0 || status() != vps.Running {
		t.Errorf("of a guest that is back: %s, %+v", status(), found)
	}

	const url = "http://images.example/a.iso"
	w.Source.Put(url, worldtest.Image("A", true))
	disc, err := w.ISOs.Create(ctx, worldtest.Client, iso.Create{FacilityCode: worldtest.Lab, Name: "disc", URL: url, Bootable: true})
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(task.Task{ID: disc.TaskID})
	in, err := w.ISOs.Attach(ctx, mine, g.DeviceID, disc.ID, false)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(in)

	driver.RemoveGuest(g.Ref)
	look(t, w, true)
	if err := w.VPS.DeleteDevice(ctx, g.DeviceID); !errors.Is(err, vps.ErrHasVolumes) {
		t.Errorf("with volumes: %v", err)
	}
	off, err := w.Volumes.Detach(ctx, mine, g.DeviceID, g.Disks[1].VolumeID)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := w.Volumes.Delete(ctx, mine, g.Disks[2].VolumeID, &g.DeviceID)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(off)
	w.Succeeds(gone)
	if err := w.VPS.DeleteDevice(ctx, g.DeviceID); !errors.Is(err, vps.ErrHasISO) {
		t.Errorf("with an ISO: %v", err)
	}
	out, err := w.ISOs.Detach(ctx, mine, g.DeviceID, false)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(out)
	if err := w.VPS.DeleteDevice(ctx, g.DeviceID); err != nil {
		t.Fatal(err)
	}
	if err := w.VPS.DeleteDevice(ctx, g.DeviceID); !errors.Is(err, vps.ErrDeviceNotFound) {
		t.Errorf("once more: %v", err)
	}
	if found := look(t, w, true); len(found) > 0 {
		t.Errorf("at last: %+v", found)
	}
	w.Check()
}
