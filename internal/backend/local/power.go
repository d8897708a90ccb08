package local

import (
	"context"
	"fmt"

	"github.com/drivebay/drivebay/internal/backend"
)

// Power implements backend.Driver. A simulated guest that is asked to shut down
// does so at once, unless it is deaf.
func (d *Driver) Power(ctx context.Context, ref string, action backend.PowerAction) error {
	leave, err := d.gate.Enter(ctx, backend.GuestObject(ref))
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
		return d.update(ctx, v, (*record).start)
	case backend.PowerShutdown:
		if _, err := d.await(ctx, v, nil, func(g *record) bool { return !g.Running || !g.Deaf }); err != nil {
			return err
		}
		return d.update(ctx, v, func(g *record) { g.Running = false })
	case backend.PowerOff:
		return d.update(ctx, v, func(g *record) { g.Running = false })
	case backend.PowerReset:
		return d.reset(ctx, v)
	}
	return backend.ErrUnsupported.Because(fmt.Errorf("power action %q", action))
}

// reset restarts a guest that runs, which leaves it as it is.
func (d *Driver) reset(ctx context.Context, v *vm) error {
	if err := d.update(ctx, v, func(*record) {}); err != nil {
		return err
	}
	if g, _ := d.read(v); g.Running {
		d.heard.Tell(backend.GuestEvent{Ref: g.Ref, What: backend.GuestReset})
	}
	return nil
}

// SetBoot implements backend.Driver.
func (d *Driver) SetBoot(ctx context.Context, ref string, cdFirst bool) (pending bool, err error) {
	leave, err := d.gate.Enter(ctx, backend.GuestObject(ref))
	if err != nil {
		return false, err
	}
	defer leave()
	v := d.guest(ref)
	switch {
	case v == nil && cdFirst:
		return false, backend.ErrVMNotFound
	case v == nil:
		return false, nil
	}
	if err := d.update(ctx, v, func(g *record) { g.CDFirst = cdFirst }); err != nil {
		return false, err
	}
	g, _ := d.read(v)
	return g.Running && g.FromCD != cdFirst, nil
}

// Watch implements backend.Driver. Nothing is lost while the driver is open.
func (d *Driver) Watch(ctx context.Context, fn func(backend.GuestEvent)) error {
	return d.heard.Watch(ctx, d.gate.Closing(), fn)
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

// SetDeaf makes the guest ignore that it is asked to shut down, or not. A call
// that waits sees it at once.
func (d *Driver) SetDeaf(ref string, deaf bool) error {
	return d.turn(ref, func(g *record) { g.Deaf = deaf })
}

// StopGuest is the guest going down by itself, even while a call waits for it.
func (d *Driver) StopGuest(ref string) error {
	return d.turn(ref, func(g *record) { g.Running = false })
}

// turn changes a guest without waiting for the call that holds it.
func (d *Driver) turn(ref string, change func(*record)) error {
	leave, err := d.gate.Enter(context.Background())
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
