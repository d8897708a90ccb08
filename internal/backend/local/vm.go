package local

import (
	"bytes"
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
	change  uint64 // the number of the last one in the file; guarded by writing
	slot    int    // bytes of a slot of the file; 0 is a file without; guarded by writing
	unsure  bool   // what the file has is perhaps not on the disk; guarded by writing

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
		s, err := d.loadGuest(ref)
		if err != nil {
			return fmt.Errorf("guest %s: %w", ref, err)
		}
		// What a killed process wrote last may not be on the disk.
		d.adopt(&vm{change: s.change, slot: s.size, unsure: true}, s.guest)
	}
	return nil
}

func (d *Driver) loadGuest(ref string) (stored, error) {
	f, err := os.Open(d.vms.file(recordFile(ref)))
	if err != nil {
		return stored{}, err
	}
	defer f.Close()
	s, err := decodeGuest(f)
	if err != nil {
		return stored{}, err
	}
	if s.guest.Ref != ref {
		return stored{}, fmt.Errorf("the file is about the guest %q", s.guest.Ref)
	}
	for _, id := range s.guest.Volumes {
		if other := d.volumeAt[id]; other != "" {
			return stored{}, fmt.Errorf("volume %s is also connected to the guest %s", id, other)
		}
	}
	return s, nil
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
	switch {
	case g.Running && !old.Running:
		d.heard.Tell(backend.GuestEvent{Ref: g.Ref, What: backend.GuestStarted})
	case old.Running && !g.Running:
		d.heard.Tell(backend.GuestEvent{Ref: g.Ref, What: backend.GuestStopped})
	}
}

// update changes a guest and returns once that is durable. On an error the
// guest is as it was, in memory and on disk; only where the last fsync failed
// it is changed in both, and the next update makes it durable first.
func (d *Driver) update(ctx context.Context, v *vm, change func(*record)) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	old, _ := d.read(v)
	next := old.clone()
	change(next)
	if !v.unsure && next.equal(old) {
		return nil
	}
	return ioError("save guest "+next.Ref, d.save(ctx, v, next))
}

// save puts g in the place of the guest's state, durably. It writes over the
// older slot. Where there is none, or none that g fits into, or where the newer
// one is perhaps not on the disk, the file is made anew. The caller holds
// v.writing.
func (d *Driver) save(ctx context.Context, v *vm, g *record) error {
	text, err := encodeSlot(g, v.change+1)
	if err != nil {
		return err
	}
	if len(text) <= v.slot && !v.unsure {
		return d.overwrite(ctx, v, g, text)
	}
	return d.replace(ctx, v, g, text)
}

func (d *Driver) overwrite(ctx context.Context, v *vm, g *record, text []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name := recordFile(g.Ref)
	f, err := os.OpenFile(d.vms.file(name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.step("write", name); err != nil {
		return err
	}
	v.unsure = true // how far a failed write came is not known
	next := v.change + 1
	if _, err := f.WriteAt(padded(text, v.slot), int64(next%2)*int64(v.slot)); err != nil {
		return err
	}
	v.change = next
	d.adopt(v, g)
	if err := d.syncFile(f, name); err != nil {
		return err
	}
	v.unsure = false
	return nil
}

func (d *Driver) replace(ctx context.Context, v *vm, g *record, text []byte) error {
	name, size, next := recordFile(g.Ref), slotSize(len(text)), v.change+1
	if size > maxSlot {
		return backend.ErrNoSlot
	}
	// Both slots get the same text, so that the blocks of both are there.
	temp, err := d.stage(name, func(f *os.File) error {
		_, err := f.Write(bytes.Repeat(padded(text, size), 2))
		return err
	})
	if err != nil {
		return err
	}
	if err := d.publish(ctx, temp, d.vms.file(name)); err != nil {
		return err
	}
	v.change, v.slot, v.unsure = next, size, true
	d.adopt(v, g)
	if err := d.vms.sync(); err != nil {
		return err
	}
	v.unsure = false
	return nil
}

// EnsureVM implements backend.Driver. A new guest runs; one that is there takes
// over the numbers of spec.
func (d *Driver) EnsureVM(ctx context.Context, spec backend.VM) error {
	leave, err := d.gate.Enter(ctx, backend.GuestObject(spec.Ref))
	if err != nil {
		return err
	}
	defer leave()
	if v := d.guest(spec.Ref); v != nil {
		return d.update(ctx, v, func(g *record) { g.VCPU, g.MemoryMB = spec.VCPU, spec.MemoryMB })
	}
	g := &record{Ref: spec.Ref, VCPU: spec.VCPU, MemoryMB: spec.MemoryMB}
	g.start()
	v := &vm{}
	v.writing.Lock()
	defer v.writing.Unlock()
	return ioError("make guest "+spec.Ref, d.save(ctx, v, g))
}
