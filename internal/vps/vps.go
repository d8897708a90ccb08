// Package vps is the inventory: facilities and the devices (VPS instances) in
// them. Guests themselves live behind a backend.Driver.
package vps

import (
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/fault"
)

// What the rules of the inventory refuse. "Device not found" is the exact
// sentence published clients compare with.
var (
	ErrDeviceNotFound   = fault.New(fault.NotFound, "device_not_found", "Device not found")
	ErrFacilityNotFound = fault.New(fault.NotFound, "facility_not_found", "Facility not found")
	ErrUnknownFacility  = fault.Field("facility_unknown", "facilityCode", "there is no such facility")
	ErrOtherStorage     = fault.New(fault.Conflict, "storage_elsewhere", "The facility's disks are in the folder of another server")
	ErrDeviceExists     = fault.New(fault.Conflict, "device_exists", "A device with this id exists already")
	ErrRefRequired      = fault.Field("ref_required", "ref", "guests of this facility are made elsewhere; name the one that the device is")
	ErrRefUnexpected    = fault.Field("ref_unexpected", "ref", "guests of this facility are made with their device; leave the guest out")
	ErrRootUnexpected   = fault.Field("root_unexpected", "rootGiB", "guests of this facility are made elsewhere, with their disks; leave the size out")
	ErrGuestUnknown     = fault.Field("guest_unknown", "ref", "no host of the facility has this guest")
	ErrGuestTaken       = fault.New(fault.Conflict, "guest_taken", "The guest is a device already")
	ErrGuestMadeHere    = fault.New(fault.Conflict, "guest_made_here", "The device's guest was made with it and cannot be removed")
	ErrDeviceBusy       = fault.New(fault.Conflict, "device_busy", "Work on the device is under way")
	ErrHasVolumes       = fault.New(fault.Conflict, "device_has_volumes", "The device has volumes; detach or delete them first")
	ErrHasISO           = fault.New(fault.Conflict, "device_has_iso", "The device has an ISO in its drive; detach it first")
)

// Facility is a place with its own storage, guests and prices.
type Facility struct {
	ID      int64 // small number, stable
	Code    string
	Title   string
	City    string
	State   string
	Country string // ISO 3166 alpha-2
}

// Status is the power state of a device in the contract's words.
type Status string

// The statuses.
const (
	Creating Status = "Creating"
	Running  Status = "Running"
	Stopped  Status = "Stopped"
	Failed   Status = "Failed" // could not be created; has no guest
	// Missing: its guest, which was made elsewhere, is on no host any more.
	Missing Status = "Missing"
)

// StatusOf is the status of a device whose guest is there.
func StatusOf(running bool) Status {
	if running {
		return Running
	}
	return Stopped
}

// Follows tells whether a device of the status shows that of its guest, where
// that was made elsewhere.
func (s Status) Follows() bool { return s != Creating && s != Failed }

// Device is one VPS instance.
type Device struct {
	ID           int64
	ClientID     int64
	FacilityCode string
	Hostname     string
	Status       Status
	VCPU         int
	MemoryMB     int
	// MaxVolumes is how many data volumes it takes, its ROOT volume not counted.
	MaxVolumes int
	// Ref is the driver's name for the guest.
	Ref string
	// ISOID is the ISO in the CD drive, "" when empty. ISOGeneration grows
	// with each change to it and guards every change.
	ISOID         string
	ISOGeneration int64
	// Boot is how far the ISO has come if the guest is to start from it once.
	Boot BootOnce
	// Volumes is how many data volumes are attached.
	Volumes   int
	CreatedAt time.Time
}

// BootOnce is how far an ISO has come that a guest is to start from once. The
// zero value is an ISO that stays in the drive until it is detached.
type BootOnce struct {
	Stage BootStage
	// Starts is backend.VMView.Starts of the guest as the stage came about.
	Starts string
	// At is when a reset brought the stage about; zero where none did.
	At time.Time
}

// BootStage is a stage of BootOnce. The words are stored.
type BootStage string

// The stages, in order. BootPending: the guest runs with its disks first, so
// only a start of its process counts. BootArmed: its next start or reset is from
// the ISO. BootDone: it has started from the ISO. BootOver: it has restarted
// since, and the ISO is to be ejected.
const (
	BootPending BootStage = "pending"
	BootArmed   BootStage = "armed"
	BootDone    BootStage = "done"
	BootOver    BootStage = "over"
)

// hidden reports whether the scope may not see the device: one that could not
// be made is nothing to its client, who did not ask for it.
func (d Device) hidden(s access.Scope) bool { return d.Status == Failed && !s.All }
