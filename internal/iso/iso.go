// Package iso holds the rules of ISO images: how one is imported, verified and
// stored once per content, when it is ready, and where it is in a drive.
package iso

import (
	"fmt"
	"time"

	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

// State is where an ISO stands.
type State string

// The states. A failed ISO stays, with its reason, until it is deleted.
const (
	Uploading   State = "uploading" // its bytes are still to come
	Queued      State = "queued"
	Downloading State = "downloading"
	Verifying   State = "verifying"
	Ready       State = "ready"
	Failed      State = "failed"
	Deleting    State = "deleting"
)

// ISO is one registered image.
type ISO struct {
	ID           string // UUID
	ClientID     int64
	FacilityCode string
	Name         string
	Description  string
	URL          string // as it was given; may hold credentials, see fetch.Redact
	// Upload names the folder that the bytes of an upload grow in; "" for an
	// image that is downloaded. It never changes.
	Upload   string
	Checksum string // "sha256:...", as it was asked for; "" none
	// Bootable is what the caller says. Import fails if that is true and the
	// image has no boot catalogue.
	Bootable bool

	State State
	// Before is the state a Deleting ISO returns to if that fails.
	Before State
	// Done and Size are bytes received and bytes announced; Size is 0 while
	// unknown and the exact length once verified.
	Done, Size int64
	// SHA256 names the content, lower-case hex; set once the content is
	// claimed on the facility's storage.
	SHA256 string
	Label  string // volume label
	BIOS   bool   // what the boot catalogue boots
	UEFI   bool

	Reason fault.Reason // of a failed import
	Error  string       // its sentence

	TaskID    string // the import
	DeviceIDs []int64
	CreatedAt time.Time
}

// Ready reports whether the whole image is on the facility's storage and its
// length and SHA-256 are recorded. Only a ready ISO can be attached.
func (i ISO) Ready() bool { return i.State == Ready }

// Status is the contract's word for where the ISO stands: Queued,
// "N% Downloaded", Verifying, Ready, Deleting, or the reason it failed. One that
// is uploaded is "Waiting for upload" or "N% Uploaded" before.
func (i ISO) Status() string {
	switch i.State {
	case Uploading:
		if i.Done == 0 {
			return "Waiting for upload"
		}
		return fmt.Sprintf("%d%% Uploaded", min(i.Percent(), 99))
	case Queued:
		return "Queued"
	case Downloading:
		return fmt.Sprintf("%d%% Downloaded", min(i.Percent(), 99)) // 100 is for what is ready
	case Verifying:
		return "Verifying"
	case Ready:
		return "Ready"
	case Deleting:
		return "Deleting"
	default:
		return i.Error
	}
}

// Percent is how much of the image has been received, 0 to 100; 0 while the
// length is unknown.
func (i ISO) Percent() int {
	if i.Size <= 0 {
		return 0
	}
	return int(max(0, min(i.Done*100/i.Size, 100)))
}

// What the rules refuse.
var (
	ErrNotFound     = fault.New(fault.NotFound, "iso_not_found", "ISO not found")
	ErrNotReady     = fault.New(fault.Conflict, "iso_not_ready", "The ISO is not ready")
	ErrDeleting     = fault.New(fault.Conflict, "iso_deleting", "The ISO is being deleted")
	ErrAttached     = fault.New(fault.Conflict, "iso_attached", "The ISO is attached")
	ErrDriveTaken   = fault.New(fault.Conflict, "device_has_iso", "The device has an ISO attached already")
	ErrNoneAttached = fault.New(fault.Conflict, "device_has_no_iso", "The device has no ISO attached")
	ErrOtherPlace   = fault.New(fault.Invalid, "other_facility", "The ISO and the device are in different facilities")
	ErrChecksumForm = fault.Field("checksum_malformed", "checksum", "a checksum is sha256:, sha512: or md5: followed by its hex digits")
	ErrChecksum     = fault.New(fault.Invalid, "checksum_mismatch", "The image does not have the checksum that was given")
	ErrNotBootable  = fault.Field("boot_once_not_bootable", "bootOnce", "a VPS starts only from an ISO that is bootable")
	ErrStale        = fault.New(fault.Conflict, "attachment_changed", "the drive changed in the meantime")
)

// The kinds of tasks on ISOs.
const (
	KindCreate task.Kind = "iso.create"
	KindDelete task.Kind = "iso.delete"
	KindAttach task.Kind = "iso.attach"
	KindDetach task.Kind = "iso.detach"
	KindBooted task.Kind = "iso.booted"
	KindLook   task.Kind = "iso.look"
)
