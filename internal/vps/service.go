package vps

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/event"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

// KindCreate is the task that makes the guest of a new device.
const KindCreate task.Kind = "device.create"

// Filter narrows a list of devices.
type Filter struct {
	FacilityCode *string
	After        int64 // ids above this one
	Limit        int   // 0: all
}

// Store keeps facilities and devices.
type Store interface {
	// List returns devices by id.
	List(ctx context.Context, s access.Scope, f Filter) ([]Device, error)
	// Device returns a device of the scope. ErrDeviceNotFound.
	Device(ctx context.Context, s access.Scope, id int64) (Device, error)
	// Events returns the newest events of a device, newest first.
	Events(ctx context.Context, deviceID int64, limit int) ([]event.Event, error)
	// Facilities returns all, by code.
	Facilities(ctx context.Context) ([]Facility, error)
	// Facility returns one. ErrFacilityNotFound.
	Facility(ctx context.Context, code string) (Facility, error)
	// PutFacility adds or changes the facility with f.Code and returns it. A
	// new one gets the default price list.
	PutFacility(ctx context.Context, f Facility) (Facility, error)

	// Tx and Finish are as in volume.Store.
	Tx(ctx context.Context, fn func(Tx) error) error
	View(ctx context.Context, fn func(Tx) error) error
	Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(Tx) error) error
}

// Tx is what the rules of the inventory read and write inside one transaction.
type Tx interface {
	// Device returns a device, locked. ErrDeviceNotFound.
	Device(ctx context.Context, id int64) (Device, error)
	// AddDevice stores a new device with its ROOT volume, of bytes and named
	// rootID, both not yet there; without rootID it has none. ID 0 gets the next
	// free one. ErrDeviceExists,
	// access.ErrNoSuchClient, ErrUnknownFacility.
	AddDevice(ctx context.Context, d Device, rootID string, bytes int64) (Device, error)
	// SetStatus changes the status of a device.
	SetStatus(ctx context.Context, id int64, s Status) error
	// RemoveVolume forgets a volume.
	RemoveVolume(ctx context.Context, id string) error
	// DeviceByRef finds a device by its guest, whosever it is. ErrDeviceNotFound.
	DeviceByRef(ctx context.Context, facilityCode, ref string) (Device, error)
	// ReleaseGuest lets another device have the guest.
	ReleaseGuest(ctx context.Context, id int64) error
	// RemoveDevice forgets a device and its ROOT volume.
	RemoveDevice(ctx context.Context, id int64) error
	// PendingIn returns the unfinished tasks of a lane, oldest first.
	PendingIn(ctx context.Context, lane string) ([]task.Task, error)
	Emit(ctx context.Context, e event.Event) error
	// ShowRoot lets the ROOT volume of the device exist, attached to it.
	ShowRoot(ctx context.Context, deviceID int64, rootID string) error
	Enqueue(ctx context.Context, n task.New) (task.Task, error)
}

// Service answers requests about devices and facilities.
type Service struct {
	Store   Store
	Drivers backend.Provider
	Now     func() time.Time
	NewID   func() string
	// Deadline is how long a task may take, retries included; 0: 10 minutes.
	// Patience is how long a guest may take to shut down; 0: 2 minutes.
	// Undo bounds each attempt to undo a failed task; 0: 30 seconds.
	Deadline, Patience, Undo time.Duration
}

// List returns the devices of a scope, by id, as in Get. ErrFacilityNotFound.
func (s *Service) List(ctx context.Context, scope access.Scope, f Filter) ([]Device, error) {
	if f.FacilityCode != nil {
		if _, err := s.Store.Facility(ctx, *f.FacilityCode); err != nil {
			return nil, err
		}
	}
	list, err := s.Store.List(ctx, scope, f)
	return slices.DeleteFunc(list, func(d Device) bool { return d.hidden(scope) }), err
}

// Get returns one device. ErrDeviceNotFound. One that could not be made is
// seen by operators alone.
func (s *Service) Get(ctx context.Context, scope access.Scope, id int64) (Device, error) {
	d, err := s.Store.Device(ctx, scope, id)
	if err == nil && d.hidden(scope) {
		return Device{}, ErrDeviceNotFound
	}
	return d, err
}

// Events returns up to limit events of a device, newest first.
// ErrDeviceNotFound.
func (s *Service) Events(ctx context.Context, scope access.Scope, id int64, limit int) ([]event.Event, error) {
	if _, err := s.Get(ctx, scope, id); err != nil {
		return nil, err
	}
	return s.Store.Events(ctx, id, limit)
}

// Facilities returns all facilities, by code.
func (s *Service) Facilities(ctx context.Context) ([]Facility, error) { return s.Store.Facilities(ctx) }

// PutFacility adds or changes a facility.
func (s *Service) PutFacility(ctx context.Context, f Facility) (Facility, error) {
	return s.Store.PutFacility(ctx, f)
}

// NewDevice is what an operator asks for. Zero values get the defaults: 2
// VCPU, 4096 MB, a ROOT volume of 25 GiB, and as many volumes as the
// facility's guests take; for a guest that was made elsewhere what that has,
// and no ROOT volume.
type NewDevice struct {
	ID           int64 // 0: the next free one
	ClientID     int64
	FacilityCode string
	Ref          string // where guests are made elsewhere: the guest, by its name or as the driver calls it
	Hostname     string
	VCPU         int
	MemoryMB     int
	RootGiB      int
	MaxVolumes   *int // nil: the default
}

// args is what the task keeps of the request.
type args struct {
	DeviceID int64  `json:"deviceId"`
	VolumeID string `json:"volumeId,omitempty"` // "": it gets no ROOT volume
	RootGiB  int    `json:"rootSize,omitempty"`
	Action   string `json:"action"`
}

// CreateDevice accepts a new device as a task; other work on it may be asked
// for at once and waits its turn. Where guests are made elsewhere it is one that
// is there, and none of its disks becomes a volume. ErrDeviceExists,
// ErrUnknownFacility, ErrGuestTaken, or a fault about clientId, maxVolumes, ref
// or rootGiB.
func (s *Service) CreateDevice(ctx context.Context, n NewDevice) (task.Task, error) {
	if _, err := s.Store.Facility(ctx, n.FacilityCode); errors.Is(err, ErrFacilityNotFound) {
		return task.Task{}, ErrUnknownFacility
	} else if err != nil {
		return task.Task{}, err
	}
	driver, err := s.Drivers.Driver(n.FacilityCode)
	if err != nil {
		return task.Task{}, task.Refusal(err)
	}
	most := driver.Info().MaxVolumes
	if n.MaxVolumes == nil {
		n.MaxVolumes = &most
	}
	if *n.MaxVolumes > most {
		return task.Task{}, fault.Field("too_many_volumes", "maxVolumes", "guests of this facility take at most %d volumes", most)
	}
	if n, err = settle(ctx, driver, n); err != nil {
		return task.Task{}, err
	}
	d := Device{
		ID: n.ID, ClientID: n.ClientID, FacilityCode: n.FacilityCode, Hostname: n.Hostname, Status: Creating,
		VCPU: orDefault(n.VCPU, 2), MemoryMB: orDefault(n.MemoryMB, 4096), MaxVolumes: *n.MaxVolumes, Ref: n.Ref, CreatedAt: s.Now(),
	}
	a := args{Action: string(KindCreate)}
	if driver.Info().MakesVMs {
		a.VolumeID, a.RootGiB = s.NewID(), orDefault(n.RootGiB, 25)
	}
	return s.accept(ctx, d, a)
}

// accept stores the device and the task that makes it.
func (s *Service) accept(ctx context.Context, d Device, a args) (t task.Task, err error) {
	err = s.Store.Tx(ctx, func(tx Tx) error {
		if d.Ref != "" {
			switch has, err := tx.DeviceByRef(ctx, d.FacilityCode, d.Ref); {
			case err == nil:
				return ErrGuestTaken.Textf("The guest is device %d already", has.ID)
			case !errors.Is(err, ErrDeviceNotFound):
				return err
			}
		}
		d, err := tx.AddDevice(ctx, d, a.VolumeID, int64(a.RootGiB)<<30)
		if err != nil {
			if errors.Is(err, access.ErrNoSuchClient) {
				return fault.Field("client_unknown", "clientId", "there is no such client")
			}
			return err
		}
		a.DeviceID = d.ID
		t, err = tx.Enqueue(ctx, task.New{
			Kind: KindCreate, Lane: task.DeviceLane(d.ID), Queue: task.Quick, ClientID: d.ClientID, DeviceID: d.ID,
			VolumeID: a.VolumeID, Facility: d.FacilityCode, Args: a,
		})
		return err
	})
	return t, err
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// Register makes e run the tasks of devices.
func (s *Service) Register(e *task.Engine) {
	quick := task.Policy{Deadline: cmp.Or(s.Deadline, 10*time.Minute)}
	e.Register(KindCreate, quick, create{s})
	e.Register(KindPower, quick, s.power())
}

// create makes the guest and its ROOT disk.
type create struct{ s *Service }

func (c create) load(ctx context.Context, r *task.Run) (d Device, a args, err error) {
	if err := json.Unmarshal(r.Task.Args, &a); err != nil {
		return d, a, fmt.Errorf("decode arguments of task %s: %w", r.Task.ID, err)
	}
	err = c.s.Store.View(ctx, func(tx Tx) error {
		d, err = tx.Device(ctx, r.Task.DeviceID)
		return err
	})
	return d, a, err
}

// Run makes the guest, its disk, connects the two, and shows the device.
func (c create) Run(ctx context.Context, r *task.Run) error {
	d, a, err := c.load(ctx, r)
	if err != nil {
		return err
	}
	driver, err := c.s.Drivers.Driver(d.FacilityCode)
	if err != nil {
		return err
	}
	if err := driver.EnsureVM(ctx, backend.VM{Ref: d.Ref, VCPU: d.VCPU, MemoryMB: d.MemoryMB}); err != nil {
		return err
	}
	if a.VolumeID == "" {
		return c.register(ctx, r, d, driver)
	}
	if err := driver.EnsureVolume(ctx, backend.VolumeSpec{ID: a.VolumeID, Bytes: int64(a.RootGiB) << 30, Ref: d.Ref}); err != nil {
		return err
	}
	if err := driver.EnsureAttached(ctx, d.Ref, a.VolumeID); err != nil {
		return err
	}
	if err := driver.Power(ctx, d.Ref, backend.PowerStart); err != nil {
		return err
	}
	return c.s.Store.Finish(ctx, r.Lease, task.Success, func(tx Tx) error {
		if err := tx.SetStatus(ctx, d.ID, Running); err != nil {
			return err
		}
		return tx.ShowRoot(ctx, d.ID, a.VolumeID)
	})
}

// undoTime bounds what a failed task may spend on undoing.
const undoTime = 30 * time.Second

// Fail shows that the device could not be made, and removes its ROOT volume.
// What was accepted for it meanwhile fails in its turn.
func (c create) Fail(ctx context.Context, r *task.Run, f task.Failure) error {
	d, a, err := c.load(ctx, r)
	if err != nil {
		return err
	}
	if a.VolumeID == "" {
		return c.s.Store.Finish(ctx, r.Lease, f.Outcome(), func(tx Tx) error {
			if err := tx.SetStatus(ctx, d.ID, Failed); err != nil {
				return err
			}
			return tx.ReleaseGuest(ctx, d.ID)
		})
	}
	clean := c.undo(ctx, d, a)
	if clean != nil {
		// The row stays, seen by nobody, and says that there may be a disk.
		r.Log.Error("undo device, ROOT disk may be left", "device", d.ID, "volume", a.VolumeID, "error", clean)
	}
	return c.s.Store.Finish(ctx, r.Lease, f.Outcome(), func(tx Tx) error {
		if err := tx.SetStatus(ctx, d.ID, Failed); err != nil || clean != nil {
			return err
		}
		return tx.RemoveVolume(ctx, a.VolumeID)
	})
}

// undo removes the ROOT disk. Guests have no way to be removed; one without a
// disk costs little.
func (c create) undo(ctx context.Context, d Device, a args) error {
	driver, err := c.s.Drivers.Driver(d.FacilityCode)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.s.Undo, undoTime))
	defer cancel()
	// A guest that is off lets go at once; one that cannot be told is asked below.
	_ = driver.Power(ctx, d.Ref, backend.PowerOff)
	if err := driver.EnsureDetached(ctx, d.Ref, a.VolumeID, backend.DetachOptions{}); err != nil {
		return err
	}
	return driver.DeleteVolume(ctx, a.VolumeID)
}
