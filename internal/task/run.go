package task

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Handler does the work of one kind of task. Both methods may be called again
// for the same task at any time, by this node or another, until one has ended
// it; so each step must be safe to repeat.
type Handler interface {
	// Run makes one attempt. It returns nil once it has ended the task
	// through its own store, in one transaction with the effect, using
	// r.Lease. Any error is classified: temporary ones are tried again.
	Run(ctx context.Context, r *Run) error
	// Fail gives the task up: it undoes what Run may have begun and ends the
	// task as Failed with f. An error means it could not; it is called again.
	// A cancel or a stop does not end its ctx, so it bounds itself.
	Fail(ctx context.Context, r *Run, f Failure) error
}

// Policy bounds a kind of task.
type Policy struct {
	// Deadline is how long a task may take from its first lease, retries
	// included. Then Fail is called.
	Deadline time.Duration
	// MaxFailures is how many temporary errors are forgiven; 0 means as many
	// as fit into the deadline.
	MaxFailures int
	// Every makes the kind the server's own periodic work: one task that
	// comes back this long after each run.
	Every time.Duration
	// PerFacility makes that one task for each facility, run where the
	// facility's tasks are; Task.Facility says which.
	PerFacility bool
}

// Run is one attempt at a task.
type Run struct {
	Task  Task
	Lease Lease
	Log   *slog.Logger

	store  Store
	held   context.Context         // ends when the lease is lost
	lose   context.CancelCauseFunc // ends held, and the run with it
	cancel context.CancelCauseFunc // ends the run

	mu       sync.Mutex
	progress Progress
	dirty    bool
}

// Report says how far the run has come. It costs nothing: the engine writes
// the latest report about once a second.
func (r *Run) Report(percent int, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = Progress{Percent: min(max(percent, 0), 100), Message: message}
	r.dirty = true
}

// Save makes v, as JSON, the checkpoint that the next attempt finds.
func (r *Run) Save(ctx context.Context, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	p, _ := r.take()
	return r.store.Save(ctx, r.Lease, b, p)
}

// Saved decodes the last checkpoint into v and reports whether there was one.
func (r *Run) Saved(v any) (bool, error) {
	if len(r.Task.Checkpoint) == 0 {
		return false, nil
	}
	if err := json.Unmarshal(r.Task.Checkpoint, v); err != nil {
		return false, fmt.Errorf("decode checkpoint: %w", err)
	}
	return true, nil
}

// take returns the present progress and whether it is news.
func (r *Run) take() (Progress, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dirty := r.dirty
	r.dirty = false
	return r.progress, dirty
}
