package libvirt

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lv "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"libvirt.org/go/libvirtxml"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/libvirttest"
	"github.com/drivebay/drivebay/internal/testneed"
)

const testBytes = 4 << 20

// until repeats a call for as long as a caller that may repeat would.
func until(t testing.TB, what string, call func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		if err = call(); err == nil {
			return
		}
		if backend.IsPermanent(err) {
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
}

// onHost reads the guest as it is on its host.
func onHost(t testing.TB, d *Driver, ref string) (*conn, *guest) {
	t.Helper()
	c, dom, err := d.find(t.Context(), ref)
	ok(t, err)
	ok(t, d.unmarked(t.Context(), ref))
	g, err := c.read(t.Context(), dom)
	ok(t, err)
	return c, g
}

// agree wants the guest's two definitions and its QEMU to have the volume, or
// all three not to.
func agree(t testing.TB, d *Driver, ref, id string, want bool) {
	t.Helper()
	ctx := t.Context()
	c, g := onHost(t, d, ref)
	p, err := c.volumePool(ctx)
	ok(t, err)
	nodes, err := g.nodesOf(ctx, p, id)
	ok(t, err)
	live, config := g.live.volume(p, id) != nil, g.config.volume(p, id) != nil
	if live != want || config != want || (len(nodes) > 0) != want {
		t.Fatalf("connected should be %t; live %t, config %t, QEMU's nodes %v", want, live, config, nodes)
	}
	if g.live.busy != "" {
		t.Fatalf("the mark of %s is left", g.live.busy)
	}
}

const killTime = 30 * time.Second

// TestKilledDaemon kills libvirtd in the middle of every kind of call. A repeat
// ends as if nothing had been, and nothing is left in QEMU.
//
// DRIVEBAY_TEST_ROUNDS sets how often, within killTime.
func TestKilledDaemon(t *testing.T) {
	daemon := libvirttest.Start(t)
	r := newRig(t, daemon)
	d := r.open(t, Options{})
	ctx := t.Context()
	ref := r.guest(t, 0, libvirttest.GuestOptions{}).UUID
	id, key := "kill-1", importISO(t, d, "content")
	size := int64(testBytes)
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: size}))
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "other", Bytes: size}))

	var want atomic.Value // how the call begins at which libvirtd is killed
	want.Store("none")
	reached := make(chan struct{}, 1)
	d.onCall = func(doing string) {
		if strings.HasPrefix(doing, want.Load().(string)) {
			select {
			case reached <- struct{}{}:
			default:
			}
		}
	}
	kinds := []struct {
		name string
		at   []string
		call func() error
		then func()
	}{
		{"attach", []string{"mark", "attach disk"}, func() error { return d.EnsureAttached(ctx, ref, id) }, func() { agree(t, d, ref, id, true) }},
		{"grow", []string{"grow disk"}, func() error { return d.GrowVolume(ctx, id, size) }, func() { agree(t, d, ref, id, true) }},
		{"insert", []string{"change the medium"}, func() error { return d.SetMedia(ctx, ref, key, false) }, func() { inDrive(t, d, ref, key); mediumNodes(t, d, ref, key, true) }},
		{"detach", []string{"mark", "detach disk", "read domain"}, func() error { return d.EnsureDetached(ctx, ref, id, backend.DetachOptions{}) }, func() { agree(t, d, ref, id, false) }},
		{"eject", []string{"change the medium"}, func() error { return d.SetMedia(ctx, ref, "", true) }, func() { inDrive(t, d, ref, ""); mediumNodes(t, d, ref, key, false) }},
	}
	begun := time.Now()
	for round := range testneed.Rounds(2, 100) {
		if round >= 2 && time.Since(begun) > killTime {
			t.Logf("killed %d times in %v", round*len(kinds), time.Since(begun))
			break
		}
		size += testBytes
		for _, k := range kinds {
			until(t, "connect", func() error { _, err := d.Inspect(ctx, ref); return err })
			at, delay := k.at[rand.N(len(k.at))], rand.N(20*time.Millisecond)
			want.Store(at)
			done := make(chan error, 1)
			go func() { done <- k.call() }()
			select {
			case <-reached:
			case err := <-done:
				if len(reached) == 0 {
					t.Fatalf("%s ended ahead of %q: %v", k.name, at, err)
				}
				done <- err
			}
			<-time.After(delay)
			daemon.Kill(t)
			err := <-done
			want.Store("none")
			daemon.Restart(t)
			t.Logf("round %d: %s, killed %s after %q began: %v", round, k.name, delay, at, err)
			for len(reached) > 0 {
				<-reached
			}
			if err != nil && backend.IsPermanent(err) {
				t.Fatalf("%s: %v", k.name, err)
			}
			until(t, k.name, k.call)
			k.then()
		}
		// Neither the volume nor the names it took in QEMU are in the way of others.
		until(t, "attach another", func() error { return d.EnsureAttached(ctx, ref, "other") })
		until(t, "detach another", func() error { return d.EnsureDetached(ctx, ref, "other", backend.DetachOptions{}) })
		agree(t, d, ref, "other", false)
		view, err := d.InspectVolume(ctx, id)
		ok(t, err)
		if view.Bytes != size || view.Ref != "" {
			t.Fatalf("the volume is %+v, want %d bytes", view, size)
		}
	}
	ok(t, d.DeleteVolume(ctx, id))
}

func inDrive(t testing.TB, d *Driver, ref, key string) {
	t.Helper()
	ctx := t.Context()
	c, g := onHost(t, d, ref)
	p, err := c.isoPool(ctx)
	ok(t, err)
	for _, m := range g.both() {
		if got := p.keyOf(m.cdrom(busSATA).source); got != key {
			t.Fatalf("in the drive is %q, want %q", got, key)
		}
	}
}

// mediumNodes wants QEMU to have the image open, or not to.
func mediumNodes(t testing.TB, d *Driver, ref, key string, want bool) {
	t.Helper()
	ctx := t.Context()
	c, g := onHost(t, d, ref)
	p, err := c.isoPool(ctx)
	ok(t, err)
	nodes, err := g.nodesAt(ctx, func(file string) bool { return file == p.sourceOf(imageFile(key)) })
	ok(t, err)
	if (len(nodes) > 0) != want {
		t.Fatalf("QEMU has the image open as %v, want %t", nodes, want)
	}
}

// orphan leaves in the guest's QEMU what a libvirtd that dies late in an attach
// leaves: block nodes and a device that no definition names, and our mark.
func orphan(t testing.TB, d *Driver, ref, id string) {
	t.Helper()
	ctx := t.Context()
	c, g := onHost(t, d, ref)
	p, err := c.volumePool(ctx)
	ok(t, err)
	ok(t, c.setBusy(ctx, g.dom, id))
	path := p.sourceOf(p.fileOf(id))
	for _, step := range []struct {
		command string
		args    map[string]any
	}{
		{"blockdev-add", map[string]any{"driver": "file", "filename": path, "node-name": "left-storage"}},
		{"blockdev-add", map[string]any{"driver": "raw", "file": "left-storage", "node-name": "left-format"}},
		{"device_add", map[string]any{"driver": "scsi-hd", "bus": "scsi0.0", "scsi-id": 200, "drive": "left-format", "id": alias(id)}},
	} {
		_, err := g.monitor(ctx, step.command, step.args)
		ok(t, err)
	}
	nodes, err := g.nodesOf(ctx, p, id)
	ok(t, err)
	if !slices.Equal(nodes, []string{"left-format", "left-storage"}) {
		t.Fatalf("QEMU has %v", nodes)
	}
}

func TestInterruptedAttach(t *testing.T) {
	r := newRig(t, libvirttest.Shared(t))
	d := r.open(t, Options{})
	ctx := t.Context()
	ref := r.guest(t, 0, libvirttest.GuestOptions{Ports: 4}).UUID
	share := func(id string) {
		ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: testBytes}))
		// QEMU, which is not root, opens it by itself here.
		ok(t, os.Chmod(r.path(id), 0o666))
	}
	t.Run("Attach", func(t *testing.T) {
		share("a")
		orphan(t, d, ref, "a")
		ok(t, d.EnsureAttached(ctx, ref, "a"))
		agree(t, d, ref, "a", true)
		ok(t, d.EnsureDetached(ctx, ref, "a", backend.DetachOptions{}))
	})
	t.Run("AttachAnother", func(t *testing.T) {
		share("b")
		share("c")
		orphan(t, d, ref, "b")
		ok(t, d.EnsureAttached(ctx, ref, "c"))
		agree(t, d, ref, "c", true)
		agree(t, d, ref, "b", false)
	})
	t.Run("Delete", func(t *testing.T) {
		share("d")
		orphan(t, d, ref, "d")
		ok(t, d.DeleteVolume(ctx, "d"))
		agree(t, d, ref, "d", false)
	})
	t.Run("Reconnect", func(t *testing.T) {
		share("e")
		orphan(t, d, ref, "e")
		other := r.open(t, Options{})
		_, err := other.Inspect(ctx, ref)
		ok(t, err)
		c, g := onHost(t, other, ref)
		p, err := c.volumePool(ctx)
		ok(t, err)
		if nodes, err := g.nodesOf(ctx, p, "e"); err != nil || len(nodes) > 0 {
			t.Fatalf("after the connection QEMU has %v, %v", nodes, err)
		}
	})
}

// importISO stores an image with the content and returns its key.
func importISO(t testing.TB, d *Driver, content string) string {
	t.Helper()
	key := hashOf(content)
	path := filepath.Join(t.TempDir(), "image")
	ok(t, os.WriteFile(path, []byte(content), 0o600))
	ok(t, d.ImportISO(t.Context(), backend.ISOSpec{Key: key, Bytes: int64(len(content))}, path))
	return key
}

// TestGuestKeepsVolume: without a system in the guest nothing lets go of a
// virtio disk.
func TestGuestKeepsVolume(t *testing.T) {
	r := newRig(t, libvirttest.Shared(t))
	d := r.open(t, Options{DiskBus: busVirtio})
	ctx := t.Context()
	g := r.guest(t, 0, libvirttest.GuestOptions{Ports: 6})
	for _, id := range []string{"a", "b"} {
		ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: testBytes}))
		ok(t, d.EnsureAttached(ctx, g.UUID, id))
	}
	for range 2 {
		begun := time.Now()
		err := d.EnsureDetached(ctx, g.UUID, "a", backend.DetachOptions{Timeout: 300 * time.Millisecond})
		if !errors.Is(err, backend.ErrGuestDidNotRelease) {
			t.Fatalf("got %v", err)
		}
		if took := time.Since(begun); took < 300*time.Millisecond {
			t.Errorf("the guest had %s", took)
		}
		agree(t, d, g.UUID, "a", true)
		if err := d.DeleteVolume(ctx, "a"); !errors.Is(err, backend.ErrInUse) {
			t.Fatalf("delete: %v", err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- d.EnsureDetached(ctx, g.UUID, "a", backend.DetachOptions{Timeout: time.Minute}) }()
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "c", Bytes: testBytes})) // others are not held up
	g.Destroy()
	ok(t, <-done)
	view, err := d.Inspect(ctx, g.UUID)
	ok(t, err)
	if !slices.Equal(view.VolumeIDs, []string{"b"}) {
		t.Fatalf("the guest has %v", view.VolumeIDs)
	}
}

// TestForeignUses: what drivebay did not connect counts as well.
func TestForeignUses(t *testing.T) {
	daemon := libvirttest.Shared(t)
	r := newRig(t, daemon)
	d := r.open(t, Options{})
	ctx := t.Context()
	one, two := r.guest(t, 0, libvirttest.GuestOptions{Off: true}), r.guest(t, 0, libvirttest.GuestOptions{Off: true})
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "a", Bytes: testBytes}))
	domain := one.XML(true)
	disk := domain.Devices.Disks[0]
	disk.Source = &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: r.path("a")}}
	disk.Target = &libvirtxml.DomainDiskTarget{Dev: "vdb", Bus: busVirtio}
	disk.Boot, disk.Address = nil, nil
	domain.Devices.Disks = append(domain.Devices.Disks, disk)
	text, err := domain.Marshal()
	ok(t, err)
	_, err = daemon.Connect(t).DomainDefineXMLFlags(text, 0)
	ok(t, err)

	if err := d.DeleteVolume(ctx, "a"); !errors.Is(err, backend.ErrInUse) {
		t.Errorf("delete: %v", err)
	}
	if err := d.EnsureAttached(ctx, two.UUID, "a"); !errors.Is(err, backend.ErrInUse) {
		t.Errorf("attach: %v", err)
	}
	ok(t, d.EnsureAttached(ctx, one.UUID, "a")) // it is connected
	if n := len(one.XML(true).Devices.Disks); n != 3 {
		t.Errorf("the guest has %d disks", n)
	}
	ok(t, d.EnsureDetached(ctx, one.UUID, "a", backend.DetachOptions{}))
	ok(t, d.DeleteVolume(ctx, "a"))
}

// TestDetachByName: libvirt goes by the target's name alone, so the disk's place
// is read anew.
func TestDetachByName(t *testing.T) {
	r := newRig(t, libvirttest.Shared(t))
	d := r.open(t, Options{})
	ctx := t.Context()
	g := r.guest(t, 0, libvirttest.GuestOptions{Ports: 4})
	for _, id := range []string{"a", "b"} {
		ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: testBytes}))
		ok(t, d.EnsureAttached(ctx, g.UUID, id))
	}
	ok(t, d.EnsureDetached(ctx, g.UUID, "a", backend.DetachOptions{}))
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "c", Bytes: testBytes}))
	ok(t, d.EnsureAttached(ctx, g.UUID, "c")) // where a was
	ok(t, d.EnsureDetached(ctx, g.UUID, "a", backend.DetachOptions{}))
	agree(t, d, g.UUID, "b", true)
	agree(t, d, g.UUID, "c", true)
	for _, inactive := range []bool{false, true} {
		for _, disk := range g.XML(inactive).Devices.Disks[1:] {
			if disk.Device != "disk" {
				continue
			}
			id := strings.TrimPrefix(disk.Alias.Name, aliasPrefix)
			if disk.Driver.Type != "raw" || disk.Driver.Cache != "none" || disk.Driver.Discard != "unmap" || disk.Serial != id {
				t.Errorf("disk %s is %+v with serial %q", id, disk.Driver, disk.Serial)
			}
		}
	}
}

// TestMissingMedium: an image that has vanished keeps no guest from starting.
func TestMissingMedium(t *testing.T) {
	daemon := libvirttest.Shared(t)
	r := newRig(t, daemon)
	d := r.open(t, Options{})
	ctx := t.Context()
	g := r.guest(t, 0, libvirttest.GuestOptions{Off: true})
	key := importISO(t, d, "an image")
	ok(t, d.SetMedia(ctx, g.UUID, key, false))
	ok(t, os.Remove(filepath.Join(daemon.PoolDir(r.hosts[0].ISOPool), imageFile(key))))
	ok(t, d.Power(ctx, g.UUID, backend.PowerStart))
	ok(t, d.SetMedia(ctx, g.UUID, "", false))

	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "a", Bytes: testBytes}))
	ok(t, d.Power(ctx, g.UUID, backend.PowerOff))
	ok(t, d.EnsureAttached(ctx, g.UUID, "a"))
	ok(t, os.Remove(r.path("a")))
	if err := d.Power(ctx, g.UUID, backend.PowerStart); !errors.Is(err, backend.ErrVolumeNotFound) {
		t.Errorf("started without its volume: %v", err)
	}
}

// TestInterruptedCreate: what a create that was cut off leaves is finished.
func TestInterruptedCreate(t *testing.T) {
	r := newRig(t, libvirttest.Shared(t))
	d := r.open(t, Options{})
	ctx := t.Context()
	ref := r.guest(t, 0, libvirttest.GuestOptions{Off: true}).UUID
	ok(t, os.WriteFile(r.path("a"), nil, 0o600))
	if _, err := d.InspectVolume(ctx, "a"); !errors.Is(err, backend.ErrVolumeNotFound) {
		t.Errorf("an empty file is a volume: %v", err)
	}
	if err := d.EnsureAttached(ctx, ref, "a"); !errors.Is(err, backend.ErrVolumeNotFound) {
		t.Errorf("an empty file is attached: %v", err)
	}
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "a", Bytes: testBytes}))
	if view, err := d.InspectVolume(ctx, "a"); err != nil || view.Bytes != testBytes {
		t.Errorf("it is %+v, %v", view, err)
	}
	// Another's file appears behind libvirt's back.
	ok(t, os.WriteFile(r.path("b"), make([]byte, testBytes), 0o600))
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "b", Bytes: testBytes}))
	ok(t, os.WriteFile(r.path("c"), make([]byte, 512), 0o600))
	if err := d.EnsureVolume(ctx, backend.VolumeSpec{ID: "c", Bytes: testBytes}); !errors.Is(err, backend.ErrConflict) {
		t.Errorf("over another's file: %v", err)
	}
}

// TestSilentHost: a host that takes calls and answers none.
func TestSilentHost(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	ok(t, err)
	var (
		wg    sync.WaitGroup
		conns []net.Conn
	)
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
		}
	})
	d, err := Open(Options{
		Hosts:       []Host{{Name: "a", URI: "qemu+unix:///system?socket=" + path, Pool: "p"}},
		CallTimeout: 100 * time.Millisecond,
	})
	ok(t, err)
	for range 3 {
		_, err := d.Inspect(context.Background(), uuid.NewString())
		if !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan error, 1)
	go func() { watched <- d.Watch(ctx, func(backend.GuestEvent) {}) }()
	cancel()
	ok(t, <-watched)
	ok(t, d.Close())
	ok(t, l.Close())
	wg.Wait()
	for _, c := range conns {
		_ = c.Close() // the driver has closed its end
	}
}

// TestCallDeadline: a call that gets no answer loses its connection and nothing
// else.
func TestCallDeadline(t *testing.T) {
	r := newRig(t, libvirttest.Shared(t))
	d := r.open(t, Options{})
	ctx := t.Context()
	c, err := d.anyHost(ctx)
	ok(t, err)
	release := make(chan struct{})
	err = c.doFor(ctx, 50*time.Millisecond, "wait", func() error { <-release; return nil })
	close(release)
	if !errors.Is(err, backend.ErrUnavailable) || !c.isLost() {
		t.Errorf("got %v, lost %t", err, c.isLost())
	}
	again, err := d.anyHost(ctx)
	ok(t, err)
	if again == c {
		t.Error("the connection is used on")
	}
	if err := c.do(ctx, "ask", func() error { _, err := c.l.ConnectGetLibVersion(); return err }); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("a dead connection answers %v", err)
	}
	if _, err := again.domains(ctx); err != nil || isCode(err, lv.ErrOk) {
		t.Error(err)
	}
}
