package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// bootable is a device that has, or may get, a place in the boot order.
type bootable struct {
	at    element
	kind  string // the element's name
	cd    bool
	boot  *element // its place as it is written, nil without
	order int      // 0 without
}

// bootables are the machine's devices in the order in which they are written.
func (m *machine) bootables() []bootable {
	var all []bootable
	for _, e := range m.all {
		kind, ok := strings.CutPrefix(e.path, "domain/devices/")
		if !ok {
			continue
		}
		if !strings.Contains(kind, "/") {
			all = append(all, bootable{at: e, kind: kind, cd: kind == "disk" && e.attr("device") == "cdrom"})
			continue
		}
		last := &all[len(all)-1]
		if order, err := strconv.Atoi(e.attr("order")); err == nil && kind == last.kind+"/boot" {
			last.boot, last.order = &e, order
		}
	}
	return all
}

// byOrder are the devices that have a place in the boot order, in that order.
// A machine without such places has classes of devices instead.
func (m *machine) byOrder() []bootable {
	all := m.bootables()
	placed := slices.DeleteFunc(slices.Clone(all), func(b bootable) bool { return b.order == 0 })
	slices.SortStableFunc(placed, func(a, b bootable) int { return a.order - b.order })
	if len(placed) > 0 {
		return placed
	}
	for _, e := range m.all {
		if e.path != "domain/os/boot" {
			continue
		}
		class := e.attr("dev")
		for _, b := range all {
			if class == "cdrom" && b.cd || class == "hd" && b.kind == "disk" && !b.cd || class == "network" && b.kind == "interface" {
				placed = append(placed, b)
				break // of each class the first
			}
		}
	}
	return placed
}

// cdFirst reports whether a CD drive is tried before all disks.
func (m *machine) cdFirst() bool {
	for _, b := range m.byOrder() {
		if b.kind == "disk" {
			return b.cd
		}
	}
	return false
}

// withBoot is the machine's text with its drive before all else in the boot
// order, or right after the disks; without disks it has no place then. All
// places are written anew: two devices cannot have the same, even in passing.
func (m *machine) withBoot(cdFirst bool, bus string) (string, error) {
	cd := m.cdrom(bus)
	if cd == nil {
		return "", backend.ErrUnsupported.Because(errors.New("the guest has no CD drive"))
	}
	isCD := func(b bootable) bool { return b.at.start == cd.element.start }
	others := slices.DeleteFunc(m.byOrder(), func(b bootable) bool { return b.cd })
	place := 0
	if !cdFirst {
		for i, b := range others {
			if b.kind == "disk" {
				place = i + 1
			}
		}
	}
	places := map[int]int{} // by where the device begins
	n := 0
	for i := 0; i <= len(others); i++ {
		if i == place && (cdFirst || place > 0) {
			n++
			places[cd.element.start] = n
		}
		if i < len(others) {
			n++
			places[others[i].at.start] = n
		}
	}
	var edits []edit
	for _, b := range m.bootables() {
		order := places[b.at.start]
		switch {
		case b.boot == nil && order > 0:
			edits = append(edits, edit{b.at.tail, b.at.tail, fmt.Sprintf("<boot order='%d'/>", order)})
		case b.boot != nil && order > 0:
			edits = append(edits, edit{b.boot.start, b.boot.end, placeXML(*b.boot, order)})
		case b.boot != nil && (isCD(b) || b.cd):
			edits = append(edits, edit{b.boot.start, b.boot.end, ""})
		}
	}
	for _, e := range m.all {
		if e.path == "domain/os/boot" { // libvirt takes no mixture
			edits = append(edits, edit{e.start, e.end, ""})
		}
	}
	return apply(m.text, edits), nil
}

// placeXML is a device's place with another number.
func placeXML(boot element, order int) string {
	text := fmt.Sprintf("<boot order='%d'", order)
	for _, a := range boot.attrs {
		if a.Name.Local != "order" {
			text += " " + a.Name.Local + "=" + quoted(a.Value)
		}
	}
	return text + "/>"
}

// SetBoot implements backend.Driver. A guest keeps the order it was started
// with, also over a reset.
func (d *Driver) SetBoot(ctx context.Context, ref string, cdFirst bool) (pending bool, err error) {
	leave, err := d.gate.Enter(ctx, backend.GuestObject(ref))
	if err != nil {
		return false, err
	}
	defer leave()
	pending, err = d.setBoot(ctx, ref, cdFirst)
	if !cdFirst && (errors.Is(err, backend.ErrVMNotFound) || isCode(err, lv.ErrNoDomain)) {
		return false, nil
	}
	return pending, failure("set the boot order of guest "+ref, err)
}

func (d *Driver) setBoot(ctx context.Context, ref string, cdFirst bool) (pending bool, err error) {
	c, dom, err := d.find(ctx, ref)
	if err != nil {
		return false, err
	}
	g, err := c.read(ctx, dom)
	if err != nil {
		return false, err
	}
	pending = g.live != nil && g.live.cdFirst() != cdFirst
	if g.config.cdFirst() == cdFirst {
		return pending, nil
	}
	// With its secrets, which a definition would lose otherwise.
	whole, err := c.xml(ctx, dom, lv.DomainXMLInactive|lv.DomainXMLSecure)
	if err != nil {
		return false, err
	}
	text, err := whole.withBoot(cdFirst, d.opts.CDBus)
	if err != nil {
		return false, err
	}
	return pending, c.do(ctx, "define guest "+ref, func() error {
		_, err := c.l.DomainDefineXMLFlags(text, lv.DomainDefineValidate)
		return err
	})
}
