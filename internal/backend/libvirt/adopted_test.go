package libvirt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirtxml"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

// adoptions is the database's part: which volumes have which sources.
type adoptions struct {
	mu  sync.Mutex
	ids map[string]string
	err error
}

func (a *adoptions) ask(context.Context) (map[string]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ids, a.err
}

func (a *adoptions) set(ids map[string]string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids, a.err = ids, err
}

// diskIn makes a raw file of testBytes in a folder.
func diskIn(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	ok(t, os.WriteFile(path, nil, 0o600))
	ok(t, os.Truncate(path, testBytes))
	return path
}

// fileDisk is a disk as an operator writes it.
func fileDisk(path, dev, bus string) *libvirtxml.DomainDisk {
	return &libvirtxml.DomainDisk{
		Device: "disk",
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}},
		Target: &libvirtxml.DomainDiskTarget{Dev: dev, Bus: bus},
		Serial: "operators",
	}
}

// inventory are the guests that the rig made, by name.
func (r *rig) inventory(t testing.TB, d *Driver) map[string]backend.Guest {
	t.Helper()
	all, err := d.Guests(t.Context())
	ok(t, err)
	found := map[string]backend.Guest{}
	for _, g := range all {
		if r.has(g.Ref) {
			found[g.Name] = g
		}
	}
	return found
}

// TestInventory: two guests, one of which runs, with disks in the pool, in
// another folder, named through a pool, and not for adoption.
func TestInventory(t *testing.T) {
	daemon := libvirttest.Shared(t)
	r := newRig(t, daemon)
	a := &adoptions{}
	d := r.open(t, Options{Adopted: a.ask})
	dir, other := daemon.PoolDir(r.hosts[0].Pool), t.TempDir()
	on, off := r.guest(t, 0, libvirttest.GuestOptions{Ports: 4}), r.guest(t, 0, libvirttest.GuestOptions{Ports: 4, Off: true})

	const ours = "0198c0de-0000-7000-8000-000000000001"
	ok(t, d.EnsureVolume(t.Context(), backend.VolumeSpec{ID: ours, Bytes: 2 * testBytes}))
	ok(t, d.EnsureAttached(t.Context(), on.UUID, ours))
	plain := diskIn(t, dir, "plain.raw")
	on.Attach(fileDisk(plain, "sdk", "scsi"))
	far := diskIn(t, other, "far.img")
	shared := fileDisk(far, "sdb", "scsi")
	shared.Shareable = &libvirtxml.DomainDiskShareable{}
	off.Configure(shared)
	inPool := fileDisk("", "sdc", "scsi")
	diskIn(t, dir, "inpool.raw")
	inPool.Source = &libvirtxml.DomainDiskSource{Volume: &libvirtxml.DomainDiskSourceVolume{Pool: r.hosts[0].Pool, Volume: "inpool.raw"}}
	_, err := d.InspectAll(t.Context()) // its pool reads the folder
	ok(t, err)
	off.Configure(inPool)
	device := fileDisk("", "sdd", "scsi")
	device.Source = &libvirtxml.DomainDiskSource{Block: &libvirtxml.DomainDiskSourceBlock{Dev: "/dev/none-such"}}
	off.Configure(device)

	got := r.inventory(t, d)
	root := func(g *libvirttest.Guest) backend.GuestDisk {
		path := g.XML(true).Devices.Disks[0].Source.File.File
		return backend.GuestDisk{Source: path, Format: "raw", Bytes: 1 << 20, Target: "vda"}
	}
	want := map[string]backend.Guest{
		on.Name: {Ref: on.UUID, Name: on.Name, Host: "hosta", Running: true, VCPU: 1, MemoryMB: 64, Disks: []backend.GuestDisk{
			root(on),
			{Source: r.path(ours), Format: "raw", Bytes: 2 * testBytes, Target: "sdb", VolumeID: ours},
			{Source: plain, Format: "raw", Bytes: testBytes, Target: "sdk"},
		}},
		off.Name: {Ref: off.UUID, Name: off.Name, Host: "hosta", VCPU: 1, MemoryMB: 64, Disks: []backend.GuestDisk{
			root(off),
			{Source: far, Format: "raw", Bytes: testBytes, Target: "sdb", Shared: true},
			{Source: filepath.Join(dir, "inpool.raw"), Format: "raw", Bytes: testBytes, Target: "sdc"},
			{Source: "/dev/none-such", Format: "raw", Target: "sdd", Foreign: true},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("the guests (-want +got):\n%s", diff)
	}
	a.set(map[string]string{plain: "v-plain", far: "v-far", filepath.Join(dir, "inpool.raw"): "v-inpool"}, nil)
	got = r.inventory(t, d)
	for name, ids := range map[string][]string{on.Name: {"", ours, "v-plain"}, off.Name: {"", "v-far", "v-inpool", ""}} {
		var have []string
		for _, disk := range got[name].Disks {
			have = append(have, disk.VolumeID)
		}
		if !slices.Equal(have, ids) {
			t.Errorf("adopted of %s: %q, want %q", name, have, ids)
		}
	}
}

func TestInventoryOrder(t *testing.T) {
	const domain = `<domain id='1'><vcpu current='2'>4</vcpu><memory unit='KiB'>2097152</memory><currentMemory unit='KiB'>1048576</currentMemory><devices>
		<disk type='file' device='cdrom'><target dev='sda'/><boot order='1'/></disk>
		<disk type='file'><source file='/a'/><target dev='sdb'/></disk>
		<disk type='file' device='disk'><source file='/b'/><target dev='sdc'/><boot order='2'/></disk></devices></domain>`
	if first := machineOf(t, domain).bootDisk(); first == nil || first.source != "/b" {
		t.Errorf("it boots from %+v", first)
	}
	without := machineOf(t, strings.NewReplacer("<boot order='1'/>", "", "<boot order='2'/>", "").Replace(domain))
	if first := without.bootDisk(); first == nil || first.source != "/a" {
		t.Errorf("without an order it boots from %+v", first)
	}
	if first := machineOf(t, "<domain><devices/></domain>").bootDisk(); first != nil {
		t.Errorf("it boots from %+v", first)
	}
	if vcpu, mib, err := sizeOf(domain); vcpu != 2 || mib != 1024 || err != nil {
		t.Errorf("its size: %d, %d, %v", vcpu, mib, err)
	}
}

func TestAdoptedSources(t *testing.T) {
	for outside, inside := range map[string]string{"/x//y.img": "/x/y.img", "vols/img": "rbd:vols/img", "nbd:export/a": "nbd:export/a"} {
		if got := insideSource(outside); got != inside || insideSource(outsideSource(got)) != inside {
			t.Errorf("%s is %s", outside, got)
		}
	}
	known := newAdopted(map[string]string{"/srv/vols/web.raw": "a1", "/else/data.img": "a2", "vols/image": "a3", "far/image": "a4"})
	dir, ceph := dirPool.with(known), rbdPool.with(known)
	for source, want := range map[string]string{
		"/srv/vols/web.raw": "a1", "/srv/vols/a1.raw": "", "/srv/vols/v1.raw": "v1", "/else/./data.img": "a2", "/else/v1.raw": "", "rbd:vols/image": "a3",
	} {
		if got := dir.idOf(source); got != want {
			t.Errorf("%s is %q, want %q", source, got, want)
		}
	}
	for id, want := range map[string]string{"a2": "/else/data.img", "a4": "rbd:far/image", "v1": "rbd:vols/v1"} {
		if got := ceph.source(id); got != want {
			t.Errorf("%s is %q, want %q", id, got, want)
		}
	}
	for file, want := range map[string]bool{
		`json:{"driver":"raw","file":{"pool":"far","image":"image","driver":"rbd"}}`: true, "rbd:far/image:id=x": true, "rbd:vols/a4": false,
	} {
		if got := ceph.isNodeOf(file, "a4"); got != want {
			t.Errorf("%s is a4's: %t", file, got)
		}
	}
	// The alias is the operator's, and may be like one of ours.
	if id := dir.volumeOf(&disk{device: "disk", alias: "ua-v1", source: "/else/data.img"}); id != "a2" {
		t.Errorf("the disk is %q", id)
	}
}

// adoptedDisks is a guest with two disks of its operator's, both adopted: in the
// host's pool, and in another.
type adoptedDisks struct {
	*rig
	d        *Driver
	a        *adoptions
	on, next *libvirttest.Guest
	in, out  string // paths
	ids      map[string]string
}

func newAdoptedDisks(t *testing.T) *adoptedDisks {
	daemon := libvirttest.Shared(t)
	w := &adoptedDisks{rig: newRig(t, daemon), a: &adoptions{}}
	w.d = w.open(t, Options{Adopted: w.a.ask})
	w.on, w.next = w.guest(t, 0, libvirttest.GuestOptions{Ports: 4}), w.guest(t, 0, libvirttest.GuestOptions{Ports: 4})
	w.in = diskIn(t, daemon.PoolDir(w.hosts[0].Pool), "web.raw")
	w.out = diskIn(t, daemon.PoolDir(daemon.NewPool(t, "")), "data.img")
	w.on.Attach(fileDisk(w.in, "sdf", "scsi"))
	w.on.Attach(fileDisk(w.out, "sdg", "scsi"))
	w.ids = map[string]string{w.in: "a-in", w.out: "a-out"}
	w.a.set(w.ids, nil)
	return w
}

// sees wants the view of everything to have the two volumes, and no other.
func (w *adoptedDisks) sees(t *testing.T, bytes int64, ref string) {
	t.Helper()
	all, err := w.d.InspectAll(t.Context())
	ok(t, err)
	want := []backend.VolumeView{{ID: "a-in", Bytes: bytes, Ref: ref}, {ID: "a-out", Bytes: bytes, Ref: ref}}
	if diff := cmp.Diff(want, all.Volumes); diff != "" {
		t.Fatalf("the volumes (-want +got):\n%s", diff)
	}
	for _, v := range want {
		got, err := w.d.InspectVolume(t.Context(), v.ID)
		if err != nil || got != v {
			t.Errorf("alone it is %+v, %v", got, err)
		}
	}
}

func TestAdopted(t *testing.T) {
	w := newAdoptedDisks(t)
	ctx, ids := t.Context(), []string{"a-in", "a-out"}
	w.sees(t, testBytes, w.on.UUID)
	before := w.on.XML(true).Devices.Disks
	for _, id := range ids {
		ok(t, w.d.EnsureAttached(ctx, w.on.UUID, id)) // so already
		if err := w.d.EnsureAttached(ctx, w.next.UUID, id); !errors.Is(err, backend.ErrInUse) {
			t.Errorf("attach %s elsewhere: %v", id, err)
		}
		if err := w.d.DeleteVolume(ctx, id); !errors.Is(err, backend.ErrInUse) {
			t.Errorf("delete %s: %v", id, err)
		}
		if err := w.d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: 3 * testBytes}); !errors.Is(err, backend.ErrConflict) {
			t.Errorf("create %s: %v", id, err)
		}
		ok(t, w.d.GrowVolume(ctx, id, 2*testBytes))
	}
	w.sees(t, 2*testBytes, w.on.UUID)
	if diff := cmp.Diff(before, w.on.XML(true).Devices.Disks); diff != "" {
		t.Errorf("the operator's disks have changed (-before +after):\n%s", diff)
	}
	for _, id := range ids {
		ok(t, w.d.EnsureDetached(ctx, w.on.UUID, id, backend.DetachOptions{}))
		agree(t, w.d, w.on.UUID, id, false)
	}
	w.sees(t, 2*testBytes, "")
	for _, id := range ids {
		ok(t, w.d.GrowVolume(ctx, id, 3*testBytes))
		if err := w.d.GrowVolume(ctx, id, testBytes); !errors.Is(err, backend.ErrShrink) {
			t.Errorf("shrink %s: %v", id, err)
		}
		ok(t, w.d.EnsureAttached(ctx, w.next.UUID, id))
		agree(t, w.d, w.next.UUID, id, true)
	}
	w.sees(t, 3*testBytes, w.next.UUID)
	for _, disk := range w.next.XML(true).Devices.Disks {
		if disk.Target.Bus == "scsi" && (disk.Serial != w.ids[disk.Source.File.File] || disk.Alias.Name != alias(disk.Serial)) {
			t.Errorf("attached again, it is %+v", disk)
		}
	}
	for _, id := range ids {
		ok(t, w.d.EnsureDetached(ctx, w.next.UUID, id, backend.DetachOptions{}))
		ok(t, w.d.DeleteVolume(ctx, id))
		ok(t, w.d.DeleteVolume(ctx, id))
		if _, err := w.d.InspectVolume(ctx, id); !errors.Is(err, backend.ErrVolumeNotFound) {
			t.Errorf("look at %s: %v", id, err)
		}
		if err := w.d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: testBytes}); !errors.Is(err, backend.ErrConflict) {
			t.Errorf("create %s: %v", id, err)
		}
	}
	if there(w.in) || there(w.out) {
		t.Error("a file is left")
	}
}

// TestAdoptedUnknown: while the database does not answer, no volume is taken for
// another, and nothing happens.
func TestAdoptedUnknown(t *testing.T) {
	w := newAdoptedDisks(t)
	ctx, ref := t.Context(), w.on.UUID
	w.a.set(nil, context.DeadlineExceeded)
	calls := map[string]func() error{
		"create":     func() error { return w.d.EnsureVolume(ctx, backend.VolumeSpec{ID: "new", Bytes: testBytes}) },
		"grow":       func() error { return w.d.GrowVolume(ctx, "a-in", 2*testBytes) },
		"delete":     func() error { return w.d.DeleteVolume(ctx, "a-in") },
		"attach":     func() error { return w.d.EnsureAttached(ctx, w.next.UUID, "a-in") },
		"detach":     func() error { return w.d.EnsureDetached(ctx, ref, "a-in", backend.DetachOptions{}) },
		"inspect":    func() error { _, err := w.d.Inspect(ctx, ref); return err },
		"volume":     func() error { _, err := w.d.InspectVolume(ctx, "a-in"); return err },
		"everything": func() error { _, err := w.d.InspectAll(ctx); return err },
		"guests":     func() error { _, err := w.d.Guests(ctx); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.a.set(w.ids, nil)
	w.sees(t, testBytes, ref)
}

// TestAdoptedWithoutPool: what libvirt has no pool for is only reached through
// the guest that has it.
func TestAdoptedWithoutPool(t *testing.T) {
	w := newAdoptedDisks(t)
	ctx, ref := t.Context(), w.on.UUID
	dir := filepath.Join(w.roots, "bare") // a pool has no folders of its folder's
	ok(t, os.Mkdir(dir, 0o755))
	bare := diskIn(t, dir, "bare.img")
	w.on.Attach(fileDisk(bare, "sdh", "scsi"))
	w.a.set(map[string]string{bare: "a-bare"}, nil)
	ok(t, w.d.EnsureAttached(ctx, ref, "a-bare"))
	ok(t, w.d.GrowVolume(ctx, "a-bare", 2*testBytes))
	want := backend.VolumeView{ID: "a-bare", Bytes: 2 * testBytes, Ref: ref}
	if got, err := w.d.InspectVolume(ctx, "a-bare"); err != nil || got != want {
		t.Errorf("it is %+v, %v", got, err)
	}
	all, err := w.d.InspectAll(ctx)
	ok(t, err)
	if !slices.Contains(all.Volumes, want) {
		t.Errorf("it is not in %+v", all.Volumes)
	}
	if err := w.d.EnsureDetached(ctx, ref, "a-bare", backend.DetachOptions{ToDelete: true}); !errors.Is(err, backend.ErrNoPool) {
		t.Errorf("detach ahead of a delete that cannot be: %v", err)
	}
	if got, err := w.d.InspectVolume(ctx, "a-bare"); err != nil || got != want {
		t.Errorf("then it is %+v, %v", got, err)
	}
	ok(t, w.d.EnsureDetached(ctx, ref, "a-bare", backend.DetachOptions{}))
	for name, err := range map[string]error{
		"grow": w.d.GrowVolume(ctx, "a-bare", 3*testBytes), "delete": w.d.DeleteVolume(ctx, "a-bare"), "attach": w.d.EnsureAttached(ctx, ref, "a-bare"),
	} {
		var text *backend.Error
		if !errors.Is(err, backend.ErrNoPool) || !errors.As(err, &text) || !strings.Contains(text.Text, "storage pool") {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.daemons[0].NewPool(t, dir) // as the text says
	ok(t, w.d.EnsureAttached(ctx, ref, "a-bare"))
	ok(t, w.d.EnsureDetached(ctx, ref, "a-bare", backend.DetachOptions{}))
	ok(t, w.d.DeleteVolume(ctx, "a-bare"))
	if there(bare) {
		t.Error("the file is left")
	}
}

// TestAdoptedOnTwoHosts: a path is another file on another host, unless they
// share it.
func TestAdoptedOnTwoHosts(t *testing.T) {
	a := &adoptions{}
	one, two := libvirttest.Start(t), libvirttest.Start(t)
	r := newRig(t, one, two)
	d := r.open(t, Options{Adopted: a.ask})
	ctx := t.Context()
	g := r.guest(t, 1, libvirttest.GuestOptions{Ports: 4})
	dir := t.TempDir()
	path := diskIn(t, dir, "data.img")
	a.set(map[string]string{path: "a1"}, nil)
	one.NewPool(t, dir)
	if err := d.EnsureAttached(ctx, g.UUID, "a1"); !errors.Is(err, backend.ErrOtherHost) {
		t.Errorf("the other host alone has it: %v", err)
	}
	two.NewPool(t, dir)
	ok(t, d.EnsureAttached(ctx, g.UUID, "a1")) // they share it
	ok(t, d.EnsureDetached(ctx, g.UUID, "a1", backend.DetachOptions{}))
	one.Kill(t)
	for name, err := range map[string]error{
		"attach": d.EnsureAttached(ctx, g.UUID, "a1"), "grow": d.GrowVolume(ctx, "a1", 2*testBytes), "delete": d.DeleteVolume(ctx, "a1"),
	} {
		if !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s while a host is away that may have another: %v", name, err)
		}
	}
	one.Restart(t)
	until(t, "delete", func() error { return d.DeleteVolume(ctx, "a1") })
	if there(path) {
		t.Error("the file is left")
	}
}
