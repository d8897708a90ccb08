package volume

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// Register makes e run the tasks of volumes.
func (s *Service) Register(e *task.Engine) {
	quick := task.Policy{Deadline: cmp.Or(s.Deadline, 10*time.Minute)}
	e.Register(KindCreate, quick, s.steps(s.runCreate, s.failCreate))
	e.Register(KindResize, quick, s.steps(s.runResize, s.failResize))
	e.Register(KindDelete, quick, s.steps(s.runDelete, s.failDelete))
	e.Register(KindAttach, quick, s.steps(s.runAttach, s.failAttach))
	e.Register(KindDetach, quick, s.steps(s.runDetach, s.failDetach))
	e.Register(KindSweep, task.Policy{Every: time.Minute, PerFacility: true}, sweep{s})
}

// job is one attempt at a task on a volume: what it reads before it acts.
type job struct {
	*task.Run
	v      Volume
	d      vps.Device // of the task, zero when it has none
	driver backend.Driver
	args   args
}

// steps is the handler of one kind of task.
func (s *Service) steps(do func(context.Context, job) error, undo func(context.Context, job, task.Failure) error) task.Handler {
	return task.Steps[job]{Load: s.load, Gone: ErrNotFound, Do: do, Undo: undo}
}

// load reads what a job needs, as task.Steps asks for it: where only the driver
// is missing, the rest of the job is filled in.
func (s *Service) load(ctx context.Context, r *task.Run) (j job, read bool, err error) {
	j = job{Run: r}
	if j.args, err = argsOf(r.Task); err != nil {
		return j, false, err
	}
	err = s.Store.View(ctx, func(tx Tx) (err error) {
		if j.v, err = tx.Volume(ctx, r.Task.VolumeID); err != nil {
			return err
		}
		if r.Task.DeviceID != 0 {
			j.d, err = tx.Device(ctx, r.Task.DeviceID)
		}
		return err
	})
	if err != nil {
		return j, false, err
	}
	j.driver, err = s.Drivers.Driver(j.v.FacilityCode)
	return j, true, err
}

// fits reports whether the device takes one volume more. The request was
// refused if not; but what was to make room may have failed since.
func (j job) fits() bool { return j.d.Status != vps.Failed && j.d.Volumes < j.d.MaxVolumes }

// runCreate makes the disk, connects it, and then lets the volume exist: row,
// attachment, service, first charge and the task's end are one transaction.
func (s *Service) runCreate(ctx context.Context, j job) error {
	if j.v.State != Creating || !j.fits() {
		return task.ErrPrecondition
	}
	if err := j.driver.EnsureVolume(ctx, backend.VolumeSpec{ID: j.v.ID, Bytes: j.v.Bytes, Ref: j.d.Ref}); err != nil {
		return err
	}
	if err := j.driver.EnsureAttached(ctx, j.d.Ref, j.v.ID); err != nil {
		return err
	}
	return s.Store.Finish(ctx, j.Lease, task.Success, func(tx Tx) error {
		v, now := j.v, s.Now()
		v.State, v.CreatedAt = Attached, now
		if err := tx.PutVolume(ctx, v); err != nil {
			return err
		}
		if err := tx.Attach(ctx, v, j.d.ID); err != nil {
			return err
		}
		svc, first := v.open(j.d.ID, now, j.Task.ID)
		svc, err := tx.PutService(ctx, svc)
		if err != nil {
			return err
		}
		return charge(ctx, tx, svc, first)
	})
}

// runResize grows the disk, then changes size, product and price at once.
func (s *Service) runResize(ctx context.Context, j job) error {
	if !j.v.Exists() || j.v.DeviceID != j.Task.DeviceID || j.args.SizeGiB <= j.v.SizeGiB() {
		return task.ErrPrecondition
	}
	if err := s.mark(ctx, j, Resizing); err != nil {
		return err
	}
	if err := j.driver.GrowVolume(ctx, j.v.ID, int64(j.args.SizeGiB)*GiB); err != nil {
		return err
	}
	return s.grown(ctx, j)
}

// grown ends a resize whose disk has the new size.
func (s *Service) grown(ctx context.Context, j job) error {
	return s.Store.Finish(ctx, j.Lease, task.Success, func(tx Tx) error {
		svc, err := tx.Service(ctx, j.v.ID)
		if err != nil {
			return err
		}
		price := j.args.price(j.v.FacilityCode)
		svc, charges := svc.Resize(s.Now(), price, j.Task.ID)
		if svc, err = tx.PutService(ctx, svc); err != nil {
			return err
		}
		v := j.v
		v.State, v.Bytes, v.ProductID, v.Monthly = v.rest(), int64(price.SizeGiB)*GiB, price.ProductID, price.Monthly
		if err := tx.PutVolume(ctx, v); err != nil {
			return err
		}
		return charge(ctx, tx, svc, charges...)
	})
}

// runDelete disconnects and removes the disk, then forgets the volume and ends
// its service.
func (s *Service) runDelete(ctx context.Context, j job) error {
	if !j.v.Exists() || j.v.DeviceID != j.Task.DeviceID {
		return task.ErrPrecondition
	}
	if err := s.mark(ctx, j, Deleting); err != nil {
		return err
	}
	if j.v.DeviceID != 0 {
		if err := j.driver.EnsureDetached(ctx, j.d.Ref, j.v.ID, backend.DetachOptions{ToDelete: true}); err != nil {
			return err
		}
	}
	if err := remove(ctx, j.driver, j.v.ID); err != nil {
		return err
	}
	return s.gone(ctx, j)
}

// gone ends a delete whose disk is no more.
func (s *Service) gone(ctx context.Context, j job) error {
	return s.Store.Finish(ctx, j.Lease, task.Success, func(tx Tx) error {
		svc, err := tx.Service(ctx, j.v.ID)
		if err != nil {
			return err
		}
		svc, charges := svc.Cancel(s.Now())
		if svc, err = tx.PutService(ctx, svc); err != nil {
			return err
		}
		if err := charge(ctx, tx, svc, charges...); err != nil {
			return err
		}
		return tx.RemoveVolume(ctx, j.v.ID)
	})
}

// runAttach connects a detached volume.
func (s *Service) runAttach(ctx context.Context, j job) error {
	if !j.v.Exists() || j.v.DeviceID != 0 || !j.fits() {
		return task.ErrPrecondition
	}
	err := j.driver.EnsureAttached(ctx, j.d.Ref, j.v.ID)
	if errors.Is(err, backend.ErrInUse) {
		// A guest kept it from a failed task; by the row it is free.
		if err = unhook(ctx, j.driver, j.v.ID); err == nil {
			err = j.driver.EnsureAttached(ctx, j.d.Ref, j.v.ID)
		}
	}
	if err != nil {
		return err
	}
	return s.attached(ctx, j)
}

// attached ends an attach whose guest has the disk.
func (s *Service) attached(ctx context.Context, j job) error {
	return s.Store.Finish(ctx, j.Lease, task.Success, func(tx Tx) error {
		v := j.v
		v.State = Attached
		if err := tx.PutVolume(ctx, v); err != nil {
			return err
		}
		return tx.Attach(ctx, v, j.d.ID)
	})
}

// runDetach disconnects an attached volume.
func (s *Service) runDetach(ctx context.Context, j job) error {
	if !j.v.Exists() || j.v.DeviceID != j.Task.DeviceID {
		return task.ErrPrecondition
	}
	if err := j.driver.EnsureDetached(ctx, j.d.Ref, j.v.ID, backend.DetachOptions{}); err != nil {
		return err
	}
	return s.detached(ctx, j)
}

// detached ends a detach whose guest has let the disk go.
func (s *Service) detached(ctx context.Context, j job) error {
	return s.Store.Finish(ctx, j.Lease, task.Success, func(tx Tx) error {
		v := j.v
		v.State = Detached
		if err := tx.PutVolume(ctx, v); err != nil {
			return err
		}
		return tx.Detach(ctx, v)
	})
}

// mark shows what is being done to the volume.
func (s *Service) mark(ctx context.Context, j job, state State) error {
	if j.v.State == state {
		return nil
	}
	return s.Store.Step(ctx, j.Lease, func(tx Tx) error {
		v := j.v
		v.State = state
		return tx.PutVolume(ctx, v)
	})
}

// charge books what a change to the service costs.
func charge(ctx context.Context, tx Tx, svc billing.Service, charges ...billing.Charge) error {
	for i := range charges {
		charges[i].ServiceID = svc.ID
	}
	return tx.AddCharges(ctx, charges...)
}
