package reconcile

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// Service looks, records and repairs. All who call it are operators.
type Service struct {
	Store   Store
	Drivers backend.Provider
	Now     func() time.Time
	Log     *slog.Logger // nil: nowhere
	// Every is the pause of the periodic look; 0: there is none.
	Every time.Duration
	// Grace is how long a finding must have been seen to be acted upon.
	Grace time.Duration
	// Repair lets the periodic look repair what it confirms.
	Repair bool
	// Retention is how long things stay in quarantine at least.
	Retention time.Duration
}

// Request is what a run is asked to do.
type Request struct {
	Repair       bool
	FacilityCode string         // "": all
	Grace        *time.Duration // nil: the service's
}

// runArgs is what the task of a run keeps of its request.
type runArgs struct {
	Action       string `json:"action"`
	Repair       bool   `json:"repair"`
	FacilityCode string `json:"facilityCode,omitempty"`
	GraceSeconds int64  `json:"graceSeconds"`
}

// Start accepts a run. vps.ErrUnknownFacility.
func (s *Service) Start(ctx context.Context, r Request) (task.Task, error) {
	if r.FacilityCode != "" {
		codes, err := s.Store.Facilities(ctx)
		if err != nil {
			return task.Task{}, err
		}
		if !slices.Contains(codes, r.FacilityCode) {
			return task.Task{}, vps.ErrUnknownFacility
		}
	}
	grace := s.Grace
	if r.Grace != nil {
		grace = *r.Grace
	}
	var t task.Task
	err := s.Store.Tx(ctx, func(tx Tx) (err error) {
		t, err = tx.Enqueue(ctx, runArgs{
			Action: string(KindRun), Repair: r.Repair, FacilityCode: r.FacilityCode, GraceSeconds: int64(grace / time.Second),
		}.task())
		return err
	})
	return t, err
}

// task is the run a asks for. One of a facility is done where the work of the
// facility is.
func (a runArgs) task() task.New {
	lane := task.HouseLane(KindRun)
	if a.FacilityCode != "" {
		lane += ":" + a.FacilityCode
	}
	return task.New{Kind: KindRun, Lane: lane, Queue: task.Housework, Facility: a.FacilityCode, Args: a}
}

// Findings lists the open findings by id.
func (s *Service) Findings(ctx context.Context, f Filter) ([]Finding, error) {
	if err := s.facilityExists(ctx, f.FacilityCode); err != nil {
		return nil, err
	}
	return s.Store.Open(ctx, f)
}

// facilityExists is vps.ErrFacilityNotFound for a filter that names none.
func (s *Service) facilityExists(ctx context.Context, code *string) error {
	if code == nil {
		return nil
	}
	codes, err := s.Store.Facilities(ctx)
	if err == nil && !slices.Contains(codes, *code) {
		return vps.ErrFacilityNotFound
	}
	return err
}

// Count counts the open confirmed findings of each class.
func (s *Service) Count(ctx context.Context) (map[Class]int, error) { return s.Store.Count(ctx) }

// Register makes e run the reconciler's tasks.
func (s *Service) Register(e *task.Engine) {
	e.Register(KindPeriodic, task.Policy{Every: s.Every, PerFacility: true}, periodic{s})
	e.Register(KindTasks, task.Policy{Every: s.Every}, periodic{s})
	e.Register(KindRun, task.Policy{Deadline: 2 * time.Hour}, run{s})
	quick := task.Policy{Deadline: 10 * time.Minute}
	for _, k := range []task.Kind{KindRepairVolume, KindRepairDevice, KindRepairISO} {
		e.Register(k, quick, repair{s})
	}
	e.Register(KindDiscard, quick, discard{s})
}

func (s *Service) log() *slog.Logger { return cmp.Or(s.Log, slog.New(slog.DiscardHandler)) }

// pass looks at a facility, or at tasks for none, and records what it sees. It
// returns that with what was recorded before.
func (s *Service) pass(ctx context.Context, facilityCode string, grace time.Duration) ([]Finding, error) {
	l := Look{At: s.Now()}
	if facilityCode != "" {
		var err error
		if l, err = s.look(ctx, facilityCode); err != nil {
			return nil, fmt.Errorf("look at %s: %w", facilityCode, err)
		}
	} else {
		rows, err := s.Store.Stuck(ctx)
		if err != nil {
			return nil, err
		}
		l.Found = Compare(rows, backend.View{}, rows.At)
	}
	l.Grace = grace
	found, err := s.Store.Record(ctx, l)
	if err != nil {
		return nil, err
	}
	return found, s.follow(ctx, l, found)
}

// periodic is the look that comes back by itself.
type periodic struct{ s *Service }

// Run looks once, and repairs if the service is set so. Where there is to be no
// periodic look any more, it ends the task that a server before has left.
func (p periodic) Run(ctx context.Context, r *task.Run) error {
	if p.s.Every == 0 {
		return p.s.Store.Finish(ctx, r.Lease, task.Success, func(Tx) error { return nil })
	}
	found, err := p.s.pass(ctx, r.Task.Facility, p.s.Grace)
	if err != nil {
		return err
	}
	for _, f := range found {
		if f.Confirmed {
			r.Log.Warn("finding", "class", f.Class, "facility", f.FacilityCode, "object", f.Object, "detail", f.Detail)
		}
	}
	if p.s.Repair {
		p.s.repairAll(ctx, r.Log, found)
	}
	return nil
}

// Fail is never called: periodic work does not fail, it comes back.
func (periodic) Fail(context.Context, *task.Run, task.Failure) error {
	return fault.New(fault.Internal, "internal", "periodic work does not fail")
}

// run is a look that was asked for. One at all facilities is made of one at
// each, where its work is done, and looks at tasks itself.
type run struct{ s *Service }

// Run looks, looks again after the grace time if anything is not confirmed,
// repairs what is if asked to, and looks once more at what that came to.
func (u run) Run(ctx context.Context, r *task.Run) error {
	var a runArgs
	if err := json.Unmarshal(r.Task.Args, &a); err != nil {
		return fmt.Errorf("decode arguments of task %s: %w", r.Task.ID, err)
	}
	var parts []string
	if a.FacilityCode == "" {
		var err error
		if parts, err = u.spread(ctx, r, a); err != nil {
			return err
		}
	}
	found, repaired, err := u.examine(ctx, r, a)
	if err != nil {
		return err
	}
	o := task.Success
	o.Message = fmt.Sprintf("findings: %d, repairs: %d", len(found), repaired)
	if len(parts) > 0 {
		r.Report(50, "looking at the facilities")
		if err := u.s.settled(ctx, parts, partTime+2*time.Duration(a.GraceSeconds)*time.Second); err != nil {
			return err
		}
		open, err := u.s.Store.Open(ctx, Filter{Limit: maxFound})
		if err != nil {
			return err
		}
		o.Message = fmt.Sprintf("findings: %d", len(open))
	}
	return u.s.Store.Finish(ctx, r.Lease, o, func(Tx) error { return nil })
}

// spread enqueues a run for each facility, once.
func (u run) spread(ctx context.Context, r *task.Run, a runArgs) (ids []string, err error) {
	if done, err := r.Saved(&ids); done || err != nil {
		return ids, err
	}
	codes, err := u.s.Store.Facilities(ctx)
	if err != nil {
		return nil, err
	}
	err = u.s.Store.Step(ctx, r.Lease, func(tx Tx) error {
		ids = nil
		for _, code := range codes {
			a.FacilityCode = code
			t, err := tx.Enqueue(ctx, a.task())
			if err != nil {
				return err
			}
			ids = append(ids, t.ID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, r.Save(ctx, ids)
}

// examine looks at what a says, and repairs.
func (u run) examine(ctx context.Context, r *task.Run, a runArgs) (found []Finding, repaired int, err error) {
	grace := time.Duration(a.GraceSeconds) * time.Second
	r.Report(5, "looking")
	if found, err = u.s.pass(ctx, a.FacilityCode, grace); err != nil {
		return nil, 0, err
	}
	if rest, open := unconfirmed(found, grace); open > 0 {
		r.Report(30, fmt.Sprintf("%d of %d findings are new; looking again in %s", open, len(found), rest.Round(time.Second)))
		if err := sleep(ctx, rest); err != nil {
			return nil, 0, err
		}
		if found, err = u.s.pass(ctx, a.FacilityCode, grace); err != nil {
			return nil, 0, err
		}
	}
	if !a.Repair {
		return found, 0, nil
	}
	r.Report(60, "repairing")
	repaired, ids := u.s.repairAll(ctx, r.Log, found)
	if repaired == 0 {
		return found, 0, nil
	}
	if err := u.s.settled(ctx, ids, settleTime); err != nil {
		return nil, 0, err
	}
	r.Report(90, "looking at what was repaired")
	found, err = u.s.pass(ctx, a.FacilityCode, grace)
	return found, repaired, err
}

// Fail ends the task; what was found and repaired stays so.
func (u run) Fail(ctx context.Context, r *task.Run, f task.Failure) error {
	return u.s.Store.Finish(ctx, r.Lease, f.Outcome(), func(Tx) error { return nil })
}

// unconfirmed is how many findings are, and how long until a look can confirm
// the newest of them.
func unconfirmed(found []Finding, grace time.Duration) (rest time.Duration, n int) {
	for _, f := range found {
		if !f.Confirmed {
			n++
			rest = max(rest, grace-f.LastSeen.Sub(f.FirstSeen))
		}
	}
	return rest, n
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settleTime is how long a run waits for the repairs it has enqueued, and
// partTime for the looks at facilities, the grace time besides. They go on after.
const (
	settleTime = 5 * time.Minute
	partTime   = 15 * time.Minute
)

// settled waits until the tasks have ended, or the time is over.
func (s *Service) settled(ctx context.Context, ids []string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for pause := 5 * time.Millisecond; len(ids) > 0; pause = min(2*pause, time.Second) {
		n, err := s.Store.Unfinished(ctx, ids)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		if err := sleep(ctx, pause); err != nil {
			if ctx.Err() == context.DeadlineExceeded {
				return nil
			}
			return err
		}
	}
	return nil
}
