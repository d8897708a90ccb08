package volume

import (
	"context"
	"fmt"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/task"
)

// Order asks for a change that has a price. Accept carries it out, Quote only
// says what that would come to; what is refused, and why, is the same.
type Order struct {
	// Kind is KindCreate, KindResize or KindDelete; any other is a fault.
	Kind     task.Kind
	VolumeID string // of resize and delete
	SizeGiB  int    // of create and resize
	// DeviceID is required to create, and for the rest while the volume is
	// attached: then it must be that device.
	DeviceID *int64
	// MaxMonthly is the most that a month may cost afterwards; nil: any price.
	// A delete is never refused for its price.
	MaxMonthly *billing.Cents
}

// decision is an order that is allowed, and what it comes to.
type decision struct {
	v       Volume // before the change, or the one to be made
	plan    Plan   // what v will be when the order's task begins
	pending []task.Task
	args    args
}

// Create accepts a new volume of sizeGiB attached to the device, at any price.
// Refusals are those of Accept.
func (s *Service) Create(ctx context.Context, scope access.Scope, deviceID int64, sizeGiB int) (task.Task, error) {
	return s.Accept(ctx, scope, Order{Kind: KindCreate, SizeGiB: sizeGiB, DeviceID: &deviceID})
}

// Resize accepts growing a volume to sizeGiB, at any price. Refusals are those
// of Accept.
func (s *Service) Resize(ctx context.Context, scope access.Scope, id string, sizeGiB int, deviceID *int64) (task.Task, error) {
	return s.Accept(ctx, scope, Order{Kind: KindResize, VolumeID: id, SizeGiB: sizeGiB, DeviceID: deviceID})
}

// Delete accepts deleting a volume, attached or not, with everything on it.
// Refusals are those of Accept.
func (s *Service) Delete(ctx context.Context, scope access.Scope, id string, deviceID *int64) (task.Task, error) {
	return s.Accept(ctx, scope, Order{Kind: KindDelete, VolumeID: id, DeviceID: deviceID})
}

// Accept accepts an order as a task. A new volume has one of the sizes sold in
// its device's facility, and charges for it begin when the task succeeds. It is
// refused, in this order, with:
//
//   - create: vps.ErrDeviceNotFound, ErrSizeNotSold, ErrDeviceFull,
//     access.ErrQuota, ErrPriceChanged;
//   - resize: ErrNotFound, ErrRoot, ErrDeleting, ErrDeviceRequired,
//     ErrWrongDevice, ErrNotLarger, ErrSizeNotSold, access.ErrQuota,
//     ErrPriceChanged;
//   - delete: ErrNotFound, ErrRoot, ErrDeleting, ErrDeviceRequired,
//     ErrWrongDevice.
func (s *Service) Accept(ctx context.Context, scope access.Scope, o Order) (task.Task, error) {
	var t task.Task
	err := s.Store.Tx(ctx, func(tx Tx) error {
		d, err := s.decide(ctx, tx, scope, o)
		if err != nil {
			return err
		}
		if o.Kind == KindCreate {
			if err := tx.PutVolume(ctx, d.v); err != nil {
				return err
			}
		}
		t, err = enqueue(ctx, tx, d.v, o.Kind, d.plan, d.pending, d.args)
		return err
	})
	return t, err
}

// decide is all that is decided about an order before something is written.
func (s *Service) decide(ctx context.Context, tx Tx, scope access.Scope, o Order) (decision, error) {
	switch o.Kind {
	case KindCreate:
		return s.decideCreate(ctx, tx, scope, o)
	case KindResize, KindDelete:
	default:
		return decision{}, fmt.Errorf("no order is of kind %s", o.Kind)
	}
	d, err := changeable(ctx, tx, scope, o.VolumeID)
	if err != nil {
		return d, err
	}
	if err := d.plan.CheckDevice(o.DeviceID); err != nil {
		return d, err
	}
	d.args = args{DeviceID: d.plan.DeviceID}
	if o.Kind == KindDelete {
		return d, nil
	}
	sold, err := tx.Prices(ctx, d.v.FacilityCode)
	if err != nil {
		return d, err
	}
	price, err := d.plan.CheckGrow(o.SizeGiB, sold)
	if err != nil {
		return d, err
	}
	if err := access.Reserve(ctx, tx, d.v.ClientID, access.Usage{GiB: int64(o.SizeGiB - d.plan.SizeGiB)}); err != nil {
		return d, err
	}
	d.args.SizeGiB, d.args.ProductID, d.args.Monthly = o.SizeGiB, price.ProductID, price.Monthly
	return d, o.checkPrice(price)
}

func (s *Service) decideCreate(ctx context.Context, tx Tx, scope access.Scope, o Order) (decision, error) {
	var deviceID int64
	if o.DeviceID != nil {
		deviceID = *o.DeviceID
	}
	on, err := device(ctx, tx, scope, deviceID)
	if err != nil {
		return decision{}, err
	}
	sold, err := tx.Prices(ctx, on.FacilityCode)
	if err != nil {
		return decision{}, err
	}
	price, err := CheckSold(o.SizeGiB, sold)
	if err != nil {
		return decision{}, err
	}
	if err := checkRoom(ctx, tx, on); err != nil {
		return decision{}, err
	}
	if err := access.Reserve(ctx, tx, on.ClientID, access.Usage{Volumes: 1, GiB: int64(o.SizeGiB)}); err != nil {
		return decision{}, err
	}
	return decision{
		v: Volume{
			ID: s.NewID(), ClientID: on.ClientID, FacilityCode: on.FacilityCode, Type: DataDisk, State: Creating,
			Bytes: int64(o.SizeGiB) * GiB, ProductID: price.ProductID, Monthly: price.Monthly, CreatedAt: s.Now(),
		},
		plan: Plan{DeviceID: on.ID},
		args: args{SizeGiB: o.SizeGiB, DeviceID: on.ID, ProductID: price.ProductID, Monthly: price.Monthly},
	}, o.checkPrice(price)
}

// checkPrice reports whether p is no more than the order allows.
// ErrPriceChanged, with both.
func (o Order) checkPrice(p billing.Price) error {
	if o.MaxMonthly != nil && p.Monthly > *o.MaxMonthly {
		return ErrPriceChanged.Textf("%d GiB cost %s a month, and the request allows %s", p.SizeGiB, p.Monthly, *o.MaxMonthly)
	}
	return nil
}
