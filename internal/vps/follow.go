package vps

import (
	"context"
	"errors"
	"log/slog"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
)

// Follow has the status of a facility's devices follow their guests, which are
// made elsewhere and may be started and stopped there, as news of them comes,
// until ctx ends. What it does not hear of, the reconciler sees.
func (s *Service) Follow(ctx context.Context, facilityCode string, log *slog.Logger) {
	backend.Follow(ctx, s.Drivers, facilityCode, log, func(e backend.GuestEvent) {
		if e.What == backend.GuestReset {
			return
		}
		if err := s.follow(ctx, facilityCode, e.Ref); err != nil && ctx.Err() == nil {
			log.Warn("follow a guest", "facility", facilityCode, "guest", e.Ref, "event", e.What, "error", err)
		}
	})
}

// follow shows the devices of the guest ref, or with "" all of the facility, as
// their guests are.
func (s *Service) follow(ctx context.Context, facilityCode, ref string) error {
	all, err := s.on(ctx, facilityCode, ref)
	if err != nil {
		return err
	}
	driver, err := s.Drivers.Driver(facilityCode)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range all {
		if d.Status.Follows() {
			errs = append(errs, s.show(ctx, driver, d))
		}
	}
	return errors.Join(errs...)
}

// on are the facility's devices on the guest ref; with "", all of them.
func (s *Service) on(ctx context.Context, facilityCode, ref string) ([]Device, error) {
	if ref == "" {
		return s.Store.List(ctx, access.Scope{All: true}, Filter{FacilityCode: &facilityCode})
	}
	var d Device
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		d, err = tx.DeviceByRef(ctx, facilityCode, ref)
		return err
	})
	if errors.Is(err, ErrDeviceNotFound) {
		return nil, nil
	}
	return []Device{d}, err
}

// show gives the device the status of its guest. A power task that ends at this
// moment has the last word by its own news, which comes after this.
func (s *Service) show(ctx context.Context, driver backend.Driver, d Device) error {
	view, err := driver.Inspect(ctx, d.Ref)
	if errors.Is(err, backend.ErrVMNotFound) {
		return nil // it may be on the move
	}
	if err != nil {
		return err
	}
	return s.Store.Tx(ctx, func(tx Tx) error {
		now, err := tx.Device(ctx, d.ID)
		if errors.Is(err, ErrDeviceNotFound) {
			return nil
		}
		if err != nil || !now.Status.Follows() || now.Ref != d.Ref || now.Status == StatusOf(view.Running) {
			return err
		}
		return tx.SetStatus(ctx, d.ID, StatusOf(view.Running))
	})
}
