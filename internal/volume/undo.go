package volume

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

// A task that fails may have had its effect all the same, with the answer lost
// on the way. So what fails here looks at the storage first: it puts back what
// can be put back, and completes what cannot. Where the storage does not even
// let itself be looked at, nothing is guessed: the task comes back, and only
// when its time is over does the row stand as it is.

// undo bounds one attempt to undo a failed task.
func (s *Service) undo(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, cmp.Or(s.Undo, 30*time.Second))
}

// failCreate leaves nothing behind. What cannot be removed now is left to the
// sweep, out of sight and free of charge.
func (s *Service) failCreate(ctx context.Context, j job, f task.Failure) error {
	if j.v.State != Creating {
		return s.failBack(ctx, j, f)
	}
	clean := j.driver != nil
	if clean {
		undo, cancel := s.undo(ctx)
		defer cancel()
		err := j.driver.EnsureDetached(undo, j.d.Ref, j.v.ID, backend.DetachOptions{})
		if err == nil {
			err = j.driver.DeleteVolume(undo, j.v.ID)
		}
		if err != nil {
			j.Log.Warn("undo create, left to the sweep", "volume", j.v.ID, "error", err)
			clean = false
		}
	}
	return s.Store.Finish(ctx, j.Lease, f.Outcome(), func(tx Tx) error {
		if clean {
			return tx.RemoveVolume(ctx, j.v.ID)
		}
		v := j.v
		v.State = Discarded
		return tx.PutVolume(ctx, v)
	})
}

// failResize leaves the volume as it was. A disk that has grown after all can
// never shrink again, so then the resize is completed.
func (s *Service) failResize(ctx context.Context, j job, f task.Failure) error {
	if j.driver != nil && j.v.State == Resizing {
		undo, cancel := s.undo(ctx)
		defer cancel()
		wanted := int64(j.args.SizeGiB) * GiB
		disk, err := j.driver.InspectVolume(undo, j.v.ID)
		if err == nil && disk.Bytes > j.v.Bytes && disk.Bytes < wanted { // an older task's, perhaps
			if err = j.driver.GrowVolume(undo, j.v.ID, wanted); err == nil {
				disk.Bytes = wanted
			}
		}
		if err == nil && disk.Bytes == wanted {
			return s.grown(ctx, j)
		}
		if err := again(j, f, err); err != nil {
			return err
		}
	}
	return s.failBack(ctx, j, f)
}

// failDelete leaves the volume as it was: connected again if it had been. With
// the disk gone after all, the delete is completed.
func (s *Service) failDelete(ctx context.Context, j job, f task.Failure) error {
	if j.driver != nil && j.v.State == Deleting {
		undo, cancel := s.undo(ctx)
		defer cancel()
		_, err := j.driver.InspectVolume(undo, j.v.ID)
		if errors.Is(err, backend.ErrVolumeNotFound) {
			return s.gone(ctx, j)
		}
		if err == nil || errors.Is(err, backend.ErrNoPool) { // that one is there, and nobody can tell its size
			var lost bool
			if lost, err = reconnect(undo, j); lost {
				return s.letGo(ctx, j, f)
			}
		}
		if err := again(j, f, err); err != nil {
			return err
		}
	}
	return s.failBack(ctx, j, f)
}

// failAttach makes sure the guest does not keep a disk the volume's row says
// is free; with a guest that does, the attach is completed. A volume attached
// by now was attached before this task.
func (s *Service) failAttach(ctx context.Context, j job, f task.Failure) error {
	if j.driver != nil && j.v.DeviceID == 0 {
		undo, cancel := s.undo(ctx)
		defer cancel()
		err := j.driver.EnsureDetached(undo, j.d.Ref, j.v.ID, backend.DetachOptions{})
		if err != nil {
			has, unknown := connected(undo, j)
			switch known := unknown == nil; {
			case known && has && j.v.Exists() && (backend.IsPermanent(err) || f.Late):
				return s.attached(ctx, j)
			case known && !has:
				err = nil
			}
		}
		if err := again(j, f, err); err != nil {
			return err
		}
	}
	return s.failBack(ctx, j, f)
}

// failDetach leaves the volume connected, as it was. Where that cannot be, it
// is detached, as was asked.
func (s *Service) failDetach(ctx context.Context, j job, f task.Failure) error {
	if j.driver != nil && j.v.Exists() && j.v.DeviceID != 0 && j.v.DeviceID == j.Task.DeviceID {
		undo, cancel := s.undo(ctx)
		defer cancel()
		lost, err := reconnect(undo, j)
		if lost {
			return s.detached(ctx, j)
		}
		if err := again(j, f, err); err != nil {
			return err
		}
	}
	return s.failBack(ctx, j, f)
}

// again hands on what could not be found out or put back, so that the task
// comes back and tries once more; nil when its time is over.
func again(j job, f task.Failure, err error) error {
	if err == nil {
		return nil
	}
	j.Log.Error("undo failed task", "volume", j.v.ID, "late", f.Late, "error", err)
	if f.Late {
		return nil
	}
	return err
}

// reconnect gives the guest back what the volume's row says it has. It reports
// lost if that can never be; with an error neither is known.
func reconnect(ctx context.Context, j job) (lost bool, err error) {
	if j.v.DeviceID == 0 {
		return false, nil
	}
	if err = j.driver.EnsureAttached(ctx, j.d.Ref, j.v.ID); err == nil {
		return false, nil
	}
	switch has, unknown := connected(ctx, j); {
	case unknown != nil:
		return false, err
	case has:
		return false, nil
	case backend.IsPermanent(err):
		return true, nil
	}
	return false, err
}

// connected reports whether the guest of the task has the volume.
func connected(ctx context.Context, j job) (bool, error) {
	vm, err := j.driver.Inspect(ctx, j.d.Ref)
	if errors.Is(err, backend.ErrVMNotFound) {
		return false, nil
	}
	return slices.Contains(vm.VolumeIDs, j.v.ID), err
}

// letGo ends a failed delete of a volume that its guest has lost.
func (s *Service) letGo(ctx context.Context, j job, f task.Failure) error {
	return s.Store.Finish(ctx, j.Lease, f.Outcome(), func(tx Tx) error {
		v := j.v
		v.State = Detached
		if err := tx.PutVolume(ctx, v); err != nil {
			return err
		}
		return tx.Detach(ctx, v)
	})
}

// failBack ends the task with the volume as it was before.
func (s *Service) failBack(ctx context.Context, j job, f task.Failure) error {
	return s.Store.Finish(ctx, j.Lease, f.Outcome(), func(tx Tx) error {
		if !j.v.Exists() {
			return nil
		}
		v := j.v
		v.State = v.rest()
		return tx.PutVolume(ctx, v)
	})
}

// remove deletes a disk that no guest has any business with: one that still
// holds it, from a task that failed, has to let it go first.
func remove(ctx context.Context, d backend.Driver, volumeID string) error {
	err := d.DeleteVolume(ctx, volumeID)
	if !errors.Is(err, backend.ErrInUse) {
		return err
	}
	if err := unhook(ctx, d, volumeID); err != nil {
		return err
	}
	return d.DeleteVolume(ctx, volumeID)
}

// unhook disconnects a volume from whatever guest has it.
func unhook(ctx context.Context, d backend.Driver, volumeID string) error {
	v, err := d.InspectVolume(ctx, volumeID)
	switch {
	case errors.Is(err, backend.ErrVolumeNotFound):
		return nil
	case err != nil || v.Ref == "":
		return err
	}
	return d.EnsureDetached(ctx, v.Ref, volumeID, backend.DetachOptions{})
}

// sweep removes what failed creates left on a facility's storage.
type sweep struct{ s *Service }

// Run cleans up a bounded number of leftovers; the rest waits for the next run.
func (w sweep) Run(ctx context.Context, r *task.Run) error {
	left, err := w.s.Store.Discarded(ctx, r.Task.Facility, 100)
	if err != nil || len(left) == 0 {
		return err
	}
	d, err := w.s.Drivers.Driver(r.Task.Facility)
	if err != nil {
		return err
	}
	for _, v := range left {
		if err := remove(ctx, d, v.ID); err != nil {
			r.Log.Warn("remove leftover of a failed create", "volume", v.ID, "error", err)
			continue
		}
		if err := w.s.Store.Tx(ctx, func(tx Tx) error { return tx.RemoveVolume(ctx, v.ID) }); err != nil {
			return err
		}
	}
	return nil
}

// Fail is never called: periodic work does not fail, it comes back.
func (sweep) Fail(context.Context, *task.Run, task.Failure) error {
	return fault.New(fault.Internal, "internal", "periodic work does not fail")
}
