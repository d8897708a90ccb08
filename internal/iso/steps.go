package iso

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// Register makes e run the tasks of ISOs.
func (s *Service) Register(e *task.Engine) {
	quick := task.Policy{Deadline: cmp.Or(s.Deadline, 10*time.Minute)}
	e.Register(KindCreate, task.Policy{Deadline: cmp.Or(s.ImportDeadline, 24*time.Hour), MaxFailures: 20}, s.steps(s.runImport, s.failImport))
	e.Register(KindDelete, quick, s.steps(s.runDelete, s.failDelete))
	e.Register(KindAttach, quick, s.steps(s.runAttach, s.failAttach))
	e.Register(KindDetach, quick, s.steps(s.runDetach, s.failDetach))
	e.Register(KindBooted, quick, s.steps(s.runBooted, s.end))
	e.Register(KindLook, task.Policy{Every: cmp.Or(s.LookEvery, time.Minute), PerFacility: true}, looker{s})
}

// undo bounds one attempt to undo a failed task.
func (s *Service) undo(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, cmp.Or(s.Undo, 30*time.Second))
}

// job is one attempt at a task on an ISO: what it reads before it acts.
type job struct {
	*task.Run
	i      ISO
	d      vps.Device // of the task, zero when it has none
	driver backend.Driver
	args   args
	cp     checkpoint // of an import
}

// steps is the handler of one kind of task.
func (s *Service) steps(do func(context.Context, job) error, undo func(context.Context, job, task.Failure) error) task.Handler {
	return task.Steps[job]{Load: s.load, Gone: ErrNotFound, Do: do, Undo: undo}
}

// load reads what a job needs, as task.Steps asks for it: where only the driver
// is missing, the rest of the job is filled in.
func (s *Service) load(ctx context.Context, r *task.Run) (j job, read bool, err error) {
	j = job{Run: r}
	if err := json.Unmarshal(r.Task.Args, &j.args); err != nil {
		return j, false, fmt.Errorf("decode arguments of task %s: %w", r.Task.ID, err)
	}
	err = s.Store.View(ctx, func(tx Tx) (err error) {
		if j.i, err = tx.ISO(ctx, r.Task.ISOID); err != nil {
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
	j.driver, err = s.Drivers.Driver(j.i.FacilityCode)
	return j, true, err
}

// end ends the task without any effect besides.
func (s *Service) end(ctx context.Context, j job, f task.Failure) error {
	return s.Store.Finish(ctx, j.Lease, f.Outcome(), func(Tx) error { return nil })
}

// runDelete removes the ISO, and its content if no other ISO has it.
func (s *Service) runDelete(ctx context.Context, j job) error {
	if len(j.i.DeviceIDs) > 0 {
		return task.ErrPrecondition
	}
	last, err := s.release(ctx, j)
	if err != nil {
		return err
	}
	if last {
		if err := j.driver.DeleteISO(ctx, j.i.SHA256); err != nil {
			return err
		}
	}
	if err := errors.Join(s.unstage(j.i.ID), s.forgetUpload(j.i)); err != nil {
		return err
	}
	return s.gone(ctx, j, last)
}

// gone ends a delete; last says that the content has been removed too.
func (s *Service) gone(ctx context.Context, j job, last bool) error {
	return s.Store.Finish(ctx, j.Lease, task.Success, func(tx Tx) error {
		if last {
			if err := tx.PutContent(ctx, j.i.FacilityCode, j.i.SHA256, Content{}); err != nil {
				return err
			}
		}
		return tx.RemoveISO(ctx, j.i.ID)
	})
}

// release shows the ISO as being deleted and gives up its share of its
// content. It reports whether this deletion is the one to remove the content.
func (s *Service) release(ctx context.Context, j job) (last bool, err error) {
	err = s.Store.Step(ctx, j.Lease, func(tx Tx) error {
		i := j.i
		if i.State != Deleting {
			i.Before, i.State = i.State, Deleting
			if err := tx.PutISO(ctx, i); err != nil {
				return err
			}
		}
		if i.SHA256 == "" {
			return nil
		}
		c, err := tx.Content(ctx, i.FacilityCode, i.SHA256)
		if err != nil {
			return err
		}
		if c.State == Removing {
			last = c.Remover == i.ID
			return nil
		}
		n, err := tx.Sharers(ctx, i.FacilityCode, i.SHA256)
		if err != nil || n > 0 || c.State == Absent {
			return err
		}
		last = true
		c.State, c.Remover = Removing, i.ID
		return tx.PutContent(ctx, i.FacilityCode, i.SHA256, c)
	})
	return last, err
}

// failDelete leaves the ISO as it was, with its content. A content that is
// gone after all, its removal's answer lost, completes the delete. One that
// cannot be looked at leaves the ISO failed: it is never ready without its
// content, and can be deleted again.
func (s *Service) failDelete(ctx context.Context, j job, f task.Failure) error {
	if j.i.State != Deleting {
		return s.end(ctx, j, f)
	}
	var c Content
	err := s.Store.View(ctx, func(tx Tx) (err error) {
		c, err = tx.Content(ctx, j.i.FacilityCode, j.i.SHA256)
		return err
	})
	if err != nil {
		return err
	}
	mine, there := c.State == Removing && c.Remover == j.i.ID, false
	if mine {
		var known bool
		if there, known = s.stored(ctx, j); known && !there {
			return s.gone(ctx, j, true)
		}
	}
	return s.Store.Finish(ctx, j.Lease, f.Outcome(), func(tx Tx) error {
		return s.restore(ctx, tx, j.i, mine, there, f)
	})
}

// restore undoes the marks of a delete. mine says that the ISO's content was
// to be removed with it, and there that the storage still has it.
func (s *Service) restore(ctx context.Context, tx Tx, i ISO, mine, there bool, f task.Failure) error {
	c, err := tx.Content(ctx, i.FacilityCode, i.SHA256)
	if err != nil {
		return err
	}
	if mine {
		c.State, c.Remover = Present, ""
		if err := tx.PutContent(ctx, i.FacilityCode, i.SHA256, c); err != nil {
			return err
		}
	} else {
		there = c.State == Present // or another deletion has it by now
	}
	if i.State = i.Before; i.State == Ready && !there {
		i.State, i.Reason, i.Error = Failed, f.Reason, f.Text
	}
	return tx.PutISO(ctx, i)
}

// stored asks the storage whether it has the ISO's content: storing it again
// from a file that is not there does nothing if so, and is refused if not.
func (s *Service) stored(ctx context.Context, j job) (there, known bool) {
	if j.driver == nil {
		return false, false
	}
	undo, cancel := s.undo(ctx)
	defer cancel()
	spec := backend.ISOSpec{Key: j.i.SHA256, Bytes: j.i.Size}
	switch err := j.driver.ImportISO(undo, spec, s.staged(j.i.ID)+".none"); {
	case err == nil:
		return true, true
	case errors.Is(err, backend.ErrInvalid):
		return false, true
	default:
		j.Log.Error("look at content after a failed delete", "iso", j.i.ID, "error", err)
		return false, false
	}
}
