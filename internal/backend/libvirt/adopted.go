package libvirt

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// adopted are the volumes that were guests' own disks before and kept their
// names, as one question about them was answered. nil has none.
type adopted struct {
	ids     map[string]string // by source, as sourceName writes it
	sources map[string]string // by id
}

// errNotTheSame is not permanent: hosts that share a file see its changes at
// different times.
var errNotTheSame = &backend.Error{
	Reason: backend.ErrConflict.Reason,
	Text:   "several hosts have a disk of the volume's name, and not the same one",
}

// adopted asks for the facility's adopted volumes. ErrUnavailable: that failed,
// and then nothing is known of any volume.
func (d *Driver) adopted(ctx context.Context) (*adopted, error) {
	if d.opts.Adopted == nil {
		return nil, nil
	}
	asked, cancel := context.WithTimeout(ctx, d.opts.CallTimeout)
	defer cancel()
	all, err := d.opts.Adopted(asked)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil: // as text: it may be the end of a context that is not the caller's
		return nil, backend.ErrUnavailable.Because(fmt.Errorf("ask for the adopted volumes: %v", err))
	}
	return newAdopted(all), nil
}

func newAdopted(ids map[string]string) *adopted {
	a := &adopted{ids: make(map[string]string, len(ids)), sources: make(map[string]string, len(ids))}
	for outside, id := range ids {
		source := insideSource(outside)
		a.ids[source], a.sources[id] = id, source
	}
	return a
}

// id is the adopted volume that has the source, "" without.
func (a *adopted) id(source string) string {
	if a == nil {
		return ""
	}
	return a.ids[clean(source)]
}

// source is the source of an adopted volume; not ok: it is none.
func (a *adopted) source(id string) (source string, ok bool) {
	if a == nil {
		return "", false
	}
	source, ok = a.sources[id]
	return source, ok
}

// outsideSource is a source as others keep it: an RBD image is POOL/IMAGE.
func outsideSource(source string) string { return strings.TrimPrefix(clean(source), rbdPrefix) }

// insideSource is the source that outsideSource has made this of.
func insideSource(outside string) string {
	pool, _, ok := strings.Cut(outside, "/")
	if !ok || pool == "" || strings.Contains(pool, ":") {
		return clean(outside)
	}
	return rbdPrefix + outside
}

func clean(source string) string {
	if strings.HasPrefix(source, "/") {
		return path.Clean(source)
	}
	return source
}

// resolve replaces what a machine calls a volume of a pool's by what that is. A
// pool that is not there, or of a type we do not know, leaves it as it is.
func (c *conn) resolve(ctx context.Context, m *machine) error {
	for i := range m.disks {
		d := &m.disks[i]
		for _, s := range append([]*string{&d.source}, pointers(d.named)...) {
			name, ok := strings.CutPrefix(*s, poolPrefix)
			if !ok {
				continue
			}
			in, volume, _ := strings.Cut(name, "/")
			p, err := c.pool(ctx, in)
			switch {
			case err == nil:
				*s = p.sourceOf(volume)
			case c.isLost() || ctx.Err() != nil:
				return err
			}
		}
	}
	return nil
}

func pointers(all []string) []*string {
	out := make([]*string, len(all))
	for i := range all {
		out[i] = &all[i]
	}
	return out
}

// allPools are the host's active pools whose volumes are files or RBD images.
func (c *conn) allPools(ctx context.Context) ([]*pool, error) {
	refs, err := ask(ctx, c, "list pools", func() ([]lv.StoragePool, error) {
		all, _, err := c.l.ConnectListAllStoragePools(1, lv.ConnectListStoragePoolsActive)
		return all, err
	})
	if err != nil {
		return nil, err
	}
	var all []*pool
	for _, ref := range refs {
		p, err := c.pool(ctx, ref.Name)
		switch {
		case err == nil:
			all = append(all, p)
		case c.isLost() || ctx.Err() != nil:
			return nil, err
		}
	}
	return all, nil
}

// volumeFile finds a volume's file or image on the host, nil without; fresh has
// libvirt read the storage again first where it does not know it. An adopted
// one may be in any of the host's pools. backend.ErrNoPool: it can be in none.
func (p *pool) volumeFile(ctx context.Context, id string, fresh bool) (*file, error) {
	source, is := p.adopted.source(id)
	switch {
	case !is && fresh:
		return p.find(ctx, p.fileOf(id))
	case !is:
		return p.lookup(ctx, p.fileOf(id))
	}
	if name := p.fileOfSource(source); name != "" {
		return p.find(ctx, name)
	}
	others, err := p.c.allPools(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if name := o.fileOfSource(source); name != "" {
			return o.with(p.adopted).find(ctx, name)
		}
	}
	return nil, backend.ErrNoPool
}

// deletable is backend.ErrNoPool for an adopted volume that is in no pool, which
// only the guest that has it can reach.
func (d *Driver) deletable(ctx context.Context, id string) error {
	known, err := d.adopted(ctx)
	if err != nil {
		return err
	}
	if _, is := known.source(id); !is {
		return nil
	}
	all, away, err := d.volumeFiles(ctx, id, true)
	if err == nil && len(all) == 0 && errors.Is(away, backend.ErrNoPool) {
		return away
	}
	return err
}

// noPoolUnlessAll joins the hosts' errors: that one has no pool for a disk only
// counts where none has.
func noPoolUnlessAll(errs []error) error {
	others := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return errors.Is(err, backend.ErrNoPool) })
	if len(others) > 0 {
		return errors.Join(others...)
	}
	return backend.ErrNoPool
}

// isPath reports whether an adopted volume goes by a path, which is another file
// on each host that does not share it.
func (a *adopted) isPath(id string) bool {
	source, is := a.source(id)
	return is && strings.HasPrefix(source, "/")
}

// sameFile is nil if the hosts' files are one, which they share, and no host is
// away that may have another. errNotTheSame: they are not.
func sameFile(ctx context.Context, all []*file, away error) error {
	if away != nil && !errors.Is(away, backend.ErrNoPool) {
		return away
	}
	var first string
	for i, f := range all {
		target, err := f.target(ctx)
		if err != nil {
			return err
		}
		if i == 0 {
			first = target.Changed
		}
		if target.Changed == "" || target.Changed != first {
			return errNotTheSame.Because(fmt.Errorf("%s was changed at %q on host %s, and at %q on another", f.ref.Key, target.Changed, f.p.c.host.Name, first))
		}
	}
	return nil
}

// elsewhere are the adopted volumes of the host that are not in its pool p: in
// another, or, where libvirt has none for it, as a guest has it.
func (c *conn) elsewhere(ctx context.Context, p *pool, guests []*guest) ([]backend.VolumeView, error) {
	left := map[string]string{} // sources by id
	if p.adopted != nil {
		for id, source := range p.adopted.sources {
			if p.fileOfSource(source) == "" {
				left[id] = source
			}
		}
	}
	if len(left) == 0 {
		return nil, nil
	}
	pools, err := c.allPools(ctx)
	if err != nil {
		return nil, err
	}
	var found []backend.VolumeView
	for _, o := range pools {
		if !o.holdsAny(left) {
			continue
		}
		files, err := o.files(ctx)
		if err != nil {
			return nil, err
		}
		for _, f := range whole(files) {
			if id := p.adopted.id(o.sourceOf(f.ref.Name)); left[id] != "" {
				found = append(found, backend.VolumeView{ID: id, Bytes: f.bytes})
				delete(left, id)
			}
		}
	}
	for id := range left {
		bytes, err := heldBytes(ctx, p.adopted, id, guests)
		if err != nil {
			return nil, err
		}
		if bytes > 0 {
			found = append(found, backend.VolumeView{ID: id, Bytes: bytes})
		}
	}
	return found, nil
}

func (p *pool) holdsAny(sources map[string]string) bool {
	for _, s := range sources {
		if p.fileOfSource(s) != "" {
			return true
		}
	}
	return false
}

// heldBytes is how large the guest that has the volume takes it to be, 0 when
// none has it or its host cannot tell.
func heldBytes(ctx context.Context, known *adopted, id string, guests []*guest) (int64, error) {
	for _, g := range guests {
		p, err := g.c.volumePoolWith(ctx, known)
		if err != nil {
			return 0, err
		}
		for _, m := range g.both() {
			disk := m.volume(p, id)
			if disk == nil {
				continue
			}
			if bytes, err := g.diskBytesIfKnown(ctx, disk); bytes > 0 || err != nil {
				return bytes, err
			}
		}
	}
	return 0, nil
}

// diskBytesIfKnown is diskBytes, of a guest that is off too, with 0 where the
// host cannot tell.
func (g *guest) diskBytesIfKnown(ctx context.Context, disk *disk) (int64, error) {
	bytes, err := g.diskBytes(ctx, disk)
	var answer lv.Error
	if errors.As(err, &answer) && !g.c.isLost() {
		return 0, nil
	}
	return bytes, err
}
