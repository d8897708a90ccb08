package task_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/task"
)

// deaf is a store that never signals, as when a task ends on another node.
type deaf struct{ task.Lister }

func (deaf) Watch(string) (<-chan struct{}, func()) { return nil, func() {} }

// end claims the one ready task and finishes it.
func (h *house) end() {
	h.t.Helper()
	ctx := context.Background()
	got, err := h.db.Tasks().Claim(ctx, task.Quick, "n/b", lease, 1)
	if err != nil || len(got) != 1 {
		h.t.Fatalf("claimed %v, %v", got, err)
	}
	l := task.Lease{TaskID: got[0].ID, Owner: "n/b", Attempt: got[0].Attempt}
	if err := h.db.Tasks().Finish(ctx, l, task.Success); err != nil {
		h.t.Fatal(err)
	}
}

// awaited is how an Await came out, and after what time.
type awaited struct {
	task.Task
	err  error
	took time.Duration
}

func (h *house) await(ctx context.Context, l task.Lister, id string, wait time.Duration, stop <-chan struct{}) <-chan awaited {
	out := make(chan awaited, 1)
	start := time.Now()
	go func() {
		k, err := task.Await(ctx, l, everyone, id, wait, stop)
		out <- awaited{k, err, time.Since(start)}
	}()
	return out
}

func TestAwait(t *testing.T) {
	inHouse(t, func(h *house) {
		ctx := context.Background()
		k := h.enqueue(task.New{})
		a, b := h.await(ctx, h.db.Tasks(), k.ID, time.Minute, nil), h.await(ctx, h.db.Tasks(), k.ID, time.Minute, nil)
		c := h.await(ctx, deaf{h.db.Tasks()}, k.ID, time.Minute, nil)
		pass(30*time.Second + 400*time.Millisecond)
		h.end()
		for _, got := range []awaited{<-a, <-b} {
			if got.err != nil || got.State != task.Done || got.took != 30*time.Second+400*time.Millisecond {
				t.Errorf("%+v", got)
			}
		}
		if got := <-c; got.err != nil || got.State != task.Done || got.took != 31*time.Second {
			t.Errorf("without a signal: %+v", got)
		}
		if got := <-h.await(ctx, h.db.Tasks(), k.ID, time.Minute, nil); got.State != task.Done || got.took != 0 {
			t.Errorf("ended already: %+v", got)
		}
	})
}

func TestAwaitGivesUp(t *testing.T) {
	inHouse(t, func(h *house) {
		k := h.enqueue(task.New{})
		ctx, cancel := context.WithCancelCause(context.Background())
		stop, gone := make(chan struct{}), errors.New("gone")
		over := h.await(ctx, h.db.Tasks(), k.ID, 1500*time.Millisecond, stop)
		stopped := h.await(context.Background(), h.db.Tasks(), k.ID, time.Minute, stop)
		left := h.await(ctx, h.db.Tasks(), k.ID, time.Minute, nil)
		if got := <-over; got.err != nil || got.State != task.Ready || got.took != 1500*time.Millisecond {
			t.Errorf("time over: %+v", got)
		}
		pass(time.Second)
		close(stop)
		if got := <-stopped; got.err != nil || got.State != task.Ready || got.took != 2500*time.Millisecond {
			t.Errorf("stopped: %+v", got)
		}
		cancel(gone)
		if got := <-left; !errors.Is(got.err, gone) || got.took != 2500*time.Millisecond {
			t.Errorf("client gone: %+v", got)
		}
		if _, err := task.Await(context.Background(), h.db.Tasks(), access.Scope{Clients: []int64{8}}, k.ID, time.Minute, nil); !errors.Is(err, task.ErrNotFound) {
			t.Errorf("another client's: %v", err)
		}
	})
}
