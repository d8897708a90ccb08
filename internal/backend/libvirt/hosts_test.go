package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	lv "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

func hashOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// isoPath is where an image's file is on one of the hosts.
func (r *rig) isoPath(host int, name string) string {
	return filepath.Join(r.daemons[host].PoolDir(r.hosts[host].ISOPool), name)
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// twoHosts has a guest on each of two hosts, the second of which runs.
type twoHosts struct {
	*rig
	d        *Driver
	onA, onB *libvirttest.Guest
}

func TestTwoHosts(t *testing.T) {
	r := newRig(t, libvirttest.Start(t), libvirttest.Start(t))
	two := twoHosts{
		r, r.open(t, Options{}),
		r.guest(t, 0, libvirttest.GuestOptions{Ports: 4, Off: true}), r.guest(t, 1, libvirttest.GuestOptions{Ports: 4}),
	}
	t.Run("Volumes", two.volumes)
	t.Run("Images", two.images)
	t.Run("SpoiledImage", two.spoiledImage)
	t.Run("Move", two.move)
}

func (two twoHosts) volumes(t *testing.T) {
	ctx := t.Context()
	ok(t, two.d.EnsureVolume(ctx, backend.VolumeSpec{ID: "va", Bytes: testBytes, Ref: two.onA.UUID}))
	ok(t, two.d.EnsureVolume(ctx, backend.VolumeSpec{ID: "vb", Bytes: testBytes, Ref: two.onB.UUID}))
	ok(t, two.d.EnsureVolume(ctx, backend.VolumeSpec{ID: "vb", Bytes: testBytes})) // found where it is
	if err := two.d.EnsureVolume(ctx, backend.VolumeSpec{ID: "vb", Bytes: 2 * testBytes, Ref: two.onA.UUID}); !errors.Is(err, backend.ErrConflict) {
		t.Errorf("another size: %v", err)
	}
	ok(t, two.d.EnsureAttached(ctx, two.onB.UUID, "vb"))
	if err := two.d.EnsureAttached(ctx, two.onB.UUID, "va"); !errors.Is(err, backend.ErrOtherHost) {
		t.Errorf("a volume of another host: %v", err)
	}
	if err := two.d.EnsureAttached(ctx, two.onB.UUID, "none"); !errors.Is(err, backend.ErrVolumeNotFound) {
		t.Errorf("a volume of none: %v", err)
	}
	ok(t, two.d.GrowVolume(ctx, "vb", 2*testBytes))
	view, err := two.d.InspectVolume(ctx, "vb")
	ok(t, err)
	if view != (backend.VolumeView{ID: "vb", Bytes: 2 * testBytes, Ref: two.onB.UUID}) {
		t.Errorf("it is %+v", view)
	}
	all, err := two.d.InspectAll(ctx)
	ok(t, err)
	if len(all.Volumes) != 2 || len(all.VMs) != 2 {
		t.Errorf("there is %+v", all)
	}
}

func (two twoHosts) images(t *testing.T) {
	ctx := t.Context()
	content := string(make([]byte, 9<<20)) + "end"
	key := importISO(t, two.d, content)
	if !there(two.isoPath(0, imageFile(key))) || there(two.isoPath(1, imageFile(key))) {
		t.Fatal("the image is not on the first host alone")
	}
	// What an interrupted copy left is no image.
	ok(t, os.WriteFile(two.isoPath(1, imageFile(key)), []byte("half"), 0o644))
	ok(t, two.d.SetMedia(ctx, two.onB.UUID, key, false))
	got, err := os.ReadFile(two.isoPath(1, imageFile(key)))
	ok(t, err)
	if hashOf(string(got)) != key || !there(two.isoPath(1, readyFile(key))) {
		t.Error("the copy is not the image")
	}
	info, err := os.Stat(two.isoPath(1, imageFile(key)))
	ok(t, err)
	ok(t, two.d.SetMedia(ctx, two.onB.UUID, "", false))
	ok(t, two.d.SetMedia(ctx, two.onB.UUID, key, false))
	again, err := os.Stat(two.isoPath(1, imageFile(key)))
	ok(t, err)
	if !os.SameFile(info, again) || !info.ModTime().Equal(again.ModTime()) {
		t.Error("it was copied twice")
	}
	all, err := two.d.InspectAll(ctx)
	ok(t, err)
	if len(all.ISOs) != 1 || all.ISOs[0].Bytes != int64(len(content)) {
		t.Errorf("the images are %+v", all.ISOs)
	}
	if err := two.d.DeleteISO(ctx, key); !errors.Is(err, backend.ErrInUse) {
		t.Errorf("delete: %v", err)
	}
	ok(t, two.d.SetMedia(ctx, two.onB.UUID, "", false))
	ok(t, two.d.DeleteISO(ctx, key))
	for host := range two.hosts {
		if there(two.isoPath(host, imageFile(key))) || there(two.isoPath(host, readyFile(key))) {
			t.Errorf("host %d still has it", host)
		}
	}
}

func (two twoHosts) spoiledImage(t *testing.T) {
	ctx := t.Context()
	key := importISO(t, two.d, "the content")
	ok(t, os.WriteFile(two.isoPath(0, imageFile(key)), []byte("another one"), 0o644))
	if err := two.d.SetMedia(ctx, two.onB.UUID, key, false); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("a copy with another hash: %v", err)
	}
	if there(two.isoPath(1, imageFile(key))) || there(two.isoPath(1, readyFile(key))) {
		t.Error("it is left on the host")
	}
	inDrive(t, two.d, two.onB.UUID, "")
	ok(t, two.d.DeleteISO(ctx, key))
}

func (two twoHosts) move(t *testing.T) {
	ctx := t.Context()
	if _, err := two.d.Inspect(ctx, two.onA.UUID); err != nil {
		t.Fatal(err)
	}
	two.onA.Move(two.daemons[1])
	view, err := two.d.Inspect(ctx, two.onA.UUID)
	ok(t, err)
	if view.Ref != two.onA.UUID || view.Running {
		t.Errorf("it is %+v", view)
	}
	ok(t, two.d.EnsureVolume(ctx, backend.VolumeSpec{ID: "moved", Bytes: testBytes, Ref: two.onA.UUID}))
	ok(t, two.d.EnsureAttached(ctx, two.onA.UUID, "moved"))
	conn := two.daemons[1].Connect(t)
	dom, err := conn.DomainLookupByUUID(lv.UUID(uuid.MustParse(two.onA.UUID)))
	ok(t, err)
	ok(t, conn.DomainUndefineFlags(dom, 0))
	if _, err := two.d.Inspect(ctx, two.onA.UUID); !errors.Is(err, backend.ErrVMNotFound) {
		t.Errorf("it vanished: %v", err)
	}
	ok(t, two.d.EnsureDetached(ctx, two.onA.UUID, "moved", backend.DetachOptions{}))
	ok(t, two.d.DeleteVolume(ctx, "moved"))
}

func TestSharedImages(t *testing.T) {
	a, b := libvirttest.Start(t), libvirttest.Start(t)
	r := newRig(t, a, b)
	r.hosts[1].ISOPool = b.NewPool(t, a.PoolDir(r.hosts[0].ISOPool))
	d := r.open(t, Options{})
	ctx := t.Context()
	g := r.guest(t, 1, libvirttest.GuestOptions{Off: true})
	key := importISO(t, d, "shared")
	before, err := os.Stat(r.isoPath(0, imageFile(key)))
	ok(t, err)
	ok(t, d.SetMedia(ctx, g.UUID, key, false))
	after, err := os.Stat(r.isoPath(0, imageFile(key)))
	ok(t, err)
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the shared image was written again")
	}
	inDrive(t, d, g.UUID, key)
	if err := d.DeleteISO(ctx, key); !errors.Is(err, backend.ErrInUse) {
		t.Errorf("delete: %v", err)
	}
	ok(t, d.SetMedia(ctx, g.UUID, "", false))
	ok(t, d.DeleteISO(ctx, key))
}

func TestHostAway(t *testing.T) {
	a, b := libvirttest.Start(t), libvirttest.Start(t)
	r := newRig(t, a, b)
	d := r.open(t, Options{})
	ctx := t.Context()
	onA, onB := r.guest(t, 0, libvirttest.GuestOptions{Ports: 4}), r.guest(t, 1, libvirttest.GuestOptions{Ports: 4})
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "vb", Bytes: testBytes, Ref: onB.UUID}))
	key := importISO(t, d, "image")

	watching, stop := context.WithCancel(ctx)
	defer stop()
	events := make(chan backend.GuestEvent, 100)
	watched := make(chan error, 1)
	go func() { watched <- d.Watch(watching, func(e backend.GuestEvent) { events <- e }) }()
	b.Kill(t)
	away := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	away("attach there", d.EnsureAttached(ctx, onB.UUID, "vb"))
	_, err := d.Inspect(ctx, onB.UUID)
	away("inspect there", err)
	_, err = d.Inspect(ctx, uuid.NewString())
	away("inspect who knows where", err)
	_, err = d.InspectAll(ctx)
	away("inspect all", err)
	away("detach there", d.EnsureDetached(ctx, onB.UUID, "vb", backend.DetachOptions{}))

	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "va", Bytes: testBytes, Ref: onA.UUID}))
	ok(t, d.EnsureAttached(ctx, onA.UUID, "va"))
	ok(t, d.GrowVolume(ctx, "va", 2*testBytes))
	ok(t, d.SetMedia(ctx, onA.UUID, key, false))
	ok(t, d.SetMedia(ctx, onA.UUID, "", false))
	ok(t, d.EnsureDetached(ctx, onA.UUID, "va", backend.DetachOptions{}))
	away("delete what it may use", d.DeleteVolume(ctx, "va"))
	away("delete an image it may use", d.DeleteISO(ctx, key))

	b.Restart(t)
	r.comesBack(t, d, onB, events)
	ok(t, d.DeleteVolume(ctx, "va"))
	ok(t, d.DeleteISO(ctx, key))
	stop()
	ok(t, <-watched)
}

// comesBack wants the second host's guest to be served, and heard of, again.
func (r *rig) comesBack(t *testing.T, d *Driver, onB *libvirttest.Guest, events <-chan backend.GuestEvent) {
	t.Helper()
	ctx := t.Context()
	for e := range events {
		if e == (backend.GuestEvent{What: backend.GuestUnknown}) {
			break
		}
	}
	until(t, "attach there", func() error { return d.EnsureAttached(ctx, onB.UUID, "vb") })
	agree(t, d, onB.UUID, "vb", true)
	for len(events) > 0 {
		<-events
	}
	onB.Destroy()
	select {
	case e := <-events:
		if e != (backend.GuestEvent{Ref: onB.UUID, What: backend.GuestStopped}) {
			t.Errorf("heard %+v", e)
		}
	case <-time.After(time.Minute):
		t.Error("no event after the reconnection")
	}
}

// TestBootsFromCD: the order is what firmware does, not only what a definition says.
func TestBootsFromCD(t *testing.T) {
	daemon := libvirttest.Shared(t)
	r := newRig(t, daemon)
	d := r.open(t, Options{})
	ctx := t.Context()
	g := daemon.NewGuest(t, libvirttest.GuestOptions{Root: libvirttest.BootDisk(t, "disk"), Ports: 4})
	content, err := os.ReadFile(libvirttest.BootISO(t, "CD", "cd"))
	ok(t, err)
	key := importISO(t, d, string(content))
	ok(t, d.SetMedia(ctx, g.UUID, key, false))
	g.WaitSerial("started disk")
	boots := func(cdFirst, wantPending bool) {
		t.Helper()
		pending, err := d.SetBoot(ctx, g.UUID, cdFirst)
		ok(t, err)
		if pending != wantPending {
			t.Errorf("CD first %t: pending %t", cdFirst, pending)
		}
	}
	cycle := func(want string) {
		t.Helper()
		ok(t, d.Power(ctx, g.UUID, backend.PowerOff))
		ok(t, d.Power(ctx, g.UUID, backend.PowerStart))
		g.WaitSerial("started " + want)
	}
	boots(true, true)
	cycle("cd")
	boots(true, false)
	boots(false, true)
	cycle("disk")
	boots(true, true)
	ok(t, d.SetMedia(ctx, g.UUID, "", false))
	cycle("disk") // an empty drive is passed over
	view, err := d.Inspect(ctx, g.UUID)
	ok(t, err)
	if !view.CDFirst || !slices.Equal(view.VolumeIDs, []string(nil)) {
		t.Errorf("it is %+v", view)
	}
}

// TestDrives: each bus a drive may be on.
func TestDrives(t *testing.T) {
	for _, bus := range []string{busSATA, busSCSI, busIDE} {
		t.Run(bus, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, libvirttest.Shared(t))
			d := r.open(t, Options{CDBus: bus})
			ctx := t.Context()
			ref := r.guest(t, 0, libvirttest.GuestOptions{CDBus: bus, Ports: 4}).UUID
			one, two := importISO(t, d, "one"), importISO(t, d, "two")
			for _, key := range []string{one, two, "", one} {
				ok(t, d.SetMedia(ctx, ref, key, false))
				inDrive(t, d, ref, key)
			}
			id := "v-" + bus
			ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: testBytes}))
			ok(t, d.EnsureAttached(ctx, ref, id))
			agree(t, d, ref, id, true)
		})
	}
}
