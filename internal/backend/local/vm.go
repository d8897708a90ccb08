package local

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/drivebay/drivebay/internal/backend"
)

// vm is one guest. Calls hold the guest's lock for their whole length; writing
// is held for one change only, so that a knob can be turned while a call waits
// for the guest.
type vm struct {
	writing sync.Mutex
	unsure  bool // a rename that is perhaps not on the disk; guarded by writing

	state   *record       // guarded by Driver.mu
	changed chan struct{} // closed and replaced with state; guarded by Driver.mu
}

func recordFile(ref string) string { return ref + ".json" }

// guest returns the guest, or nil.
func (d *Driver) guest(ref string) *vm {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.guests[ref]
}

// read returns the guest as it is and a channel that closes when it changes.
func (d *Driver) read(v *vm) (*record, <-chan struct{}) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return v.state, v.changed
}

// holder returns the guest that has the volume, or "".
func (d *Driver) holder(volumeID string) string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.volumeAt[volumeID]
}

// inDrive reports whether any guest has the image in its drive.
func (d *Driver) inDrive(isoKey string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.isoUses[isoKey] > 0
}

// loadGuests reads every guest's file.
func (d *Driver) loadGuests() error {
	var refs []string
	err := d.vms.each(context.Background(), ".json", func(ref string, _ int64) { refs = append(refs, ref) })
	if err != nil {
		return err
	}
	for _, ref := range refs {
		g, err := d.loadGuest(ref)
		if err != nil {
			return fmt.Errorf("guest %s: %w", ref, err)
		}
		d.adopt(&vm{}, g)
	}
	return nil
}

func (d *Driver) loadGuest(ref string) (*record, error) {
	f, err := os.Open(d.vms.file(recordFile(ref)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	g, err := decodeRecord(f)
	if err != nil {
		return nil, err
	}
	if g.Ref != ref {
		return nil, fmt.Errorf("the file is about the guest %q", g.Ref)
	}
	for _, id := range g.Volumes {
		if other := d.volumeAt[id]; other != "" {
			return nil, fmt.Errorf("volume %s is also connected to the guest %s", id, other)
		}
	}
	return g, nil
}

// adopt makes g the state of v, and keeps the lists of uses in step with it.
func (d *Driver) adopt(v *vm, g *record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := v.state
	if old == nil {
		old = &record{}
		v.changed = make(chan struct{})
		d.guests[g.Ref] = v
	}
	for _, id := range old.Volumes {
		if !g.has(id) {
			delete(d.volumeAt, id)
		}
	}
	for _, id := range g.Volumes {
		if !old.has(id) {
			d.volumeAt[id] = g.Ref
		}
	}
	if g.ISO != "" {
		d.isoUses[g.ISO]++
	}
	if old.ISO != "" {
		if d.isoUses[old.ISO]--; d.isoUses[old.ISO] == 0 {
			delete(d.isoUses, old.ISO)
		}
	}
	v.state = g
	close(v.changed)
	v.changed = make(chan struct{})
}

// update changes a guest and returns once that is durable. On an error the
// guest is as it was, in memory and on disk; only where the last fsync failed
// it is changed in both, and the next update repeats the fsync.
func (d *Driver) update(ctx context.Context, v *vm, change func(*record)) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	old, _ := d.read(v)
	next := old.clone()
	change(next)
	if !next.equal(old) {
		if err := d.save(ctx, v, next); err != nil {
			return ioError("save guest "+next.Ref, err)
		}
	} else if !v.unsure {
		return nil
	}
	if err := d.vms.sync(); err != nil {
		return ioError("save guest "+next.Ref, err)
	}
	v.unsure = false
	return nil
}

// save puts g in the place of the guest's file and state. The folder is not
// yet fsynced then.
func (d *Driver) save(ctx context.Context, v *vm, g *record) error {
	b, err := g.encode()
	if err != nil {
		return err
	}
	name := recordFile(g.Ref)
	temp, err := d.stage(name, func(f *os.File) error {
		_, err := f.Write(b)
		return err
	})
	if err != nil {
		return err
	}
	if err := d.publish(ctx, temp, d.vms.file(name)); err != nil {
		return err
	}
	v.unsure = true
	d.adopt(v, g)
	return nil
}

// EnsureVM implements backend.Driver. A new guest runs; one that is there takes
// over the numbers of spec.
func (d *Driver) EnsureVM(ctx context.Context, spec backend.VM) error {
	if !backend.ValidID(spec.Ref) {
		return backend.ErrInvalid
	}
	leave, err := d.enter(ctx, vmLock(spec.Ref))
	if err != nil {
		return err
	}
	defer leave()
	if v := d.guest(spec.Ref); v != nil {
		return d.update(ctx, v, func(g *record) { g.VCPU, g.MemoryMB = spec.VCPU, spec.MemoryMB })
	}
	g := &record{Format: recordFormat, Ref: spec.Ref, VCPU: spec.VCPU, MemoryMB: spec.MemoryMB, Running: true}
	v := &vm{}
	v.writing.Lock()
	defer v.writing.Unlock()
	err = d.save(ctx, v, g)
	if err == nil {
		err = d.vms.sync()
	}
	if err == nil {
		v.unsure = false
	}
	return ioError("make guest "+spec.Ref, err)
}

// Power implements backend.Driver. A simulated guest that is asked to shut down
// does so at once.
func (d *Driver) Power(ctx context.Context, ref string, action backend.PowerAction) error {
	if !backend.ValidID(ref) {
		return backend.ErrInvalid
	}
	leave, err := d.enter(ctx, vmLock(ref))
	if err != nil {
		return err
	}
	defer leave()
	v := d.guest(ref)
	if v == nil {
		return backend.ErrVMNotFound
	}
	switch action {
	case backend.PowerStart:
		return d.update(ctx, v, func(g *record) { g.Running = true })
	case backend.PowerShutdown, backend.PowerOff:
		return d.update(ctx, v, func(g *record) { g.Running = false })
	case backend.PowerReset:
		return d.update(ctx, v, func(*record) {})
	}
	return backend.ErrUnsupported.Because(fmt.Errorf("power action %q", action))
}

// SetTrayLocked makes the guest lock its CD tray while it runs, or not. This
// and the other knobs outlive a restart. No such guest: ErrVMNotFound.
func (d *Driver) SetTrayLocked(ref string, locked bool) error {
	return d.turn(ref, func(g *record) { g.TrayLocked = locked })
}

// SetGuestHolds makes the guest keep the volume when it is asked to release it
// while it runs, or let go again. A detach that waits sees it at once.
func (d *Driver) SetGuestHolds(ref, volumeID string, hold bool) error {
	if !backend.ValidID(volumeID) {
		return backend.ErrInvalid
	}
	return d.turn(ref, func(g *record) {
		if hold {
			g.Holds = with(g.Holds, volumeID)
		} else {
			g.Holds = without(g.Holds, volumeID)
		}
	})
}

// StopGuest is the guest going down by itself, even while a call waits for it.
func (d *Driver) StopGuest(ref string) error {
	return d.turn(ref, func(g *record) { g.Running = false })
}

// turn changes a guest without waiting for the call that holds it.
func (d *Driver) turn(ref string, change func(*record)) error {
	leave, err := d.enter(context.Background())
	if err != nil {
		return err
	}
	defer leave()
	v := d.guest(ref)
	if v == nil {
		return backend.ErrVMNotFound
	}
	return d.update(context.Background(), v, change)
}
