package libvirttest

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"libvirt.org/go/libvirtxml"
)

// TestCeph is an image of Ceph's in a pool of libvirt's, plugged into a guest.
func TestCeph(t *testing.T) {
	began := time.Now()
	c := Ceph(t)
	t.Logf("Ceph up after %v", time.Since(began))
	d := Shared(t)
	cephPool := c.NewPool(t)
	c.Rbd(t, "create", "--size", "64M", cephPool+"/disk")
	pool := d.NewRBDPool(t, c, cephPool)
	conn := d.Connect(t)
	found, err := conn.StoragePoolLookupByName(pool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.StorageVolLookupByName(found, "disk"); err != nil {
		t.Errorf("libvirt does not find the image: %v", err)
	}
	g := d.LinuxGuest(t, GuestOptions{})
	g.Attach(&libvirtxml.DomainDisk{
		Device: "disk", Serial: "volume",
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"},
		Auth: &libvirtxml.DomainDiskAuth{
			Username: cephUser, Secret: &libvirtxml.DomainDiskSecret{Type: "ceph", UUID: d.secretUUID},
		},
		Source: &libvirtxml.DomainDiskSource{Network: &libvirtxml.DomainDiskSourceNetwork{
			Protocol: "rbd", Name: cephPool + "/disk",
			Hosts: []libvirtxml.DomainDiskSourceHost{{Name: "127.0.0.1", Port: strconv.Itoa(c.port)}},
		}},
		Target: &libvirtxml.DomainDiskTarget{Dev: "sdb", Bus: "scsi"},
	})
	g.WaitDisk("volume", 64<<20)
	g.Write("volume", 1<<20, []byte("GUEST-WROTE"))
	if status := c.Rbd(t, "status", cephPool+"/disk"); !strings.Contains(status, "watcher=") {
		t.Errorf("nobody watches the image a guest has: %s", status)
	}
	if got := c.Rbd(t, "export", "--no-progress", cephPool+"/disk", "-"); got[1<<20:1<<20+11] != "GUEST-WROTE" {
		t.Error("the image lacks what the guest wrote")
	}
}
