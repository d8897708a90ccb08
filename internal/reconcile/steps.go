package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// repair runs the tasks of repairs. Each looks at the row and at the storage
// before it does anything, so it may be repeated, and there is nothing to undo.
type repair struct{ s *Service }

// mending is one attempt.
type mending struct {
	*task.Run
	s      *Service
	args   repairArgs
	driver backend.Driver
}

// Run is in task.Handler.
func (p repair) Run(ctx context.Context, r *task.Run) error {
	m := mending{Run: r, s: p.s}
	if err := json.Unmarshal(r.Task.Args, &m.args); err != nil {
		return fmt.Errorf("decode arguments of task %s: %w", r.Task.ID, err)
	}
	var err error
	if m.driver, err = p.s.Drivers.Driver(m.args.FacilityCode); err != nil {
		return err
	}
	switch m.args.Repair {
	case attach, detach, grow, rest:
		return m.volume(ctx)
	case bill:
		return m.bill(ctx)
	case unbill:
		return m.unbill(ctx)
	case drive:
		return m.drive(ctx)
	case settle:
		return m.settle(ctx)
	case toRest:
		return m.iso(ctx)
	case content:
		return m.content(ctx)
	default:
		return ErrNoRepair.Because(fmt.Errorf("unknown repair %q", m.args.Repair))
	}
}

// Fail ends the task; the finding stays.
func (p repair) Fail(ctx context.Context, r *task.Run, f task.Failure) error {
	return p.s.Store.Finish(ctx, r.Lease, f.Outcome(), func(Tx) error { return nil })
}

// end ends the task with what fn writes.
func (m mending) end(ctx context.Context, fn func(tx Tx) error) error {
	return m.s.Store.Finish(ctx, m.Lease, task.Success, fn)
}

func nothing(Tx) error { return nil }

// read returns the volume and its device as they are, none for no device.
func (m mending) read(ctx context.Context) (v volume.Volume, d vps.Device, err error) {
	err = m.s.Store.View(ctx, func(tx Tx) (err error) {
		if v, err = tx.Volume(ctx, m.args.VolumeID); err != nil || v.DeviceID == 0 {
			return err
		}
		d, err = tx.Device(ctx, v.DeviceID)
		return err
	})
	if errors.Is(err, volume.ErrNotFound) {
		err = task.ErrPrecondition.Because(err)
	}
	return v, d, err
}

// volume makes the guest or the disk as the row says, or the row as they are.
func (m mending) volume(ctx context.Context) error {
	v, d, err := m.read(ctx)
	if err != nil {
		return err
	}
	switch m.args.Repair {
	case attach:
		if v.State != volume.Attached || v.DeviceID != m.Task.DeviceID {
			return task.ErrPrecondition
		}
		err = m.driver.EnsureAttached(ctx, d.Ref, v.ID)
	case detach:
		if v.DeviceID != 0 && d.Ref == m.args.Ref {
			return task.ErrPrecondition
		}
		err = m.driver.EnsureDetached(ctx, m.args.Ref, v.ID, backend.DetachOptions{})
	case grow:
		err = m.driver.GrowVolume(ctx, v.ID, v.Bytes)
	default:
		return m.rest(ctx, v, d)
	}
	if err != nil {
		return err
	}
	return m.end(ctx, nothing)
}

// rest brings a volume's row to rest. One that was being created never came to
// be: its row goes, and a disk there is goes into quarantine. One that was
// being deleted is gone if its disk is, and stays if not. Everything else is
// attached or detached as its attachment says; a row without one that claims to
// be attached is made as the one guest that has the volume is.
func (m mending) rest(ctx context.Context, v volume.Volume, d vps.Device) error {
	disk, err := m.driver.InspectVolume(ctx, v.ID)
	there := !errors.Is(err, backend.ErrVolumeNotFound)
	if err != nil && there {
		return err
	}
	return m.end(ctx, func(tx Tx) error {
		now, err := tx.Volume(ctx, v.ID)
		if err != nil || now != v {
			return errors.Join(task.ErrPrecondition, err)
		}
		open, err := tx.Services(ctx, v.ID)
		if err != nil {
			return err
		}
		switch {
		case v.State == volume.Creating && v.DeviceID == 0 && len(open) == 0:
			return m.uncreate(ctx, tx, v, disk, there)
		case v.State == volume.Deleting && !there:
			return m.gone(ctx, tx, v, open)
		case v.DeviceID == 0 && disk.Ref != "" && (v.State == volume.Attached || v.State == volume.Creating):
			holder, err := tx.DeviceByRef(ctx, v.FacilityCode, disk.Ref)
			switch {
			case errors.Is(err, vps.ErrDeviceNotFound):
			case err != nil:
				return err
			case holder.ClientID == v.ClientID && holder.Volumes < holder.MaxVolumes && holder.Status != vps.Failed:
				v.State = volume.Attached
				return errors.Join(tx.PutVolume(ctx, v), tx.Attach(ctx, v, holder.ID))
			}
		}
		v.State = volume.Detached
		if v.DeviceID != 0 {
			v.State = volume.Attached
		}
		return tx.PutVolume(ctx, v)
	})
}

// uncreate forgets a volume that never came to be.
func (m mending) uncreate(ctx context.Context, tx Tx, v volume.Volume, disk backend.VolumeView, there bool) error {
	if err := tx.RemoveVolume(ctx, v.ID); err != nil || !there {
		return err
	}
	at := m.s.Now()
	return tx.Hold(ctx, Held{FacilityCode: v.FacilityCode, Kind: HeldDisk, Object: v.ID, Bytes: disk.Bytes, FirstSeen: at, At: at})
}

// gone ends a delete whose disk is no more.
func (m mending) gone(ctx context.Context, tx Tx, v volume.Volume, open []billing.Service) error {
	for _, svc := range open {
		svc, charges := svc.Cancel(m.s.Now())
		if _, err := tx.PutService(ctx, svc); err != nil {
			return err
		}
		for i := range charges {
			charges[i].ServiceID = svc.ID
		}
		if err := tx.AddCharges(ctx, charges...); err != nil {
			return err
		}
	}
	return tx.RemoveVolume(ctx, v.ID)
}

// bill opens the service of a volume that has none, from now on: what was not
// charged before is not charged any more.
func (m mending) bill(ctx context.Context) error {
	return m.end(ctx, func(tx Tx) error {
		v, err := tx.Volume(ctx, m.args.VolumeID)
		if errors.Is(err, volume.ErrNotFound) {
			return task.ErrPrecondition
		}
		if err != nil {
			return err
		}
		open, err := tx.Services(ctx, v.ID)
		if err != nil || len(open) > 0 {
			return err
		}
		if !v.Exists() || v.Type != volume.DataDisk || int64(v.Monthly) != m.args.MonthlyCents {
			return task.ErrPrecondition
		}
		o := billing.Opening{
			ClientID: v.ClientID, VolumeID: v.ID, At: m.s.Now(), TaskID: m.Task.ID,
			Price: billing.Price{FacilityCode: v.FacilityCode, SizeGiB: v.SizeGiB(), Monthly: v.Monthly, ProductID: v.ProductID},
		}
		if v.DeviceID != 0 {
			o.DeviceID = &v.DeviceID
		}
		svc, first := billing.Open(o)
		if svc, err = tx.PutService(ctx, svc); err != nil {
			return err
		}
		first.ServiceID = svc.ID
		return tx.AddCharges(ctx, first)
	})
}

// unbill ends the services of a volume that is not there, or all but the one
// that says what the volume does.
func (m mending) unbill(ctx context.Context) error {
	return m.end(ctx, func(tx Tx) error {
		open, err := tx.Services(ctx, m.args.VolumeID)
		if err != nil {
			return err
		}
		v, err := tx.Volume(ctx, m.args.VolumeID)
		if err != nil && !errors.Is(err, volume.ErrNotFound) {
			return err
		}
		keep := -1
		if err == nil && v.Exists() && v.Type == volume.DataDisk && len(open) > 0 {
			keep = max(0, slices.IndexFunc(open, func(s billing.Service) bool {
				return s.SizeGiB == v.SizeGiB() && s.Monthly == v.Monthly && s.ProductID == v.ProductID
			}))
		}
		for i, svc := range open {
			if i == keep {
				continue
			}
			if _, err := tx.PutService(ctx, svc.Stop(m.s.Now())); err != nil {
				return err
			}
		}
		return nil
	})
}

// drive makes the guest's drive as the device's row says. A tray that the
// guest locks is left to it: the row may have been wrong all along.
func (m mending) drive(ctx context.Context) error {
	var d vps.Device
	var i iso.ISO
	err := m.s.Store.View(ctx, func(tx Tx) (err error) {
		if d, err = tx.Device(ctx, m.args.DeviceID); err != nil || d.ISOID == "" {
			return err
		}
		i, err = tx.ISO(ctx, d.ISOID)
		return err
	})
	if err != nil {
		return err
	}
	if err := m.driver.SetMedia(ctx, d.Ref, i.SHA256, false); err != nil {
		return err
	}
	return m.end(ctx, nothing)
}

// settle brings a device to rest that was being created: it runs, or is off, if
// its guest is there with its ROOT volume, which a guest made elsewhere need not
// have, and else could not be created.
func (m mending) settle(ctx context.Context) error {
	var d vps.Device
	err := m.s.Store.View(ctx, func(tx Tx) (err error) {
		d, err = tx.Device(ctx, m.args.DeviceID)
		return err
	})
	if err != nil {
		return err
	}
	if d.Status != vps.Creating {
		return m.end(ctx, nothing)
	}
	guest, err := m.driver.Inspect(ctx, d.Ref)
	there := err == nil
	if err != nil && !errors.Is(err, backend.ErrVMNotFound) {
		return err
	}
	return m.end(ctx, func(tx Tx) error {
		status := vps.Failed
		if there && !m.driver.Info().MakesVMs {
			status = vps.StatusOf(guest.Running)
		}
		for _, id := range guest.VolumeIDs {
			v, err := tx.Volume(ctx, id)
			if err != nil && !errors.Is(err, volume.ErrNotFound) {
				return err
			}
			if err == nil && v.Type == volume.Root && v.DeviceID == d.ID {
				status = vps.StatusOf(guest.Running)
			}
		}
		return tx.SetStatus(ctx, d.ID, status)
	})
}
