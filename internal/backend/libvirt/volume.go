package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"

	lv "github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"

	"github.com/drivebay/drivebay/internal/backend"
)

// files are a volume's, one for each host that has it. Hosts that share storage
// have the same one.
func (d *Driver) volumeFiles(ctx context.Context, id string, fresh bool) (all []*file, away error, err error) {
	known, err := d.adopted(ctx)
	if err != nil {
		return nil, nil, err
	}
	files := make([]*file, len(d.hosts))
	errs := onHosts(ctx, d.hosts, func(i int, c *conn) error {
		p, err := c.volumePoolWith(ctx, known)
		if err != nil {
			return err
		}
		files[i], err = p.volumeFile(ctx, id, fresh)
		return err
	})
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		if f != nil {
			all = append(all, f)
		}
	}
	away = noPoolUnlessAll(errs)
	if known.isPath(id) && len(d.hosts) > 1 {
		if err := sameFile(ctx, all, away); err != nil {
			return nil, nil, err
		}
	}
	return all, away, nil
}

// volumeOn is the volume as the host reaches it. ErrOtherHost: only another has it.
func (d *Driver) volumeOn(ctx context.Context, c *conn, id string) (*file, error) {
	p, err := c.volumePool(ctx)
	if err != nil {
		return nil, err
	}
	if !p.adopted.isPath(id) || len(d.hosts) == 1 {
		f, err := p.volumeFile(ctx, id, true)
		if f != nil && f.bytes > 0 || err != nil && !errors.Is(err, backend.ErrNoPool) {
			return f, err
		}
	}
	all, away, err := d.volumeFiles(ctx, id, true)
	if err != nil {
		return nil, err
	}
	all = whole(all)
	here := slices.IndexFunc(all, func(f *file) bool { return f.p.c.host == c.host })
	switch {
	case here >= 0:
		return all[here], nil
	case len(all) > 0:
		return nil, backend.ErrOtherHost
	case away != nil:
		return nil, away
	}
	return nil, backend.ErrVolumeNotFound
}

// whole leaves out what an interrupted create left: an empty file is no volume.
func whole(all []*file) []*file {
	var some []*file
	for _, f := range all {
		if f.bytes > 0 {
			some = append(some, f)
		}
	}
	return some
}

// EnsureVolume implements backend.Driver. A volume is made on the host of the
// guest it is for, else on the first host that answers.
func (d *Driver) EnsureVolume(ctx context.Context, spec backend.VolumeSpec) error {
	if spec.Bytes < 1 || spec.Ref != "" && !backend.ValidID(spec.Ref) {
		return backend.ErrInvalid
	}
	leave, err := d.gate.Enter(ctx, backend.VolumeObject(spec.ID))
	if err != nil {
		return err
	}
	defer leave()
	return failure("create volume "+spec.ID, d.createVolume(ctx, spec))
}

func (d *Driver) createVolume(ctx context.Context, spec backend.VolumeSpec) error {
	// Without the storage being read again: a name that is there all the same is
	// refused by the create.
	all, _, err := d.volumeFiles(ctx, spec.ID, false)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		return finish(ctx, all, spec.Bytes)
	}
	if known, err := d.adopted(ctx); err != nil {
		return err
	} else if source, is := known.source(spec.ID); is {
		return backend.ErrConflict.Because(fmt.Errorf("volume %s is adopted, and its disk %s is not there", spec.ID, source))
	}
	c, err := d.hostFor(ctx, spec.Ref)
	if err != nil {
		return err
	}
	p, err := c.volumePool(ctx)
	if err != nil {
		return err
	}
	err = p.create(ctx, p.fileOf(spec.ID), spec.Bytes)
	if !exists(err) {
		return err
	}
	f, err := p.find(ctx, p.fileOf(spec.ID))
	switch {
	case err != nil:
		return err
	case f == nil:
		return backend.ErrUnavailable.Because(fmt.Errorf("volume %s is there and is not", spec.ID))
	}
	return finish(ctx, []*file{f}, spec.Bytes)
}

// finish gives the volume's files their size where the call that made them was
// interrupted before.
func finish(ctx context.Context, all []*file, bytes int64) error {
	for _, f := range all {
		switch f.bytes {
		case bytes:
		case 0:
			if err := f.resize(ctx, bytes); err != nil {
				return err
			}
		default:
			return backend.ErrConflict
		}
	}
	return nil
}

// hostFor is the host where a volume for the guest is made.
func (d *Driver) hostFor(ctx context.Context, ref string) (*conn, error) {
	if ref != "" {
		c, _, err := d.find(ctx, ref)
		return c, err
	}
	return d.anyHost(ctx)
}

// anyHost is the first host that answers.
func (d *Driver) anyHost(ctx context.Context) (*conn, error) {
	var errs []error
	for _, h := range d.hosts {
		c, err := h.conn(ctx)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// GrowVolume implements backend.Driver.
func (d *Driver) GrowVolume(ctx context.Context, volumeID string, bytes int64) error {
	if bytes < 1 {
		return backend.ErrInvalid
	}
	leave, err := d.gate.Enter(ctx, backend.VolumeObject(volumeID))
	if err != nil {
		return err
	}
	defer leave()
	return failure("grow volume "+volumeID, anew(func() error { return d.grow(ctx, volumeID, bytes) }))
}

// grow lets the guest's QEMU grow the volume while it has it, which changes the
// disk and what the guest sees of it in one, else the storage. Neither refuses a
// smaller size, so what is there is looked at first.
func (d *Driver) grow(ctx context.Context, id string, bytes int64) error {
	var (
		all          []*file
		users        []*guest
		away, silent error
		asking       errgroup.Group
	)
	asking.Go(func() (err error) { all, away, err = d.volumeFiles(ctx, id, true); return err })
	asking.Go(func() (err error) { users, silent, err = d.users(ctx, id, nil); return err })
	if err := asking.Wait(); err != nil {
		return err
	}
	all = whole(all)
	switch {
	case len(all) == 0 && errors.Is(away, backend.ErrNoPool):
		if done, err := growLive(ctx, users, id, bytes, bytes); done || err != nil {
			return err
		}
		return away
	case len(all) == 0 && away != nil:
		return away
	case len(all) == 0:
		return backend.ErrVolumeNotFound
	}
	least := all[0].bytes
	for _, f := range all {
		least = min(least, f.bytes)
		if bytes < f.bytes {
			return backend.ErrShrink
		}
	}
	if done, err := growLive(ctx, users, id, least, bytes); done || err != nil {
		return err
	}
	for _, f := range all {
		if f.bytes < bytes {
			if f.p.rbd != nil && silent != nil {
				return silent // a guest there may have it, and would not see the new size
			}
			if err := f.resize(ctx, bytes); err != nil {
				return err
			}
		}
	}
	// A guest that was started meanwhile may have opened the volume as it was.
	ctx = context.WithoutCancel(ctx)
	users, _, err := d.users(ctx, id, nil)
	if err != nil {
		return err
	}
	_, err = growLive(ctx, users, id, bytes, bytes)
	return err
}

// growLive grows the volume, which has so many bytes, where one of the guests
// runs with it; done is false without such a guest.
func growLive(ctx context.Context, users []*guest, id string, has, bytes int64) (done bool, err error) {
	for _, g := range users {
		p, err := g.c.volumePool(ctx)
		if err != nil {
			return false, err
		}
		if g.live == nil {
			continue
		}
		if disk := g.live.volume(p, id); disk != nil {
			done = true
			if err := g.growDisk(ctx, disk, has, bytes); err != nil {
				return false, err
			}
		}
	}
	return done, nil
}

// growDisk grows a disk of the running guest. QEMU does not take it to be longer
// than the volume is; where that has its new length already, QEMU may have it too.
func (g *guest) growDisk(ctx context.Context, disk *disk, has, bytes int64) error {
	if has >= bytes {
		sees, err := g.diskBytes(ctx, disk)
		switch {
		case err != nil || bytes == sees:
			return err
		case bytes < sees:
			return backend.ErrShrink
		}
	}
	return g.c.do(ctx, "grow disk "+disk.dev, func() error {
		return g.c.l.DomainBlockResize(g.dom, disk.dev, uint64(bytes), lv.DomainBlockResizeBytes)
	})
}

// diskBytes is how large the running guest's QEMU takes the disk to be.
func (g *guest) diskBytes(ctx context.Context, disk *disk) (int64, error) {
	return ask(ctx, g.c, "look at disk "+disk.dev, func() (int64, error) {
		_, capacity, _, err := g.c.l.DomainGetBlockInfo(g.dom, disk.dev, 0)
		return int64(capacity), err
	})
}

// DeleteVolume implements backend.Driver. While a host does not answer, nothing
// is deleted: a guest there might use it.
func (d *Driver) DeleteVolume(ctx context.Context, volumeID string) error {
	leave, err := d.gate.Enter(ctx, backend.VolumeObject(volumeID))
	if err != nil {
		return err
	}
	defer leave()
	return failure("delete volume "+volumeID, d.deleteVolume(ctx, volumeID))
}

func (d *Driver) deleteVolume(ctx context.Context, id string) error {
	users, away, err := d.users(ctx, id, nil)
	switch {
	case err != nil:
		return err
	case len(users) > 0:
		return backend.ErrInUse.Because(fmt.Errorf("guest %s names it", users[0].ref))
	case away != nil:
		return away
	}
	all, away, err := d.volumeFiles(ctx, id, true)
	if err = errors.Join(err, away); err != nil {
		return err
	}
	for _, f := range all {
		if err := f.remove(ctx); err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)
	}
	return nil
}
