// Package adopt makes devices and volumes of guests and disks that were there
// before: it reads a facility's inventory and writes rows. Nothing on a host is
// touched.
package adopt

import (
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// Result is what became of a guest.
type Result string

// The results.
const (
	Imported   Result = "imported"
	Importable Result = "importable" // it would be imported; of a dry run
	Registered Result = "registered" // it was a device of the client already, and was left alone
	Refused    Result = "refused"
)

// Guest is what an import says of one guest.
type Guest struct {
	Ref, Name, Host string // of one that was not found, Name as it was asked for
	Result          Result
	Why             *fault.Error // of one that is refused
	DeviceID        int64        // 0: none
	MaxVolumes      int
	Disks           []Disk
}

// Disk is what an import says of one disk.
type Disk struct {
	Source, Target string
	Bytes          int64
	Type           volume.Type
	VolumeID       string // "" where it is no volume, or not yet
	// Price is what it costs. A size that is not sold costs nothing and is no
	// product, until the volume is resized to one that is.
	Price billing.Price
	// Why it is left out, and goes on as the guest's own; nil: it is not.
	Why *fault.Error
}

// What is refused. The first two are of the request, the others of one guest or
// one disk.
var (
	ErrMadeHere  = fault.Field("guests_made_here", "facilityCode", "the guests of this facility are made with their devices; there is nothing to import")
	ErrWhich     = fault.Field("domains_required", "domains", "name the guests to import, or set all, but not both")
	ErrUnknown   = fault.New(fault.NotFound, "guest_not_found", "No host of the facility has this guest")
	ErrAmbiguous = fault.New(fault.Conflict, "guest_ambiguous", "Several hosts have a guest of this name; say which host, or name the guest by its UUID")
	ErrNoDisk    = fault.New(fault.Conflict, "guest_without_disk", "The guest has no disk that could be its ROOT volume")
	ErrDiskTaken = fault.New(fault.Conflict, "disk_taken", "One of the guest's disks is a volume already")
	ErrShared    = fault.New(fault.Conflict, "disk_shared", "The disk is read-only or shared with other guests")
	ErrFormat    = fault.New(fault.Conflict, "disk_format", "The disk is not in the format raw, in which volumes are kept")
	ErrStorage   = fault.New(fault.Conflict, "disk_storage", "The disk is on storage of its host's on which no volumes can be kept")
	ErrNoSize    = fault.New(fault.Conflict, "disk_size_unknown", "The host does not say how large the disk is")
)

// known is what the database has of a guest.
type known struct {
	clientID int64
	facility string
	device   *vps.Device     // that has the guest; nil: none
	volumes  []volume.Volume // of each disk; without an ID where it is none
	prices   []billing.Price
	most     int // volumes a guest of the facility takes
}

// decide says what is to become of a guest.
func decide(g backend.Guest, k known) Guest {
	out := Guest{Ref: g.Ref, Name: g.Name, Host: g.Host, Result: Importable, MaxVolumes: k.most}
	data := 0
	for i, d := range g.Disks {
		disk := disk(d, i == 0, k)
		if v := k.volumes[i]; v.ID != "" {
			disk.VolumeID, disk.Price.Monthly, disk.Price.ProductID = v.ID, v.Monthly, v.ProductID
		}
		if disk.Type == volume.DataDisk && disk.Why == nil {
			data++
		}
		out.Disks = append(out.Disks, disk)
	}
	out.MaxVolumes = max(k.most, data)
	switch d := k.device; {
	case d != nil && d.ClientID != k.clientID:
		return out.refused(vps.ErrGuestTaken.Textf("The guest is device %d of client %d", d.ID, d.ClientID))
	case d != nil:
		out.Result, out.DeviceID, out.MaxVolumes = Registered, d.ID, d.MaxVolumes
		return out
	case len(g.Disks) == 0:
		return out.refused(ErrNoDisk)
	case out.Disks[0].Why != nil:
		return out.refused(out.Disks[0].Why)
	}
	for i, v := range k.volumes {
		if v.ID != "" {
			return out.refused(ErrDiskTaken.Textf("The disk %s is volume %s of client %d already", target(g.Disks[i]), v.ID, v.ClientID))
		}
	}
	return out
}

func (g Guest) refused(why *fault.Error) Guest {
	g.Result, g.Why = Refused, why
	return g
}

// disk says what a disk would be. A ROOT volume is never moved, so it may have
// any format and be anywhere.
func disk(d backend.GuestDisk, root bool, k known) Disk {
	out := Disk{Source: d.Source, Target: d.Target, Bytes: d.Bytes, Type: volume.DataDisk}
	if root {
		out.Type = volume.Root
	}
	switch {
	case d.ReadOnly || d.Shared:
		out.Why = ErrShared
	case d.Bytes < 1:
		out.Why = ErrNoSize
	case !root && d.Foreign:
		out.Why = ErrStorage
	case !root && d.Format != "" && d.Format != "raw":
		out.Why = ErrFormat
	}
	out.Price = billing.Price{FacilityCode: k.facility, SizeGiB: int(d.Bytes / volume.GiB)}
	if p, sold := billing.Find(k.prices, k.facility, out.Price.SizeGiB); sold && !root && out.Why == nil && d.Bytes%volume.GiB == 0 {
		out.Price = p
	}
	return out
}

// target names a disk to a person.
func target(d backend.GuestDisk) string {
	if d.Target != "" {
		return d.Target
	}
	return d.Source
}
