package libvirt

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/backendtest"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

func TestMain(m *testing.M) { os.Exit(libvirttest.Main(m)) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// obedient is a boot sector: it writes "R" on the serial line, waits for the
// power button and powers off.
var obedient = []byte{
	0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfb, // segments, stack, interrupts on
	0xe4, 0xa1, 0x0c, 0x02, 0xe6, 0xa1, // no interrupt of the button's
	0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef, // watch the button
	0xba, 0xf8, 0x03, 0xb0, 'R', 0xee, // ready
	0xf4, 0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf6, // halt until it is pressed
	0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xeb, 0xed, // sleep state S5
}

// rig is one or more hosts with pools of their own, and the guests a test made.
type rig struct {
	daemons []*libvirttest.Daemon
	hosts   []Host
	roots   string // a folder for ROOT disks

	mu     sync.Mutex
	guests map[string]*libvirttest.Guest
	linux  map[string]*libvirttest.Linux // those of them that have a system
}

func newRig(t testing.TB, daemons ...*libvirttest.Daemon) *rig {
	t.Helper()
	r := &rig{daemons: daemons, guests: map[string]*libvirttest.Guest{}, linux: map[string]*libvirttest.Linux{}}
	for i, d := range daemons {
		r.hosts = append(r.hosts, Host{
			Name: "host" + letters(i), URI: d.URI(), Pool: d.NewPool(t, ""), ISOPool: d.NewPool(t, ""),
		})
	}
	r.roots = daemons[0].PoolDir(daemons[0].NewPool(t, ""))
	return r
}

func (r *rig) open(t testing.TB, o Options) *Driver {
	t.Helper()
	d := r.reopen(t, o)
	t.Cleanup(func() { ok(t, d.Close()) })
	return d
}

// reopen is open for a driver that the caller closes.
func (r *rig) reopen(t testing.TB, o Options) *Driver {
	t.Helper()
	o.Hosts = r.hosts
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d, err := Open(o)
	ok(t, err)
	return d
}

// guest makes a guest that heeds the power button, on one of the hosts.
func (r *rig) guest(t testing.TB, host int, o libvirttest.GuestOptions) *libvirttest.Guest {
	t.Helper()
	f, err := os.CreateTemp(r.roots, "root-*.img")
	ok(t, err)
	sector := make([]byte, 1<<20)
	copy(sector, obedient)
	copy(sector[510:], []byte{0x55, 0xaa})
	_, err = f.Write(sector)
	ok(t, errors.Join(err, f.Close()))
	o.Root = f.Name()
	g := r.daemons[host].NewGuest(t, o)
	if heeds := strings.Contains(t.Name(), "Power") || strings.Contains(t.Name(), "Shutdown"); heeds && !o.Off {
		g.WaitSerial("R")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guests[g.UUID] = g
	return g
}

func (r *rig) has(ref string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.guests[ref] != nil
}

func (r *rig) known(t testing.TB, ref string) *libvirttest.Guest {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.guests[ref]
	if g == nil {
		t.Fatalf("no guest %s", ref)
	}
	return g
}

// path is the file of a volume on the first host.
func (r *rig) path(id string) string {
	return filepath.Join(r.daemons[0].PoolDir(r.hosts[0].Pool), id+volumeSuffix)
}

// own shows of a daemon that tests share what one of them made.
type own struct {
	*Driver
	r *rig
}

func (o own) InspectAll(ctx context.Context) (backend.View, error) {
	all, err := o.Driver.InspectAll(ctx)
	all.VMs = slices.DeleteFunc(all.VMs, func(v backend.VMView) bool { return !o.r.has(v.Ref) })
	return all, err
}

func (o own) Watch(ctx context.Context, fn func(backend.GuestEvent)) error {
	return o.Driver.Watch(ctx, func(e backend.GuestEvent) {
		if e.Ref == "" || o.r.has(e.Ref) {
			fn(e)
		}
	})
}

// strays are the files in the pools that nothing accounts for.
func (r *rig) strays(t testing.TB) []string {
	t.Helper()
	d := r.reopen(t, Options{}) // the test may have closed its own
	defer func() { ok(t, d.Close()) }()
	all, err := d.InspectAll(context.Background())
	ok(t, err)
	known := map[string]bool{}
	for _, v := range all.Volumes {
		known[v.ID+volumeSuffix] = true
	}
	for _, v := range all.ISOs {
		known[imageFile(v.Key)], known[readyFile(v.Key)] = true, true
	}
	var found []string
	for i, h := range r.hosts {
		for _, pool := range []string{h.Pool, h.ISOPool} {
			entries, err := os.ReadDir(r.daemons[i].PoolDir(pool))
			ok(t, err)
			for _, e := range entries {
				if !known[e.Name()] {
					found = append(found, e.Name())
				}
			}
		}
	}
	return found
}

func TestSuite(t *testing.T) {
	libvirttest.Need(t)
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		if strings.Contains(t.Name(), "TrayLock") {
			t.Skip("TestSystems runs it")
		}
		return newRig(t, libvirttest.Shared(t)).harness(t, Options{MaxVolumes: 8})
	})
}

// TestSystems runs the cases that need a guest with a system: it locks its tray,
// and while it is suspended it keeps a virtio disk.
func TestSystems(t *testing.T) {
	libvirttest.Need(t)
	cases := "TrayLocked|TrayLockNeedsPower|GuestReleasesInTime|GuestStopsWhileAsked|DetachCancelledInWait"
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		_, name, _ := strings.Cut(t.Name(), "/")
		if !slices.Contains(strings.Split(cases, "|"), name) {
			t.Skip("TestSuite runs it")
		}
		r := newRig(t, libvirttest.Shared(t))
		h := r.harness(t, Options{MaxVolumes: 8, DiskBus: busVirtio, CDBus: busSCSI})
		h.NewVM = func(t *testing.T) string {
			l := r.daemons[0].LinuxGuest(t, libvirttest.GuestOptions{Ports: 6})
			r.mu.Lock()
			defer r.mu.Unlock()
			r.guests[l.UUID], r.linux[l.UUID] = l.Guest, l
			return l.UUID
		}
		h.HoldVolume = func(t *testing.T, ref, id string, hold bool) {
			if hold {
				r.known(t, ref).Suspend()
			} else {
				r.known(t, ref).Resume()
			}
		}
		return h
	})
}

func (r *rig) harness(t *testing.T, o Options) backendtest.Harness {
	var d own
	start := func(t *testing.T) backend.Driver {
		if d.Driver != nil {
			ok(t, d.Close())
		}
		d = own{r.reopen(t, o), r}
		return d
	}
	t.Cleanup(func() { ok(t, d.Close()) })
	return backendtest.Harness{
		Driver: start(t),
		Reopen: start,
		NewVM:  func(t *testing.T) string { return r.guest(t, 0, libvirttest.GuestOptions{Ports: 4}).UUID },
		LockTray: func(t *testing.T, ref string, locked bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.linux[ref].LockTray(locked)
		},
		StopGuest: func(t *testing.T, ref string) { r.known(t, ref).Destroy() },
		Deafen: func(t *testing.T, ref string, deaf bool) {
			if deaf {
				r.known(t, ref).Suspend()
			} else {
				r.known(t, ref).Resume()
			}
		},
		Read: func(t *testing.T, id string) []byte {
			b, err := os.ReadFile(r.path(id))
			ok(t, err)
			return b
		},
		Write: func(t *testing.T, id string, data []byte) {
			f, err := os.OpenFile(r.path(id), os.O_WRONLY, 0)
			ok(t, err)
			_, err = f.WriteAt(data, 0)
			ok(t, errors.Join(err, f.Close()))
		},
		Strays: func(t *testing.T) []string { return r.strays(t) },
		Cycles: 20, Rounds: 8, Guests: 4,
	}
}
