package reconcile

import (
	"time"

	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// Rows is what the database says of one facility, read in one consistent
// state. With Facility "" it has only Tasks.
type Rows struct {
	Facility string
	// Elsewhere: the facility's guests are made elsewhere, and may go without us.
	Elsewhere bool
	At        time.Time // the database's clock when they were read
	// LastSeq is the newest task. Work is what is unfinished, and every task
	// newer than the reading before, ended or not.
	LastSeq int64
	Work    []Work

	Volumes  []Volume
	Devices  []Device
	ISOs     []ISO
	Contents []Content
	Services []Billed
	Held     []Held
	Tasks    []Task
}

// Work is what a task is about.
type Work struct {
	VolumeID string
	DeviceID int64
	ISOID    string // or the SHA-256 of an image in quarantine
}

// Volume is a row of a volume with its attachment.
type Volume struct {
	ID        string
	ClientID  int64
	Type      volume.Type
	State     volume.State
	Bytes     int64
	ProductID int
	Monthly   billing.Cents
	DeviceID  int64 // 0: none
}

func (v Volume) exists() bool { return v.State != volume.Creating && v.State != volume.Discarded }

// moving reports whether the row says that something is being done to it.
func (v Volume) moving() bool {
	return v.State == volume.Creating || v.State == volume.Resizing || v.State == volume.Deleting
}

// Device is a row of a device.
type Device struct {
	ID     int64
	Ref    string
	Status vps.Status
	ISOID  string
}

// ISO is a row of an ISO.
type ISO struct {
	ID     string
	State  iso.State
	SHA256 string
	Bytes  int64
}

// Content is a row of an image's content.
type Content struct {
	SHA256 string
	State  iso.ContentState
	Bytes  int64
}

// Billed is an open service.
type Billed struct {
	ID           int64
	ClientID     int64
	VolumeID     string
	FacilityCode string
	SizeGiB      int
	ProductID    int
	Monthly      billing.Cents
}

// Task is an unfinished task that may be stuck.
type Task struct {
	ID    string
	Kind  task.Kind
	Queue task.Queue
	State task.State
	// Since is when a running one's lease ended, when a ready one could first
	// have run, and when a waiting one was accepted.
	Since time.Time
	// Free: of a waiting one, that nothing it waits for is unfinished.
	Free bool
}
