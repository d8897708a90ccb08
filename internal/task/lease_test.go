package task_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/task"
)

// TestHeartbeat: a run of any length keeps its task.
func TestHeartbeat(t *testing.T) {
	inHouse(t, func(h *house) {
		runs := atomic.Int32{}
		run := func(n *node) *node {
			return n.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
				runs.Add(1)
				select {
				case <-ctx.Done():
					t.Errorf("cut short: %v", context.Cause(ctx))
				case <-time.After(20 * time.Minute):
				}
				return n.success(r)
			}).start()
		}
		a, b := run(h.node("a")), run(h.node("b"))
		k := h.enqueue(task.New{})
		pass(21 * time.Minute)
		if got := h.want(k.ID, task.Done, ""); got.Attempt != 1 || runs.Load() != 1 {
			t.Errorf("%d runs: %+v", runs.Load(), got)
		}
		a.stop()
		b.stop()
	})
}

// cut makes what a node asks of its store fail, or never be answered.
var cut = map[string]func(n *node) (restore func()){
	"errors": func(n *node) func() {
		n.away(true)
		return func() { n.away(false) }
	},
	"silence": func(n *node) func() {
		back := make(chan struct{})
		n.set(func(string) error { <-back; return errAway }, nil)
		return func() { n.away(false); close(back) }
	},
}

// TestStoreLost: a node that cannot reach the store stops its runs before
// their leases end; another takes over, and the late writes of the first are
// refused.
func TestStoreLost(t *testing.T) {
	for name, cut := range cut {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				a, b := h.node("a"), h.node("b")
				var lost, taken time.Time
				var old *task.Run
				a.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
					if r.Task.Lane == "again" {
						return a.success(r)
					}
					if err := r.Save(ctx, "from a"); err != nil {
						return err
					}
					<-ctx.Done()
					lost, old = time.Now(), r
					if !errors.Is(context.Cause(ctx), task.ErrLeaseLost) {
						t.Errorf("ended because %v", context.Cause(ctx))
					}
					return ctx.Err()
				}).start()
				h.enqueue(task.New{})
				pass(time.Minute)
				b.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
					taken = time.Now()
					var from string
					if had, err := r.Saved(&from); !had || err != nil || from != "from a" || r.Task.Attempt != 2 {
						t.Errorf("took over %q %v %+v", from, err, r.Task)
					}
					time.Sleep(time.Minute)
					return b.success(r)
				}).start()
				down := time.Now()
				restore := cut(a)
				pass(2 * lease)
				if lost.IsZero() || taken.IsZero() || !lost.Before(taken) {
					t.Fatalf("lost at %v, taken over at %v", lost, taken)
				}
				if took := lost.Sub(down); took > lease*2/3 {
					t.Errorf("the run went on for %v", took)
				}
				if took := taken.Sub(down); took > lease+time.Second {
					t.Errorf("taken over after %v", took)
				}
				restore()
				h.afterOutage(a, b, old)
			})
		})
	}
}

// afterOutage holds that the late writes of a's run are refused, that b's run
// goes on to its end, and that a is whole again.
func (h *house) afterOutage(a, b *node, old *task.Run) {
	h.t.Helper()
	pass(time.Second)
	if err := old.Save(context.Background(), "late"); !errors.Is(err, task.ErrLeaseLost) {
		h.t.Errorf("a late checkpoint: %v", err)
	}
	if err := a.success(old); !errors.Is(err, task.ErrLeaseLost) {
		h.t.Errorf("a late end: %v", err)
	}
	pass(2 * time.Minute)
	h.want(old.Task.ID, task.Done, "")
	b.stop()
	again := h.enqueue(task.New{Lane: "again"})
	pass(2 * time.Minute)
	h.want(again.ID, task.Done, "")
	a.stop()
}

// TestShortOutage: an outage that leases outlast disturbs no run.
func TestShortOutage(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		n.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Minute):
				return n.success(r)
			}
		}).start()
		k := h.enqueue(task.New{})
		pass(10 * time.Second)
		n.away(true)
		pass(4 * time.Second)
		n.away(false)
		pass(time.Minute)
		if got := h.want(k.ID, task.Done, ""); got.Attempt != 1 {
			t.Errorf("ended as %+v", got)
		}
		n.stop()
	})
}

// TestStray: a task that is leased to a node and runs nowhere on it, because
// an answer got lost, is given back and does not hang for ever.
func TestStray(t *testing.T) {
	cases := map[string]struct {
		begin func(n *node) (restore func())
		run   func(n *node, r *task.Run) error
	}{
		"the end and the return were not written": {
			begin: func(n *node) func() { return n.failing("Finish", "Retry") },
			run:   func(n *node, r *task.Run) error { return n.success(r) },
		},
		"a claim was made and not heard of": {
			begin: func(n *node) func() {
				n.set(nil, func(op string, err error) error {
					if op == "Claim" {
						return errors.Join(err, errAway)
					}
					return err
				})
				return func() { n.away(false) }
			},
			run: func(n *node, r *task.Run) error { return n.success(r) },
		},
		"the handler forgot to end it": {
			begin: func(n *node) func() { return func() {} },
			run: func(n *node, r *task.Run) error {
				if r.Task.Attempt == 1 {
					return nil
				}
				return n.success(r)
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				n := h.node("a")
				n.on(task.Policy{}, func(_ context.Context, r *task.Run) error { return c.run(n, r) })
				restore := c.begin(n)
				n.start()
				k := h.enqueue(task.New{})
				pass(2 * time.Second)
				restore()
				h.want(k.ID, task.Running, "")
				pass(lease)
				if got := h.want(k.ID, task.Done, ""); got.Attempt != 2 {
					t.Errorf("ended as %+v", got)
				}
				n.stop()
			})
		})
	}
}

// TestNotStray: a claim that takes long to be answered is not given back by
// the first heartbeat that sees it.
func TestNotStray(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		var slow atomic.Bool
		slow.Store(true)
		n.set(nil, func(op string, err error) error {
			if op == "Claim" && slow.Load() {
				time.Sleep(lease / 4)
			}
			return err
		})
		n.on(task.Policy{}, func(_ context.Context, r *task.Run) error { return n.success(r) }).start()
		k := h.enqueue(task.New{})
		pass(lease)
		slow.Store(false)
		if got := h.want(k.ID, task.Done, ""); got.Attempt != 1 {
			t.Errorf("ended as %+v", got)
		}
		n.stop()
	})
}

// TestLateClaim: a claim that is answered when its task has been given back
// begins no run beside the one of the node that has it by then.
func TestLateClaim(t *testing.T) {
	inHouse(t, func(h *house) {
		a, b := h.node("a"), h.node("b")
		var late atomic.Bool
		late.Store(true)
		a.set(nil, func(op string, err error) error {
			if op == "Claim" && late.Load() {
				time.Sleep(lease)
			}
			return err
		})
		k := h.enqueue(task.New{})
		a.on(task.Policy{}, func(_ context.Context, r *task.Run) error {
			if r.Task.ID == k.ID {
				t.Errorf("attempt %d began late", r.Task.Attempt)
			}
			return a.success(r)
		}).start()
		pass(0)
		h.want(k.ID, task.Running, "")
		b.on(task.Policy{}, func(_ context.Context, r *task.Run) error {
			time.Sleep(time.Minute)
			return b.success(r)
		}).start()
		pass(lease)
		late.Store(false)
		pass(2 * time.Minute)
		if got := h.want(k.ID, task.Done, ""); got.Attempt != 2 {
			t.Errorf("ended as %+v", got)
		}
		b.stop()
		again := h.enqueue(task.New{})
		pass(2 * time.Second)
		h.want(again.ID, task.Done, "")
		a.stop()
	})
}

// TestSlowToStop: a run that goes on long after it has lost its lease does not
// take the next attempt of its task, on the same node, off the list with it.
func TestSlowToStop(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		n.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
			if r.Task.Attempt == 1 {
				<-ctx.Done()
				time.Sleep(time.Minute)
				return ctx.Err()
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(3 * time.Minute):
				return n.success(r)
			}
		}).start()
		k := h.enqueue(task.New{})
		pass(time.Second)
		n.away(true)
		pass(lease)
		n.away(false)
		pass(5 * time.Minute)
		if got := h.want(k.ID, task.Done, ""); got.Attempt != 2 {
			t.Errorf("ended as %+v", got)
		}
		n.stop()
	})
}

// TestOvertaken: a run whose task is claimed again by its own node, before a
// heartbeat has told it so, hears of it then.
func TestOvertaken(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		var cause error
		n.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
			if r.Task.Attempt == 1 {
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Minute):
				}
				cause = context.Cause(ctx)
				return ctx.Err()
			}
			time.Sleep(time.Minute)
			return n.success(r)
		}).start()
		k := h.enqueue(task.New{})
		pass(100 * time.Millisecond)
		taken := task.Lease{TaskID: k.ID, Owner: "a/b", Attempt: 1}
		if err := h.db.Tasks().Retry(h.t.Context(), taken, time.Now(), false, ""); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		if !errors.Is(cause, task.ErrLeaseLost) {
			t.Errorf("the first run ended because %v", cause)
		}
		pass(2 * time.Minute)
		if got := h.want(k.ID, task.Done, ""); got.Attempt != 2 {
			t.Errorf("ended as %+v", got)
		}
		n.stop()
	})
}

// TestLostWhileFailing: undoing stops with the lease too; a cancel and a
// drain do not interrupt it.
func TestLostWhileFailing(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		undoing := make(chan error, 1)
		n.Register("work", task.Policy{}, work{
			n:   n,
			run: func(context.Context, *task.Run) error { return backend.ErrNoSpace },
			fail: func(ctx context.Context, r *task.Run, f task.Failure) error {
				select {
				case <-ctx.Done():
					undoing <- context.Cause(ctx)
					return ctx.Err()
				case <-time.After(time.Minute):
					undoing <- nil
					return n.Finish(ctx, r.Lease, f.Outcome())
				}
			},
		})
		n.start()
		k := h.enqueue(task.New{})
		pass(time.Second)
		n.away(true)
		if err := <-undoing; !errors.Is(err, task.ErrLeaseLost) {
			t.Errorf("undoing ended with %v", err)
		}
		n.away(false)
		pass(lease) // the task is given back and fails again
		n.CancelRun(k.ID)
		n.stop()
		if err := <-undoing; err != nil {
			t.Errorf("a stop interrupted the undoing: %v", err)
		}
		h.want(k.ID, task.Failed, "storage_full")
	})
}
