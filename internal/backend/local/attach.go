package local

import (
	"context"
	"io/fs"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

// EnsureAttached implements backend.Driver.
func (d *Driver) EnsureAttached(ctx context.Context, ref, volumeID string) error {
	leave, err := d.gate.Enter(ctx, backend.GuestObject(ref), backend.VolumeObject(volumeID))
	if err != nil {
		return err
	}
	defer leave()
	v := d.guest(ref)
	if v == nil {
		return backend.ErrVMNotFound
	}
	g, _ := d.read(v)
	if !g.has(volumeID) {
		if err := d.checkAttach(g, volumeID); err != nil {
			return ioError("attach volume "+volumeID, err)
		}
	}
	return d.update(ctx, v, func(g *record) { g.Volumes = with(g.Volumes, volumeID) })
}

func (d *Driver) checkAttach(g *record, volumeID string) error {
	_, there, err := d.volumeLen(volumeID)
	switch {
	case err != nil:
		return err
	case !there:
		return backend.ErrVolumeNotFound
	case d.holder(volumeID) != "":
		return backend.ErrInUse
	case len(g.Volumes) > d.opts.MaxVolumes: // one more than that: the ROOT disk
		return backend.ErrNoSlot
	}
	return nil
}

// EnsureDetached implements backend.Driver.
func (d *Driver) EnsureDetached(ctx context.Context, ref, volumeID string, opts backend.DetachOptions) error {
	leave, err := d.gate.Enter(ctx, backend.GuestObject(ref), backend.VolumeObject(volumeID))
	if err != nil {
		return err
	}
	defer leave()
	v := d.guest(ref)
	if v == nil {
		return nil
	}
	if err := d.awaitRelease(ctx, v, volumeID, opts.Timeout); err != nil {
		return err
	}
	return d.update(ctx, v, func(g *record) {
		if g.has(volumeID) {
			g.Volumes = without(g.Volumes, volumeID)
			g.Holds = without(g.Holds, volumeID)
		}
	})
}

// awaitRelease returns nil once the guest does not keep the volume from being
// disconnected: it never had it, released it, or is off.
func (d *Driver) awaitRelease(ctx context.Context, v *vm, volumeID string, timeout time.Duration) error {
	if timeout <= 0 {
		timeout = d.opts.DetachTimeout
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	is, err := d.await(ctx, v, t.C, func(g *record) bool { return !g.has(volumeID) || !g.holds(volumeID) })
	if err == nil && !is {
		return backend.ErrGuestDidNotRelease
	}
	return err
}

// await reports true once the guest is as wanted, and false when expired comes
// first.
func (d *Driver) await(ctx context.Context, v *vm, expired <-chan time.Time, wanted func(*record) bool) (is bool, err error) {
	for {
		g, changed := d.read(v)
		if wanted(g) {
			return true, nil
		}
		select {
		case <-changed:
		case <-expired:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		case <-d.gate.Closing():
			return false, backend.ErrUnavailable.Because(fs.ErrClosed)
		}
	}
}

// SetMedia implements backend.Driver. An eject with force opens the tray of a
// guest that locks it; the guest goes on locking the next medium.
func (d *Driver) SetMedia(ctx context.Context, ref, isoKey string, force bool) error {
	objects := []backend.Object{backend.GuestObject(ref)}
	if isoKey != "" {
		objects = append(objects, backend.ImageObject(isoKey)) // so that nobody deletes it meanwhile
	}
	leave, err := d.gate.Enter(ctx, objects...)
	if err != nil {
		return err
	}
	defer leave()
	v := d.guest(ref)
	switch {
	case v == nil && isoKey == "":
		return nil
	case v == nil:
		return backend.ErrVMNotFound
	}
	g, _ := d.read(v)
	if g.ISO != isoKey {
		if err := d.checkMedia(g, isoKey, force); err != nil {
			return ioError("insert image "+isoKey, err)
		}
	}
	return d.update(ctx, v, func(g *record) { g.ISO = isoKey })
}

func (d *Driver) checkMedia(g *record, isoKey string, force bool) error {
	if isoKey != "" {
		_, there, err := fileLen(d.isos.file(imageFile(isoKey)))
		switch {
		case err != nil:
			return err
		case !there:
			return backend.ErrISONotFound
		}
	}
	if g.Running && g.TrayLocked && !force {
		return backend.ErrTrayLocked
	}
	return nil
}
