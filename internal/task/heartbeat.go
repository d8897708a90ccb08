package task

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// heartbeat renews leases, writes progress, hears of cancels and reaps what
// other nodes let lapse.
func (e *Engine) heartbeat(ctx context.Context) {
	tick := time.NewTicker(min(time.Second, e.cfg.Lease/3))
	defer tick.Stop()
	// Nobody may still act when a lease ends and another node begins, also
	// when the store does not even answer: the guard waits for no call.
	grace := e.cfg.Lease * 2 / 3
	renewed, next := time.Now(), time.Now()
	guard := time.AfterFunc(grace, func() { e.cancelAll(ErrLeaseLost) })
	defer guard.Stop()
	orphans := map[string]int64{}
	furnish := time.Now().Add(furnishEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Now().After(furnish) {
			if err := e.furnish(ctx); err != nil && ctx.Err() == nil {
				e.cfg.Log.Error("furnish the house", "error", err)
			}
			furnish = time.Now().Add(furnishEvery)
		}
		e.flushProgress(ctx)
		if _, err := e.store.Reap(ctx); err != nil && ctx.Err() == nil {
			e.cfg.Log.Error("reap lapsed leases", "error", err)
		}
		if time.Now().Before(next) {
			continue
		}
		began := time.Now()
		strays, err := e.renew(ctx)
		switch {
		case err == nil:
			renewed, next = began, began.Add(e.cfg.Lease/3)
			guard.Reset(time.Until(renewed.Add(grace)))
			orphans = e.adopt(ctx, strays, orphans)
		case ctx.Err() == nil:
			e.cfg.Log.Error("renew leases", "error", err)
			if time.Since(renewed) >= grace { // what was claimed since
				e.cancelAll(ErrLeaseLost)
			}
		}
	}
}

// renew prolongs the leases, tells runs of cancels and of lost leases, and
// returns the leases that no run here belongs to.
func (e *Engine) renew(ctx context.Context) (strays []Lease, err error) {
	e.mu.Lock()
	mine := make(map[string]*Run, len(e.runs))
	for id, r := range e.runs {
		mine[id] = r
	}
	e.mu.Unlock()
	held, err := e.store.Renew(ctx, e.owner, e.cfg.Lease)
	if err != nil {
		return nil, err
	}
	for _, h := range held {
		r := mine[h.Lease.TaskID]
		if r == nil || r.Lease.Attempt != h.Lease.Attempt {
			strays = append(strays, h.Lease)
			continue
		}
		delete(mine, h.Lease.TaskID)
		if h.Cancel {
			r.cancel(ErrCancelled)
		}
	}
	for _, r := range mine {
		// Not held: ended a moment ago, or taken over. A cancel hurts neither.
		r.lose(ErrLeaseLost)
	}
	return strays, nil
}

// adopt gives back the tasks that are leased to this node and run nowhere on
// it: their end could not be written, and a renewed lease never lapses. A
// claim that has just been made looks the same, so it takes two beats.
func (e *Engine) adopt(ctx context.Context, strays []Lease, before map[string]int64) map[string]int64 {
	now := make(map[string]int64, len(strays))
	for _, l := range strays {
		e.mu.Lock()
		r := e.runs[l.TaskID]
		e.mu.Unlock()
		if r != nil && r.Lease.Attempt == l.Attempt {
			continue
		}
		if before[l.TaskID] != l.Attempt {
			now[l.TaskID] = l.Attempt
			continue
		}
		e.cfg.Log.Warn("give back a task that nobody runs", "task", l.TaskID)
		if err := e.store.Retry(ctx, l, time.Now(), false, ""); err != nil && !errors.Is(err, ErrLeaseLost) {
			now[l.TaskID] = l.Attempt
			e.cfg.Log.Error("give task back", "task", l.TaskID, "error", err)
		}
	}
	return now
}

func (e *Engine) flushProgress(ctx context.Context) {
	var news []Report
	e.mu.Lock()
	for _, r := range e.runs {
		if p, dirty := r.take(); dirty {
			news = append(news, Report{Lease: r.Lease, Progress: p})
		}
	}
	e.mu.Unlock()
	if len(news) == 0 {
		return
	}
	if err := e.store.Progress(ctx, news); err != nil && ctx.Err() == nil {
		e.cfg.Log.Warn("write progress", "error", err)
	}
}

// furnishEvery is how long a new facility may wait for its house work.
const furnishEvery = time.Minute

// furnish makes sure that each kind of periodic work is enqueued.
func (e *Engine) furnish(ctx context.Context) error {
	var all []New
	for k, r := range e.kinds {
		n := New{Kind: k, Lane: HouseLane(k), Queue: Housework}
		switch {
		case r.policy.Every == 0, r.policy.PerFacility && e.cfg.Facilities == nil:
		case !r.policy.PerFacility:
			all = append(all, n)
		default:
			codes, err := e.cfg.Facilities(ctx)
			if err != nil {
				return fmt.Errorf("list facilities: %w", err)
			}
			for _, code := range codes {
				n.Lane, n.Facility = HouseLane(k)+":"+code, code
				all = append(all, n)
			}
		}
	}
	for _, n := range all {
		if err := e.store.Ensure(ctx, n); err != nil {
			return fmt.Errorf("enqueue %s: %w", n.Kind, err)
		}
	}
	return nil
}
