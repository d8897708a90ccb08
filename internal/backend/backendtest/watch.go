package backendtest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

// watchTime bounds every wait for an event.
const watchTime = time.Minute

// watchCases: what happens to guests is told while it happens.
var watchCases = map[string]func(*kit){
	"Watch": func(k *kit) {
		ref := k.vm()
		w := k.watch(ref)
		// What changes nothing is no event, nor is what is no change of power.
		k.ok(k.d.Power(k.ctx, ref, backend.PowerStart))
		k.attached(ref)
		k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
		w.hears(ref, backend.GuestStopped)
		for range 2 {
			k.ok(k.d.Power(k.ctx, ref, backend.PowerStart))
			w.awaits(ref, backend.GuestStarted)
			k.ok(k.d.Power(k.ctx, ref, backend.PowerReset))
			w.awaits(ref, backend.GuestReset)
			k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
			w.awaits(ref, backend.GuestStopped)
		}
		w.end()
	},
	"WatchGuestStops": func(k *kit) {
		k.need(k.h.StopGuest != nil, "stop a guest")
		ref := k.vm()
		w := k.watch(ref)
		k.h.StopGuest(k.T, ref)
		w.hears(ref, backend.GuestStopped)
		w.end()
	},
	"WatchManyGuests": func(k *kit) {
		var refs [4]string
		for i := range refs {
			refs[i] = k.vm()
		}
		one, two := k.watch(refs[0]), k.watch(refs[0])
		k.allOK(together(len(refs), func(i int) error { return k.d.Power(k.ctx, refs[i], backend.PowerOff) }))
		for _, w := range []*watching{one, two} {
			want := map[string]bool{}
			for _, ref := range refs {
				want[ref] = true
			}
			for len(want) > 0 {
				if e := w.next(); e.What == backend.GuestStopped {
					delete(want, e.Ref)
				}
			}
			w.end()
		}
	},
	"WatchEndsWithDriver": func(k *kit) {
		w := k.watch(k.vm())
		k.ok(k.d.Close())
		select {
		case err := <-w.done:
			k.is(err, backend.ErrUnavailable)
		case <-time.After(watchTime):
			k.Fatal("Watch goes on after Close")
		}
		k.is(k.d.Watch(k.ctx, func(backend.GuestEvent) {}), backend.ErrUnavailable)
	},
	"ShutdownIgnored": func(k *kit) {
		k.need(k.h.Deafen != nil, "make a guest ignore a shutdown")
		ref := k.vm()
		k.h.Deafen(k.T, ref, true)
		before := k.view()
		ctx, cancel := context.WithTimeout(k.ctx, 50*time.Millisecond)
		err := k.d.Power(ctx, ref, backend.PowerShutdown)
		cancel()
		k.refused(before, err, context.DeadlineExceeded)
		done := make(chan error, 1)
		go func() { done <- k.d.Power(k.ctx, ref, backend.PowerShutdown) }()
		k.h.Deafen(k.T, ref, false)
		k.ok(<-done)
		if k.inspect(ref).Running {
			k.Fatal("the guest still runs")
		}
	},
}

// watching is a Watch under way.
type watching struct {
	k      *kit
	events chan backend.GuestEvent
	stop   context.CancelFunc
	done   chan error
}

// watch begins a Watch and returns once it is heard of: the running guest is
// reset until then. What that left is passed over.
func (k *kit) watch(ref string) *watching {
	k.Helper()
	ctx, stop := context.WithCancel(k.ctx)
	w := &watching{k: k, events: make(chan backend.GuestEvent, 1024), stop: stop, done: make(chan error, 1)}
	var busy atomic.Bool
	d := k.d
	go func() {
		w.done <- d.Watch(ctx, func(e backend.GuestEvent) {
			if busy.Swap(true) {
				k.Error("two events at once")
			}
			w.events <- e
			busy.Store(false)
		})
	}()
	resets, tick := 0, time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	limit := time.After(watchTime)
	for heard := false; !heard; {
		k.ok(k.d.Power(k.ctx, ref, backend.PowerReset))
		resets++
		select {
		case <-w.events:
			heard = true
		case err := <-w.done:
			k.Fatalf("Watch ended at once: %v", err)
		case <-limit:
			k.Fatalf("%d resets and no event", resets)
		case <-tick.C:
		}
	}
	return w
}

// next waits for an event.
func (w *watching) next() backend.GuestEvent {
	w.k.Helper()
	select {
	case e := <-w.events:
		return e
	case <-time.After(watchTime):
		w.k.Fatal("no event")
		return backend.GuestEvent{}
	}
}

// hears wants the next event that is not of the first resets to be this one.
func (w *watching) hears(ref string, what backend.GuestChange) {
	w.k.Helper()
	w.until(ref, what, func(e backend.GuestEvent) bool { return e.What == backend.GuestReset })
}

// awaits passes over what else happens to the guest: one that was powered off and
// on may be killed by its host while it starts, and is started again.
func (w *watching) awaits(ref string, what backend.GuestChange) {
	w.k.Helper()
	killable := !w.k.d.Info().MakesVMs // it has a process
	w.until(ref, what, func(backend.GuestEvent) bool { return killable })
}

// until returns once it is heard; what else happens to the guest has to be passed
// over, and to others nothing may.
func (w *watching) until(ref string, what backend.GuestChange, passes func(backend.GuestEvent) bool) {
	w.k.Helper()
	want := backend.GuestEvent{Ref: ref, What: what}
	for e := w.next(); e != want; e = w.next() {
		if e.Ref != ref || !passes(e) {
			w.k.Fatalf("heard %+v, want %s %s", e, ref, what)
		}
	}
}

// end ends the Watch, which has no error.
func (w *watching) end() {
	w.k.Helper()
	w.stop()
	w.k.ok(<-w.done)
}
