package task

import (
	"context"
	"errors"
)

// Steps is a Handler for work on an object J that is read anew before every
// call, so that each attempt acts on what is true now.
type Steps[J any] struct {
	// Load reads what a run needs. Read is false when the object itself could
	// not be read; an error with read true means that something around it is
	// away, which Undo has to do without.
	Load func(ctx context.Context, r *Run) (j J, read bool, err error)
	// Gone is what Load answers when there is no such object any more: the
	// task's precondition failed, and there is nothing to undo.
	Gone error
	// Do makes one attempt, as in Handler.Run.
	Do func(ctx context.Context, j J) error
	// Undo gives up, as in Handler.Fail.
	Undo func(ctx context.Context, j J, f Failure) error
}

// Run is in Handler.
func (s Steps[J]) Run(ctx context.Context, r *Run) error {
	j, _, err := s.Load(ctx, r)
	if errors.Is(err, s.Gone) {
		return ErrPrecondition.Because(err)
	}
	if err != nil {
		return err
	}
	return s.Do(ctx, j)
}

// Fail is in Handler.
func (s Steps[J]) Fail(ctx context.Context, r *Run, f Failure) error {
	j, read, err := s.Load(ctx, r)
	switch {
	case errors.Is(err, s.Gone):
		return r.store.Finish(ctx, r.Lease, f.Outcome())
	case !read:
		return err
	default:
		return s.Undo(ctx, j, f)
	}
}
