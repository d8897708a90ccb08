package libvirt

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/drivebay/drivebay/internal/backend"
)

// The buses a volume's disk may be on. A SCSI disk takes no slot of the guest's
// and is taken from it without its help.
const (
	busSCSI   = "scsi"
	busVirtio = "virtio"
	busSATA   = "sata"
	busIDE    = "ide"
)

// targetMax is how many targets a virtio-scsi controller has.
const targetMax = 256

// letters is the n-th name of disks: 0 is a, 25 z, 26 aa.
func letters(n int) string {
	var s string
	for n++; n > 0; n = (n - 1) / 26 {
		s = string(rune('a'+(n-1)%26)) + s
	}
	return s
}

// slot is where a new disk goes.
type slot struct {
	bus, dev string
	drive    *drive // of a SCSI disk
}

// freeSlot chooses a target that is free in both definitions, so that the disk
// has the same place now and after the next start.
func (g *guest) freeSlot(bus string) (slot, error) {
	devs := map[string]bool{}
	drives := map[drive]bool{}
	for _, m := range g.both() {
		for _, d := range m.disks {
			devs[d.dev] = true
			if d.bus == busSCSI {
				drives[drive{controller: d.drive.controller, bus: d.drive.bus, target: d.drive.target}] = true
			}
		}
	}
	s := slot{bus: bus}
	prefix := "sd"
	if bus == busVirtio {
		prefix = "vd"
	}
	for n := 0; s.dev == ""; n++ {
		if name := prefix + letters(n); !devs[name] {
			s.dev = name
		}
	}
	if bus != busSCSI {
		return s, nil
	}
	controller, ok := g.scsiController()
	if !ok {
		return slot{}, backend.ErrUnsupported.Because(fmt.Errorf("guest %s has no virtio-scsi controller", g.ref))
	}
	for target := 1; target < targetMax; target++ {
		if d := (drive{controller: controller, target: target}); !drives[d] {
			s.drive = &d
			return s, nil
		}
	}
	return slot{}, backend.ErrNoSlot
}

// scsiController is the first virtio-scsi controller that the guest has now and
// after its next start. libvirt would add one of another model by itself.
func (g *guest) scsiController() (int, bool) {
	for n := range targetMax {
		there := true
		for _, m := range g.both() {
			there = there && m.hasController(n)
		}
		if there {
			return n, true
		}
	}
	return 0, false
}

func (m *machine) hasController(index int) bool {
	for _, e := range m.all {
		if e.path == "domain/devices/controller" && e.attr("type") == busSCSI &&
			strings.HasPrefix(e.attr("model"), "virtio") && e.attr("index") == strconv.Itoa(index) {
			return true
		}
	}
	return false
}

// slotOf is the place a disk has, for its other definition.
func slotOf(d *disk) slot {
	s := slot{bus: d.bus, dev: d.dev}
	if d.bus == busSCSI {
		at := d.drive
		s.drive = &at
	}
	return s
}

// serialMax is how much of a serial number QEMU takes for a SCSI disk; a
// virtio disk shows the first 20 of it.
const serialMax = 36

func serial(volumeID string) string { return volumeID[:min(len(volumeID), serialMax)] }

// volumeXML is the disk of a volume in the pool p. Format, caching and what happens to freed
// space are said, not guessed: a guest decides what its disk's first bytes look
// like.
func volumeXML(p *pool, id string, s slot) string {
	var b strings.Builder
	kind, source := "file", "<source file="+quoted(p.source(id))+"/>"
	if p.rbd != nil {
		kind, source = "network", p.rbd.xml(p.fileOfSource(p.source(id)))
	}
	fmt.Fprintf(&b, "<disk type='%s' device='disk'><driver name='qemu' type='raw' cache='none' discard='unmap'/>%s", kind, source)
	fmt.Fprintf(&b, "<target dev='%s' bus='%s'/><serial>%s</serial><alias name='%s'/>", s.dev, s.bus, serial(id), alias(id))
	if d := s.drive; d != nil {
		fmt.Fprintf(&b, "<address type='drive' controller='%d' bus='%d' target='%d' unit='%d'/>", d.controller, d.bus, d.target, d.unit)
	}
	b.WriteString("</disk>")
	return b.String()
}
