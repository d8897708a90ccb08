package libvirttest

import (
	"os"
	"testing"

	libvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"
)

// insert puts an image into a drive, or nothing.
func insert(g *Guest, path string) {
	g.t.Helper()
	for _, disk := range g.XML(false).Devices.Disks {
		if disk.Alias != nil && disk.Alias.Name == CDAlias {
			disk.Source = &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}}
			g.Update(&disk)
		}
	}
}

// TestBoot is a guest that starts from its disk, and without one from its CD.
func TestBoot(t *testing.T) {
	d := Shared(t)
	iso := BootISO(t, "DISC", "from-cd")
	g := d.NewGuest(t, GuestOptions{Root: BootDisk(t, "from-disk")})
	g.WaitSerial("started from-disk")
	for _, bus := range []string{"sata", "scsi", "ide"} {
		d.NewGuest(t, GuestOptions{CDBus: bus, ISO: iso}).WaitSerial("started from-cd")
	}
}

// TestTray is a guest that sees what is in its drive, and may lock it.
func TestTray(t *testing.T) {
	d := Shared(t)
	iso := BootISO(t, "DISC ONE", "x")
	info, err := os.Stat(iso)
	if err != nil {
		t.Fatal(err)
	}
	g := d.LinuxGuest(t, GuestOptions{})
	g.WaitCD(CD{})
	insert(g.Guest, iso)
	g.WaitCD(CD{Label: "DISC ONE", Bytes: info.Size()})
	g.LockTray(true)
	err = g.call(func(conn *libvirt.Libvirt, domain libvirt.Domain) error {
		return conn.DomainUpdateDeviceFlags(domain, `<disk type='file' device='cdrom'><target dev='sda' bus='scsi'/><readonly/></disk>`, libvirt.DomainDeviceModifyLive)
	})
	if !is(err, libvirt.ErrOperationFailed) {
		t.Errorf("eject from a locked tray: %v", err)
	}
	g.LockTray(false)
	insert(g.Guest, "")
	g.WaitCD(CD{})
}
