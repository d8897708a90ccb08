package iso

import (
	"context"
	"errors"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/fetch"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// Fetcher downloads images; *fetch.Fetcher is the one outside tests.
type Fetcher interface {
	CheckURL(raw string) error
	Fetch(ctx context.Context, r fetch.Request) (fetch.Result, error)
}

// Service answers requests about ISOs. Callers have been authenticated and
// hold the operation's permission; the service decides whose objects they may
// name.
type Service struct {
	Store   Store
	Drivers backend.Provider
	Fetcher Fetcher
	// Staging is the folder downloads grow in, on this node's disk.
	Staging string
	// Uploads is where uploads grow; nil: none are taken.
	Uploads *Uploads
	// CancelRun ends a run on this node at once; nil outside a server.
	CancelRun func(taskID string)
	Now       func() time.Time
	NewID     func() string
	// Deadline is how long a task other than an import may take, retries
	// included; 0: 10 minutes. ImportDeadline is the same of imports; 0: 24
	// hours. Undo bounds each attempt to undo a failed task; 0: 30 seconds.
	Deadline, ImportDeadline, Undo time.Duration
	// Imported, if set, hears of the bytes of every finished import.
	Imported func(bytes int64)
	// LookEvery is how often guests are looked at that are to start from an ISO
	// once; 0: a minute.
	LookEvery time.Duration

	ears ears
}

// Create is what a caller asks for.
type Create struct {
	FacilityCode string
	Name         string
	Description  string
	URL          string // "" for an upload
	UploadBytes  int64  // the size of an upload; 0 for a download
	Checksum     string // "" none
	Bootable     bool
}

// args is what tasks on ISOs keep of their request. The URL is redacted.
type args struct {
	ISOID        string `json:"isoId"`
	DeviceID     int64  `json:"deviceId,omitempty"`
	FacilityCode string `json:"facilityCode,omitempty"`
	Name         string `json:"name,omitempty"`
	URL          string `json:"url,omitempty"`
	BootOnce     bool   `json:"bootOnce,omitempty"`
	Force        bool   `json:"force,omitempty"`
	Action       string `json:"action"`
}

// List returns the caller's ISOs of a facility. vps.ErrFacilityNotFound.
func (s *Service) List(ctx context.Context, scope access.Scope, facilityCode string) ([]ISO, error) {
	if err := s.Store.Facility(ctx, facilityCode); err != nil {
		return nil, err
	}
	return s.Store.List(ctx, scope, facilityCode)
}

// Get returns one ISO. A facilityCode that is not the ISO's is ErrNotFound.
func (s *Service) Get(ctx context.Context, scope access.Scope, id string, facilityCode *string) (ISO, error) {
	i, err := s.Store.Get(ctx, scope, id)
	if err == nil && facilityCode != nil && *facilityCode != i.FacilityCode {
		return ISO{}, ErrNotFound
	}
	return i, err
}

// Create registers an ISO of the client and accepts its import as a task. The
// URL's form is checked now, what is behind it by the task. The task of an
// upload waits until all bytes are there.
// vps.ErrUnknownFacility, ErrChecksumForm, a fault about "url" or "upload",
// ErrNoUploads, or access.ErrQuota.
func (s *Service) Create(ctx context.Context, clientID int64, c Create) (ISO, error) {
	if err := s.check(ctx, c); err != nil {
		return ISO{}, err
	}
	shown := ""
	if c.URL != "" {
		shown = fetch.Redact(c.URL)
	}
	i := ISO{
		ID: s.NewID(), ClientID: clientID, FacilityCode: c.FacilityCode, Name: c.Name, Description: c.Description,
		URL: c.URL, Checksum: c.Checksum, Bootable: c.Bootable, State: Queued, CreatedAt: s.Now(),
	}
	var wait time.Duration
	if c.UploadBytes > 0 {
		if s.Uploads == nil || !s.Uploads.Takes(c.FacilityCode) {
			return ISO{}, ErrNoUploads.Textf("This server takes no uploads for %s", c.FacilityCode)
		}
		i.State, i.Upload, i.Size, wait = Uploading, s.Uploads.ID, c.UploadBytes, s.uploadIdle()
	}
	err := s.Store.Tx(ctx, func(tx Tx) error {
		// How long a download is will be known later; it has a byte at least.
		if err := access.Reserve(ctx, tx, clientID, access.Usage{ISOs: 1, ISOBytes: max(i.Size, 1)}); err != nil {
			return err
		}
		t, err := tx.Enqueue(ctx, task.New{
			Kind: KindCreate, Lane: task.ISOLane(i.ID), Queue: task.Imports, ClientID: clientID, ISOID: i.ID, Facility: i.FacilityCode, Delay: wait,
			Args: args{ISOID: i.ID, FacilityCode: i.FacilityCode, Name: i.Name, URL: shown, Action: string(KindCreate)},
		})
		if err != nil {
			return err
		}
		i.TaskID = t.ID
		return tx.PutISO(ctx, i)
	})
	return i, err
}

// check reports everything that is wrong with a request at once.
func (s *Service) check(ctx context.Context, c Create) error {
	var wrong []*fault.Error
	switch {
	case c.UploadBytes > 0 && c.URL != "":
		wrong = append(wrong, ErrTwoSources)
	case c.UploadBytes > 0:
		if f := s.checkUpload(c.UploadBytes); f != nil {
			wrong = append(wrong, f)
		}
	default:
		if err := s.Fetcher.CheckURL(c.URL); err != nil {
			f := fetchFault(err)
			wrong = append(wrong, fault.Field(f.Reason, "url", "%s", f.Text))
		}
	}
	if c.Checksum != "" {
		if _, _, err := ParseChecksum(c.Checksum); err != nil {
			wrong = append(wrong, ErrChecksumForm)
		}
	}
	switch err := s.Store.Facility(ctx, c.FacilityCode); {
	case errors.Is(err, vps.ErrFacilityNotFound):
		wrong = append(wrong, vps.ErrUnknownFacility)
	case err != nil:
		return err
	}
	return fault.Together(wrong...)
}

// Delete accepts deleting an ISO that no device has, or will have, in its
// drive; an import under way is ended first. facilityCode is as in Get.
// ErrNotFound, ErrDeleting, ErrAttached naming the devices.
func (s *Service) Delete(ctx context.Context, scope access.Scope, id string, facilityCode *string) (task.Task, error) {
	var t task.Task
	var cancelled string
	err := s.Store.Tx(ctx, func(tx Tx) error {
		i, pending, err := visible(ctx, tx, scope, id)
		if err != nil {
			return err
		}
		if facilityCode != nil && *facilityCode != i.FacilityCode {
			return ErrNotFound
		}
		if err := checkFree(i, pending); err != nil {
			return err
		}
		for _, p := range pending {
			if p.Kind == KindCreate {
				cancelled = p.ID
				// One that waits for its time must not keep the delete waiting.
				if err := errors.Join(tx.Cancel(ctx, p.ID), tx.Hasten(ctx, p.ID)); err != nil {
					return err
				}
			}
		}
		lane := task.ISOLane(i.ID)
		t, err = tx.Enqueue(ctx, task.New{
			Kind: KindDelete, Lane: lane, Queue: task.Quick, ClientID: i.ClientID, ISOID: i.ID, Facility: i.FacilityCode,
			Args:  args{ISOID: i.ID, FacilityCode: i.FacilityCode, Name: i.Name, Action: string(KindDelete)},
			After: task.Others(pending, lane),
		})
		return err
	})
	if err == nil && cancelled != "" && s.CancelRun != nil {
		s.CancelRun(cancelled)
	}
	return t, err
}

// Attach accepts putting a ready ISO into the drive of a device of its
// facility and its client. From a bootable one the guest starts next. bootOnce:
// it does so once, and the ISO is ejected when it restarts after that.
// vps.ErrDeviceNotFound, ErrNotFound, ErrDeleting, ErrNotReady, ErrOtherPlace,
// ErrDriveTaken, ErrNotBootable.
func (s *Service) Attach(ctx context.Context, scope access.Scope, deviceID int64, isoID string, bootOnce bool) (task.Task, error) {
	return s.change(ctx, scope, deviceID, KindAttach, func(tx Tx, d vps.Device, inDrive string) (args, error) {
		i, pending, err := visible(ctx, tx, scope, isoID)
		switch {
		case err != nil:
			return args{}, err
		case i.ClientID != d.ClientID:
			return args{}, ErrNotFound // to this device's client it does not exist
		case i.State == Deleting || goes(pending):
			return args{}, ErrDeleting
		case i.FacilityCode != d.FacilityCode:
			return args{}, ErrOtherPlace.Textf("The ISO is in %s and the device in %s", i.FacilityCode, d.FacilityCode)
		case bootOnce && !i.Bootable:
			return args{}, ErrNotBootable
		case !i.Ready():
			return args{}, ErrNotReady.Textf("The ISO is not ready: %s", i.Status())
		case inDrive == i.ID:
			return args{}, ErrDriveTaken.Textf("The device has this ISO attached already")
		case inDrive != "":
			return args{}, ErrDriveTaken.Textf("The device has another ISO attached: %s", inDrive)
		}
		return args{ISOID: i.ID, BootOnce: bootOnce}, nil
	})
}

// Detach accepts ejecting what is in a device's drive; force opens a tray that
// the guest locks. vps.ErrDeviceNotFound, ErrNoneAttached.
func (s *Service) Detach(ctx context.Context, scope access.Scope, deviceID int64, force bool) (task.Task, error) {
	return s.change(ctx, scope, deviceID, KindDetach, func(_ Tx, _ vps.Device, inDrive string) (args, error) {
		if inDrive == "" {
			return args{}, ErrNoneAttached
		}
		return args{ISOID: inDrive, Force: force}, nil
	})
}

// change accepts a task on the drive of a device. decide is told what will be
// in the drive by then, and answers what the task is to do with which ISO.
func (s *Service) change(ctx context.Context, scope access.Scope, deviceID int64, k task.Kind,
	decide func(tx Tx, d vps.Device, inDrive string) (args, error),
) (task.Task, error) {
	var t task.Task
	err := s.Store.Tx(ctx, func(tx Tx) error {
		d, err := tx.Device(ctx, deviceID)
		if err != nil {
			return err
		}
		if !scope.Covers(d.ClientID) || d.Status == vps.Failed {
			return vps.ErrDeviceNotFound
		}
		ahead, err := tx.PendingIn(ctx, task.DeviceLane(d.ID))
		if err != nil {
			return err
		}
		a, err := decide(tx, d, planDrive(d.ISOID, ahead))
		if err != nil {
			return err
		}
		t, err = enqueue(ctx, tx, d, k, a)
		return err
	})
	return t, err
}

// enqueue accepts a task on the drive of a device.
func enqueue(ctx context.Context, tx Tx, d vps.Device, k task.Kind, a args) (task.Task, error) {
	a.DeviceID, a.Action = d.ID, string(k)
	return tx.Enqueue(ctx, task.New{
		Kind: k, Lane: task.DeviceLane(d.ID), Queue: task.Quick, ClientID: d.ClientID, DeviceID: d.ID, ISOID: a.ISOID, Facility: d.FacilityCode,
		Args: a,
	})
}

func visible(ctx context.Context, tx Tx, scope access.Scope, id string) (ISO, []task.Task, error) {
	i, err := tx.ISO(ctx, id)
	if err != nil {
		return ISO{}, nil, err
	}
	if !scope.Covers(i.ClientID) {
		return ISO{}, nil, ErrNotFound
	}
	pending, err := tx.Pending(ctx, id)
	return i, pending, err
}
