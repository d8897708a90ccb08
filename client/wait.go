package client

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	longWait    = 30 * time.Second // of one call, where nobody wants to see progress
	longestPoll = 10 * time.Second // between two looks
	maxStrange  = 5                // answers in a row that are not of this API
)

// Wait awaits the end of t, until ctx ends. onProgress, if not nil, is called
// with t and then with each state that differs from the one before, the last one
// included.
//
// The task as it was last seen is returned in any case. The error is a
// [*TaskError] if it failed, ErrNotFound if it is gone, and otherwise what kept
// us from seeing the end; the task itself goes on then. A server that cannot be
// reached or cannot serve is asked again until ctx ends.
func (s TaskService) Wait(ctx context.Context, t Task, onProgress func(Task), opts ...CallOption) (Task, error) {
	if t.Result == "" { // only the id is known
		t.Result = TaskPending
	}
	w := waiter{c: s.c, opts: opts, wait: longWait}
	if onProgress != nil {
		w.wait = max(time.Second, min(s.c.poll, longWait))
		onProgress(t)
	}
	for !t.Ended() {
		got, err := w.task(ctx, t.ID)
		if err != nil {
			return t, err
		}
		if onProgress != nil && changed(t, got) {
			onProgress(got)
		}
		t = got
		if !t.Ended() {
			if err := w.rest(ctx, reading("network", "status", t.ID)); err != nil {
				return t, err
			}
		}
	}
	return t, t.Err()
}

func changed(a, b Task) bool {
	return a.Result != b.Result || a.Progress != b.Progress || a.Message != b.Message || !a.Updated.Equal(b.Updated)
}

// waiter looks at a task or an ISO again and again.
type waiter struct {
	c       *Client
	opts    []CallOption
	wait    time.Duration // how long the server is asked to wait; 0: not at all
	pause   time.Duration // the last one between two looks
	quick   bool          // the last look came back at once
	strange int           // answers in a row that are not of this API
	failed  int           // looks in a row that failed
}

// task looks at a task, and lets the server wait for its end if it can.
func (w *waiter) task(ctx context.Context, id string) (Task, error) {
	start := time.Now()
	t, err := look[Task](ctx, w, func() *call {
		r := reading("network", "status", id)
		if start = time.Now(); w.wait > 0 {
			r.text("wait", strconv.FormatInt(int64(w.wait/time.Second), 10)+"s")
			r.wait = w.wait
		}
		return r
	})
	w.quick = w.wait == 0 || time.Since(start) < w.wait/2
	return t, err
}

// look makes a call until it succeeds, or fails in a way that asking again does
// not help. It goes on through a server's absence.
func look[T any](ctx context.Context, w *waiter, begin func() *call) (T, error) {
	for {
		r := begin()
		v, err := do[T](ctx, w.c, r, append(slices.Clone(w.opts), WithoutRetries()))
		if err == nil {
			w.strange, w.failed = 0, 0
			return v, nil
		}
		var e *Error
		if !errors.As(err, &e) || ctx.Err() != nil || !w.bear(e) {
			return v, err
		}
		w.failed++
		d := RetryPolicy{First: w.c.retry.first(), Longest: longestPoll}.backoff(w.failed)
		w.c.log.DebugContext(ctx, "the wait goes on", "op", r.name(), "after", e.Message)
		if sleep(ctx, max(d, e.RetryAfter)) != nil {
			return v, interrupted(ctx, r.name(), e)
		}
	}
}

// bear reports whether a look that failed is to be followed by another one, and
// changes how the next one asks.
func (w *waiter) bear(e *Error) bool {
	if e.Reason == ReasonBadAnswer {
		w.strange++
		return e.Is(ErrUnavailable) || w.strange < maxStrange && e.Status/100 != 3
	}
	w.strange = 0
	switch {
	case w.wait > 0 && (e.Reason == "too_many_waits" || e.Status == http.StatusBadRequest):
		w.wait = 0 // others wait already, or the server does not know how to
		return true
	case e.Status == 0:
		return e.Reason == ReasonUnreachable && !hopeless(e.cause)
	}
	return e.Is(ErrUnavailable) || e.Is(ErrRateLimited) || e.Status == http.StatusInternalServerError
}

// rest pauses before the next look where the last one did not wait, and longer
// each time.
func (w *waiter) rest(ctx context.Context, r *call) error {
	if !w.quick {
		w.pause = 0
		return nil
	}
	w.pause = min(longestPoll, max(w.c.poll, w.pause+w.pause/2))
	if sleep(ctx, w.pause) != nil {
		return interrupted(ctx, r.name(), &Error{Message: "it was still under way"})
	}
	return nil
}
