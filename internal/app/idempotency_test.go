package app

import (
	"context"
	"errors"
	"testing"

	"github.com/drivebay/drivebay/internal/idempotency"
	"github.com/drivebay/drivebay/internal/task"
)

// backlog has keys that are too old.
type backlog struct {
	idempotency.Store
	old   int
	calls int
	err   error
	then  func() // after each batch
}

// Purge is in idempotency.Store.
func (b *backlog) Purge(_ context.Context, limit int) (int, error) {
	b.calls++
	n := min(limit, b.old)
	b.old -= n
	if b.then != nil {
		b.then()
	}
	return n, b.err
}

// TestForgetting: old keys go in batches, until there are none, or the server
// stops.
func TestForgetting(t *testing.T) {
	t.Parallel()
	b := &backlog{old: 2*forgetBatch + 1}
	if err := (forgetting{b}).Run(t.Context(), &task.Run{}); err != nil || b.old != 0 || b.calls != 3 {
		t.Errorf("%v, %d left after %d batches", err, b.old, b.calls)
	}

	ctx, stop := context.WithCancel(t.Context())
	b = &backlog{old: 5 * forgetBatch, then: stop}
	if err := (forgetting{b}).Run(ctx, &task.Run{}); !errors.Is(err, context.Canceled) || b.calls != 1 {
		t.Errorf("a stopping server: %v after %d batches", err, b.calls)
	}

	b = &backlog{old: 5 * forgetBatch, err: errors.New("boom")}
	if err := (forgetting{b}).Run(t.Context(), &task.Run{}); !errors.Is(err, b.err) {
		t.Errorf("a broken database: %v", err)
	}
}
