package guests

import (
	"context"
	"net/http"
	"testing"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/libvirttest"
	"github.com/drivebay/drivebay/internal/testneed"
)

// TestBoot is a guest that starts from exactly the ISO that is in its drive, for
// as long as it is there, or once.
func TestBoot(t *testing.T) {
	need(t)
	d := libvirttest.Shared(t)
	g := d.NewGuest(t, libvirttest.GuestOptions{Root: libvirttest.BootDisk(t, "from-disk")})
	s := newSite(t, d, d.NewPool(t, ""), d.NewPool(t, ""))
	device := s.device(g)
	one := s.readyISO(libvirttest.BootISO(t, "ONE", "from-one"), true)
	two := s.readyISO(libvirttest.BootISO(t, "TWO", "from-two"), true)
	if one.BIOS == nil || !*one.BIOS {
		t.Errorf("the ISO is %+v", one)
	}
	g.WaitSerial("started from-disk")
	starts := func(from string) {
		t.Helper()
		s.done(s.power(device, api.PowerActionCycle))
		g.WaitSerial("started " + from)
	}

	s.done(s.insert(device, one.ISOID, false))
	s.done(s.eject(device, true))
	s.done(s.insert(device, two.ISOID, false))
	starts("from-two")
	s.agree(g, device)
	s.done(s.eject(device, true))
	starts("from-disk")

	if task := s.done(s.insert(device, one.ISOID, true)); task.Message == "" {
		t.Errorf("nothing tells that the guest has to be powered off and on: %+v", task)
	}
	starts("from-one")
	if s.vps(device).ISOID == nil {
		t.Error("the medium is gone while the guest reads from it")
	}
	testneed.Eventually(t, "the disks are first again", func() bool { return !cdFirst(g) })
	starts("from-disk")
	testneed.Eventually(t, "the medium is gone", func() bool { return s.vps(device).ISOID == nil })
	s.idle(device)
	s.agree(g, device)
	s.healthy()
}

// TestBootLoader is a guest that starts from an ISO with a boot loader that
// others made.
func TestBootLoader(t *testing.T) {
	need(t)
	d := libvirttest.Shared(t)
	g := d.NewGuest(t, libvirttest.GuestOptions{Root: libvirttest.BootDisk(t, "from-disk"), Text: true})
	s := newSite(t, d, d.NewPool(t, ""), d.NewPool(t, ""))
	device := s.device(g)
	loader := s.readyISO(libvirttest.IPXE(t), true)
	g.WaitSerial("started from-disk")
	s.done(s.insert(device, loader.ISOID, false))
	s.done(s.power(device, api.PowerActionCycle))
	g.WaitSerial("iPXE ISO boot image")
	s.done(s.eject(device, true))
	s.done(s.power(device, api.PowerActionCycle))
	g.WaitSerial("started from-disk")
	s.healthy()
}

// cdFirst reports whether the guest's next start tries its drive before its
// disk.
func cdFirst(g *libvirttest.Guest) bool {
	order := map[string]uint{}
	for _, disk := range g.XML(true).Devices.Disks {
		if disk.Boot != nil {
			order[disk.Device] = disk.Boot.Order
		}
	}
	return order["cdrom"] != 0 && order["cdrom"] < order["disk"]
}

// idle waits until every task of a device has ended.
func (s *site) idle(device int64) {
	s.t.Helper()
	for _, task := range get[[]api.Task](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.ListTasks(ctx, &api.ListTasksParams{DeviceID: &device})
	}) {
		s.ended(task)
	}
}
