package fake

import (
	"context"

	"github.com/drivebay/drivebay/internal/backend"
)

// Power implements backend.Driver.
func (d *Driver) Power(ctx context.Context, ref string, action backend.PowerAction) error {
	return d.do(ctx, Call{Method: "Power", Ref: ref, Action: action}, func(ctx context.Context) error {
		for {
			done, changed, err := d.tryPower(ref, action)
			if done || err != nil {
				return err
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// tryPower does the action unless the guest ignores it; then it returns the
// channel that closes when that may have changed.
func (d *Driver) tryPower(ref string, action backend.PowerAction) (done bool, changed <-chan struct{}, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false, nil, backend.ErrUnavailable
	}
	v := d.vms[ref]
	if v == nil {
		return false, nil, backend.ErrVMNotFound
	}
	switch action {
	case backend.PowerStart:
		d.start(v)
	case backend.PowerShutdown:
		if v.running && v.deaf {
			return false, d.changed, nil
		}
		d.stop(v)
	case backend.PowerOff:
		d.stop(v)
	case backend.PowerReset:
		d.reset(v)
	default:
		return false, nil, backend.ErrUnsupported
	}
	return true, nil, nil
}

// start, stop and reset are what happens to a guest; so already: nothing. The
// caller holds mu.
func (d *Driver) start(v *vm) {
	if v.running {
		return
	}
	v.running, v.fromCD = true, v.cdFirst
	v.starts++
	d.heard.Tell(backend.GuestEvent{Ref: v.spec.Ref, What: backend.GuestStarted})
}

func (d *Driver) stop(v *vm) {
	if !v.running {
		return
	}
	v.running = false
	d.heard.Tell(backend.GuestEvent{Ref: v.spec.Ref, What: backend.GuestStopped})
}

func (d *Driver) reset(v *vm) {
	if v.running {
		d.heard.Tell(backend.GuestEvent{Ref: v.spec.Ref, What: backend.GuestReset})
	}
}

// SetBoot implements backend.Driver.
func (d *Driver) SetBoot(ctx context.Context, ref string, cdFirst bool) (pending bool, err error) {
	err = d.do(ctx, Call{Method: "SetBoot", Ref: ref, CDFirst: cdFirst}, func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		v := d.vms[ref]
		switch {
		case v == nil && cdFirst:
			return backend.ErrVMNotFound
		case v == nil:
			return nil
		}
		v.cdFirst = cdFirst
		pending = v.running && v.fromCD != cdFirst
		return nil
	})
	return pending, err
}

// Watch implements backend.Driver.
func (d *Driver) Watch(ctx context.Context, fn func(backend.GuestEvent)) error {
	d.mu.Lock()
	gone := d.gone
	d.mu.Unlock()
	return d.heard.Watch(ctx, gone, fn)
}

// StopGuest is the guest going down by itself, even while a call waits for it.
func (d *Driver) StopGuest(ref string) { d.change(ref, d.stop) }

// StartGuest is somebody else starting the guest.
func (d *Driver) StartGuest(ref string) { d.change(ref, d.start) }

// ResetGuest is the guest restarting inside its process.
func (d *Driver) ResetGuest(ref string) { d.change(ref, d.reset) }

// SetDeaf makes the guest ignore that it is asked to shut down, or not. A call
// that waits for it sees the change at once.
func (d *Driver) SetDeaf(ref string, deaf bool) {
	d.change(ref, func(v *vm) { v.deaf = deaf })
}

// Lose tells those who watch that something may have been lost.
func (d *Driver) Lose() { d.heard.Tell(backend.GuestEvent{What: backend.GuestUnknown}) }
