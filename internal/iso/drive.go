package iso

import (
	"context"
	"errors"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// runAttach puts the ISO into an empty drive, and has the guest start from it
// if it is bootable.
func (s *Service) runAttach(ctx context.Context, j job) error {
	if j.d.ISOID != "" || j.d.Status == vps.Failed || !j.i.Ready() {
		return task.ErrPrecondition
	}
	before, err := s.before(ctx, j)
	if err != nil {
		return err
	}
	if err := j.driver.SetMedia(ctx, j.d.Ref, j.i.SHA256, false); err != nil {
		return err
	}
	pending, once, err := s.cdFirst(ctx, j, before)
	if err != nil {
		return err
	}
	return s.attached(ctx, j, pending, once)
}

// pendingText is the message of an attach whose ISO has to wait for a start.
const pendingText = "The VPS starts from the ISO once it has been powered off and on (power action cycle); a reset is not enough"

// attached ends an attach whose drive holds the ISO. pending and once are as
// from cdFirst.
func (s *Service) attached(ctx context.Context, j job, pending bool, once vps.BootOnce) error {
	o := task.Success
	if pending {
		o.Message = pendingText
	}
	return s.Store.Finish(ctx, j.Lease, o, func(tx Tx) error {
		if err := tx.SetDrive(ctx, j.d, j.i.ID); err != nil || once.Stage == "" {
			return err
		}
		d := j.d
		d.ISOGeneration++
		return tx.SetBoot(ctx, d, once)
	})
}

// failAttach leaves the drive empty, as it was, and the disks first. A medium
// whose insertion was not answered is taken out by force: the guest was never
// told to use it. One that cannot be taken out again is attached, as was asked.
func (s *Service) failAttach(ctx context.Context, j job, f task.Failure) error {
	if j.driver != nil && j.d.ISOID == "" {
		switch in, err := s.media(ctx, j, ""); {
		case in == j.i.SHA256 && err != nil && (backend.IsPermanent(err) || f.Late):
			return s.stuck(ctx, j)
		case err != nil && !f.Late:
			return err
		}
		if err := s.order(ctx, j, false); err != nil && !f.Late && !backend.IsPermanent(err) {
			return err
		}
	}
	return s.end(ctx, j, f)
}

// stuck ends an attach that failed and whose ISO cannot be taken out again.
func (s *Service) stuck(ctx context.Context, j job) error {
	undo, cancel := s.undo(ctx)
	defer cancel()
	var cp bootCheckpoint
	if _, err := j.Saved(&cp); err != nil {
		return err
	}
	pending, once, err := s.cdFirst(undo, j, cp.Starts)
	if err != nil {
		j.Log.Error("undo failed task, the boot order is not known", "device", j.d.ID, "error", err)
		if j.args.BootOnce { // a start is needed at least
			once = vps.BootOnce{Stage: vps.BootPending, Starts: cp.Starts}
		}
	}
	return s.attached(ctx, j, pending, once)
}

// media makes the drive hold the image with the key, by force, and returns
// what is in it. When that is not known, it is "unknown"; with an error it is
// not what it should be.
func (s *Service) media(ctx context.Context, j job, key string) (in string, err error) {
	undo, cancel := s.undo(ctx)
	defer cancel()
	if err = j.driver.SetMedia(undo, j.d.Ref, key, true); err == nil {
		return key, nil
	}
	vm, unknown := j.driver.Inspect(undo, j.d.Ref)
	switch {
	case errors.Is(unknown, backend.ErrVMNotFound):
		return "", nil
	case unknown != nil:
		in = "unknown"
	case vm.ISOKey == key:
		return key, nil
	default:
		in = vm.ISOKey
	}
	j.Log.Error("undo failed task, the drive is not as it was", "device", j.d.ID, "error", err)
	return in, err
}

// order sets what the guest starts from next, when a task is undone.
func (s *Service) order(ctx context.Context, j job, cdFirst bool) error {
	if !j.boots() {
		return nil
	}
	undo, cancel := s.undo(ctx)
	defer cancel()
	_, err := j.driver.SetBoot(undo, j.d.Ref, cdFirst)
	if errors.Is(err, backend.ErrVMNotFound) {
		return nil
	}
	if err != nil {
		j.Log.Error("undo failed task, the boot order is not as it was", "device", j.d.ID, "error", err)
	}
	return err
}

// boots reports whether the ISO is one to start from, and the facility lets
// guests be told so.
func (j job) boots() bool { return j.i.Bootable && j.driver.Info().Boots }

// runDetach ejects the ISO the task was accepted for. Disks are first again
// then; a host that refuses that for good does no harm, with an empty drive.
func (s *Service) runDetach(ctx context.Context, j job) error {
	if j.d.ISOID != j.i.ID {
		return task.ErrPrecondition
	}
	if err := j.driver.SetMedia(ctx, j.d.Ref, "", j.args.Force); err != nil {
		return err
	}
	if j.boots() {
		if _, err := j.driver.SetBoot(ctx, j.d.Ref, false); err != nil {
			if !backend.IsPermanent(err) {
				return err
			}
			j.Log.Warn("the boot order stays as it is", "device", j.d.ID, "error", err)
		}
	}
	return s.detached(ctx, j)
}

// detached ends a detach whose drive is empty.
func (s *Service) detached(ctx context.Context, j job) error {
	return s.Store.Finish(ctx, j.Lease, task.Success, func(tx Tx) error {
		return tx.SetDrive(ctx, j.d, "")
	})
}

// failDetach leaves the ISO in the drive, as it was, and first where it was
// first. Where that cannot be, it is detached, as was asked.
func (s *Service) failDetach(ctx context.Context, j job, f task.Failure) error {
	if j.driver != nil && j.d.ISOID == j.i.ID {
		switch in, err := s.media(ctx, j, j.i.SHA256); {
		case in == "" && (err == nil || backend.IsPermanent(err) || f.Late):
			return s.detached(ctx, j)
		case err != nil && !f.Late:
			return err
		}
		booted := j.d.Boot.Stage == vps.BootDone || j.d.Boot.Stage == vps.BootOver
		if err := s.order(ctx, j, !booted); err != nil && !f.Late && !backend.IsPermanent(err) {
			return err
		}
	}
	return s.end(ctx, j, f)
}
