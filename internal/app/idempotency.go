package app

import (
	"context"
	"errors"

	"github.com/drivebay/drivebay/internal/idempotency"
	"github.com/drivebay/drivebay/internal/task"
)

// kindForget is the task that forgets the keys that requests named themselves
// by, once their time is over.
const kindForget task.Kind = "idempotency.forget"

// forgetBatch bounds how many keys one transaction forgets.
const forgetBatch = 1000

type forgetting struct{ keys idempotency.Store }

// Run forgets what is too old, in batches that keep no other writer waiting.
func (f forgetting) Run(ctx context.Context, run *task.Run) error {
	for {
		n, err := f.keys.Purge(ctx, forgetBatch)
		if err != nil || n < forgetBatch {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}

// Fail is never called: periodic work does not fail, it comes back.
func (forgetting) Fail(_ context.Context, _ *task.Run, f task.Failure) error {
	return errors.New(f.Text)
}
