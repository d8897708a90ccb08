package fake

import (
	"cmp"
	"context"
	"slices"

	"github.com/drivebay/drivebay/internal/backend"
)

var _ backend.Inventory = (*Driver)(nil)

// Guests implements backend.Inventory: the guests that AddGuest has put there,
// by name.
func (d *Driver) Guests(ctx context.Context) (list []backend.Guest, err error) {
	err = d.do(ctx, Call{Method: "Guests"}, func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, v := range d.vms {
			if v.guest != nil {
				list = append(list, d.guest(v))
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b backend.Guest) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Ref, b.Ref))
	})
	return list, err
}

// guest is a guest as its host knows it now: its own disks first, then what was
// attached since. The caller holds mu.
func (d *Driver) guest(v *vm) backend.Guest {
	g := *v.guest
	g.Running, g.Disks = v.running, nil
	own := map[string]bool{}
	for _, disk := range v.guest.Disks {
		key := cmp.Or(disk.VolumeID, disk.Source)
		if own[key] = true; v.volumes[key] {
			disk.Bytes = d.volumes[key]
			g.Disks = append(g.Disks, disk)
		}
	}
	for _, id := range sortedKeys(v.volumes) {
		if !own[id] && !d.foreign[id] {
			g.Disks = append(g.Disks, backend.GuestDisk{Source: "pool/" + id, Bytes: d.volumes[id], VolumeID: id})
		}
	}
	return g
}

// AddGuest is a guest being made behind the control plane's back, with its
// disks. A disk without a VolumeID goes by its source, is in no view, and
// becomes a volume where Options.Adopted says so.
func (d *Driver) AddGuest(g backend.Guest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := &vm{
		spec: backend.VM{Ref: g.Ref, VCPU: g.VCPU, MemoryMB: g.MemoryMB}, running: g.Running, guest: &g,
		volumes: make(map[string]bool), holds: make(map[string]bool),
	}
	for _, disk := range g.Disks {
		key := cmp.Or(disk.VolumeID, disk.Source)
		d.foreign[key] = disk.VolumeID == ""
		d.volumes[key], v.volumes[key] = disk.Bytes, true
	}
	d.vms[g.Ref] = v
	d.wake()
}

// RemoveGuest is a guest being undefined behind the control plane's back. Its
// disks stay.
func (d *Driver) RemoveGuest(ref string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.vms, ref)
	d.wake()
}

// key is the name that a volume's disk has here.
func (d *Driver) key(ctx context.Context, volumeID string) (string, error) {
	if d.opts.Adopted == nil {
		return volumeID, nil
	}
	adopted, err := d.opts.Adopted(ctx)
	for source, id := range adopted {
		if id == volumeID {
			return source, nil
		}
	}
	return volumeID, err
}
