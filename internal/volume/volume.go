// Package volume holds the rules of block volumes: which sizes are sold, that
// they only grow, where they are attached, and the steps of the tasks that
// change them. A request is decided against what the tasks already accepted
// will lead to (Plan), and again when its task runs.
package volume

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

// GiB is the bytes of one GiB. Sizes are GiB at the edge and bytes inside.
const GiB = 1 << 30

// Type says what a volume is for, in the contract's words.
type Type string

// The types. A ROOT volume comes with its device and cannot be changed here.
const (
	Root     Type = "ROOT"
	DataDisk Type = "DATADISK"
)

// State is where a volume stands. Creating and discarded ones are seen by
// nobody: the first does not exist yet, the second is left over from a failed
// create and only waits to be cleaned up.
type State string

// The states.
const (
	Creating  State = "creating"
	Attached  State = "attached"
	Detached  State = "detached"
	Resizing  State = "resizing"
	Deleting  State = "deleting"
	Discarded State = "discarded"
)

// Volume is one block volume.
type Volume struct {
	ID           string // UUID
	ClientID     int64
	FacilityCode string
	Type         Type
	State        State
	Bytes        int64
	ProductID    int           // of the price list; 0 for ROOT
	Monthly      billing.Cents // present price; 0 for ROOT
	// DeviceID is the device it is attached to, 0 when detached. Generation
	// grows with every attach and detach; a change names the one it saw.
	DeviceID   int64
	Generation int64
	CreatedAt  time.Time // when it came to exist
}

// SizeGiB is the size in GiB.
func (v Volume) SizeGiB() int { return int(v.Bytes / GiB) }

// Exists reports whether a client can see the volume.
func (v Volume) Exists() bool { return v.State != Creating && v.State != Discarded }

// rest is the state of a volume that nothing is being done to.
func (v Volume) rest() State {
	if v.DeviceID != 0 {
		return Attached
	}
	return Detached
}

// What the rules refuse.
var (
	ErrNotFound       = fault.New(fault.NotFound, "volume_not_found", "Volume not found")
	ErrSizeNotSold    = fault.Field("size_not_sold", "size", "this size is not sold in the facility")
	ErrNotLarger      = fault.Field("size_not_larger", "size", "a volume can only be made larger")
	ErrDeviceRequired = fault.Field("device_required", "deviceId", "'deviceId' is a required property while the volume is attached")
	ErrWrongDevice    = fault.Field("wrong_device", "deviceId", "the volume is not attached to this device")
	ErrRoot           = fault.New(fault.Invalid, "root_volume", "A ROOT volume comes with its device and cannot be resized, detached or deleted")
	ErrRootAttach     = fault.New(fault.Invalid, "root_volume", "A ROOT volume comes with its device and cannot be attached")
	ErrOtherFacility  = fault.New(fault.Invalid, "other_facility", "The volume and the device are in different facilities")
	ErrDeleting       = fault.New(fault.Conflict, "volume_deleting", "The volume is being deleted")
	ErrAttached       = fault.New(fault.Conflict, "volume_attached", "The volume is attached already")
	ErrNotAttached    = fault.New(fault.Conflict, "volume_not_attached", "The volume is not attached to this device")
	ErrPriceChanged   = fault.New(fault.Conflict, "price_changed", "A month of the volume would cost more than the request allows")
	ErrDeviceFull     = fault.New(fault.Conflict, "device_full", "The device has as many volumes as it takes")
	ErrNeedFilter     = fault.New(fault.Invalid, "filter_required", "deviceId or facilityCode is required")
)

// The kinds of tasks on volumes.
const (
	KindCreate task.Kind = "volume.create"
	KindResize task.Kind = "volume.resize"
	KindDelete task.Kind = "volume.delete"
	KindAttach task.Kind = "volume.attach"
	KindDetach task.Kind = "volume.detach"
	KindSweep  task.Kind = "volume.sweep"
)

// args is what tasks on volumes keep of their request. A price is the one the
// request was accepted at: a later change of the list does not touch it.
type args struct {
	SizeGiB   int           `json:"size,omitempty"`
	DeviceID  int64         `json:"deviceId,omitempty"`
	VolumeID  string        `json:"volumeId"`
	ProductID int           `json:"productId,omitempty"`
	Monthly   billing.Cents `json:"monthlyCents,omitempty"`
	Action    string        `json:"action"`
}

func (a args) price(facilityCode string) billing.Price {
	return billing.Price{FacilityCode: facilityCode, SizeGiB: a.SizeGiB, Monthly: a.Monthly, ProductID: a.ProductID}
}

// price is what v was sold as.
func (v Volume) price() billing.Price {
	return billing.Price{FacilityCode: v.FacilityCode, SizeGiB: v.SizeGiB(), Monthly: v.Monthly, ProductID: v.ProductID}
}

// open opens the service of a volume that comes to exist on a device, by a
// task, and charges its first month.
func (v Volume) open(deviceID int64, at time.Time, taskID string) (billing.Service, billing.Charge) {
	return billing.Open(billing.Opening{ClientID: v.ClientID, VolumeID: v.ID, DeviceID: &deviceID, Price: v.price(), At: at, TaskID: taskID})
}

func argsOf(t task.Task) (a args, err error) {
	if err := json.Unmarshal(t.Args, &a); err != nil {
		return a, fmt.Errorf("decode arguments of task %s: %w", t.ID, err)
	}
	return a, nil
}
