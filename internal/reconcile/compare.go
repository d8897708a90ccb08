package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// overdue is how long a task that could run may wait for somebody to run it.
const overdue = 15 * time.Minute

// Compare returns what differs between the rows of a facility and what is on
// its storage and in its guests, in the order of Classes. What a task of
// rows.Work is about is left out, quarantined things are too. now is the
// database's clock. An object in a transient state has only that finding.
func Compare(rows Rows, view backend.View, now time.Time) []Finding {
	c := index(rows, view)
	for i, v := range c.rows.Volumes {
		c.volume(&c.rows.Volumes[i], v.moving())
	}
	c.orphanDisks()
	c.services()
	c.devices()
	c.isoImages()
	c.tasks(now)
	slices.SortFunc(c.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(Classes, a.Class), slices.Index(Classes, b.Class)), strings.Compare(a.Object, b.Object))
	})
	return c.found
}

// comparison is the rows and the view, by id.
type comparison struct {
	rows Rows
	view backend.View

	volumes  map[string]*Volume
	disks    map[string]backend.VolumeView
	holders  map[string][]string // guests by volume
	byDevice map[int64]*Device
	guests   map[string]backend.VMView
	isos     map[string]*ISO
	contents map[string]*Content
	sharers  map[string]int // ISOs by content
	images   map[string]int64
	held     map[string]bool // kind and object

	busyVolumes map[string]bool
	busyDevices map[int64]bool
	busyISOs    map[string]bool
	busyKeys    map[string]bool
	// blind: a task is about an ISO of which nobody knows the content, so an
	// image without a row may be its.
	blind bool

	found []Finding
}

func index(rows Rows, view backend.View) *comparison {
	c := &comparison{
		rows: rows, view: view, volumes: map[string]*Volume{}, disks: map[string]backend.VolumeView{}, holders: map[string][]string{},
		byDevice: map[int64]*Device{}, guests: map[string]backend.VMView{}, isos: map[string]*ISO{}, contents: map[string]*Content{},
		sharers: map[string]int{}, images: map[string]int64{}, held: map[string]bool{},
		busyVolumes: map[string]bool{}, busyDevices: map[int64]bool{}, busyISOs: map[string]bool{}, busyKeys: map[string]bool{},
	}
	for i := range rows.Volumes {
		c.volumes[rows.Volumes[i].ID] = &rows.Volumes[i]
	}
	for i := range rows.Devices {
		c.byDevice[rows.Devices[i].ID] = &rows.Devices[i]
	}
	for i := range rows.ISOs {
		c.isos[rows.ISOs[i].ID] = &rows.ISOs[i]
		if sum := rows.ISOs[i].SHA256; sum != "" {
			c.sharers[sum]++
		}
	}
	for i := range rows.Contents {
		c.contents[rows.Contents[i].SHA256] = &rows.Contents[i]
	}
	for _, h := range rows.Held {
		c.held[string(h.Kind)+h.Object] = true
	}
	c.indexView()
	c.indexWork()
	return c
}

func (c *comparison) indexView() {
	add := func(id, ref string) {
		if ref != "" && !slices.Contains(c.holders[id], ref) {
			c.holders[id] = append(c.holders[id], ref)
		}
	}
	for _, d := range c.view.Volumes {
		c.disks[d.ID] = d
		add(d.ID, d.Ref)
	}
	for _, g := range c.view.VMs {
		c.guests[g.Ref] = g
		for _, id := range g.VolumeIDs {
			add(id, g.Ref)
		}
	}
	for _, i := range c.view.ISOs {
		c.images[i.Key] = i.Bytes
	}
}

func (c *comparison) indexWork() {
	for _, w := range c.rows.Work {
		c.busyVolumes[w.VolumeID] = w.VolumeID != ""
		c.busyDevices[w.DeviceID] = w.DeviceID != 0
		if w.ISOID == "" {
			continue
		}
		c.busyISOs[w.ISOID] = true
		switch i := c.isos[w.ISOID]; {
		case i != nil && i.SHA256 != "":
			c.busyKeys[i.SHA256] = true
		case backend.ValidKey(w.ISOID):
			c.busyKeys[w.ISOID] = true
		case i == nil:
			c.blind = true
		}
	}
}

func (c *comparison) add(class Class, object string, s seen, format string, args ...any) {
	c.found = append(c.found, Finding{
		Class: class, FacilityCode: c.rows.Facility, Object: object, Detail: fmt.Sprintf(format, args...), seen: s,
	})
}

// volume compares one volume with its disk and its guest.
func (c *comparison) volume(v *Volume, moving bool) {
	if c.busyVolumes[v.ID] || v.State == volume.Discarded {
		return // a sweep takes care of the second
	}
	disk, there := c.disks[v.ID]
	s := seen{bytes: disk.Bytes, refs: c.holders[v.ID]}
	switch {
	case moving:
		c.add(Stuck, v.ID, s, "The volume is %s, and no task works on it.", v.State)
		return
	case !there:
		c.add(MissingDisk, v.ID, s, "The volume has %d bytes and no disk.", v.Bytes)
		return
	case disk.Bytes != v.Bytes:
		c.add(SizeMismatch, v.ID, s, "The volume has %d bytes, its disk %d.", v.Bytes, disk.Bytes)
	}
	rest := map[bool]volume.State{true: volume.Attached, false: volume.Detached}[v.DeviceID != 0]
	want, known := "", true
	if v.DeviceID != 0 {
		d := c.byDevice[v.DeviceID]
		if known = d != nil; known {
			want = d.Ref
		}
	}
	switch have := c.holders[v.ID]; {
	case v.State != rest:
		c.add(AttachWrong, v.ID, s, "The volume's row says %s and names %s; it is connected to %s.", v.State, device(v.DeviceID), guests(have))
	case !known:
		c.add(AttachWrong, v.ID, s, "The volume is on device %d, which is not in the facility.", v.DeviceID)
	case c.lost(want) && len(have) == 0: // its device says so
	case !slices.Equal(have, some(want)):
		c.add(AttachWrong, v.ID, s, "The volume is connected to %s, by its row to %s.", guests(have), guests(some(want)))
	}
}

// lost reports whether a guest that was made elsewhere is not there.
func (c *comparison) lost(ref string) bool {
	_, there := c.guests[ref]
	return c.rows.Elsewhere && ref != "" && !there
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func guests(refs []string) string {
	if len(refs) == 0 {
		return "no guest"
	}
	return "guest " + strings.Join(refs, " and ")
}

func device(id int64) string {
	if id == 0 {
		return "no device"
	}
	return "device " + strconv.FormatInt(id, 10)
}

func (c *comparison) orphanDisks() {
	for _, d := range c.view.Volumes {
		if c.volumes[d.ID] == nil && !c.busyVolumes[d.ID] && !c.held[string(HeldDisk)+d.ID] {
			c.add(OrphanDisk, d.ID, seen{bytes: d.Bytes, refs: c.holders[d.ID]},
				"A disk of %d bytes belongs to no volume; it is connected to %s.", d.Bytes, guests(c.holders[d.ID]))
		}
	}
}

// services holds that each data volume that exists has one open service that
// says the same, and that nothing else has one.
func (c *comparison) services() {
	open := map[string]bool{}
	for _, s := range c.rows.Services {
		v := c.volumes[s.VolumeID]
		if c.busyVolumes[s.VolumeID] || v != nil && v.moving() {
			continue
		}
		switch {
		case open[s.VolumeID]:
			c.add(Overbilled, s.VolumeID, seen{}, "The volume has two open services; one is %d.", s.ID)
			continue
		case v == nil || !v.exists() || v.Type == volume.Root:
			c.add(Overbilled, s.VolumeID, seen{}, "Service %d is open and has no volume.", s.ID)
		case v.Bytes/volume.GiB != int64(s.SizeGiB) || v.ProductID != s.ProductID || v.Monthly != s.Monthly ||
			v.ClientID != s.ClientID || c.rows.Facility != s.FacilityCode:
			c.add(PriceMismatch, s.VolumeID, seen{}, "The volume has %d bytes, product %d at %d cents of client %d; its service %d GiB, product %d at %d cents of client %d.",
				v.Bytes, v.ProductID, v.Monthly, v.ClientID, s.SizeGiB, s.ProductID, s.Monthly, s.ClientID)
		}
		open[s.VolumeID] = true
	}
	for _, v := range c.rows.Volumes {
		if v.Type == volume.DataDisk && v.exists() && !v.moving() && !open[v.ID] && !c.busyVolumes[v.ID] {
			c.add(Unbilled, v.ID, seen{}, "The volume of client %d has no open service.", v.ClientID)
		}
	}
}

// devices compares devices and what is in their drives.
func (c *comparison) devices() {
	for _, d := range c.rows.Devices {
		if c.busyDevices[d.ID] {
			continue
		}
		id := strconv.FormatInt(d.ID, 10)
		guest, there := c.guests[d.Ref]
		if d.Status == vps.Creating {
			c.add(Stuck, id, seen{what: aDevice, there: there}, "The device is being created, and no task works on it.")
			continue
		}
		if c.lost(d.Ref) && d.Status != vps.Failed {
			c.add(MissingGuest, id, seen{what: aDevice}, "No host of the facility has guest %s of the device.", d.Ref)
			continue
		}
		want := ""
		if i := c.isos[d.ISOID]; i != nil {
			want = i.SHA256
		}
		switch {
		case !there && d.ISOID != "":
			c.add(MediaWrong, id, seen{what: aDevice}, "The device has ISO %s in its drive, and its guest %s is not there.", d.ISOID, d.Ref)
		case there && guest.ISOKey != want || d.ISOID != "" && want == "":
			c.add(MediaWrong, id, seen{what: aDevice}, "The drive of guest %s has %s, by its row %s.", d.Ref, image(guest.ISOKey), image(want))
		}
	}
}

func image(key string) string {
	if key == "" {
		return "nothing"
	}
	return "image " + key
}

// images compares ISOs, contents and images.
func (c *comparison) isoImages() {
	for _, i := range c.rows.ISOs {
		bytes, there := c.images[i.SHA256]
		switch {
		case c.busyISOs[i.ID] || c.busyKeys[i.SHA256] || i.State == iso.Failed:
		case i.State != iso.Ready:
			c.add(Stuck, i.ID, seen{what: anISO, there: there && i.SHA256 != "", bytes: bytes}, "The ISO is %s, and no task works on it.", i.State)
		case !there:
			c.add(MissingISO, i.ID, seen{what: anISO}, "The ISO is ready, and its image %s is not on the storage.", i.SHA256)
		case bytes != i.Bytes:
			c.add(MissingISO, i.ID, seen{what: anISO}, "The ISO has %d bytes, its image %s has %d.", i.Bytes, i.SHA256, bytes)
		}
	}
	for _, k := range c.rows.Contents {
		bytes, there := c.images[k.SHA256]
		s := seen{what: aContent, bytes: bytes, there: there}
		switch {
		case c.busyKeys[k.SHA256] || c.blind:
		case k.State != iso.Present && c.stuckSharer(k.SHA256): // its ISO says so
		case k.State != iso.Present:
			c.add(Stuck, k.SHA256, s, "The image is being removed, and no task works on it.")
		case c.sharers[k.SHA256] == 0 && !c.held[string(HeldISO)+k.SHA256]:
			c.add(OrphanISO, k.SHA256, s, "An image of %d bytes is kept for no ISO.", k.Bytes)
		}
	}
	for _, i := range c.view.ISOs {
		if c.contents[i.Key] == nil && !c.busyKeys[i.Key] && !c.blind && !c.held[string(HeldISO)+i.Key] {
			c.add(OrphanISO, i.Key, seen{what: aContent, bytes: i.Bytes, there: true},
				"An image of %d bytes is in no row; %d ISOs name it.", i.Bytes, c.sharers[i.Key])
		}
	}
}

// stuckSharer reports whether an ISO with the content is being deleted.
func (c *comparison) stuckSharer(key string) bool {
	return slices.ContainsFunc(c.rows.ISOs, func(i ISO) bool { return i.SHA256 == key && i.State == iso.Deleting })
}

// tasks finds those that nobody runs although they could be.
func (c *comparison) tasks(now time.Time) {
	served := map[task.Queue]bool{} // by workers that may just all be at work
	for _, t := range c.rows.Tasks {
		served[t.Queue] = served[t.Queue] || t.State == task.Running && t.Since.After(now)
	}
	for _, t := range c.rows.Tasks {
		late := now.Sub(t.Since)
		switch {
		case t.State == task.Waiting && t.Free && late >= time.Minute:
			c.add(Stuck, t.ID, seen{what: aTask}, "Task %s waits for nothing.", t.Kind)
		case t.State == task.Ready && late >= overdue && !served[t.Queue]:
			c.add(Stuck, t.ID, seen{what: aTask}, "Task %s could run since %s and no worker of the queue %s takes it.", t.Kind, t.Since.Format(time.RFC3339), t.Queue)
		case t.State == task.Running && late >= time.Minute:
			c.add(Stuck, t.ID, seen{what: aTask}, "Task %s was given up by its node at %s and nobody takes it over.", t.Kind, t.Since.Format(time.RFC3339))
		}
	}
}
