package fake

import (
	"context"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

// EnsureAttached implements backend.Driver.
func (d *Driver) EnsureAttached(ctx context.Context, ref, volumeID string) error {
	return d.do(ctx, Call{Method: "EnsureAttached", Ref: ref, VolumeID: volumeID}, func(ctx context.Context) error {
		volumeID, err := d.key(ctx, volumeID)
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		v := d.vms[ref]
		if v == nil {
			return backend.ErrVMNotFound
		}
		if v.volumes[volumeID] {
			return nil
		}
		if _, ok := d.volumes[volumeID]; !ok {
			return backend.ErrVolumeNotFound
		}
		switch {
		case d.holder(volumeID) != nil:
			return backend.ErrInUse
		case len(v.volumes) > d.opts.MaxVolumes: // one more than that: the ROOT disk
			return backend.ErrNoSlot
		}
		v.volumes[volumeID] = true
		return nil
	})
}

// EnsureDetached implements backend.Driver.
func (d *Driver) EnsureDetached(ctx context.Context, ref, volumeID string, opts backend.DetachOptions) error {
	return d.do(ctx, Call{Method: "EnsureDetached", Ref: ref, VolumeID: volumeID}, func(ctx context.Context) error {
		volumeID, err := d.key(ctx, volumeID)
		if err != nil {
			return err
		}
		timeout := opts.Timeout
		if timeout <= 0 {
			timeout = d.opts.DetachTimeout
		}
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		for {
			released, changed, err := d.tryDetach(ref, volumeID)
			if released || err != nil {
				return err
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			case <-timer.C:
				return backend.ErrGuestDidNotRelease
			}
		}
	})
}

// tryDetach disconnects the volume unless a running guest holds it; then it
// returns the channel that closes when that may have changed.
func (d *Driver) tryDetach(ref, volumeID string) (released bool, changed <-chan struct{}, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false, nil, backend.ErrUnavailable
	}
	v := d.vms[ref]
	if v == nil || !v.volumes[volumeID] {
		return true, nil, nil
	}
	if v.running && v.holds[volumeID] {
		return false, d.changed, nil
	}
	delete(v.volumes, volumeID)
	delete(v.holds, volumeID)
	return true, nil, nil
}

// SetMedia implements backend.Driver.
func (d *Driver) SetMedia(ctx context.Context, ref, isoKey string, force bool) error {
	return d.do(ctx, Call{Method: "SetMedia", Ref: ref, ISOKey: isoKey, Force: force}, func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		v := d.vms[ref]
		if v == nil {
			if isoKey == "" {
				return nil
			}
			return backend.ErrVMNotFound
		}
		if v.iso == isoKey {
			return nil
		}
		if _, ok := d.isos[isoKey]; !ok && isoKey != "" {
			return backend.ErrISONotFound
		}
		if v.running && v.trayLocked && !force {
			return backend.ErrTrayLocked
		}
		v.iso = isoKey
		return nil
	})
}

// SetTrayLocked makes the guest lock its CD tray while it runs, or not. It
// does nothing when there is no such guest, as do those below.
func (d *Driver) SetTrayLocked(ref string, locked bool) {
	d.change(ref, func(v *vm) { v.trayLocked = locked })
}

// SetGuestHolds makes the guest refuse to release the volume while it runs, or
// release it. A detach that waits for it sees the change at once.
func (d *Driver) SetGuestHolds(ref, volumeID string, hold bool) {
	d.change(ref, func(v *vm) {
		if hold {
			v.holds[volumeID] = true
		} else {
			delete(v.holds, volumeID)
		}
	})
}

// SetFull fills the storage, or empties it again: while it is full, what needs
// space fails with ErrNoSpace.
func (d *Driver) SetFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

func (d *Driver) change(ref string, f func(*vm)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.vms[ref]; v != nil {
		f(v)
		d.wake()
	}
}
