package libvirt

import (
	"context"
	"errors"
	"slices"
	"strings"

	lv "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/drivebay/drivebay/internal/backend"
)

// readAhead is how many domains of a host are read at once. libvirtd takes five
// calls of one connection at a time, and a running domain is two.
const readAhead = 2

// guests reads every domain of the host but one, if that is not nil.
func (c *conn) guests(ctx context.Context, except *found) ([]*guest, error) {
	doms, err := c.domains(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*guest, len(doms))
	var reading errgroup.Group
	reading.SetLimit(readAhead)
	for i, dom := range doms {
		if except != nil && except.c == c && except.dom.UUID == dom.UUID {
			continue
		}
		reading.Go(func() (err error) {
			if all[i], err = c.read(ctx, dom); isCode(err, lv.ErrNoDomain) { // since the list was made
				return nil
			}
			return err
		})
	}
	if err := reading.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(g *guest) bool { return g == nil }), nil
}

// guests reads every domain of every host. away is the error of hosts that do
// not answer.
func (d *Driver) guests(ctx context.Context, except *found) (all []*guest, away error, err error) {
	lists := make([][]*guest, len(d.hosts))
	errs := onHosts(ctx, d.hosts, func(i int, c *conn) (err error) {
		lists[i], err = c.guests(ctx, except)
		return err
	})
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	return slices.Concat(lists...), errors.Join(errs...), nil
}

// users are the guests that name the volume in any way. A guest that does so
// with an interrupted change alone has it put in order first. The caller has the
// volume's lock.
func (d *Driver) users(ctx context.Context, id string, except *found) (users []*guest, away error, err error) {
	known, err := d.adopted(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, away, err := d.guests(ctx, except)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range all {
		p, err := g.c.volumePoolWith(ctx, known)
		if err != nil {
			away = errors.Join(away, err)
			continue
		}
		if g.live != nil && g.live.busy == id {
			if g, err = g.c.readSettled(ctx, g.dom); err != nil {
				return nil, nil, err
			}
		}
		if g.names(p, id) {
			users = append(users, g)
		}
	}
	return users, away, nil
}

// names reports whether the guest names the volume in any way.
func (g *guest) names(p *pool, id string) bool {
	return slices.ContainsFunc(g.both(), func(m *machine) bool { return m.names(p, id) })
}

// volumes are those connected to the guest now or after its next start, sorted.
func (g *guest) volumes(p *pool) []string {
	var ids []string
	for _, m := range g.both() {
		for i := range m.disks {
			if id := p.volumeOf(&m.disks[i]); id != "" {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// view is the guest as backend has it.
func (g *guest) view(ctx context.Context, volumes *pool) (backend.VMView, error) {
	isos, err := g.c.isoPool(ctx)
	if err != nil {
		return backend.VMView{}, err
	}
	v := backend.VMView{
		Ref: g.ref, Running: g.live != nil,
		VolumeIDs: g.volumes(volumes),
		CDFirst:   g.config.cdFirst(),
	}
	if disk := g.both()[0].cdrom(g.c.host.d.opts.CDBus); disk != nil {
		v.ISOKey = isos.keyOf(disk.source)
	}
	v.Starts, err = g.starts(ctx)
	return v, err
}

// starts names this start of the guest's process. libvirt's own number of a
// domain begins anew with the host, so the first who asks sets a mark, under an
// address of its own: another server may do the same at this moment.
func (g *guest) starts(ctx context.Context) (string, error) {
	if g.live == nil || len(g.live.starts) > 0 {
		return g.start(), nil
	}
	unlock, err := g.c.host.d.marks.Lock(ctx, g.ref)
	if err != nil {
		return "", err
	}
	defer unlock()
	now, err := g.c.read(ctx, g.dom)
	if err != nil || now.live == nil || len(now.live.starts) > 0 {
		return now.start(), gone42(err)
	}
	if err := g.c.setMark(ctx, g.dom, startURI+g.c.host.d.id, "start", "id", uuid.NewString()); err != nil {
		return "", whileRunning(err)
	}
	now, err = g.c.read(ctx, g.dom)
	return now.start(), gone42(err)
}

func (g *guest) start() string {
	if g == nil || g.live == nil {
		return ""
	}
	return strings.Join(g.live.starts, " ")
}

// gone42 is err, but nil for a domain that is not there any more.
func gone42(err error) error {
	if isCode(err, lv.ErrNoDomain) {
		return nil
	}
	return err
}

// Inspect implements backend.Driver. It waits for no call on the guest.
func (d *Driver) Inspect(ctx context.Context, ref string) (backend.VMView, error) {
	leave, err := d.gate.Enter(ctx)
	if err != nil {
		return backend.VMView{}, err
	}
	defer leave()
	v, err := d.inspect(ctx, ref)
	return v, failure("look at guest "+ref, err)
}

func (d *Driver) inspect(ctx context.Context, ref string) (backend.VMView, error) {
	c, dom, err := d.find(ctx, ref)
	if err != nil {
		return backend.VMView{}, err
	}
	g, err := c.read(ctx, dom)
	if err != nil {
		return backend.VMView{}, err
	}
	p, err := c.volumePool(ctx)
	if err != nil {
		return backend.VMView{}, err
	}
	return g.view(ctx, p)
}

// InspectVolume implements backend.Driver. It waits for a call on the volume
// that is under way, and shuts out later ones of older runs.
func (d *Driver) InspectVolume(ctx context.Context, volumeID string) (backend.VolumeView, error) {
	leave, err := d.gate.Enter(ctx, backend.VolumeObject(volumeID))
	if err != nil {
		return backend.VolumeView{}, err
	}
	defer leave()
	v, err := d.inspectVolume(ctx, volumeID)
	return v, failure("look at volume "+volumeID, err)
}

func (d *Driver) inspectVolume(ctx context.Context, id string) (backend.VolumeView, error) {
	all, away, err := d.volumeFiles(ctx, id, true)
	all = whole(all)
	unseen := len(all) == 0 && errors.Is(away, backend.ErrNoPool) // only a guest can tell
	switch {
	case err != nil:
		return backend.VolumeView{}, err
	case len(all) == 0 && away != nil && !unseen:
		return backend.VolumeView{}, away
	case len(all) == 0 && !unseen:
		return backend.VolumeView{}, backend.ErrVolumeNotFound
	}
	users, silent, err := d.users(ctx, id, nil)
	if err = errors.Join(err, silent); err != nil {
		return backend.VolumeView{}, err
	}
	v := backend.VolumeView{ID: id}
	if len(users) > 0 {
		v.Ref = users[0].ref
	}
	if !unseen {
		v.Bytes = all[0].bytes
		return v, nil
	}
	known, err := d.adopted(ctx)
	if err != nil {
		return backend.VolumeView{}, err
	}
	if v.Bytes, err = heldBytes(ctx, known, id, users); v.Bytes == 0 && err == nil {
		return backend.VolumeView{}, away
	}
	return v, err
}

// InspectAll implements backend.Driver. A call that runs meanwhile may be in it
// or not. A host that does not answer: ErrUnavailable, since what it holds would
// look as if it were gone.
func (d *Driver) InspectAll(ctx context.Context) (backend.View, error) {
	leave, err := d.gate.Enter(ctx)
	if err != nil {
		return backend.View{}, err
	}
	defer leave()
	known, err := d.adopted(ctx)
	if err != nil {
		return backend.View{}, err
	}
	parts := make([]backend.View, len(d.hosts))
	errs := onHosts(ctx, d.hosts, func(i int, c *conn) (err error) {
		parts[i], err = c.inspectAll(ctx, known)
		return err
	})
	if err := errors.Join(errs...); err != nil {
		return backend.View{}, failure("look at everything", err)
	}
	return merge(parts), nil
}

// merge puts the hosts' views together. What several have, sharing storage or
// with a guest on the move, counts once: where it is in use.
func merge(parts []backend.View) backend.View {
	var all backend.View
	vms, volumes, isos := map[string]backend.VMView{}, map[string]backend.VolumeView{}, map[string]backend.ISOView{}
	refs := map[string]string{}
	for _, p := range parts {
		for _, v := range p.VMs {
			if have, ok := vms[v.Ref]; !ok || v.Running && !have.Running {
				vms[v.Ref] = v
			}
			for _, id := range v.VolumeIDs {
				refs[id] = v.Ref
			}
		}
		for _, v := range p.Volumes {
			if have, ok := volumes[v.ID]; !ok || v.Bytes > have.Bytes {
				volumes[v.ID] = v
			}
		}
		for _, v := range p.ISOs {
			isos[v.Key] = v
		}
	}
	for _, v := range vms {
		all.VMs = append(all.VMs, v)
	}
	for _, v := range volumes {
		v.Ref = refs[v.ID]
		all.Volumes = append(all.Volumes, v)
	}
	for _, v := range isos {
		all.ISOs = append(all.ISOs, v)
	}
	slices.SortFunc(all.VMs, func(a, b backend.VMView) int { return strings.Compare(a.Ref, b.Ref) })
	slices.SortFunc(all.Volumes, func(a, b backend.VolumeView) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(all.ISOs, func(a, b backend.ISOView) int { return strings.Compare(a.Key, b.Key) })
	return all
}

func (c *conn) inspectAll(ctx context.Context, known *adopted) (backend.View, error) {
	var part backend.View
	p, err := c.volumePoolWith(ctx, known)
	if err != nil {
		return part, err
	}
	guests, err := c.guests(ctx, nil)
	if err != nil {
		return part, err
	}
	for _, g := range guests {
		v, err := g.view(ctx, p)
		if err != nil {
			return part, err
		}
		part.VMs = append(part.VMs, v)
	}
	files, err := p.files(ctx)
	if err != nil {
		return part, err
	}
	for _, f := range whole(files) {
		if id := p.idOf(p.sourceOf(f.ref.Name)); id != "" {
			part.Volumes = append(part.Volumes, backend.VolumeView{ID: id, Bytes: f.bytes})
		}
	}
	others, err := c.elsewhere(ctx, p, guests)
	if err != nil {
		return part, err
	}
	part.Volumes = append(part.Volumes, others...)
	part.ISOs, err = c.images(ctx)
	return part, err
}
