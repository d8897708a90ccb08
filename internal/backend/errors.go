package backend

import (
	"errors"
	"fmt"

	"github.com/drivebay/drivebay/internal/fault"
)

// Error is what a driver answers when it cannot do what was asked. Reason and
// Text may be shown to a caller; the wrapped cause goes to the log only.
type Error struct {
	Reason    fault.Reason
	Text      string
	Permanent bool // a repeat cannot help
	cause     error
}

// The errors of drivers. Match them with errors.Is; wrap a cause with Because.
var (
	ErrVMNotFound         = &Error{Reason: "vm_not_found", Text: "the VPS is not on its host", Permanent: true}
	ErrVolumeNotFound     = &Error{Reason: "volume_missing", Text: "the volume's disk is not on its storage", Permanent: true}
	ErrISONotFound        = &Error{Reason: "iso_missing", Text: "the ISO's image is not on its storage", Permanent: true}
	ErrConflict           = &Error{Reason: "disk_conflict", Text: "a disk of another size is already there", Permanent: true}
	ErrShrink             = &Error{Reason: "disk_shrink", Text: "the disk is already larger than that", Permanent: true}
	ErrInUse              = &Error{Reason: "disk_in_use", Text: "a VPS still uses it", Permanent: true}
	ErrHeld               = &Error{Reason: "disk_held", Text: "the storage keeps the disk: something besides our guests has it open, or there is a snapshot of it"}
	ErrNoSlot             = &Error{Reason: "device_full", Text: "the VPS has no free slot for another volume", Permanent: true}
	ErrTrayLocked         = &Error{Reason: "tray_locked", Text: "the guest keeps the CD tray locked; detach with force to open it", Permanent: true}
	ErrOtherHost          = &Error{Reason: "other_host", Text: "the volume is on the storage of another host than the VPS", Permanent: true}
	ErrGuestDidNotRelease = &Error{Reason: "guest_did_not_release", Text: "the guest did not release the volume in time", Permanent: true}
	ErrNoSpace            = &Error{Reason: "storage_full", Text: "the storage of the facility is full", Permanent: true}
	ErrUnsupported        = &Error{Reason: "not_supported", Text: "this facility cannot do that", Permanent: true}
	ErrNoPool             = &Error{Reason: "no_storage_pool", Text: "the volume's disk is in no storage pool of its host's; the operator has to make one of the folder it is in", Permanent: true}
	ErrInvalid            = &Error{Reason: "backend_invalid", Text: "the storage cannot take that name, size or file", Permanent: true}
	ErrUnavailable        = &Error{Reason: "backend_unavailable", Text: "the facility's host or storage does not answer"}
)

// Error is the text with its cause, for logs.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %v", e.Text, e.cause)
	}
	return e.Text
}

// Unwrap returns the cause given to Because.
func (e *Error) Unwrap() error { return e.cause }

// Is matches by reason, so that a copy with a cause matches its sentinel.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// Because returns a copy of e that carries err for the log.
func (e *Error) Because(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// IsPermanent reports whether a repeat of the call that returned err cannot
// help. An error that is not an *Error is temporary: its outcome is unknown.
func IsPermanent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Permanent
}
