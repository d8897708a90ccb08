package guests

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"libvirt.org/go/libvirtxml"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/libvirttest"
	"github.com/drivebay/drivebay/internal/testneed"
)

// TestLife is the life of volumes and of an ISO, as two guests with an OS see
// it: on a directory, and then on Ceph.
func TestLife(t *testing.T) {
	need(t)
	d := libvirttest.Shared(t)
	a, b := d.LinuxGuest(t, libvirttest.GuestOptions{Off: true}), d.LinuxGuest(t, libvirttest.GuestOptions{Off: true})
	a.Start()
	b.Start()
	pool, isos := d.NewPool(t, ""), d.NewPool(t, "")
	s := newSite(t, d, pool, isos)
	onA, onB := s.device(a.Guest), s.device(b.Guest)
	a.WaitBoots(1)
	b.WaitBoots(1)
	id := s.newVolume(onA, 50)
	file := filepath.Join(d.PoolDir(pool), id+".raw")
	s.life(id, onA, onB, a, b, func(offset int64, n int) []byte { return readAt(t, file, offset, n) })
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file of a deleted volume: %v", err)
	}
	s.media(a, onA)
	s.off(a, onA)
	s.kill()

	t.Run("Ceph", func(t *testing.T) {
		c := libvirttest.Ceph(t)
		cephPool := c.NewPool(t)
		s := newSite(t, d, d.NewRBDPool(t, c, cephPool), isos)
		onA, onB := s.device(a.Guest), s.device(b.Guest)
		s.life(s.newVolume(onA, 50), onA, onB, a, b, nil)
		s.watched(c, cephPool, onA, a.Guest)
		if left := strings.TrimSpace(c.Rbd(t, "ls", cephPool)); left != "" {
			t.Errorf("left on Ceph: %s", left)
		}
	})
}

// readAt reads from a file of the host.
func readAt(t testing.TB, path string, offset int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, n)
	if _, err := f.ReadAt(data, offset); err != nil {
		t.Fatal(err)
	}
	return data
}

// life takes a new volume of 50 GiB on the device of guest a through all it can
// go through. read reads it on the host, nil where that cannot be.
func (s *site) life(id string, onA, onB int64, a, b *libvirttest.Linux, read func(offset int64, n int) []byte) {
	s.t.Helper()
	data := []byte("written by the guest " + a.Name)
	a.WaitDisk(id, 50*gib)
	a.Write(id, 1<<20, data)
	if read != nil {
		if got := read(1<<20, len(data)); !bytes.Equal(got, data) {
			s.t.Errorf("on the host is %q, want %q", got, data)
		}
	}
	s.done(s.resize(id, onA, 100))
	a.WaitDisk(id, 100*gib)
	s.agree(a.Guest, onA)
	s.refused("volume_attached", attaching(onB, id))

	s.done(s.detach(onA, id))
	a.WaitNoDisk(id)
	s.done(s.attach(onB, id))
	b.WaitDisk(id, 100*gib)
	if got := b.Read(id, 1<<20, len(data)); !bytes.Equal(got, data) {
		s.t.Errorf("the other guest reads %q, want %q", got, data)
	}
	s.agree(a.Guest, onA)
	s.agree(b.Guest, onB)
	s.done(s.remove(id, onB))
	b.WaitNoDisk(id)
	s.agree(b.Guest, onB)
	s.healthy()
}

// media has a guest see an ISO, and lock its tray over it.
func (s *site) media(g *libvirttest.Linux, device int64) {
	s.t.Helper()
	path := libvirttest.BootISO(s.t, "DISC", "not-started")
	iso := s.readyISO(path, false)
	if iso.Label == nil || *iso.Label != "DISC" {
		s.t.Errorf("the ISO is %+v", iso)
	}
	s.done(s.insert(device, iso.ISOID, false))
	g.WaitCD(libvirttest.CD{Label: "DISC", Bytes: length(s.t, path)})
	s.agree(g.Guest, device)
	g.LockTray(true)
	s.fails(s.eject(device, false), "tray_locked")
	s.agree(g.Guest, device)
	s.done(s.eject(device, true))
	g.WaitCD(libvirttest.CD{})
	s.agree(g.Guest, device)
}

// off has a guest get a volume while it is off, and find it when it starts.
func (s *site) off(g *libvirttest.Linux, device int64) {
	s.t.Helper()
	g.Poweroff()
	s.healthy()
	if status := s.vps(device).Status; status != "Stopped" {
		s.t.Errorf("the device is %s", status)
	}
	id := s.newVolume(device, 50)
	s.done(s.resize(id, device, 100))
	s.done(s.power(device, api.PowerActionBoot))
	if status := s.vps(device).Status; status != "Running" {
		s.t.Errorf("the device is %s", status)
	}
	g.WaitBoots(1)
	g.WaitDisk(id, 100*gib)
	s.done(s.remove(id, device))
	g.WaitNoDisk(id)
	s.agree(g.Guest, device)
}

// watched has somebody outside of the facility use an image: a delete says so,
// and waits for its end.
func (s *site) watched(c *libvirttest.Cluster, cephPool string, device int64, g *libvirttest.Guest) {
	s.t.Helper()
	id := s.newVolume(device, 50)
	var disk *libvirtxml.DomainDisk
	for _, d := range g.XML(false).Devices.Disks {
		if d.Serial == id {
			disk = &d
		}
	}
	if disk == nil {
		s.t.Fatalf("the guest has no disk %s", id)
	}
	s.done(s.detach(device, id))

	far := libvirttest.Start(s.t)
	stranger := far.NewGuest(s.t, libvirttest.GuestOptions{Ports: 4})
	disk.Address = nil
	disk.Source.Network.Auth.Secret.UUID = secretOf(s.t, far, far.NewRBDPool(s.t, c, cephPool))
	stranger.Attach(disk)
	deletion := s.remove(id, 0)
	testneed.Eventually(s.t, "the delete says what it waits for", func() bool {
		now := s.task(deletion.TaskID, "0s")
		return now.Result == api.TaskResultPending && strings.Contains(now.Message, "has it open")
	})
	stranger.Destroy()
	s.done(deletion)
	s.healthy()
}

// secretOf is the UUID of the secret by which a pool of Ceph's is reached.
func secretOf(t testing.TB, d *libvirttest.Daemon, pool string) string {
	t.Helper()
	conn := d.Connect(t)
	found, err := conn.StoragePoolLookupByName(pool)
	if err != nil {
		t.Fatal(err)
	}
	text, err := conn.StoragePoolGetXMLDesc(found, 0)
	if err != nil {
		t.Fatal(err)
	}
	var x libvirtxml.StoragePool
	if err := x.Unmarshal(text); err != nil {
		t.Fatal(err)
	}
	return x.Source.Auth.Secret.UUID
}
