package task

import (
	"context"
	"time"

	"github.com/drivebay/drivebay/internal/access"
)

// awaitPoll is how often Await looks by itself: a task may end on another node,
// whose signals can get lost.
const awaitPoll = time.Second

// Await returns a task of the scope once it has ended, and as it is by then
// when the time is over or stop is closed. Any number may wait for one task.
// ErrNotFound, or the cause of ctx's end.
func Await(ctx context.Context, l Lister, s access.Scope, id string, wait time.Duration, stop <-chan struct{}) (Task, error) {
	changed, cancel := l.Watch(id)
	defer cancel()
	over := time.NewTimer(wait)
	defer over.Stop()
	poll := time.NewTicker(awaitPoll)
	defer poll.Stop()
	for last := false; ; {
		// Read after the watch began, so that no end falls in between.
		t, err := l.Get(ctx, s, id)
		if err != nil || last || t.State.Ended() {
			return t, err
		}
		select {
		case <-changed:
		case <-poll.C:
		case <-over.C:
			last = true
		case <-stop:
			last = true
		case <-ctx.Done():
			return t, context.Cause(ctx)
		}
	}
}
