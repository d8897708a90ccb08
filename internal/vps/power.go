package vps

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

// KindPower is the task that changes the power state of a device.
const KindPower task.Kind = "device.power"

// Action is what a caller can do to the power of a device, in the contract's
// words.
type Action string

// The actions: start it; ask it to shut down; ask it to shut down, then start
// it; cut its power, then start it. The last two start one that is off.
const (
	Boot     Action = "boot"
	Shutdown Action = "shutdown"
	Reboot   Action = "reboot"
	Cycle    Action = "cycle"
)

// What the rules of power refuse, or end with.
var (
	ErrAction     = fault.Field("power_action_unknown", "action", "'action' is required: boot, shutdown, reboot or cycle")
	ErrGuestStays = fault.New(fault.Conflict, "guest_did_not_shut_down", "The VPS was asked to shut down and did not in time; the action cycle cuts its power")
)

// powerArgs is what the task keeps of the request.
type powerArgs struct {
	DeviceID int64  `json:"deviceId"`
	Power    Action `json:"power"`
	Action   string `json:"action"`
}

// Power accepts a change of the power state of a device, in turn with all
// other work on it. ErrDeviceNotFound, ErrAction.
func (s *Service) Power(ctx context.Context, scope access.Scope, deviceID int64, action Action) (task.Task, error) {
	var t task.Task
	err := s.Store.Tx(ctx, func(tx Tx) error {
		d, err := tx.Device(ctx, deviceID)
		if err != nil {
			return err
		}
		if !scope.Covers(d.ClientID) || d.Status == Failed {
			return ErrDeviceNotFound
		}
		switch action {
		case Boot, Shutdown, Reboot, Cycle:
		default:
			return ErrAction
		}
		t, err = tx.Enqueue(ctx, task.New{
			Kind: KindPower, Lane: task.DeviceLane(d.ID), Queue: task.Quick, ClientID: d.ClientID, DeviceID: d.ID, Facility: d.FacilityCode,
			Args: powerArgs{DeviceID: d.ID, Power: action, Action: string(KindPower)},
		})
		return err
	})
	return t, err
}

// powerJob is one attempt at a change of power.
type powerJob struct {
	*task.Run
	d      Device
	driver backend.Driver
	args   powerArgs
}

// powerCheckpoint is what a change of power remembers between attempts.
type powerCheckpoint struct {
	// Down: the device has been off, so that what is left is to start it. An
	// attempt after a start must not take it down again.
	Down bool `json:"down"`
}

func (s *Service) power() task.Handler {
	return task.Steps[powerJob]{Load: s.loadPower, Gone: ErrDeviceNotFound, Do: s.runPower, Undo: s.failPower}
}

func (s *Service) loadPower(ctx context.Context, r *task.Run) (j powerJob, read bool, err error) {
	j = powerJob{Run: r}
	if err := json.Unmarshal(r.Task.Args, &j.args); err != nil {
		return j, false, fmt.Errorf("decode arguments of task %s: %w", r.Task.ID, err)
	}
	err = s.Store.View(ctx, func(tx Tx) (err error) {
		j.d, err = tx.Device(ctx, r.Task.DeviceID)
		return err
	})
	if err != nil {
		return j, false, err
	}
	j.driver, err = s.Drivers.Driver(j.d.FacilityCode)
	return j, true, err
}

// runPower brings the guest into the state asked for, and shows it.
func (s *Service) runPower(ctx context.Context, j powerJob) error {
	if j.d.Status != Running && j.d.Status != Stopped {
		return task.ErrPrecondition
	}
	var cp powerCheckpoint
	if _, err := j.Saved(&cp); err != nil {
		return err
	}
	if j.args.Power != Boot && !cp.Down {
		if err := s.takeDown(ctx, j); err != nil {
			return err
		}
	}
	status := Stopped
	if j.args.Power != Shutdown {
		if !cp.Down && j.args.Power != Boot {
			if err := j.Save(ctx, powerCheckpoint{Down: true}); err != nil {
				return err
			}
		}
		if err := j.driver.Power(ctx, j.d.Ref, backend.PowerStart); err != nil {
			return err
		}
		status = Running
	}
	return s.Store.Finish(ctx, j.Lease, task.Success, func(tx Tx) error { return tx.SetStatus(ctx, j.d.ID, status) })
}

// takeDown returns once the guest is off. One that is asked to shut down has
// s.Patience for it in each attempt: ErrGuestStays.
func (s *Service) takeDown(ctx context.Context, j powerJob) error {
	if j.args.Power == Cycle {
		return j.driver.Power(ctx, j.d.Ref, backend.PowerOff)
	}
	j.Report(10, "waiting for the VPS to shut down; one that ignores it takes the action cycle")
	patient, cancel := context.WithTimeout(ctx, cmp.Or(s.Patience, 2*time.Minute))
	defer cancel()
	err := j.driver.Power(patient, j.d.Ref, backend.PowerShutdown)
	if err == nil || patient.Err() == nil || ctx.Err() != nil {
		return err
	}
	switch vm, unknown := j.driver.Inspect(ctx, j.d.Ref); {
	case unknown != nil:
		return unknown
	case vm.Running:
		return ErrGuestStays.Because(err)
	default: // it has gone at the last moment
		return nil
	}
}

// failPower shows the device as its guest is: what was done to it stays.
func (s *Service) failPower(ctx context.Context, j powerJob, f task.Failure) error {
	status := j.d.Status
	if j.driver != nil && (status == Running || status == Stopped) {
		undo, cancel := context.WithTimeout(ctx, cmp.Or(s.Undo, undoTime))
		defer cancel()
		switch vm, err := j.driver.Inspect(undo, j.d.Ref); {
		case err == nil && vm.Running:
			status = Running
		case err == nil:
			status = Stopped
		case !f.Late && !backend.IsPermanent(err):
			return err
		default:
			j.Log.Error("look at guest after a failed task", "device", j.d.ID, "error", err)
		}
	}
	return s.Store.Finish(ctx, j.Lease, f.Outcome(), func(tx Tx) error { return tx.SetStatus(ctx, j.d.ID, status) })
}
