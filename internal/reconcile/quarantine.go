package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
)

// Held lists what is in quarantine, by id.
func (s *Service) Held(ctx context.Context, facilityCode *string, after int64, limit int) ([]Held, error) {
	if err := s.facilityExists(ctx, facilityCode); err != nil {
		return nil, err
	}
	return s.Store.Held(ctx, facilityCode, after, limit)
}

// DeletableAt is when h may be deleted.
func (s *Service) DeletableAt(h Held) time.Time { return h.At.Add(s.Retention) }

// discardArgs is what the task of a deletion is about.
type discardArgs struct {
	Action       string   `json:"action"`
	HeldID       int64    `json:"quarantineId"`
	FacilityCode string   `json:"facilityCode"`
	Kind         HeldKind `json:"kind"`
	Object       string   `json:"objectId"`
}

// Discard accepts deleting what is in quarantine under the id, for good.
// ErrHeldNotFound, ErrHeldTooShort, ErrHeldInUse, ErrHeldDeleting.
func (s *Service) Discard(ctx context.Context, id int64) (task.Task, error) {
	var t task.Task
	err := s.Store.Tx(ctx, func(tx Tx) error {
		h, err := tx.HeldByID(ctx, id)
		if err != nil {
			return err
		}
		if at := s.DeletableAt(h); s.Now().Before(at) {
			return ErrHeldTooShort.Textf("It may be deleted from %s on", at.UTC().Format(time.RFC3339))
		}
		if err := unowned(ctx, tx, h, ""); err != nil {
			return err
		}
		n := task.New{
			Kind: KindDiscard, Lane: "quarantine:" + strconv.FormatInt(id, 10), Queue: task.Quick, Facility: h.FacilityCode,
			Args: discardArgs{Action: string(KindDiscard), HeldID: id, FacilityCode: h.FacilityCode, Kind: h.Kind, Object: h.Object},
		}
		if pending, err := tx.PendingIn(ctx, n.Lane); err != nil {
			return err
		} else if len(pending) > 0 {
			return ErrHeldDeleting
		}
		// Looks leave alone what a task names.
		if h.Kind == HeldISO {
			n.ISOID = h.Object
		} else {
			n.VolumeID = h.Object
		}
		t, err = tx.Enqueue(ctx, n)
		return err
	})
	return t, err
}

// unowned reports ErrHeldInUse if a row has h again. An image that is being
// removed for remover has none.
func unowned(ctx context.Context, tx Tx, h Held, remover string) error {
	if h.Kind == HeldDisk {
		switch _, err := tx.Volume(ctx, h.Object); {
		case err == nil:
			return ErrHeldInUse
		case !errors.Is(err, volume.ErrNotFound):
			return err
		}
		return nil
	}
	c, err := tx.Content(ctx, h.FacilityCode, h.Object)
	if err != nil {
		return err
	}
	if c.State != iso.Absent && (remover == "" || c.Remover != remover) {
		return ErrHeldInUse
	}
	return nil
}

// discard deletes what was in quarantine.
type discard struct{ s *Service }

func (d discard) read(r *task.Run) (a discardArgs, remover string, err error) {
	if err := json.Unmarshal(r.Task.Args, &a); err != nil {
		return a, "", fmt.Errorf("decode arguments of task %s: %w", r.Task.ID, err)
	}
	return a, r.Task.ID, nil
}

// Run makes sure that nothing has it, that no import can take it up meanwhile,
// and deletes it. A driver refuses what a guest still uses.
func (d discard) Run(ctx context.Context, r *task.Run) error {
	a, remover, err := d.read(r)
	if err != nil {
		return err
	}
	driver, err := d.s.Drivers.Driver(a.FacilityCode)
	if err != nil {
		return err
	}
	err = d.s.Store.Step(ctx, r.Lease, func(tx Tx) error {
		h, err := tx.HeldByID(ctx, a.HeldID)
		if err != nil {
			return err
		}
		if err := unowned(ctx, tx, h, remover); err != nil || h.Kind == HeldDisk {
			return err
		}
		return tx.PutContent(ctx, h.FacilityCode, h.Object, iso.Content{State: iso.Removing, Bytes: h.Bytes, Remover: remover})
	})
	if err != nil {
		return err
	}
	if a.Kind == HeldISO {
		err = driver.DeleteISO(ctx, a.Object)
	} else {
		err = driver.DeleteVolume(ctx, a.Object)
	}
	if err != nil {
		return err
	}
	r.Log.Info("deleted from quarantine", "facility", a.FacilityCode, "kind", a.Kind, "object", a.Object)
	return d.s.Store.Finish(ctx, r.Lease, task.Success, func(tx Tx) error {
		if err := d.unmark(ctx, tx, a, remover); err != nil {
			return err
		}
		return tx.Release(ctx, a.HeldID)
	})
}

// Fail leaves it in quarantine.
func (d discard) Fail(ctx context.Context, r *task.Run, f task.Failure) error {
	a, remover, err := d.read(r)
	if err != nil {
		return err
	}
	return d.s.Store.Finish(ctx, r.Lease, f.Outcome(), func(tx Tx) error { return d.unmark(ctx, tx, a, remover) })
}

// unmark takes back that the image is being removed for this task.
func (d discard) unmark(ctx context.Context, tx Tx, a discardArgs, remover string) error {
	if a.Kind != HeldISO {
		return nil
	}
	c, err := tx.Content(ctx, a.FacilityCode, a.Object)
	if err != nil || c.State != iso.Removing || c.Remover != remover {
		return err
	}
	return tx.PutContent(ctx, a.FacilityCode, a.Object, iso.Content{})
}
