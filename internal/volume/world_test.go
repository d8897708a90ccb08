package volume_test

import (
	"context"
	"testing"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/worldtest"
)

var (
	ctx      = context.Background()
	mine     = access.Scope{Clients: []int64{worldtest.Client}}
	theirs   = access.Scope{Clients: []int64{worldtest.Other}}
	childs   = access.Scope{Clients: []int64{worldtest.Child}}
	family   = access.Scope{Clients: []int64{worldtest.Client, worldtest.Child}}
	everyone = access.Scope{All: true}
)

func ptr[T any](v T) *T { return &v }

// accepted is the task of a request that must be accepted.
func accepted(t worldtest.TB, k task.Task, err error) task.Task {
	t.Helper()
	if err != nil {
		t.Fatalf("refused: %v (%s)", err, fault.ReasonOf(err))
	}
	return k
}

// refused checks kind and reason of a refusal, and that nothing was enqueued.
func refused(t *testing.T, w *worldtest.World, want *fault.Error, request func() (task.Task, error)) {
	t.Helper()
	before := w.Count(`SELECT count(*) FROM task WHERE client_id IS NOT NULL`)
	_, err := request()
	if got, ok := fault.As(err); !ok || got.Kind != want.Kind || got.Reason != want.Reason {
		t.Fatalf("got %v (%s), want %s", err, fault.ReasonOf(err), want.Reason)
	}
	if after := w.Count(`SELECT count(*) FROM task WHERE client_id IS NOT NULL`); after != before {
		t.Fatalf("a refused request left %d tasks", after-before)
	}
}

// made creates a volume and waits for it.
func made(t worldtest.TB, w *worldtest.World, device int64, size int) string {
	t.Helper()
	k, err := w.Volumes.Create(ctx, everyone, device, size)
	return w.Succeeds(accepted(t, k, err)).VolumeID
}

// madeFree creates a detached volume.
func madeFree(t worldtest.TB, w *worldtest.World, device int64, size int) string {
	t.Helper()
	id := made(t, w, device, size)
	k, err := w.Volumes.Detach(ctx, everyone, device, id)
	w.Succeeds(accepted(t, k, err))
	return id
}

func rootOf(t *testing.T, w *worldtest.World, device int64) volume.Volume {
	t.Helper()
	list, err := w.Volumes.List(ctx, everyone, volume.Filter{DeviceID: &device})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		if v.Type == volume.Root {
			return v
		}
	}
	t.Fatalf("device %d has no ROOT volume", device)
	return volume.Volume{}
}
