package vps_test

import (
	"errors"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/testneed"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

const labRef = "6a1d3f0e-0000-4000-8000-000000000001"

// lab is a world with a guest that was made elsewhere, and the request for a
// device that is it.
func lab(t *testing.T) (*worldtest.World, vps.NewDevice) {
	t.Helper()
	w := worldtest.New(t, worldtest.Options{Hosts: true})
	w.Drivers[worldtest.Lab].AddGuest(backend.Guest{
		Ref: labRef, Name: "web", Host: "h1", VCPU: 4, MemoryMB: 512, Disks: []backend.GuestDisk{{Source: "/images/web", Bytes: 1 << 30}},
	})
	return w, vps.NewDevice{ID: 5000, ClientID: worldtest.Client, FacilityCode: worldtest.Lab, Ref: "web"}
}

// A guest that was made elsewhere becomes a device, and nothing is made for it.
func TestRegister(t *testing.T) {
	t.Parallel()
	w, n := lab(t)
	w.Succeeds(create(t, w, n))
	d, err := w.VPS.Get(ctx, mine, 5000)
	if err != nil || d.Ref != labRef || d.Hostname != "web" || d.VCPU != 4 || d.MemoryMB != 512 || d.MaxVolumes != 16 || d.Status != vps.Stopped {
		t.Errorf("%+v, %v", d, err)
	}
	if list, err := w.On(mine, 5000); err != nil || len(list) != 0 {
		t.Errorf("its volumes: %+v, %v", list, err)
	}
	for _, call := range []string{"EnsureVolume", "EnsureAttached", "Power"} {
		for _, c := range w.Drivers[worldtest.Lab].Calls() {
			if c.Method == call {
				t.Errorf("the driver was told %+v", c)
			}
		}
	}
	n.ID, n.Ref = 5001, labRef
	if _, err := w.VPS.CreateDevice(ctx, n); !errors.Is(err, vps.ErrGuestTaken) {
		t.Errorf("the guest again: %v", err)
	}
	k, err := w.Volumes.Create(ctx, mine, 5000, 50)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(k)
	w.Check()
}

func TestRegisterRefusals(t *testing.T) {
	t.Parallel()
	w, n := lab(t)
	for _, host := range []string{"h1", "h2"} {
		w.Drivers[worldtest.Lab].AddGuest(backend.Guest{Ref: "twin-" + host, Name: "twin", Host: host})
	}
	for name, c := range map[string]struct {
		change func(*vps.NewDevice)
		want   fault.Reason
	}{
		"no guest":           {func(n *vps.NewDevice) { n.Ref = "" }, "ref_required"},
		"no such guest":      {func(n *vps.NewDevice) { n.Ref = "nowhere" }, "guest_unknown"},
		"two of the name":    {func(n *vps.NewDevice) { n.Ref = "twin" }, "guest_unknown"},
		"a ROOT volume":      {func(n *vps.NewDevice) { n.RootGiB = 25 }, "root_unexpected"},
		"one that is made":   {func(n *vps.NewDevice) { n.FacilityCode = "TPA1" }, "ref_unexpected"},
		"a client of no-one": {func(n *vps.NewDevice) { n.ClientID = 4711 }, "client_unknown"},
	} {
		n := n
		c.change(&n)
		if _, err := w.VPS.CreateDevice(ctx, n); fault.ReasonOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.Drivers[worldtest.Lab].On("Guests").Fail(backend.ErrUnavailable, 1)
	if _, err := w.VPS.CreateDevice(ctx, n); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("a host that is away: %v", err)
	}
}

// A guest that goes before it is registered is given back, and nothing of it is
// touched.
func TestRegisterFails(t *testing.T) {
	t.Parallel()
	w, n := lab(t)
	driver := w.Drivers[worldtest.Lab]
	gate := make(chan struct{})
	driver.On("EnsureVM").Block(gate)
	k := create(t, w, n)
	driver.RemoveGuest(labRef)
	close(gate)
	w.Fails(k, "vm_not_found")
	if d, err := w.VPS.Get(ctx, everyone, 5000); err != nil || d.Status != vps.Failed || d.Ref == labRef {
		t.Errorf("%+v, %v", d, err)
	}
	for _, c := range driver.Calls() {
		if c.Method == "DeleteVolume" || c.Method == "EnsureDetached" || c.Method == "Power" {
			t.Errorf("the driver was told %+v", c)
		}
	}
	driver.AddGuest(backend.Guest{Ref: labRef, Name: "web", Host: "h2", Running: true})
	n.ID = 5001
	w.Succeeds(create(t, w, n))
	w.Check()
}

// The status of a device follows a guest that others start and stop.
func TestFollow(t *testing.T) {
	t.Parallel()
	w, n := lab(t)
	w.Succeeds(create(t, w, n))
	driver := w.Drivers[worldtest.Lab]
	testneed.Eventually(t, "the guests are heard of", func() bool { return driver.Watched() > 0 })
	is := func(want vps.Status) {
		t.Helper()
		testneed.Eventually(t, "the device is "+string(want), func() bool {
			d, err := w.VPS.Get(ctx, mine, 5000)
			return err == nil && d.Status == want
		})
	}
	driver.StartGuest(labRef)
	is(vps.Running)
	driver.StopGuest(labRef)
	is(vps.Stopped)
	driver.StartGuest(labRef)
	is(vps.Running)
	w.Check()
}

func TestDeleteDevice(t *testing.T) {
	t.Parallel()
	w, n := lab(t)
	driver := w.Drivers[worldtest.Lab]
	gate := make(chan struct{})
	driver.On("EnsureVM").Block(gate)
	k := create(t, w, n)
	if err := w.VPS.DeleteDevice(ctx, 5000); !errors.Is(err, vps.ErrDeviceBusy) {
		t.Errorf("while it is registered: %v", err)
	}
	close(gate)
	w.Succeeds(k)
	for id, want := range map[int64]error{1001: vps.ErrGuestMadeHere, 4711: vps.ErrDeviceNotFound, 5000: nil} {
		if err := w.VPS.DeleteDevice(ctx, id); !errors.Is(err, want) {
			t.Errorf("device %d: %v", id, err)
		}
	}
	if guests, err := driver.Guests(ctx); err != nil || len(guests) != 1 || len(guests[0].Disks) != 1 {
		t.Errorf("its guest: %+v, %v", guests, err)
	}
	n.ID = 5001
	w.Succeeds(create(t, w, n)) // and it may be one again
	w.Check()
}
