// Package backendtest is the one suite that every backend driver passes.
package backendtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/drivebay/drivebay/internal/backend"
)

// Harness is one driver on storage of its own, and what a test can do behind
// the driver's back. A hook that is nil opts out of the cases that need it.
type Harness struct {
	Driver backend.Driver

	// Reopen closes the driver and opens another on the same storage and
	// guests. Needed if Info.Persistent.
	Reopen func(t *testing.T) backend.Driver
	// NewVM makes a running guest without data volumes and returns its ref.
	// Needed unless Info.MakesVMs.
	NewVM func(t *testing.T) string
	// LockTray makes a running guest lock its tray. Needed if Info.TrayLock.
	LockTray func(t *testing.T, ref string, locked bool)
	// HoldVolume makes a running guest refuse to release a volume.
	HoldVolume func(t *testing.T, ref, volumeID string, hold bool)
	// StopGuest is a guest going down without the driver being asked.
	StopGuest func(t *testing.T, ref string)
	// Deafen makes a running guest ignore that it is asked to shut down.
	Deafen func(t *testing.T, ref string, deaf bool)
	// Fill leaves the storage no room for another volume, or makes room again.
	Fill func(t *testing.T, full bool)
	// Read returns a volume's content and Write overwrites its beginning, as
	// its guest would.
	Read  func(t *testing.T, volumeID string) []byte
	Write func(t *testing.T, volumeID string, data []byte)
	// Strays lists what the storage holds beyond volumes, images and guests.
	Strays func(t *testing.T) []string

	// Cycles is how often the endurance case attaches and detaches; 0 means
	// 1000, or 100 with -short.
	Cycles int
	// Rounds is how often a case repeats a race, and Guests how many guests the
	// cases with many have; 0 means 20 and 10. Guests with processes of their own
	// take their time.
	Rounds, Guests int
}

// volumeBytes is the size of the suite's volumes: small enough to read whole,
// and a multiple of every storage's unit.
const volumeBytes = 4 << 20

// missingID and missingKey are never made.
const (
	missingID  = "missing"
	missingKey = "00000000000000000000000000000000000000000000000000000000000000ff"
)

// Run runs the suite. open is called once for each case; the cases run in
// parallel where the driver's storage is its own.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, group := range []map[string]func(*kit){
		volumeCases, attachCases, isoCases, powerCases, bootCases, watchCases, faultCases, raceCases, fenceCases,
	} {
		for name, run := range group {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(newKit(t, open(t)))
			})
		}
	}
}

// kit is what a case works with.
type kit struct {
	*testing.T
	h   Harness
	d   backend.Driver
	ctx context.Context
}

func newKit(t *testing.T, h Harness) *kit {
	info := h.Driver.Info()
	switch {
	case info.Persistent && h.Reopen == nil:
		t.Fatal("a persistent driver needs Harness.Reopen")
	case !info.MakesVMs && h.NewVM == nil:
		t.Fatal("a driver that makes no guests needs Harness.NewVM")
	case info.TrayLock && h.LockTray == nil:
		t.Fatal("a driver with tray locks needs Harness.LockTray")
	case info.MaxVolumes < 1:
		t.Fatalf("Info.MaxVolumes is %d", info.MaxVolumes)
	}
	if h.Rounds == 0 {
		h.Rounds = 20
	}
	if h.Guests == 0 {
		h.Guests = 10
	}
	k := &kit{T: t, h: h, d: h.Driver, ctx: t.Context()}
	t.Cleanup(func() {
		if h.Strays == nil {
			return
		}
		if found := h.Strays(t); len(found) > 0 {
			t.Errorf("left in the storage: %q", found)
		}
	})
	return k
}

// need skips the case when the harness lacks a hook.
func (k *kit) need(there bool, what string) {
	k.Helper()
	if !there {
		k.Skipf("the harness has no way to %s", what)
	}
}

func (k *kit) ok(err error) {
	k.Helper()
	if err != nil {
		k.Fatalf("unexpected error: %v", err)
	}
}

// refused wants err to be want and nothing to have changed since before.
func (k *kit) refused(before backend.View, err, want error) {
	k.Helper()
	k.is(err, want)
	k.same(before, k.view())
}

func (k *kit) is(err, want error) {
	k.Helper()
	if !errors.Is(err, want) {
		k.Fatalf("got error %v, want %v", err, want)
	}
}

func (k *kit) same(want, got backend.View) {
	k.Helper()
	if diff := diffViews(want, got); diff != "" {
		k.Fatalf("the driver's state differs (-want +got):\n%s", diff)
	}
}

// diffViews is how two views differ. Another driver that looks at the same guests
// may have given a start another name.
func diffViews(a, b backend.View) string {
	return cmp.Diff(a, b, cmpopts.EquateEmpty(), sameStarts)
}

var sameStarts = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Starts" }, cmp.Comparer(backend.SameStart))

// view reads everything.
func (k *kit) view() backend.View {
	k.Helper()
	all, err := k.d.InspectAll(context.WithoutCancel(k.ctx))
	k.ok(err)
	return all
}

// vm makes a running guest.
func (k *kit) vm() string {
	k.Helper()
	if !k.d.Info().MakesVMs {
		return k.h.NewVM(k.T)
	}
	ref := "vm-" + randomHex(6)
	k.ok(k.d.EnsureVM(k.ctx, backend.VM{Ref: ref, VCPU: 1, MemoryMB: 512}))
	k.ok(k.d.Power(k.ctx, ref, backend.PowerStart))
	return ref
}

// newID returns a volume's name that is not in use.
func newID() string { return "vol-" + randomHex(6) }

// volume makes a volume of volumeBytes.
func (k *kit) volume() string {
	k.Helper()
	id := newID()
	k.ok(k.d.EnsureVolume(k.ctx, backend.VolumeSpec{ID: id, Bytes: volumeBytes}))
	return id
}

// attached makes a volume and attaches it to the guest.
func (k *kit) attached(ref string) string {
	k.Helper()
	id := k.volume()
	k.ok(k.d.EnsureAttached(k.ctx, ref, id))
	return id
}

// image writes a file that can be imported.
func (k *kit) image() (spec backend.ISOSpec, path string) {
	k.Helper()
	content := make([]byte, 64<<10)
	_, _ = rand.Read(content)
	sum := sha256.Sum256(content)
	path = filepath.Join(k.TempDir(), "image")
	k.ok(os.WriteFile(path, content, 0o600))
	return backend.ISOSpec{Key: hex.EncodeToString(sum[:]), Bytes: int64(len(content))}, path
}

// iso imports an image and returns its key.
func (k *kit) iso() string {
	k.Helper()
	spec, path := k.image()
	k.ok(k.d.ImportISO(k.ctx, spec, path))
	return spec.Key
}

// inspect reads one guest.
func (k *kit) inspect(ref string) backend.VMView {
	k.Helper()
	v, err := k.d.Inspect(k.ctx, ref)
	k.ok(err)
	return v
}

// has wants the guest to have, or not to have, the volume.
func (k *kit) has(ref, volumeID string, want bool) {
	k.Helper()
	if got := slices.Contains(k.inspect(ref).VolumeIDs, volumeID); got != want {
		k.Fatalf("guest has the volume: %t, want %t", got, want)
	}
}

// media wants the guest's drive to hold the image.
func (k *kit) media(ref, want string) {
	k.Helper()
	if got := k.inspect(ref).ISOKey; got != want {
		k.Fatalf("in the drive is %q, want %q", got, want)
	}
}

// size wants the volume to have that many bytes.
func (k *kit) size(volumeID string, want int64) {
	k.Helper()
	for _, v := range k.view().Volumes {
		if v.ID == volumeID {
			if v.Bytes != want {
				k.Fatalf("the volume has %d bytes, want %d", v.Bytes, want)
			}
			return
		}
	}
	k.Fatalf("no volume %s", volumeID)
}

func (k *kit) detach(ref, volumeID string) error {
	return k.d.EnsureDetached(k.ctx, ref, volumeID, backend.DetachOptions{Timeout: time.Minute})
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
