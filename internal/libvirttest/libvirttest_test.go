package libvirttest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"libvirt.org/go/libvirtxml"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestDaemon(t *testing.T) {
	d := Start(t)
	g := d.NewGuest(t, GuestOptions{})
	if !g.Running() {
		t.Error("the guest does not run")
	}
	d.Kill(t)
	if err := d.client().Connect(); err == nil {
		t.Error("libvirtd answers after it was killed")
	}
	d.Restart(t)
	if !g.Running() {
		t.Error("the guest did not outlive libvirtd")
	}
	g.Destroy()
	if g.Running() {
		t.Error("the guest outlives its end")
	}
	g.Start()
	g.Reset()
	if !g.Running() {
		t.Error("the guest does not run after a reset")
	}
}

func TestLinux(t *testing.T) {
	d := Shared(t)
	began := time.Now()
	g := d.LinuxGuest(t, GuestOptions{})
	t.Logf("up after %v", time.Since(began))
	pool := d.NewPool(t, "")
	for _, bus := range []string{"scsi", "virtio"} {
		func() {
			path := filepath.Join(d.PoolDir(pool), bus)
			if err := os.WriteFile(path, make([]byte, 8<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			g.Attach(&libvirtxml.DomainDisk{
				Device: "disk", Serial: "volume-" + bus,
				Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw", Cache: "none"},
				Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}},
				Target: &libvirtxml.DomainDiskTarget{Dev: map[string]string{"scsi": "sdb", "virtio": "vdb"}[bus], Bus: bus},
			})
			g.WaitDisk("volume-"+bus, 8<<20)
			g.Write("volume-"+bus, 5000, []byte("GUEST-WROTE"))
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(content[5000:5011]); got != "GUEST-WROTE" {
				t.Errorf("the file has %q where the guest wrote", got)
			}
			if got := string(g.Read("volume-"+bus, 5000, 11)); got != "GUEST-WROTE" {
				t.Errorf("the guest reads %q", got)
			}
		}()
	}
	g.Reboot()
	g.WaitDisk("volume-scsi", 8<<20)
	g.Poweroff()
}
