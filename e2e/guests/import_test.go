package guests

import (
	"os"
	"path/filepath"
	"testing"

	"libvirt.org/go/libvirtxml"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

// TestImport is a guest that was there before the server, with a data disk of a
// name of its own: it becomes a device without being touched, and the disk a
// volume like any other.
func TestImport(t *testing.T) {
	need(t)
	d := libvirttest.Shared(t)
	g := d.LinuxGuest(t, libvirttest.GuestOptions{Root: libvirttest.BootDisk(t, "root")})
	theirs := d.PoolDir(d.NewPool(t, ""))
	path := filepath.Join(theirs, "customer-data.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 50*gib); err != nil {
		t.Fatal(err)
	}
	g.Attach(&libvirtxml.DomainDisk{
		Device: "disk", Serial: "theirs",
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw", Cache: "none"},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}},
		Target: &libvirtxml.DomainDiskTarget{Dev: "sdb", Bus: "scsi"},
	})
	g.WaitDisk("theirs", 50*gib)
	g.Write("theirs", 4096, []byte("older than the server"))
	s := newSite(t, d, d.NewPool(t, ""), d.NewPool(t, ""))
	before := g.XML(true)

	seen := s.imported(g, "--dry-run")
	if seen.Result != api.ImportedGuestResultImportable || seen.DeviceID != nil {
		t.Fatalf("a dry run says %+v", seen)
	}
	made := s.imported(g)
	if made.Result != api.ImportedGuestResultImported || made.DeviceID == nil || len(made.Disks) != 2 || made.Disks[1].VolumeID == nil {
		t.Fatalf("the import says %+v", made)
	}
	if now := g.XML(true); len(now.Devices.Disks) != len(before.Devices.Disks) {
		t.Errorf("the guest was touched: %+v", now.Devices.Disks)
	}
	device, id := *made.DeviceID, *made.Disks[1].VolumeID
	if v := s.volume(id); v.SizeBytes != 50*gib || v.DeviceID == nil || *v.DeviceID != device || v.MonthlyPrice == nil {
		t.Errorf("the volume is %+v", v)
	}
	s.healthy()
	s.done(s.resize(id, device, 100))
	g.WaitDisk("theirs", 100*gib)
	if got := length(t, path); got != 100*gib {
		t.Errorf("the file has %d bytes", got)
	}
	s.done(s.detach(device, id))
	g.WaitNoDisk("theirs")
	s.done(s.attach(device, id))
	g.WaitDisk(id, 100*gib) // connected by us, it has the volume's serial
	if got := string(g.Read(id, 4096, 21)); got != "older than the server" {
		t.Errorf("the content is %q", got)
	}
	s.done(s.remove(id, device))
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file of a deleted volume: %v", err)
	}
	s.healthy()
}

// imported runs the import of one guest and returns what became of it.
func (s *site) imported(g *libvirttest.Linux, flags ...string) api.ImportedGuest {
	s.t.Helper()
	args := append([]string{"vps", "import", "--facility", facility, "--host", "one", "--client", s.tenant, g.Name}, flags...)
	list := must[[]api.ImportedGuest](s.server, args...)
	if len(list) != 1 {
		s.t.Fatalf("imported %+v", list)
	}
	return list[0]
}
