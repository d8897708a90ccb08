package vps

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/event"
	"github.com/drivebay/drivebay/internal/task"
)

// Devices whose guests are made elsewhere. Nothing is made for such a device
// and nothing removed with it; its status follows its guest.

// guestTime bounds what hosts may take to say which guests they have.
const guestTime = 20 * time.Second

// settle fills in what the request leaves to the guest, and refuses what does
// not go with how the driver's guests are made.
func settle(ctx context.Context, driver backend.Driver, n NewDevice) (NewDevice, error) {
	switch makes := driver.Info().MakesVMs; {
	case makes && n.Ref != "":
		return n, ErrRefUnexpected
	case makes:
		return n, nil
	case n.Ref == "":
		return n, ErrRefRequired
	case n.RootGiB != 0:
		return n, ErrRootUnexpected
	}
	ctx, cancel := context.WithTimeout(ctx, guestTime)
	defer cancel()
	g, err := find(ctx, driver, n.Ref)
	switch {
	case errors.Is(err, backend.ErrVMNotFound):
		return n, ErrGuestUnknown
	case errors.Is(err, ErrGuestUnknown):
		return n, err
	case err != nil:
		return n, task.Refusal(err)
	}
	n.Ref = g.Ref
	if n.Hostname == "" {
		n.Hostname = g.Name
	}
	n.VCPU, n.MemoryMB = orDefault(n.VCPU, g.VCPU), orDefault(n.MemoryMB, g.MemoryMB)
	return n, nil
}

// find looks for a guest by its name or ref. backend.ErrVMNotFound; more than
// one of the name: ErrGuestUnknown that says so.
func find(ctx context.Context, driver backend.Driver, name string) (backend.Guest, error) {
	inventory, ok := driver.(backend.Inventory)
	if !ok {
		view, err := driver.Inspect(ctx, name)
		return backend.Guest{Ref: view.Ref}, err
	}
	all, err := inventory.Guests(ctx)
	if err != nil {
		return backend.Guest{}, err
	}
	var named []backend.Guest
	for _, g := range all {
		if strings.EqualFold(g.Ref, name) {
			return g, nil
		}
		if g.Name == name {
			named = append(named, g)
		}
	}
	switch len(named) {
	case 0:
		return backend.Guest{}, backend.ErrVMNotFound
	case 1:
		return named[0], nil
	}
	return backend.Guest{}, ErrGuestUnknown.Textf("%d hosts have a guest of this name; name it by its UUID", len(named))
}

// register shows a device as its guest is.
func (c create) register(ctx context.Context, r *task.Run, d Device, driver backend.Driver) error {
	view, err := driver.Inspect(ctx, d.Ref)
	if err != nil {
		return err
	}
	return c.s.Store.Finish(ctx, r.Lease, task.Success, func(tx Tx) error {
		return tx.SetStatus(ctx, d.ID, StatusOf(view.Running))
	})
}

// DeleteDevice forgets a device whose guest was made elsewhere, and its ROOT
// volume; the guest stays as it is, and need not be there any more. Volumes and
// an ISO have to be detached before. ErrDeviceNotFound, ErrGuestMadeHere,
// ErrDeviceBusy, ErrHasVolumes, ErrHasISO.
func (s *Service) DeleteDevice(ctx context.Context, id int64) error {
	d, err := s.Store.Device(ctx, access.Scope{All: true}, id)
	if err != nil {
		return err
	}
	driver, err := s.Drivers.Driver(d.FacilityCode)
	if err != nil {
		return task.Refusal(err)
	}
	if driver.Info().MakesVMs {
		return ErrGuestMadeHere
	}
	return s.Store.Tx(ctx, func(tx Tx) error {
		d, err := tx.Device(ctx, id)
		if err != nil {
			return err
		}
		pending, err := tx.PendingIn(ctx, task.DeviceLane(id))
		switch {
		case err != nil:
			return err
		case len(pending) > 0:
			return ErrDeviceBusy
		case d.Volumes > 0:
			return ErrHasVolumes
		case d.ISOID != "":
			return ErrHasISO
		}
		if err := tx.RemoveDevice(ctx, id); err != nil {
			return err
		}
		return tx.Emit(ctx, event.Event{ClientID: d.ClientID, DeviceID: id, Type: "DEVICE.DELETE", Level: event.Info, State: event.Completed})
	})
}
