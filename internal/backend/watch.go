package backend

import (
	"context"
	"io/fs"
	"log/slog"
	"sync"
	"time"
)

// GuestEvent is what Watch tells: something happened to a guest.
type GuestEvent struct {
	Ref  string // "" with GuestUnknown: any guest
	What GuestChange
}

// GuestChange is what happened to a guest.
type GuestChange string

// The changes.
const (
	GuestStarted GuestChange = "started" // a new process: the order of SetBoot counts from here on
	GuestReset   GuestChange = "reset"   // the guest restarted inside its process
	GuestStopped GuestChange = "stopped"
	GuestUnknown GuestChange = "unknown" // look again
)

// followAgain is how soon Follow tries again.
const followAgain = 5 * time.Second

// Follow calls fn for what happens to the guests of a facility, in order and one
// at a time, until ctx ends. A driver that cannot be had, or not be heard any
// more, is tried again every few seconds; what happened meanwhile is lost.
func Follow(ctx context.Context, drivers Provider, facilityCode string, log *slog.Logger, fn func(GuestEvent)) {
	for {
		driver, err := drivers.Driver(facilityCode)
		if err == nil {
			err = driver.Watch(ctx, fn)
		}
		if ctx.Err() != nil {
			return
		}
		log.Warn("guests are not heard of", "facility", facilityCode, "error", err)
		if Pause(ctx, followAgain) != nil {
			return
		}
	}
}

// Pause waits, or returns the context's error.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Watchers passes what happens to guests on to all who watch. A driver keeps
// one for its Watch. The zero value is ready to use.
type Watchers struct {
	mu  sync.Mutex
	all map[*watcher]struct{}
}

// watcher has the events that its function has not been told yet.
type watcher struct {
	queue []GuestEvent  // guarded by Watchers.mu
	more  chan struct{} // has a value when the queue has
}

// Tell passes an event on to those who watch now. It never waits for them.
func (w *Watchers) Tell(e GuestEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.all {
		one.queue = append(one.queue, e)
		select {
		case one.more <- struct{}{}:
		default:
		}
	}
}

// Watch calls fn for every event told from now on, in order and one at a time.
// It returns nil when ctx ends and ErrUnavailable when closing is closed.
func (w *Watchers) Watch(ctx context.Context, closing <-chan struct{}, fn func(GuestEvent)) error {
	one := &watcher{more: make(chan struct{}, 1)}
	w.mu.Lock()
	if w.all == nil {
		w.all = make(map[*watcher]struct{})
	}
	w.all[one] = struct{}{}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, one)
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-closing:
			return ErrUnavailable.Because(fs.ErrClosed)
		case <-one.more:
		}
		for _, e := range w.take(one) {
			if ctx.Err() != nil {
				return nil
			}
			fn(e)
		}
	}
}

// Len returns how many watch now.
func (w *Watchers) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

func (w *Watchers) take(one *watcher) []GuestEvent {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := one.queue
	one.queue = nil
	return events
}
