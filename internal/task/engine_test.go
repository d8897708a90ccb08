package task_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
)

func TestSuccess(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		runs := 0
		n.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
			runs++
			if r.Task.State != task.Running || r.Lease != (task.Lease{TaskID: r.Task.ID, Owner: "a/b", Attempt: 1}) {
				t.Errorf("run of %+v with %+v", r.Task, r.Lease)
			}
			return n.success(r)
		}).start()
		k := h.enqueue(task.New{Args: map[string]int{"size": 1}})
		pass(0) // woken, not found by the poll
		got := h.want(k.ID, task.Done, "")
		if runs != 1 || got.Attempt != 1 || got.Failures != 0 || got.Progress != 100 || got.StartedAt.IsZero() {
			t.Errorf("%d runs: %+v", runs, got)
		}
		if !slices.Equal(n.heard(), []string{"done"}) {
			t.Errorf("observed %v", n.heard())
		}
		n.stop()
	})
}

// TestTemporary: what may heal is tried again after a pause, and the client
// reads why it takes so long.
func TestTemporary(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a", func(c *task.Config) {
			c.Backoff = func(failures int) time.Duration { return time.Duration(failures+1) * 10 * time.Second }
		})
		var at []time.Duration
		start := time.Now()
		n.on(task.Policy{MaxFailures: 5}, func(ctx context.Context, r *task.Run) error {
			at = append(at, time.Since(start).Round(time.Second))
			if len(at) < 3 {
				return fmt.Errorf("grow: %w", backend.ErrUnavailable.Because(errors.New("secret")))
			}
			return n.success(r)
		}).start()
		k := h.enqueue(task.New{})
		pass(time.Second)
		if got := h.want(k.ID, task.Ready, ""); got.Failures != 1 || got.Message != backend.ErrUnavailable.Text {
			t.Errorf("after one failure: %+v", got)
		}
		pass(time.Minute)
		if got := h.want(k.ID, task.Done, ""); got.Failures != 2 || got.Attempt != 3 {
			t.Errorf("at the end: %+v", got)
		}
		// The poll finds what is due within a second.
		if !slices.Equal(at, []time.Duration{0, 10 * time.Second, 30 * time.Second}) && !slices.Equal(at, []time.Duration{0, 11 * time.Second, 32 * time.Second}) {
			t.Errorf("attempts at %v", at)
		}
		n.stop()
	})
}

func TestPermanent(t *testing.T) {
	for reason, err := range map[string]error{
		"storage_full":    fmt.Errorf("create: %w", backend.ErrNoSpace),
		"volume_attached": volume.ErrAttached,
	} {
		t.Run(reason, func(t *testing.T) {
			inHouse(t, func(h *house) {
				n := h.node("a")
				n.on(task.Policy{}, func(context.Context, *task.Run) error { return err }).start()
				k := h.enqueue(task.New{})
				next := h.enqueue(task.New{Kind: "other"})
				n.stopAfter(time.Second)
				got := h.want(k.ID, task.Failed, reason)
				if got.Error == "" || strings.Contains(got.Error, "create:") || got.Attempt != 1 {
					t.Errorf("failed as %+v", got)
				}
				h.want(next.ID, task.Ready, "") // the lane goes on; nobody knows "other"
			})
		})
	}
}

func (n *node) stopAfter(d time.Duration) {
	pass(d)
	n.stop()
}

// TestDeadline: a task that hangs and one that never heals both end when
// their time is up, and not before.
func TestDeadline(t *testing.T) {
	for name, run := range map[string]func(ctx context.Context) error{
		"hangs":       func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"never heals": func(context.Context) error { return backend.ErrUnavailable },
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				n := h.node("a")
				n.on(task.Policy{Deadline: time.Minute}, func(ctx context.Context, _ *task.Run) error { return run(ctx) }).start()
				k := h.enqueue(task.New{})
				pass(59 * time.Second)
				if s := h.task(k.ID).State; s.Ended() {
					t.Errorf("%s too early", s)
				}
				n.stopAfter(40 * time.Second)
				if got := h.task(k.ID); got.State != task.Failed || got.Reason != "deadline_exceeded" || strings.Contains(got.Error, backend.ErrUnavailable.Text) != (name == "never heals") {
					t.Errorf("ended as %+v", got)
				}
			})
		})
	}
}

func TestMaxFailures(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		runs := 0
		n.on(task.Policy{MaxFailures: 2}, func(context.Context, *task.Run) error {
			runs++
			return backend.ErrUnavailable
		}).start()
		k := h.enqueue(task.New{})
		n.stopAfter(time.Minute)
		if got := h.want(k.ID, task.Failed, "backend_unavailable"); got.Failures != 2 || runs != 3 {
			t.Errorf("%d runs: %+v", runs, got)
		}
	})
}

// TestCancel: a cancel ends a running task at once on its own node and with
// the next heartbeat elsewhere, and one that waits before it does anything.
func TestCancel(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		began := make(chan string, 10)
		n.on(task.Policy{}, func(ctx context.Context, r *task.Run) error {
			began <- r.Task.Lane
			<-ctx.Done()
			return ctx.Err()
		}).start()
		here, there := h.enqueue(task.New{Lane: "here"}), h.enqueue(task.New{Lane: "there"})
		behind := h.enqueue(task.New{Lane: "there"})
		pass(time.Second)
		n.CancelRun(here.ID)
		n.CancelRun(behind.ID) // runs nowhere
		pass(0)
		h.want(here.ID, task.Failed, "cancelled")
		h.cancel(behind.ID)
		pass(0)
		h.want(there.ID, task.Running, "")
		h.cancel(there.ID)
		n.stopAfter(lease / 3)
		h.want(there.ID, task.Failed, "cancelled")
		h.want(behind.ID, task.Failed, "cancelled")
		close(began)
		var lanes []string
		for l := range began {
			lanes = append(lanes, l)
		}
		slices.Sort(lanes)
		if !slices.Equal(lanes, []string{"here", "there"}) {
			t.Errorf("began in %v", lanes)
		}
	})
}

func TestPanic(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		runs, fails := 0, 0
		n.Register("work", task.Policy{MaxFailures: 1}, work{
			n: n,
			run: func(context.Context, *task.Run) error {
				runs++
				panic("in run")
			},
			fail: func(ctx context.Context, r *task.Run, f task.Failure) error {
				if fails++; fails == 1 {
					panic("in fail")
				}
				return n.Finish(ctx, r.Lease, f.Outcome())
			},
		})
		n.start()
		k := h.enqueue(task.New{})
		n.stopAfter(time.Minute)
		got := h.want(k.ID, task.Failed, "internal")
		if got.Error != "internal error" || fails != 2 || runs < 2 {
			t.Errorf("%d runs, %d fails: %+v", runs, fails, got)
		}
	})
}

// TestFailAgain: undoing that does not succeed is tried until it does, and the
// lane waits for it.
func TestFailAgain(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		var fails atomic.Int32
		n.Register("work", task.Policy{}, work{
			n:   n,
			run: func(context.Context, *task.Run) error { return backend.ErrNoSpace },
			fail: func(ctx context.Context, r *task.Run, f task.Failure) error {
				if !f.Permanent || f.Reason != "storage_full" {
					t.Errorf("failed with %+v", f)
				}
				if fails.Add(1) < 4 {
					return backend.ErrUnavailable
				}
				return n.Finish(ctx, r.Lease, f.Outcome())
			},
		})
		n.start()
		k := h.enqueue(task.New{})
		next := h.enqueue(task.New{})
		pass(500 * time.Millisecond)
		h.want(next.ID, task.Waiting, "")
		n.stopAfter(time.Minute)
		h.want(k.ID, task.Failed, "storage_full")
		h.want(next.ID, task.Failed, "storage_full")
		if got := fails.Load(); got != 5 {
			t.Errorf("%d fails", got)
		}
	})
}

// TestUnknownKind: a task that no node can do ends all the same, but not
// before a newer node had time to take it.
func TestUnknownKind(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a").start()
		k := h.enqueue(task.New{Kind: "from.the.future"})
		pass(2 * time.Minute)
		h.want(k.ID, task.Ready, "")
		n.stopAfter(20 * time.Minute)
		h.want(k.ID, task.Failed, "internal")
	})
}

// TestDrain: a stop cancels runs and gives their tasks back, uncounted and
// with their checkpoint; once done is closed nothing runs.
func TestDrain(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		var running atomic.Int32
		n.on(task.Policy{Deadline: time.Hour, MaxFailures: 1}, func(ctx context.Context, r *task.Run) error {
			running.Add(1)
			defer running.Add(-1)
			if err := r.Save(ctx, map[string]int{"at": 5}); err != nil {
				return err
			}
			<-ctx.Done()
			time.Sleep(3 * lease) // it takes its time, and keeps its lease
			return backend.ErrUnavailable
		}).start()
		var ids []string
		for i := range 12 { // four more than there are workers
			ids = append(ids, h.enqueue(task.New{Lane: fmt.Sprint(i)}).ID)
		}
		pass(time.Second)
		began := time.Now()
		n.stop()
		if took := time.Since(began); took != 3*lease || running.Load() != 0 {
			t.Errorf("stopped after %v with %d running", took, running.Load())
		}
		started := 0
		for _, id := range ids {
			got := h.want(id, task.Ready, "")
			if got.Failures != 0 || got.RunAt.After(time.Now()) {
				t.Errorf("given back as %+v", got)
			}
			if got.Attempt == 1 {
				started++
				if string(got.Checkpoint) != `{"at":5}` {
					t.Errorf("checkpoint %s", got.Checkpoint)
				}
			}
		}
		if started != 8 {
			t.Errorf("%d had been started", started)
		}
	})
}

// TestDrainDuringClaim: a stop that comes while a claim is under way waits for
// what the claim brings.
func TestDrainDuringClaim(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("a")
		inside, release := make(chan struct{}), make(chan struct{})
		var once atomic.Bool
		n.set(nil, func(op string, err error) error {
			if op == "Claim" && once.CompareAndSwap(false, true) {
				close(inside)
				<-release
			}
			return err
		})
		k := h.enqueue(task.New{})
		n.Register("work", task.Policy{}, work{n: n, run: func(context.Context, *task.Run) error {
			t.Error("ran after the stop")
			return nil
		}})
		ctx, cancel := context.WithCancel(h.t.Context())
		done, err := n.Start(ctx)
		if err != nil {
			t.Fatal(err)
		}
		<-inside
		cancel()
		synctest.Wait()
		select {
		case <-done:
			t.Error("done with a claim under way")
		default:
		}
		close(release)
		<-done
		if s := h.task(k.ID); s.State == task.Running || s.Failures != 0 {
			t.Errorf("after the stop: %+v", s)
		}
	})
}

// TestStartFails: an engine that cannot take up its work says so and runs
// nothing.
func TestStartFails(t *testing.T) {
	for _, op := range []string{"ReleaseNode", "Ensure"} {
		t.Run(op, func(t *testing.T) {
			inHouse(t, func(h *house) {
				n := h.node("a")
				n.Register("house.work", task.Policy{Every: time.Minute}, work{n: n})
				n.set(func(o string) error {
					if o == op {
						return errAway
					}
					return nil
				}, nil)
				if _, err := n.Start(h.t.Context()); !errors.Is(err, errAway) {
					t.Errorf("started: %v", err)
				}
			})
		})
	}
}
