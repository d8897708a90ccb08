package volume

import (
	"context"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// Filter narrows a list; at least one of the two is set.
type Filter struct {
	DeviceID     *int64
	FacilityCode *string
}

// Store keeps volumes.
type Store interface {
	// List returns the volumes that exist, newest first. Callers must not change
	// the list.
	List(ctx context.Context, s access.Scope, f Filter) ([]Volume, error)
	// Get returns one volume that exists. ErrNotFound.
	Get(ctx context.Context, s access.Scope, id string) (Volume, error)
	// Discarded returns up to max volumes of a facility left over from failed
	// creates, oldest first.
	Discarded(ctx context.Context, facilityCode string, max int) ([]Volume, error)
	// Prices is the price list of a facility, ascending.
	Prices(ctx context.Context, facilityCode string) ([]billing.Price, error)
	// Device returns a device of the scope. vps.ErrDeviceNotFound.
	Device(ctx context.Context, s access.Scope, id int64) (vps.Device, error)
	// Facility is nil if there is such a facility, else
	// vps.ErrFacilityNotFound.
	Facility(ctx context.Context, code string) error

	// Tx runs fn in one transaction: all of it is durable, or nothing is.
	Tx(ctx context.Context, fn func(Tx) error) error
	// View runs fn on one consistent state; writes in it are errors.
	View(ctx context.Context, fn func(Tx) error) error
	// Step is Tx for a task's run: task.ErrLeaseLost if the lease is no longer
	// the run's.
	Step(ctx context.Context, l task.Lease, fn func(Tx) error) error
	// Finish is Step, and ends the task in the same transaction.
	Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(Tx) error) error
}

// Tx is what the rules of volumes read and write inside one transaction.
type Tx interface {
	// Device returns a device and keeps its lane to this transaction.
	// vps.ErrDeviceNotFound.
	Device(ctx context.Context, id int64) (vps.Device, error)
	// Volume returns a volume in any state, locked. ErrNotFound.
	Volume(ctx context.Context, id string) (Volume, error)
	// PutVolume writes all of v but its attachment.
	PutVolume(ctx context.Context, v Volume) error
	// RemoveVolume forgets a volume and its attachment.
	RemoveVolume(ctx context.Context, id string) error
	// Attach records that v is on the device, if v has the generation it was
	// read with and is attached nowhere. ErrStale.
	Attach(ctx context.Context, v Volume, deviceID int64) error
	// Detach ends the attachment that v was read with. ErrStale.
	Detach(ctx context.Context, v Volume) error

	// Pending returns the unfinished tasks of a volume, oldest first.
	Pending(ctx context.Context, volumeID string) ([]task.Task, error)
	// PendingIn returns the unfinished tasks of a lane, oldest first.
	PendingIn(ctx context.Context, lane string) ([]task.Task, error)
	// PendingKinds counts the unfinished tasks of a lane by kind.
	PendingKinds(ctx context.Context, lane string) (map[task.Kind]int, error)
	Enqueue(ctx context.Context, n task.New) (task.Task, error)

	Prices(ctx context.Context, facilityCode string) ([]billing.Price, error)
	// Service returns the open service of a volume. billing.ErrNoService.
	Service(ctx context.Context, volumeID string) (billing.Service, error)
	// PutService writes s, new when its ID is 0, and returns it with its ID.
	PutService(ctx context.Context, s billing.Service) (billing.Service, error)
	AddCharges(ctx context.Context, charges ...billing.Charge) error
}

// ErrStale: the attachment changed since it was read.
var ErrStale = fault.New(fault.Conflict, "attachment_changed", "the attachment changed in the meantime")
