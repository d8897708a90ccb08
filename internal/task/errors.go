package task

import (
	"context"
	"errors"
	"strconv"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
)

// What a task can end with besides the reasons of its own domain.
var (
	// ErrNotFound: no such task, or another client's.
	ErrNotFound = fault.New(fault.NotFound, "task_not_found", "Task not found")
	// ErrPrecondition: an earlier task failed, so what this one was accepted
	// for never came true.
	ErrPrecondition = fault.New(fault.Conflict, "precondition_failed", "an earlier task failed, so this one could no longer be done")
	// ErrCancelled: the task was told to end early.
	ErrCancelled = fault.New(fault.Conflict, "cancelled", "the task was cancelled")
	// ErrDeadline: the time for this kind of task ran out.
	ErrDeadline = fault.New(fault.Unavailable, "deadline_exceeded", "the task could not be finished in time")

	// ErrLeaseLost: another node runs the task now; nothing was written.
	ErrLeaseLost = errors.New("task lease lost")
	// ErrPostponed: the run has given its task back by itself, to run later.
	ErrPostponed = errors.New("task postponed")
	// errDraining cancels runs when the server stops.
	errDraining = errors.New("server is stopping")
)

// What a caller learns of an error that is ours.
const (
	internalReason fault.Reason = "internal"
	internalText   string       = "internal error"
)

// Failure is what a caller learns of a task that failed.
type Failure struct {
	Reason    fault.Reason
	Text      string
	Permanent bool
	// Late: the task's time or its tries are over, so this is the last word
	// even where an undo would like to look once more.
	Late bool
}

// Outcome is the end that says f.
func (f Failure) Outcome() Outcome {
	return Outcome{State: Failed, Reason: f.Reason, Error: f.Text}
}

// Classify turns the error of an attempt into its failure. Faults are
// permanent but for Unavailable ones; drivers say so themselves; all else is
// temporary and shown as "internal error".
func Classify(err error) Failure {
	var be *backend.Error
	switch f, ok := fault.As(err); {
	case ok:
		return Failure{Reason: f.Reason, Text: f.Text, Permanent: f.Kind != fault.Unavailable}
	case errors.As(err, &be):
		return Failure{Reason: be.Reason, Text: be.Text, Permanent: be.Permanent}
	case errors.Is(err, context.DeadlineExceeded):
		return Failure{Reason: ErrDeadline.Reason, Text: ErrDeadline.Text}
	default:
		return Failure{Reason: internalReason, Text: internalText}
	}
}

// Refusal is what a request is refused with whose driver could not be reached
// or did not answer with err.
func Refusal(err error) error {
	f := Classify(err)
	return fault.New(fault.Unavailable, f.Reason, "%s", f.Text).Because(err)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
