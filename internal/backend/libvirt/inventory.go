package libvirt

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/drivebay/drivebay/internal/backend"
)

var _ backend.Inventory = (*Driver)(nil)

// Guests implements backend.Inventory, by host and name. A guest that several
// hosts have counts once: where it runs, else on the first.
func (d *Driver) Guests(ctx context.Context) ([]backend.Guest, error) {
	leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	all, err := d.inventory(ctx)
	return all, failure("list the guests", err)
}

func (d *Driver) inventory(ctx context.Context) ([]backend.Guest, error) {
	known, err := d.adopted(ctx)
	if err != nil {
		return nil, err
	}
	lists := make([][]backend.Guest, len(d.hosts))
	errs := onHosts(ctx, d.hosts, func(i int, c *conn) (err error) {
		lists[i], err = c.inventory(ctx, known)
		return err
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var all []backend.Guest
	at := map[string]int{}
	for _, g := range slices.Concat(lists...) {
		i, twice := at[g.Ref]
		switch {
		case !twice:
			at[g.Ref] = len(all)
			all = append(all, g)
		case g.Running && !all[i].Running:
			all[i] = g
		}
	}
	slices.SortFunc(all, func(a, b backend.Guest) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

func (c *conn) inventory(ctx context.Context, known *adopted) ([]backend.Guest, error) {
	p, err := c.volumePoolWith(ctx, known)
	if err != nil {
		return nil, err
	}
	guests, err := c.guests(ctx, nil)
	if err != nil {
		return nil, err
	}
	var all []backend.Guest
	for _, g := range guests {
		found, err := g.inventory(ctx, p)
		if err != nil {
			return nil, err
		}
		all = append(all, found)
	}
	return all, nil
}

// inventory is the guest with its disks: those it has now, then those that only
// its next start has.
func (g *guest) inventory(ctx context.Context, p *pool) (backend.Guest, error) {
	out := backend.Guest{Ref: g.ref, Name: g.dom.Name, Host: g.c.host.Name, Running: g.live != nil}
	var err error
	if out.VCPU, out.MemoryMB, err = sizeOf(g.both()[0].text); err != nil {
		return out, err
	}
	first := g.config.bootDisk()
	for _, m := range g.both() {
		for i := range m.disks {
			d := &m.disks[i]
			if !d.isDisk() || slices.ContainsFunc(out.Disks, func(have backend.GuestDisk) bool { return have.Source == outsideSource(d.source) }) {
				continue
			}
			found, err := g.inventoryDisk(ctx, p, d)
			if err != nil {
				return out, err
			}
			if first != nil && d.source == first.source {
				out.Disks = slices.Insert(out.Disks, 0, found)
			} else {
				out.Disks = append(out.Disks, found)
			}
		}
	}
	return out, nil
}

// sizeOf are the processors and MiB of memory of a domain as it starts: part of
// what it can have at most may be held back.
func sizeOf(text string) (vcpu, mib int, err error) {
	var x struct {
		VCPU struct {
			Current int `xml:"current,attr"`
			Most    int `xml:",chardata"`
		} `xml:"vcpu"`
		Memory  int `xml:"memory"` // libvirt writes KiB
		Current int `xml:"currentMemory"`
	}
	if err := xml.Unmarshal([]byte(text), &x); err != nil {
		return 0, 0, fmt.Errorf("read a domain's size: %w", err)
	}
	return cmp.Or(x.VCPU.Current, x.VCPU.Most), cmp.Or(x.Current, x.Memory) >> 10, nil
}

func (d *disk) isDisk() bool { return d.device == "disk" || d.device == "lun" }

// bootDisk is the first disk in the boot order, and the first of all where it
// has none; nil without disks.
func (m *machine) bootDisk() *disk {
	for _, b := range m.byOrder() {
		for i := range m.disks {
			if d := &m.disks[i]; d.isDisk() && d.element.start == b.at.start {
				return d
			}
		}
	}
	for i := range m.disks {
		if m.disks[i].isDisk() {
			return &m.disks[i]
		}
	}
	return nil
}

func (g *guest) inventoryDisk(ctx context.Context, p *pool, d *disk) (backend.GuestDisk, error) {
	var x struct {
		Type   string `xml:"type,attr"`
		Driver struct {
			Type string `xml:"type,attr"`
		} `xml:"driver"`
		ReadOnly *struct{} `xml:"readonly"`
		Shared   *struct{} `xml:"shareable"`
	}
	if err := xml.Unmarshal([]byte(d.raw), &x); err != nil {
		return backend.GuestDisk{}, fmt.Errorf("read a disk's XML: %w", err)
	}
	out := backend.GuestDisk{
		Source: outsideSource(d.source), Format: x.Driver.Type, Target: d.dev, VolumeID: p.certainID(d),
		ReadOnly: x.ReadOnly != nil, Shared: x.Shared != nil,
	}
	image := strings.HasPrefix(d.source, rbdPrefix)
	out.Foreign = !image && (x.Type != "file" && x.Type != "volume" || !strings.HasPrefix(d.source, "/"))
	var err error
	if out.Bytes, err = g.diskBytesIfKnown(ctx, d); err == nil && out.Bytes == 0 && !out.Foreign {
		out.Bytes, err = p.bytesOf(ctx, d.source)
	}
	return out, err
}

// certainID is the volume that a disk is, where it is not only named like one:
// others may keep files in our pool, but under no UUID and no alias of ours.
func (p *pool) certainID(d *disk) string {
	id := p.idOf(d.source)
	if _, isAdopted := p.adopted.source(id); isAdopted || d.alias == alias(id) || uuid.Validate(id) == nil {
		return id
	}
	return ""
}

// bytesOf is the size of a file or image, as its pool has it; 0 without.
func (p *pool) bytesOf(ctx context.Context, source string) (int64, error) {
	pools, err := p.c.allPools(ctx)
	if err != nil {
		return 0, err
	}
	for _, o := range pools {
		if name := o.fileOfSource(source); name != "" {
			f, err := o.find(ctx, name)
			if f == nil || err != nil {
				return 0, err
			}
			return f.bytes, nil
		}
	}
	return 0, nil
}
