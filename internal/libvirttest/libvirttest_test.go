package libvirttest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	libvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/drivebay/drivebay/internal/testneed"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// TestDaemon is libvirtd killed and started again while its guest goes on.
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
	// Another guest: libvirt 9.0 may take the end of the process just destroyed for
	// that of the guest's next one.
	other := d.NewGuest(t, GuestOptions{Off: true})
	other.Start()
	other.Reset()
	if !other.Running() {
		t.Error("the guest does not run after a reset")
	}
}

// TestMove is a guest that another daemon takes over.
func TestMove(t *testing.T) {
	from, to := Start(t), Start(t)
	g := from.NewGuest(t, GuestOptions{Root: BootDisk(t, "moved"), Off: true})
	if g.Running() {
		t.Error("the guest runs")
	}
	g.Move(to)
	if names := guests(t, from); len(names) > 0 {
		t.Errorf("the guest has moved away from a daemon that knows %q", names)
	}
	g.Start()
	g.WaitSerial("started moved")
	if names := guests(t, to); len(names) != 1 || names[0] != g.Name {
		t.Errorf("the guest has moved to a daemon that knows %q", names)
	}
}

func guests(t *testing.T, d *Daemon) (names []string) {
	t.Helper()
	found, _, err := d.Connect(t).ConnectListAllDomains(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range found {
		names = append(names, g.Name)
	}
	return names
}

// mortalEnv has TestMortal wait for its end.
const mortalEnv = "LIBVIRTTEST_MORTAL"

// TestMortal is a test process that is killed: its guests end with it
// and its folder goes.
func TestMortal(t *testing.T) {
	if os.Getenv(mortalEnv) != "" {
		g := Start(t).NewGuest(t, GuestOptions{})
		fmt.Println("guest is", g.UUID, g.d.dir)
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed, or its parent ends
		return
	}
	Need(t)
	test := exec.Command(os.Args[0], "-test.run", "^TestMortal$")
	test.Env = append(os.Environ(), mortalEnv+"=1")
	out, err := test.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := test.StdinPipe(); err != nil { // open as long as this process lives
		t.Fatal(err)
	}
	if err := test.Start(); err != nil {
		t.Fatal(err)
	}
	var id, dir string
	for lines := bufio.NewScanner(out); id == "" && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "guest is %s %s", &id, &dir) // other lines are the framework's
	}
	if id == "" || len(processes(id)) == 0 {
		t.Errorf("there is no process of guest %q", id)
	}
	if err := test.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = test.Wait() // killed
	gone := func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err) && len(processes(id))+len(processes(dir)) == 0
	}
	for deadline := time.Now().Add(limit); !gone(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s or processes outlive the test: %d %d", dir, processes(id), processes(dir))
		}
	}
}

// TestLinux is a guest that sees disks come, and writes to them.
func TestLinux(t *testing.T) {
	d := Shared(t)
	g := d.LinuxGuest(t, GuestOptions{})
	if disks := g.Disks(); len(disks) > 0 {
		t.Errorf("the guest sees disks it does not have: %+v", disks)
	}
	pool := d.NewPool(t, "")
	for bus, dev := range map[string]string{"scsi": "sdb", "virtio": "vdb"} {
		path, serial := filepath.Join(d.PoolDir(pool), bus), "volume-"+bus
		if err := os.WriteFile(path, make([]byte, 8<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		g.Attach(&libvirtxml.DomainDisk{
			Device: "disk", Serial: serial,
			Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw", Cache: "none"},
			Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}},
			Target: &libvirtxml.DomainDiskTarget{Dev: dev, Bus: bus},
			Alias:  &libvirtxml.DomainAlias{Name: "ua-" + serial},
		})
		g.WaitDisk(serial, 8<<20)
		g.Write(serial, 5000, []byte("GUEST-WROTE"))
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(content[5000:5011]); got != "GUEST-WROTE" {
			t.Errorf("the file has %q where the guest wrote", got)
		}
		if got := string(g.Read(serial, 5000, 11)); got != "GUEST-WROTE" {
			t.Errorf("the guest reads %q", got)
		}
	}
	g.Hold("volume-virtio", true)
	g.Hold("volume-virtio", false)
	g.Suspend()
	g.detach("ua-volume-virtio")
	if !g.has("ua-volume-virtio") {
		t.Error("a guest that stands still released a virtio disk")
	}
	g.Resume()
	g.WaitNoDisk("volume-virtio")
	g.until("is without the disk", func() bool { return !g.has("ua-volume-virtio") })
	g.Reboot()
	g.WaitDisk("volume-scsi", 8<<20)
	g.Poweroff()
}

// detach asks the running guest for a disk.
func (g *Guest) detach(alias string) {
	g.t.Helper()
	g.must("detach from", func(conn *libvirt.Libvirt, domain libvirt.Domain) error {
		return conn.DomainDetachDeviceAlias(domain, alias, uint32(libvirt.DomainAffectLive))
	})
}

// has reports whether the running guest has a disk.
func (g *Guest) has(alias string) bool {
	g.t.Helper()
	for _, disk := range g.XML(false).Devices.Disks {
		if disk.Alias != nil && disk.Alias.Name == alias {
			return true
		}
	}
	return false
}

// TestCrash: a libvirtd that crashes is there again, and kills end it all the same.
func TestCrash(t *testing.T) {
	d := Start(t)
	for range 2 {
		if err := d.jail.order("crash"); err != nil {
			t.Fatal(err)
		}
		testneed.Eventually(t, "libvirtd answers again", func() bool {
			return d.call(func(l *libvirt.Libvirt) error {
				_, err := l.ConnectGetLibVersion()
				return err
			}) == nil
		})
		d.Kill(t)
		if err := d.client().Connect(); err == nil {
			t.Error("it answers after it was killed")
		}
		d.Restart(t)
	}
}
