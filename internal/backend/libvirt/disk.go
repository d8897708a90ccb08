package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	lv "github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"

	"github.com/drivebay/drivebay/internal/backend"
)

const (
	live   = uint32(lv.DomainAffectLive)
	config = uint32(lv.DomainAffectConfig)
)

// changesMax is how often a call starts anew because its guest was started or
// stopped meanwhile.
const changesMax = 5

// anew repeats a call that found its guest in another state than it had read.
func anew(call func() error) error {
	var err error
	for range changesMax {
		if err = call(); !stateChanged(err) {
			return err
		}
	}
	return err
}

// EnsureAttached implements backend.Driver.
func (d *Driver) EnsureAttached(ctx context.Context, ref, volumeID string) error {
	leave, err := d.gate.Enter(ctx, backend.GuestObject(ref), backend.VolumeObject(volumeID))
	if err != nil {
		return err
	}
	defer leave()
	return failure("attach volume "+volumeID, anew(func() error { return d.attach(ctx, ref, volumeID) }))
}

func (d *Driver) attach(ctx context.Context, ref, id string) error {
	c, dom, err := d.find(ctx, ref)
	if err != nil {
		return err
	}
	var (
		g               *guest
		f               *file
		others          []*guest
		unseen, unasked error
		asking          errgroup.Group
	)
	asking.Go(func() (err error) { g, err = c.readSettled(ctx, dom); return err })
	asking.Go(func() error { f, unseen = d.volumeOn(ctx, c, id); return nil })
	asking.Go(func() error { others, _, unasked = d.users(ctx, id, &found{c, dom}); return nil })
	switch err := asking.Wait(); {
	case err != nil:
		return err
	case unseen != nil && !errors.Is(unseen, backend.ErrNoPool):
		return unseen
	}
	p, err := c.volumePool(ctx)
	if err != nil {
		return err
	}
	s, have, lacks, err := g.connected(p, id)
	switch {
	case err != nil || lacks == 0:
		return err
	case unseen != nil:
		return unseen
	}
	if !have {
		if unasked != nil {
			return unasked
		}
		if s, err = g.slotFor(p, id, others); err != nil {
			return err
		}
	}
	return g.connect(ctx, f.p, id, s, lacks)
}

// connected says which definitions lack the volume, and where the other one, if
// any, has it.
func (g *guest) connected(p *pool, id string) (s slot, have bool, lacks uint32, err error) {
	for _, m := range g.both() {
		flag := config
		if m == g.live {
			flag = live
		}
		disk := m.volume(p, id)
		if disk == nil {
			lacks |= flag
			continue
		}
		// A snapshot's overlay has the volume below it.
		if !slices.ContainsFunc(disk.named, func(source string) bool { return p.idOf(source) == id }) {
			return s, false, 0, backend.ErrConflict.Because(fmt.Errorf("disk %s of guest %s is %q", disk.alias, g.ref, disk.source))
		}
		s, have = slotOf(disk), true
	}
	return s, have, lacks, nil
}

// slotFor says whether the guest may have the volume, and where; others are the
// guests beside it that name the volume. QEMU's lock on a file refuses a second
// guest that runs, but nothing refuses one that is off, and Ceph hands an image's
// lock to whoever asks.
func (g *guest) slotFor(p *pool, id string, others []*guest) (slot, error) {
	if g.names(p, id) {
		others = append(others, g)
	}
	if len(others) > 0 {
		return slot{}, backend.ErrInUse.Because(fmt.Errorf("guest %s names volume %s", others[0].ref, id))
	}
	opts := g.c.host.d.opts
	if len(g.volumes(p)) > opts.MaxVolumes { // one more than that: the ROOT disk
		return slot{}, backend.ErrNoSlot
	}
	return g.freeSlot(opts.DiskBus)
}

// connect adds the disk to the definitions that lack it. From the mark on it is
// done whole, whatever becomes of the context.
func (g *guest) connect(ctx context.Context, p *pool, id string, s slot, lacks uint32) error {
	if lacks&live != 0 {
		if err := g.c.setBusy(ctx, g.dom, id); err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)
	}
	text := volumeXML(p, id, s)
	err := g.c.do(ctx, "attach disk", func() error { return g.c.l.DomainAttachDeviceFlags(g.dom, text, lacks) })
	// After an answer that is not in the table, QEMU is asked what it has before
	// the guest is worked on again.
	if lacks&live != 0 && (err == nil || stateChanged(err) || errors.Is(failure("", err), backend.ErrNoSlot)) {
		g.unmark(ctx)
	}
	return err
}

// whileRunning is the error of something that only counts while the guest runs.
func whileRunning(err error) error {
	if isCode(err, lv.ErrOperationInvalid, lv.ErrNoDomain, lv.ErrNoDomainMetadata) {
		return nil
	}
	return err
}

// EnsureDetached implements backend.Driver.
func (d *Driver) EnsureDetached(ctx context.Context, ref, volumeID string, opts backend.DetachOptions) error {
	leave, err := d.gate.Enter(ctx, backend.GuestObject(ref), backend.VolumeObject(volumeID))
	if err != nil {
		return err
	}
	defer leave()
	timeout := opts.Timeout
	if timeout <= 0 {
		timeout = d.opts.DetachTimeout
	}
	end := time.Now().Add(timeout)
	if opts.ToDelete {
		if err := d.deletable(ctx, volumeID); err != nil {
			return failure("detach volume "+volumeID, err)
		}
	}
	err = anew(func() error { return d.detach(ctx, ref, volumeID, end) })
	if errors.Is(err, backend.ErrVMNotFound) || isCode(err, lv.ErrNoDomain) {
		return nil
	}
	return failure("detach volume "+volumeID, err)
}

// detach takes the disk from the running guest and, once it is gone, from the
// definition of its next start: a guest that restarts in between still has what
// it has not let go. The disk is found by what it is, in the definition as it is
// now: libvirt itself would go by the target's name alone.
func (d *Driver) detach(ctx context.Context, ref, id string, end time.Time) error {
	c, dom, err := d.find(ctx, ref)
	if err != nil {
		return err
	}
	g, err := c.readSettled(ctx, dom)
	if err != nil {
		return err
	}
	p, err := c.volumePool(ctx)
	if err != nil {
		return err
	}
	if g.live != nil {
		if disk := g.live.volume(p, id); disk != nil {
			known, err := g.release(ctx, p, id, disk, end)
			if known {
				defer g.unmark(ctx)
			}
			if err != nil {
				return err
			}
			ctx = context.WithoutCancel(ctx)
		}
	}
	if disk := g.config.volume(p, id); disk != nil {
		return c.detachDisk(ctx, dom, disk, config)
	}
	return nil
}

// detachDisk asks for a disk to be taken away. By an alias that we chose the
// answer comes at once and says nothing of the guest; for a disk without one
// libvirt waits for the guest for up to 5 seconds.
func (c *conn) detachDisk(ctx context.Context, dom lv.Domain, disk *disk, flags uint32) error {
	return c.do(ctx, "detach disk "+disk.dev, func() error {
		if len(disk.alias) > len(aliasPrefix) && disk.alias[:len(aliasPrefix)] == aliasPrefix {
			return c.l.DomainDetachDeviceAlias(dom, disk.alias, flags)
		}
		return c.l.DomainDetachDeviceFlags(dom, disk.raw, flags)
	})
}

// release has the running guest let go of the disk and returns nil once the
// guest does not have it: it is gone, or the guest is off. known: the mark that it
// has set can go.
func (g *guest) release(ctx context.Context, p *pool, id string, disk *disk, end time.Time) (known bool, err error) {
	events := &g.c.host.d.events
	outcome, stop := events.await(release{g.ref, disk.alias})
	defer stop()
	if err := g.c.setBusy(ctx, g.dom, id); whileRunning(err) != nil {
		return false, err
	}
	// A refusal may be that of a guest that was asked before and has not answered
	// yet. What counts is whether the disk goes.
	asked := g.c.detachDisk(context.WithoutCancel(ctx), g.dom, disk, live)
	err = g.awaitRelease(ctx, p, id, outcome, end)
	if errors.Is(err, backend.ErrGuestDidNotRelease) && asked != nil {
		err = backend.ErrGuestDidNotRelease.Because(asked)
	}
	return !errors.Is(err, backend.ErrUnavailable), err
}

func (g *guest) awaitRelease(ctx context.Context, p *pool, id string, outcome <-chan bool, end time.Time) error {
	expired := time.NewTimer(time.Until(end))
	defer expired.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		// The definition as it is now, whatever an event said: none is sent when
		// the guest's process ends.
		now, err := g.c.read(context.WithoutCancel(ctx), g.dom)
		if isCode(err, lv.ErrNoDomain) {
			return nil
		}
		if err != nil {
			return err
		}
		if now.live == nil || now.live.volume(p, id) == nil {
			return nil
		}
		select {
		case gone := <-outcome:
			if !gone {
				return backend.ErrGuestDidNotRelease
			}
		case <-tick.C:
		case <-expired.C:
			return backend.ErrGuestDidNotRelease
		case <-ctx.Done():
			return ctx.Err()
		case <-g.c.w.lost:
			return backend.ErrUnavailable
		case <-g.c.host.d.gate.Closing():
			return backend.ErrUnavailable.Because(fs.ErrClosed)
		}
	}
}
