package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"

	lv "github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"
)

// guest is one domain as one look at it found it. live is nil while it is off.
// config is what its next start will have.
type guest struct {
	c            *conn
	dom          lv.Domain
	ref          string
	live, config *machine
}

// machine is one of a domain's two definitions.
type machine struct {
	text  string
	all   []element
	disks []disk
	// busy is busyDrive, or the volume whose connection to the running guest was about to
	// change, "" when none was. See repair.go.
	busy string
	// starts are the marks of this start of the guest's process, sorted.
	starts []string
}

// disk is one disk or CD drive of a machine.
type disk struct {
	raw     string
	device  string // "disk", "cdrom"
	dev     string // the target: "sdb"
	bus     string
	alias   string
	source  string   // what it is connected to, as sourceName writes it; "" for an empty drive
	named   []string // every source the element names, those of a backing chain too
	order   int      // of boot, 0 without
	drive   drive    // of a SCSI disk
	element element
}

// drive is a disk's address on its SCSI controller.
type drive struct{ controller, bus, target, unit int }

// Metadata of ours in a domain. It is only ever set on the running guest, so
// that it goes with the guest's process.
const (
	busyURI = "urn:drivebay:libvirt:busy"
	// startURI is what a server appends an id of its own to: libvirt cannot set
	// metadata unless it is there already, so nobody overwrites another's.
	startURI = "urn:drivebay:libvirt:start:"
)

const (
	aliasPrefix = "ua-"
	// What sourceName begins with where it is no path.
	poolPrefix = "pool:"
	rbdPrefix  = "rbd:"
)

// alias is the name of a volume's disk in its guest. libvirt lets nobody have
// it twice, and its events carry it.
func alias(volumeID string) string { return aliasPrefix + volumeID }

// sourceName names what an element source connects to: the path of a file or
// device, "rbd:POOL/IMAGE", or "pool:POOL/VOLUME"; "" when it is nothing.
func sourceName(e element) string {
	switch {
	case e.attr("file") != "":
		return e.attr("file")
	case e.attr("dev") != "":
		return e.attr("dev")
	case e.attr("volume") != "":
		return poolPrefix + e.attr("pool") + "/" + e.attr("volume")
	case e.attr("name") != "":
		return e.attr("protocol") + ":" + e.attr("name")
	}
	return ""
}

func parseMachine(text string) (*machine, error) {
	all, err := elements(text)
	if err != nil {
		return nil, fmt.Errorf("read a domain's XML: %w", err)
	}
	m := &machine{text: text, all: all}
	for _, e := range all {
		switch {
		case e.path == "domain/devices/disk":
			d, err := parseDisk(text[e.start:e.end])
			if err != nil {
				return nil, err
			}
			d.element = e
			m.disks = append(m.disks, d)
		case strings.HasPrefix(e.path, "domain/metadata/") && strings.Count(e.path, "/") == 2:
			for _, a := range e.attrs {
				switch {
				case (a.Name.Space == "xmlns" || a.Name.Local == "xmlns") && a.Value == busyURI:
					m.busy = e.attr("volume")
				case (a.Name.Space == "xmlns" || a.Name.Local == "xmlns") && strings.HasPrefix(a.Value, startURI):
					m.starts = append(m.starts, e.attr("id"))
				}
			}
		}
	}
	slices.Sort(m.starts)
	return m, nil
}

func parseDisk(raw string) (disk, error) {
	var x struct {
		Device string `xml:"device,attr"`
		Target struct {
			Dev string `xml:"dev,attr"`
			Bus string `xml:"bus,attr"`
		} `xml:"target"`
		Alias struct {
			Name string `xml:"name,attr"`
		} `xml:"alias"`
		Boot struct {
			Order string `xml:"order,attr"`
		} `xml:"boot"`
	}
	if err := xml.Unmarshal([]byte(raw), &x); err != nil {
		return disk{}, fmt.Errorf("read a disk's XML: %w", err)
	}
	d := disk{raw: raw, device: x.Device, dev: x.Target.Dev, bus: x.Target.Bus, alias: x.Alias.Name}
	if d.device == "" {
		d.device = "disk"
	}
	d.order, _ = strconv.Atoi(x.Boot.Order) // "" is none
	all, err := elements(raw)
	if err != nil {
		return disk{}, err
	}
	for _, e := range all {
		if e.path == "disk/address" && e.attr("type") == "drive" {
			n := func(name string) int { v, _ := strconv.Atoi(e.attr(name)); return v } // libvirt writes numbers
			d.drive = drive{n("controller"), n("bus"), n("target"), n("unit")}
		}
		name := sourceName(e)
		if name == "" || !strings.HasSuffix(e.path, "/source") {
			continue
		}
		d.named = append(d.named, name)
		if e.path == "disk/source" {
			d.source = name
		}
	}
	return d, nil
}

// read reads both definitions of a domain. ErrVMNotFound: it is gone.
func (c *conn) read(ctx context.Context, dom lv.Domain) (*guest, error) {
	g := &guest{c: c, dom: dom, ref: refOf(dom.UUID)}
	// Both are asked for at once where the domain ran when it was found.
	var now, next *machine
	var asking errgroup.Group
	asking.Go(func() (err error) { now, err = c.xml(ctx, dom, 0); return err })
	if dom.ID >= 0 {
		asking.Go(func() (err error) { next, err = c.xml(ctx, dom, lv.DomainXMLInactive); return err })
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	// What a domain that is off answers is its config: only a running one has an id.
	if len(now.all) == 0 || now.all[0].attr("id") == "" {
		g.config = now
		return g, nil
	}
	g.live, g.config = now, next
	if next != nil {
		return g, nil
	}
	var err error
	g.config, err = c.xml(ctx, dom, lv.DomainXMLInactive)
	return g, err
}

func (c *conn) xml(ctx context.Context, dom lv.Domain, flags lv.DomainXMLFlags) (*machine, error) {
	text, err := ask(ctx, c, "read domain "+dom.Name, func() (string, error) { return c.l.DomainGetXMLDesc(dom, flags) })
	if err != nil {
		return nil, err
	}
	m, err := parseMachine(text)
	if err != nil {
		return nil, err
	}
	return m, c.resolve(ctx, m)
}

// both are the definitions the guest has now: one, or two while it runs.
func (g *guest) both() []*machine {
	if g.live == nil {
		return []*machine{g.config}
	}
	return []*machine{g.live, g.config}
}

// volume finds a volume's disk, nil without. Its source counts, and where that
// is none of the pool's, its alias.
func (m *machine) volume(p *pool, id string) *disk {
	for i := range m.disks {
		if p.volumeOf(&m.disks[i]) == id {
			return &m.disks[i]
		}
	}
	return nil
}

// names reports whether anything in the machine names the volume: a source, one
// in a backing chain, an alias, or a change that was interrupted.
func (m *machine) names(p *pool, id string) bool {
	if m.busy == id {
		return true
	}
	for i := range m.disks {
		d := &m.disks[i]
		if d.alias == alias(id) {
			return true
		}
		for _, source := range d.named {
			if p.idOf(source) == id {
				return true
			}
		}
	}
	return false
}

// namesAny reports whether a disk of the machine names a source that counts, as
// its own or in a backing chain.
func (m *machine) namesAny(counts func(source string) bool) bool {
	return slices.ContainsFunc(m.disks, func(d disk) bool { return slices.ContainsFunc(d.named, counts) })
}

// cdrom is the guest's CD drive: ours by its alias, else the first one on the
// bus, else the first; nil without.
func (m *machine) cdrom(bus string) *disk {
	var found *disk
	rank := 0
	for i := range m.disks {
		d := &m.disks[i]
		if d.device != "cdrom" {
			continue
		}
		r := 1
		switch {
		case strings.HasPrefix(d.alias, aliasPrefix+"cdrom"):
			r = 3
		case d.bus == bus:
			r = 2
		}
		if r > rank {
			found, rank = d, r
		}
	}
	return found
}

// setMark sets one of our marks on the running guest, or takes it off ("").
func (c *conn) setMark(ctx context.Context, dom lv.Domain, uri, name, attr, value string) error {
	var text lv.OptString
	if value != "" {
		text = lv.OptString{"<" + name + " " + attr + "=" + quoted(value) + "/>"}
	}
	return c.do(ctx, "mark domain "+dom.Name, func() error {
		return c.l.DomainSetMetadata(dom, int32(lv.DomainMetadataElement), text,
			lv.OptString{"drivebay-" + name}, lv.OptString{uri}, lv.DomainAffectLive)
	})
}

func (c *conn) setBusy(ctx context.Context, dom lv.Domain, volumeID string) error {
	return c.setMark(ctx, dom, busyURI, "busy", "volume", volumeID)
}
