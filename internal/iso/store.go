package iso

import (
	"context"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// Store keeps ISOs.
type Store interface {
	// List returns the ISOs of a facility, newest first.
	List(ctx context.Context, s access.Scope, facilityCode string) ([]ISO, error)
	// Get returns one ISO. ErrNotFound.
	Get(ctx context.Context, s access.Scope, id string) (ISO, error)
	// Facility is nil if there is such a facility, else
	// vps.ErrFacilityNotFound.
	Facility(ctx context.Context, code string) error
	// Booting returns the devices of a facility whose guest is to start from an
	// ISO once, by id.
	Booting(ctx context.Context, facilityCode string) ([]vps.Device, error)
	// Advance records bytes received of an import that still holds its lease.
	Advance(ctx context.Context, l task.Lease, isoID string, done, size int64) error

	// Tx, View, Step and Finish are as in volume.Store.
	Tx(ctx context.Context, fn func(Tx) error) error
	View(ctx context.Context, fn func(Tx) error) error
	Step(ctx context.Context, l task.Lease, fn func(Tx) error) error
	Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(Tx) error) error
}

// Tx is what the rules of ISOs read and write inside one transaction.
type Tx interface {
	access.QuotaTx

	// Device returns a device and keeps its lane to this transaction.
	// vps.ErrDeviceNotFound.
	Device(ctx context.Context, id int64) (vps.Device, error)
	// ISO returns an ISO, locked. ErrNotFound.
	ISO(ctx context.Context, id string) (ISO, error)
	// PutISO writes all of i but where it is attached. That it is uploaded is
	// said once, with its first.
	PutISO(ctx context.Context, i ISO) error
	// RemoveISO forgets an ISO.
	RemoveISO(ctx context.Context, id string) error
	// SetDrive records the ISO in the device's drive, "" for none, if d has
	// the generation it was read with. It stays there. ErrStale.
	SetDrive(ctx context.Context, d vps.Device, isoID string) error
	// SetBoot records how far the ISO in the device's drive has come, if d has
	// the drive's generation. ErrStale.
	SetBoot(ctx context.Context, d vps.Device, b vps.BootOnce) error

	// Content returns what a facility's storage has of a content, locked; the
	// zero Content if there is none.
	Content(ctx context.Context, facilityCode, sha256 string) (Content, error)
	// PutContent records a content; state Absent forgets it.
	PutContent(ctx context.Context, facilityCode, sha256 string, c Content) error
	// Sharers is how many ISOs of the facility have the content and are not
	// being deleted.
	Sharers(ctx context.Context, facilityCode, sha256 string) (int, error)

	// Pending returns the unfinished tasks that name an ISO, oldest first.
	Pending(ctx context.Context, isoID string) ([]task.Task, error)
	// PendingIn returns the unfinished tasks of a lane, oldest first.
	PendingIn(ctx context.Context, lane string) ([]task.Task, error)
	Enqueue(ctx context.Context, n task.New) (task.Task, error)
	// Cancel asks an unfinished task to end early.
	Cancel(ctx context.Context, taskID string) error
	// Hasten makes a task that waits for its time run now.
	Hasten(ctx context.Context, taskID string) error
	// Postpone gives the task of a run back, to be run after d.
	// task.ErrLeaseLost.
	Postpone(ctx context.Context, l task.Lease, d time.Duration) error

	// HoldUpload makes writer the only one to write an upload for the time d,
	// counted from now, and reports false where another one is. With no time
	// others may begin at once.
	HoldUpload(ctx context.Context, isoID, writer string, d time.Duration) (bool, error)
	// Received records how many bytes of an upload are durable.
	Received(ctx context.Context, isoID string, done int64) error
	// Idle is how long ago Received was called last, or the upload accepted.
	Idle(ctx context.Context, isoID string) (time.Duration, error)
}

// Content is an image on a facility's storage, by the SHA-256 of its bytes.
// Several ISOs share one. The last to go removes it, and while that happens
// nobody else may claim it.
type Content struct {
	State ContentState
	Bytes int64
	// Remover is the ISO whose deletion removes the content.
	Remover string
}

// ContentState says what a facility's storage has of a content.
type ContentState string

// The content states.
const (
	Absent   ContentState = ""
	Present  ContentState = "present"
	Removing ContentState = "removing"
)
