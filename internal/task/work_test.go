package task_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
)

// TestQueues: downloads that fill their workers hold up no quick work.
func TestQueues(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		n.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
			if r.Task.Queue == task.Imports {
				<-ctx.Done()
				return ctx.Err()
			}
			return n.success(r)
		}).start()
		first := h.enqueue(task.New{Lane: "i1", Queue: task.Imports})
		second := h.enqueue(task.New{Lane: "i2", Queue: task.Imports})
		pass(time.Second)
		quick := h.enqueue(task.New{Lane: "q"})
		pass(0)
		h.want(quick.ID, task.Done, "")
		h.want(first.ID, task.Running, "")
		h.want(second.ID, task.Ready, "")
		n.CancelRun(first.ID)
		pass(0)
		h.want(second.ID, task.Running, "") // a free worker is used at once
		n.stop()
	})
}

// TestPeriodic: the server's own work comes back after each run, whatever its
// end, survives restarts, and is there once with any number of nodes.
func TestPeriodic(t *testing.T) {
	inHouse(t, func(h *house) {
		var runs, at atomic.Int32
		open := func(name string) *node {
			n := h.node(name)
			n.Register("house.work", task.Policy{Every: time.Minute}, work{n: n, run: func(context.Context, *task.Run) error {
				if at.Add(1) != 1 {
					t.Error("two at once")
				}
				defer at.Add(-1)
				time.Sleep(time.Second)
				if runs.Add(1) == 3 {
					return fault.New(fault.Conflict, "odd", "Even what is permanent elsewhere.")
				}
				return nil
			}})
			return n.start()
		}
		a, b := open("a"), open("b")
		pass(10*time.Minute + time.Second)
		if got := runs.Load(); got < 10 || got > 11 {
			t.Errorf("%d runs in ten minutes", got)
		}
		a.stop()
		b.stop()
		before := runs.Load()
		c := open("c")
		pass(2 * time.Minute)
		if got := runs.Load() - before; got < 1 || got > 3 {
			t.Errorf("%d runs in two minutes after a restart", got)
		}
		c.stop()
		h.tx(func(tx volume.Tx) error {
			pending, err := tx.PendingIn(context.Background(), task.HouseLane("house.work"))
			if len(pending) != 1 {
				t.Errorf("%d tasks are pending", len(pending))
			}
			return err
		})
	})
}

// TestProgress: reports cost nothing, are written about once a second, and
// outlive the attempt.
func TestProgress(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		n.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
			if r.Task.Attempt == 2 {
				if r.Task.Progress != 99 || r.Task.Message != backend.ErrUnavailable.Text {
					t.Errorf("the second attempt found %d %q", r.Task.Progress, r.Task.Message)
				}
				r.Report(-5, "low")
				time.Sleep(2 * time.Second)
				r.Report(500, "high")
				time.Sleep(2 * time.Second)
				return n.success(r)
			}
			for i := range 1000 {
				r.Report(i/10, fmt.Sprint("part ", i))
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(time.Second)
			return backend.ErrUnavailable
		}).start()
		k := h.enqueue(task.New{})
		pass(5*time.Second + 500*time.Millisecond)
		if p := h.task(k.ID).Progress; p < 40 || p > 55 {
			t.Errorf("half way it is at %d", p)
		}
		pass(5 * time.Second)
		if made := n.made("Progress"); made < 9 || made > 12 {
			t.Errorf("written %d times in ten seconds", made)
		}
		pass(700 * time.Millisecond)
		if got := h.task(k.ID); got.Progress != 99 {
			t.Errorf("after the first attempt it is at %d", got.Progress)
		}
		for h.task(k.ID).Attempt < 2 {
			pass(100 * time.Millisecond)
		}
		pass(1500 * time.Millisecond)
		if got := h.task(k.ID); got.Progress != 0 || got.Message != "low" {
			t.Errorf("too low is %d %q", got.Progress, got.Message)
		}
		pass(2 * time.Second)
		if got := h.task(k.ID); got.Progress != 100 || got.Message != "high" {
			t.Errorf("too high is %d %q", got.Progress, got.Message)
		}
		n.stopAfter(time.Minute)
		h.want(k.ID, task.Done, "")
	})
}

// TestCheckpoint: an attempt finds what the one before has saved.
func TestCheckpoint(t *testing.T) {
	inHouse(t, func(h *house) {
		type state struct {
			Offset int64
			Sum    []byte
		}
		n := h.node("a")
		n.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
			var s state
			had, err := r.Saved(&s)
			if err != nil || had != (r.Task.Attempt > 1) || s.Offset != r.Task.Attempt-1 {
				t.Errorf("attempt %d found %t %+v %v", r.Task.Attempt, had, s, err)
			}
			if r.Task.Attempt == 4 {
				if _, err := r.Saved(new([]string)); err == nil {
					t.Error("a checkpoint of another shape was decoded")
				}
				return n.success(r)
			}
			r.Report(int(r.Task.Attempt), "saved")
			if err := r.Save(ctx, state{Offset: r.Task.Attempt, Sum: []byte{0, 255}}); err != nil {
				return err
			}
			if err := r.Save(ctx, func() {}); err == nil {
				t.Error("a function was saved")
			}
			return backend.ErrUnavailable
		}).start()
		k := h.enqueue(task.New{})
		n.stopAfter(time.Minute)
		if got := h.want(k.ID, task.Done, ""); got.Attempt != 4 || got.Checkpoint != nil {
			t.Errorf("ended as %+v", got)
		}
	})
}
