// Package backend is the seam between the control plane and what holds disks
// and guests. A Driver serves one facility.
//
// Every method is level-triggered: it reads what is there, returns nil if that
// is already what was asked for, acts, and reads again. A caller may repeat any
// call at any time, also after a crash in the middle of it. Calls on one guest
// and calls on one volume are serialised by the driver.
package backend

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Driver does the work of one facility. Errors are *Error values (or wrap
// one); anything else counts as temporary with an unknown outcome. A name that
// fails ValidID or ValidKey, or a size below one byte: ErrInvalid. When the
// context ends, its error comes back and the state is the one before or the one
// after the call, never between. After Close: ErrUnavailable.
type Driver interface {
	// Info says what the driver can do. It never blocks.
	Info() Info

	// EnsureVM makes a guest known under ref. Drivers whose guests are made
	// elsewhere (Info.MakesVMs false) only check that it is there: ErrVMNotFound.
	EnsureVM(ctx context.Context, vm VM) error

	// EnsureVolume makes an empty volume of exactly spec.Bytes that reads as
	// zeros. There already with that size: nil. With another: ErrConflict, and
	// nothing changes. It never resizes.
	EnsureVolume(ctx context.Context, spec VolumeSpec) error

	// GrowVolume makes a volume bytes long, attached or not. At that size
	// already: nil. Smaller than it is: ErrShrink before anything is touched.
	// Missing: ErrVolumeNotFound.
	GrowVolume(ctx context.Context, volumeID string, bytes int64) error

	// DeleteVolume removes a volume and every byte of it. Missing: nil.
	// Named by any guest, running or not: ErrInUse.
	DeleteVolume(ctx context.Context, volumeID string) error

	// EnsureAttached connects a volume to the guest ref, now and for the next
	// start. Connected there already: nil. Connected to another guest: ErrInUse.
	// No free slot: ErrNoSlot. Missing: ErrVMNotFound, ErrVolumeNotFound.
	EnsureAttached(ctx context.Context, ref, volumeID string) error

	// EnsureDetached disconnects a volume from the guest ref. Not connected, or
	// no such guest: nil. The guest keeps it past opts.Timeout:
	// ErrGuestDidNotRelease, and the volume stays connected.
	EnsureDetached(ctx context.Context, ref, volumeID string, opts DetachOptions) error

	// SetMedia puts the image with the key into the guest's CD drive, replacing
	// what is there; "" ejects. There already: nil. The guest locks the tray:
	// ErrTrayLocked unless force. Image missing: ErrISONotFound and nothing
	// changes. Guest missing: ErrVMNotFound, but nil for an eject.
	SetMedia(ctx context.Context, ref, isoKey string, force bool) error

	// ImportISO stores the finished file at path as the image spec.Key and
	// returns once it is durable and readable by guests. The driver may move
	// the file; path is on the caller's disk. There already with that length:
	// nil, and path is left alone. With another: ErrConflict. No regular file at
	// path, or one of another length than spec.Bytes: ErrInvalid.
	ImportISO(ctx context.Context, spec ISOSpec, path string) error

	// DeleteISO removes an image. Missing: nil. In any guest's drive: ErrInUse.
	DeleteISO(ctx context.Context, isoKey string) error

	// Power changes the power state of a guest and returns once it is so. So
	// already: nil. A guest may take its time to shut down, or ignore that it is
	// asked to: the call waits until ctx ends, and the guest may still go later.
	// A reset leaves a guest that is off alone. Missing: ErrVMNotFound. An action
	// it does not know: ErrUnsupported.
	Power(ctx context.Context, ref string, action PowerAction) error

	// SetBoot makes the guest try its CD drive before its disks from its next
	// start on, or its disks alone first. So already: nothing changes. pending
	// is true while the guest runs with another order than the one asked for: it
	// has to be powered off and on. Missing: ErrVMNotFound, but nil for
	// cdFirst false.
	SetBoot(ctx context.Context, ref string, cdFirst bool) (pending bool, err error)

	// Watch calls fn for what happens to guests, one call at a time, until ctx
	// ends; then it returns nil. What happened while the connection to a host
	// was away is lost, and GuestUnknown with Ref "" says so once it is back.
	Watch(ctx context.Context, fn func(GuestEvent)) error

	// Inspect reads one guest. Missing: ErrVMNotFound.
	Inspect(ctx context.Context, ref string) (VMView, error)

	// InspectVolume reads one volume and which guest has it, once no other call
	// on it is under way. Missing: ErrVolumeNotFound.
	InspectVolume(ctx context.Context, volumeID string) (VolumeView, error)

	// InspectAll reads everything the driver holds, for reconciliation. It may
	// be slow and is never called on a request.
	InspectAll(ctx context.Context) (View, error)

	// Close releases what the driver holds open. Guests go on.
	Close() error
}

// Info says what a driver can do. Suites and rules look at it, never at Name.
type Info struct {
	Name string
	// MakesVMs: EnsureVM creates guests (simulated ones).
	MakesVMs bool
	// MaxVolumes is how many data volumes one guest takes, its ROOT disk not
	// counted.
	MaxVolumes int
	// TrayLock: a guest can lock its CD tray.
	TrayLock bool
	// Persistent: what was made is there again after the driver is reopened.
	Persistent bool
	// Boots: guests start from what SetBoot says. Without it, SetBoot is
	// ErrUnsupported.
	Boots bool
	// Live: volumes are attached to, grown in and taken from a guest that runs.
	// Without it, the guest has to be powered off and on to see the change.
	Live bool
}

// VM describes a guest to EnsureVM.
type VM struct {
	Ref      string // the driver's name for the guest
	VCPU     int
	MemoryMB int
}

// VolumeSpec describes a volume to EnsureVolume.
type VolumeSpec struct {
	ID    string
	Bytes int64
	// Ref is the guest the volume is made for, "" when none is known. A driver
	// whose hosts have storage of their own puts the volume where that guest
	// can reach it.
	Ref string
}

// ISOSpec describes an image to ImportISO. Key names the content, not a
// tenant's ISO: it is the lower-case hex SHA-256 of the file.
type ISOSpec struct {
	Key   string
	Bytes int64
}

// DetachOptions bounds a detach. Timeout is how long a running guest may take
// to let go; zero means the driver's default.
type DetachOptions struct {
	Timeout time.Duration
	// ToDelete: the volume is to be deleted next. One that cannot be, since no
	// pool has it, stays connected: ErrNoPool.
	ToDelete bool
}

// PowerAction is what Power does.
type PowerAction string

// The power actions: start, ask the guest to stop, cut the power, reset.
const (
	PowerStart    PowerAction = "start"
	PowerShutdown PowerAction = "shutdown"
	PowerOff      PowerAction = "off"
	PowerReset    PowerAction = "reset"
)

// VMView is one guest as it is.
type VMView struct {
	Ref     string
	Running bool
	// VolumeIDs are the connected volumes, ROOT too, sorted.
	VolumeIDs []string
	// ISOKey is the image in the CD drive, "" when it is empty.
	ISOKey string
	// CDFirst: the guest tries its CD drive first at its next start.
	CDFirst bool
	// Starts is one or more names of this start of the guest's process, with
	// spaces between them; "" while it is off. See SameStart.
	Starts string
}

// SameStart reports whether two values of VMView.Starts are of the same start, or
// both of none. A start may be given another name, and keeps those it has.
func SameStart(a, b string) bool {
	names := strings.Fields(a)
	return a == b || slices.ContainsFunc(strings.Fields(b), func(name string) bool { return slices.Contains(names, name) })
}

// View is everything a driver holds, each list sorted by its id.
type View struct {
	VMs     []VMView
	Volumes []VolumeView
	ISOs    []ISOView
}

// VolumeView is one volume as it is.
type VolumeView struct {
	ID    string
	Bytes int64
	Ref   string // the guest it is connected to, "" when to none
}

// ISOView is one stored image as it is.
type ISOView struct {
	Key   string
	Bytes int64
}

// Provider finds the driver of a facility. A facility without one is
// ErrUnavailable.
type Provider interface {
	Driver(facilityCode string) (Driver, error)
}
