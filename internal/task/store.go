package task

import (
	"context"
	"time"
)

// Store is what an Engine needs of a database. Times that decide about leases
// are the store's own clock.
type Store interface {
	// Claim leases up to max ready tasks of the queue to owner until now+ttl,
	// oldest first, and records the event of each that starts the first time.
	Claim(ctx context.Context, q Queue, owner string, ttl time.Duration, max int) ([]Task, error)
	// Renew prolongs every lease of owner to now+ttl and answers which tasks
	// owner still holds.
	Renew(ctx context.Context, owner string, ttl time.Duration) ([]Held, error)
	// Reap makes tasks ready again whose lease has lapsed and reports how many.
	Reap(ctx context.Context) (int, error)
	// ReleaseNode makes every running task ready whose owner is of the node:
	// the one process that could have run them is this one, just started.
	ReleaseNode(ctx context.Context, node string) (int, error)
	// Save records a checkpoint; nil keeps the one before. ErrLeaseLost.
	Save(ctx context.Context, l Lease, checkpoint []byte, p Progress) error
	// Progress records how far runs have come. Lost leases are passed over.
	Progress(ctx context.Context, all []Report) error
	// Retry gives the task back, to run again at t. failed says whether the
	// attempt counts against the budget. ErrLeaseLost.
	Retry(ctx context.Context, l Lease, t time.Time, failed bool, why string) error
	// Finish ends the task without any effect besides. ErrLeaseLost.
	Finish(ctx context.Context, l Lease, o Outcome) error
	// Ensure enqueues the server's own task unless its lane has one already.
	Ensure(ctx context.Context, n New) error
	// Wake is signalled when a task of the queue may have become ready.
	Wake(q Queue) <-chan struct{}
}

// Held is a lease still held, and whether its task was told to end early.
type Held struct {
	Lease  Lease
	Cancel bool
}

// Progress is what a caller sees of a running task.
type Progress struct {
	Percent int // 0-100
	Message string
}

// Report is the progress of one run.
type Report struct {
	Lease Lease
	Progress
}
