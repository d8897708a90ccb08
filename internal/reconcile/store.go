package reconcile

import (
	"context"
	"time"

	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// Filter narrows the list of findings.
type Filter struct {
	Class        *Class
	FacilityCode *string
	After        int64 // only larger ids
	Limit        int
}

// Store keeps findings and the quarantine, and reads the rows to compare.
type Store interface {
	// Facilities are the codes of all facilities.
	Facilities(ctx context.Context) ([]string, error)
	// Rows reads a facility in one consistent state. Work has the tasks newer
	// than the task since too, whether they have ended or not; -1: none.
	Rows(ctx context.Context, facilityCode string, since int64) (Rows, error)
	// Stuck reads the tasks that may be stuck.
	Stuck(ctx context.Context) (Rows, error)

	// Record makes found, seen at the time, the open findings of the facility,
	// ends those that were not seen, and takes what was released out of
	// quarantine. It returns found with what is kept of each.
	Record(ctx context.Context, l Look) ([]Finding, error)
	// Open lists open findings by id.
	Open(ctx context.Context, f Filter) ([]Finding, error)
	// Count counts the open confirmed findings by class.
	Count(ctx context.Context) (map[Class]int, error)
	// Held lists the quarantine by id.
	Held(ctx context.Context, facilityCode *string, after int64, limit int) ([]Held, error)
	// Unfinished is how many of the tasks have not ended.
	Unfinished(ctx context.Context, taskIDs []string) (int, error)

	// Tx, View, Step and Finish are as in volume.Store.
	Tx(ctx context.Context, fn func(Tx) error) error
	View(ctx context.Context, fn func(Tx) error) error
	Step(ctx context.Context, l task.Lease, fn func(Tx) error) error
	Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(Tx) error) error
}

// Look is what one look has found.
type Look struct {
	FacilityCode string
	At           time.Time
	Grace        time.Duration
	Found        []Finding
	// Blind: the storage did not answer, so what was found before stays.
	Blind bool
	// Released are those in quarantine that are gone, or named by a row again.
	Released []int64
	// Moved are devices whose status is to follow their guest.
	Moved []Status
}

// Status is how a device's status changes, from what a look has seen.
type Status struct {
	DeviceID int64
	From, To vps.Status // From "": whatever it is
}

// Tx is what repairs read and write inside one transaction.
type Tx interface {
	Device(ctx context.Context, id int64) (vps.Device, error)
	// DeviceByRef finds a device by its guest. vps.ErrDeviceNotFound.
	DeviceByRef(ctx context.Context, facilityCode, ref string) (vps.Device, error)
	SetStatus(ctx context.Context, id int64, s vps.Status) error
	Volume(ctx context.Context, id string) (volume.Volume, error)
	PutVolume(ctx context.Context, v volume.Volume) error
	RemoveVolume(ctx context.Context, id string) error
	Attach(ctx context.Context, v volume.Volume, deviceID int64) error
	ISO(ctx context.Context, id string) (iso.ISO, error)
	PutISO(ctx context.Context, i iso.ISO) error
	RemoveISO(ctx context.Context, id string) error
	Content(ctx context.Context, facilityCode, sha256 string) (iso.Content, error)
	PutContent(ctx context.Context, facilityCode, sha256 string, c iso.Content) error
	// ISOsWith returns the ids of the facility's ISOs that have the content.
	ISOsWith(ctx context.Context, facilityCode, sha256 string) ([]string, error)

	// Services returns the open services of a volume by id.
	Services(ctx context.Context, volumeID string) ([]billing.Service, error)
	PutService(ctx context.Context, s billing.Service) (billing.Service, error)
	AddCharges(ctx context.Context, charges ...billing.Charge) error

	// PendingVolume, PendingISO and PendingIn return the unfinished tasks of a
	// volume, an ISO or a lane, oldest first.
	PendingVolume(ctx context.Context, volumeID string) ([]task.Task, error)
	PendingISO(ctx context.Context, isoID string) ([]task.Task, error)
	PendingIn(ctx context.Context, lane string) ([]task.Task, error)
	Enqueue(ctx context.Context, n task.New) (task.Task, error)
	// Promote makes a task ready that waits for nothing any more.
	Promote(ctx context.Context, taskID string) error

	// Hold puts h into quarantine, once.
	Hold(ctx context.Context, h Held) error
	// HeldByID reads one. ErrHeldNotFound.
	HeldByID(ctx context.Context, id int64) (Held, error)
	Release(ctx context.Context, id int64) error
}
