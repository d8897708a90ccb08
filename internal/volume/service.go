package volume

import (
	"context"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// Service answers requests about volumes. Callers have been authenticated and
// hold the operation's permission; the service decides whose objects they may
// name. Every change is accepted as a task, which is durable on return.
type Service struct {
	Store   Store
	Drivers backend.Provider
	Now     func() time.Time
	NewID   func() string
	// Deadline is how long a task may take, retries included; 0: 10 minutes.
	// Undo bounds each attempt to undo a failed one; 0: 30 seconds.
	Deadline, Undo time.Duration
}

// List returns the caller's volumes on a device, in a facility, or both. One
// of the two is required: ErrNeedFilter. A device that is not the caller's:
// vps.ErrDeviceNotFound; an unknown facility: vps.ErrFacilityNotFound.
func (s *Service) List(ctx context.Context, scope access.Scope, f Filter) ([]Volume, error) {
	if f.DeviceID == nil && f.FacilityCode == nil {
		return nil, ErrNeedFilter
	}
	if f.FacilityCode != nil {
		if err := s.Store.Facility(ctx, *f.FacilityCode); err != nil {
			return nil, err
		}
	}
	list, err := s.Store.List(ctx, scope, f)
	if err != nil || len(list) > 0 || f.DeviceID == nil {
		return list, err // a volume that is on the device vouches for it
	}
	switch d, err := s.Store.Device(ctx, scope, *f.DeviceID); {
	case err != nil:
		return nil, err
	case d.Status == vps.Failed:
		return nil, vps.ErrDeviceNotFound
	}
	return list, nil
}

// Get returns one volume. ErrNotFound.
func (s *Service) Get(ctx context.Context, scope access.Scope, id string) (Volume, error) {
	return s.Store.Get(ctx, scope, id)
}

// UpgradeSizes returns the sizes on sale that are larger than the volume is,
// ascending. ErrNotFound. A ROOT volume has none.
func (s *Service) UpgradeSizes(ctx context.Context, scope access.Scope, id string) ([]billing.Price, error) {
	v, err := s.Store.Get(ctx, scope, id)
	if err != nil || v.Type == Root {
		return nil, err
	}
	prices, err := s.Store.Prices(ctx, v.FacilityCode)
	if err != nil {
		return nil, err
	}
	return billing.Larger(prices, v.FacilityCode, v.SizeGiB()), nil
}

// Detach accepts taking a volume off the device. vps.ErrDeviceNotFound,
// ErrNotFound, ErrRoot, ErrDeleting, ErrNotAttached.
func (s *Service) Detach(ctx context.Context, scope access.Scope, deviceID int64, id string) (task.Task, error) {
	var t task.Task
	err := s.Store.Tx(ctx, func(tx Tx) error {
		d, err := changeable(ctx, tx, scope, id)
		if err != nil {
			return err
		}
		if _, err := device(ctx, tx, scope, deviceID); err != nil {
			return err
		}
		if d.plan.DeviceID != deviceID {
			return ErrNotAttached
		}
		t, err = enqueue(ctx, tx, d.v, KindDetach, d.plan, d.pending, args{DeviceID: deviceID})
		return err
	})
	return t, err
}

// Attach accepts connecting a detached volume to a device of its facility and
// its client. vps.ErrDeviceNotFound, ErrNotFound, ErrRootAttach, ErrDeleting,
// ErrAttached naming the holder, ErrOtherFacility, ErrDeviceFull.
func (s *Service) Attach(ctx context.Context, scope access.Scope, deviceID int64, id string) (task.Task, error) {
	var t task.Task
	err := s.Store.Tx(ctx, func(tx Tx) error {
		d, err := device(ctx, tx, scope, deviceID)
		if err != nil {
			return err
		}
		v, pending, p, err := visible(ctx, tx, scope, id)
		switch {
		case err != nil:
			return err
		case v.ClientID != d.ClientID:
			return ErrNotFound // to this device's client it does not exist
		case v.Type == Root:
			return ErrRootAttach
		case p.Gone:
			return ErrDeleting
		case p.DeviceID != 0:
			return ErrAttached.Textf("The volume is attached to device %d already", p.DeviceID)
		case v.FacilityCode != d.FacilityCode:
			return ErrOtherFacility.Textf("The volume is in %s and the device in %s", v.FacilityCode, d.FacilityCode)
		}
		if err := checkRoom(ctx, tx, d); err != nil {
			return err
		}
		t, err = enqueue(ctx, tx, v, KindAttach, Plan{DeviceID: d.ID}, pending, args{DeviceID: d.ID})
		return err
	})
	return t, err
}

// changeable reads a volume whose size or place may change. ErrNotFound,
// ErrRoot, ErrDeleting.
func changeable(ctx context.Context, tx Tx, scope access.Scope, id string) (decision, error) {
	v, pending, p, err := visible(ctx, tx, scope, id)
	switch {
	case err != nil:
	case v.Type == Root:
		err = ErrRoot
	case p.Gone:
		err = ErrDeleting
	}
	return decision{v: v, plan: p, pending: pending}, err
}

// visible reads a volume of the scope with its unfinished tasks. A volume that
// is still being created can be named by those who know its id from the task.
func visible(ctx context.Context, tx Tx, scope access.Scope, id string) (Volume, []task.Task, Plan, error) {
	v, err := tx.Volume(ctx, id)
	if err != nil {
		return Volume{}, nil, Plan{}, err
	}
	if !scope.Covers(v.ClientID) || v.State == Discarded {
		return Volume{}, nil, Plan{}, ErrNotFound
	}
	pending, err := tx.Pending(ctx, id)
	if err != nil {
		return Volume{}, nil, Plan{}, err
	}
	p, err := PlanOf(v, pending)
	return v, pending, p, err
}

// enqueue adds a task on v to the lane the plan puts it in, behind everything
// already accepted for v.
func enqueue(ctx context.Context, tx Tx, v Volume, k task.Kind, p Plan, pending []task.Task, a args) (task.Task, error) {
	lane := p.lane(v.ID)
	a.VolumeID, a.Action = v.ID, string(k)
	return tx.Enqueue(ctx, task.New{
		Kind: k, Lane: lane, Queue: task.Quick, ClientID: v.ClientID, DeviceID: p.DeviceID, VolumeID: v.ID, Facility: v.FacilityCode,
		Args: a, After: task.Others(pending, lane),
	})
}

func device(ctx context.Context, tx Tx, scope access.Scope, id int64) (vps.Device, error) {
	d, err := tx.Device(ctx, id)
	if err != nil {
		return d, err
	}
	if !scope.Covers(d.ClientID) || d.Status == vps.Failed {
		return d, vps.ErrDeviceNotFound
	}
	return d, nil
}

func checkRoom(ctx context.Context, tx Tx, d vps.Device) error {
	lane, err := tx.PendingKinds(ctx, task.DeviceLane(d.ID))
	if err != nil {
		return err
	}
	if planned(d.Volumes, lane) >= d.MaxVolumes {
		return ErrDeviceFull.Textf("The device takes %d volumes and has as many", d.MaxVolumes)
	}
	return nil
}
