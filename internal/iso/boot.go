package iso

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// An ISO that a guest is to start from once goes through the stages of
// vps.BootOnce. What moves it on is news of the guest (Listen), and a look at it
// now and then (KindLook), so that news that was lost only delays it: a start is
// known by its mark. A reset leaves none; one that was missed is made up for by
// the next.

// bootCheckpoint is what an attach with bootOnce notes ahead of the medium.
type bootCheckpoint struct {
	Starts string `json:"starts"`
}

// before is the guest's last start ahead of a medium that it is to start from
// once, as the first attempt found it: the guest may have started from it by
// the next one. For any other attach it is "".
func (s *Service) before(ctx context.Context, j job) (string, error) {
	if !j.args.BootOnce {
		return "", nil
	}
	if !j.boots() {
		return "", backend.ErrUnsupported
	}
	s.hear(j.d.FacilityCode)
	var cp bootCheckpoint
	if had, err := j.Saved(&cp); had || err != nil {
		return cp.Starts, err
	}
	vm, err := j.driver.Inspect(ctx, j.d.Ref)
	if err != nil {
		return "", err
	}
	return vm.Starts, j.Save(ctx, bootCheckpoint{vm.Starts})
}

// cdFirst makes the guest start from the ISO next, if it is bootable, and tells
// whether it has to be powered off and on for that. once is where an ISO to
// start from once begins.
func (s *Service) cdFirst(ctx context.Context, j job, before string) (pending bool, once vps.BootOnce, err error) {
	if !j.boots() {
		return false, once, nil
	}
	if !j.args.BootOnce {
		pending, err = j.driver.SetBoot(ctx, j.d.Ref, true)
		return pending, once, err
	}
	for {
		seen, err := j.driver.Inspect(ctx, j.d.Ref)
		if err != nil {
			return false, once, err
		}
		pending, err := j.driver.SetBoot(ctx, j.d.Ref, true)
		if err != nil {
			return false, once, err
		}
		if !pending {
			return false, vps.BootOnce{Stage: vps.BootArmed, Starts: before}, nil
		}
		// It is this start that was from the disks, if there was none meanwhile.
		now, err := j.driver.Inspect(ctx, j.d.Ref)
		if err != nil {
			return false, once, err
		}
		if backend.SameStart(now.Starts, seen.Starts) {
			return true, vps.BootOnce{Stage: vps.BootPending, Starts: seen.Starts}, nil
		}
	}
}

// echo is how long after a reset another one counts as the same: every server
// of a facility hears of it.
const echo = 5 * time.Second

// after is where b is once its guest has been seen as vm; reset says that it has
// just restarted inside its process. moved is false where nothing is to be done.
func after(b vps.BootOnce, vm backend.VMView, reset bool, now time.Time) (next vps.BootOnce, moved bool) {
	started := vm.Running && !backend.SameStart(vm.Starts, b.Starts)
	reset = reset && vm.Running && now.Sub(b.At) >= echo
	next = vps.BootOnce{Starts: vm.Starts}
	if reset && !started {
		next.At = now
	}
	switch {
	case b.Stage == vps.BootOver:
		return b, true // the eject that was asked for may have failed
	case b.Stage == vps.BootPending && started, b.Stage == vps.BootArmed && (started || reset):
		next.Stage = vps.BootDone
	case b.Stage == vps.BootDone && (started || reset):
		next.Stage = vps.BootOver
	default:
		return b, false
	}
	return next, true
}

// look moves on the ISOs of a facility that guests start from once: of the
// guest ref, "" is all. reset is as in after.
func (s *Service) look(ctx context.Context, facilityCode, ref string, reset bool) error {
	devices, err := s.Store.Booting(ctx, facilityCode)
	if ref != "" {
		devices = slices.DeleteFunc(devices, func(d vps.Device) bool { return d.Ref != ref })
	}
	if err != nil || len(devices) == 0 {
		return err
	}
	driver, err := s.Drivers.Driver(facilityCode)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range devices {
		vm, err := driver.Inspect(ctx, d.Ref)
		if err == nil {
			err = s.move(ctx, d, vm, reset)
		}
		if !errors.Is(err, backend.ErrVMNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// move takes d a stage on, with the task that goes with it, unless somebody
// else has been faster.
func (s *Service) move(ctx context.Context, d vps.Device, vm backend.VMView, reset bool) error {
	next, moved := after(d.Boot, vm, reset, s.Now())
	if !moved {
		return nil
	}
	return s.Store.Tx(ctx, func(tx Tx) error {
		now, err := tx.Device(ctx, d.ID)
		if err != nil || now.ISOGeneration != d.ISOGeneration || now.Boot.Stage != d.Boot.Stage || now.Boot.Starts != d.Boot.Starts {
			return err
		}
		if err := tx.SetBoot(ctx, now, next); err != nil {
			return err
		}
		if next.Stage == vps.BootDone {
			_, err := enqueue(ctx, tx, now, KindBooted, args{ISOID: now.ISOID, BootOnce: true})
			return err
		}
		ahead, err := tx.PendingIn(ctx, task.DeviceLane(now.ID))
		if err != nil || slices.ContainsFunc(ahead, func(t task.Task) bool { return t.Kind == KindDetach }) {
			return err
		}
		// By force: whatever locks the tray was not told that the medium stays.
		_, err = enqueue(ctx, tx, now, KindDetach, args{ISOID: now.ISOID, BootOnce: true, Force: true})
		return err
	})
}

// bootedText is the message of a task that a guest's start from an ISO left.
const bootedText = "The VPS has started from the ISO, which is ejected at its next restart"

// runBooted puts the disks first again once the guest has started from the ISO.
// Where the ISO has gone since, so has its order.
func (s *Service) runBooted(ctx context.Context, j job) error {
	o := task.Success
	if j.d.ISOID == j.i.ID && (j.d.Boot.Stage == vps.BootDone || j.d.Boot.Stage == vps.BootOver) {
		if _, err := j.driver.SetBoot(ctx, j.d.Ref, false); err != nil {
			return err
		}
		o.Message = bootedText
	}
	return s.Store.Finish(ctx, j.Lease, o, func(Tx) error { return nil })
}

// looker is the periodic work of KindLook.
type looker struct{ s *Service }

// Run looks at the guests of the task's facility.
func (l looker) Run(ctx context.Context, r *task.Run) error {
	return l.s.look(ctx, r.Task.Facility, "", false)
}

// Fail is never called: periodic work does not fail, it comes back.
func (looker) Fail(_ context.Context, _ *task.Run, f task.Failure) error { return errors.New(f.Text) }
