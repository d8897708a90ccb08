package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
)

func testRenew(t *testing.T, w *world) {
	ctx := t.Context()
	a := w.enqueue(t, task.New{Lane: "a"})
	b := w.enqueue(t, task.New{Lane: "b"})
	w.enqueue(t, task.New{Lane: "c"})
	_, la := w.claimOne(t, "n/b")
	_, lb := w.claimOne(t, "n/b")
	w.claimOne(t, "n/other")
	check(t, w.ISOs().Tx(ctx, func(tx iso.Tx) error { return tx.Cancel(ctx, b.ID) }))

	w.clock.add(59 * time.Second)
	held := map[string]task.Held{}
	for _, h := range must(w.Tasks().Renew(ctx, "n/b", time.Minute))(t) {
		held[h.Lease.TaskID] = h
	}
	equal(t, "held", held, map[string]task.Held{a.ID: {Lease: la}, b.ID: {Lease: lb, Cancel: true}})
	w.clock.add(59 * time.Second)
	same(t, "reaped of the other owner", must(w.Tasks().Reap(ctx))(t), 1)
	check(t, w.Tasks().Finish(ctx, la, task.Success))
	w.clock.add(2 * time.Second)
	same(t, "reaped of this one", must(w.Tasks().Reap(ctx))(t), 1)
	same(t, "held afterwards", len(must(w.Tasks().Renew(ctx, "n/b", time.Minute))(t)), 0)
	got := must(w.Tasks().Claim(ctx, task.Quick, "n/b", time.Minute, 10))(t)
	for _, k := range got {
		same(t, "cancel mark of a claimed task", k.Cancel, k.ID == b.ID)
	}
	same(t, "claimed", len(got), 2)
}

func testReap(t *testing.T, w *world) {
	ctx := t.Context()
	k := w.enqueue(t, task.New{Lane: "l", ClientID: 7})
	behind := w.enqueue(t, task.New{Lane: "l", ClientID: 7})
	_, l := w.claimOne(t, "n/b")
	check(t, w.Tasks().Save(ctx, l, []byte("cp"), task.Progress{Percent: 5}))
	w.clock.add(time.Minute)
	same(t, "at the end of the lease", must(w.Tasks().Reap(ctx))(t), 0)
	w.clock.add(time.Microsecond)
	same(t, "after it", must(w.Tasks().Reap(ctx))(t), 1)
	same(t, "again", must(w.Tasks().Reap(ctx))(t), 0)
	got := w.task(t, k.ID)
	same(t, "reaped task", fmt.Sprintf("%s %d %d %s", got.State, got.Failures, got.Progress, got.Checkpoint), "ready 0 5 cp")
	same(t, "the lane", w.task(t, behind.ID).State, task.Waiting)
	again, _ := w.claimOne(t, "m/b")
	same(t, "attempt", again.Attempt, int64(2))
	same(t, "first start", again.StartedAt, got.StartedAt)
}

// testReleaseNode: a node takes back its own tasks, whatever other names
// look like.
func testReleaseNode(t *testing.T, w *world) {
	ctx := t.Context()
	owners := []string{"node1/x", "node1/y", "node10/x", "node/x", "xnode1/x", "NODE1/x", "node%/x", "node_/x", "nodé1/x"}
	ids := map[string]string{}
	for _, o := range owners {
		w.enqueue(t, task.New{Lane: o, ClientID: 7})
		k, _ := w.claimOne(t, o)
		ids[o] = k.ID
	}
	running := func() (out []string) {
		for _, o := range owners {
			if w.task(t, ids[o]).State == task.Running {
				out = append(out, o)
			}
		}
		return out
	}
	same(t, "of node1", must(w.Tasks().ReleaseNode(ctx, "node1"))(t), 2)
	equal(t, "still running", running(), owners[2:])
	same(t, "again", must(w.Tasks().ReleaseNode(ctx, "node1"))(t), 0)
	same(t, "of node%", must(w.Tasks().ReleaseNode(ctx, "node%"))(t), 1)
	same(t, "of node_", must(w.Tasks().ReleaseNode(ctx, "node_"))(t), 1)
	same(t, "of nodé1", must(w.Tasks().ReleaseNode(ctx, "nodé1"))(t), 1)
	same(t, "of nobody", must(w.Tasks().ReleaseNode(ctx, ""))(t), 0)
	equal(t, "still running", running(), owners[2:6])
}

func testEnsure(t *testing.T, w *world) {
	ctx := t.Context()
	n := task.New{Kind: "house.work", Lane: task.HouseLane("house.work"), Queue: task.Housework}
	pending := func() int {
		return len(look(t, w, func(tx volume.Tx) ([]task.Task, error) { return tx.PendingIn(ctx, n.Lane) }))
	}
	for range 3 {
		check(t, w.Tasks().Ensure(ctx, n))
		same(t, "tasks", pending(), 1)
	}
	got := must(w.Tasks().Claim(ctx, task.Housework, "n/b", time.Minute, 10))(t)
	same(t, "claimed", len(got), 1)
	check(t, w.Tasks().Ensure(ctx, n))
	same(t, "tasks while it runs", pending(), 1)
	check(t, w.Tasks().Finish(ctx, leaseOf(got[0], "n/b"), task.Success))
	check(t, w.Tasks().Ensure(ctx, n))
	same(t, "tasks after it ended", pending(), 1)
	same(t, "tasks that clients see", len(must(w.Tasks().List(ctx, everyone, task.Filter{Limit: 10}))(t)), 0)
}

// testAfter: a task waits for every task it comes after, in its own lane and
// in others, however they end.
func testAfter(t *testing.T, w *world) {
	ctx := t.Context()
	claim := func() (out string, leases []task.Lease) {
		for _, k := range must(w.Tasks().Claim(ctx, task.Quick, "n/b", time.Hour, 10))(t) {
			out += k.Lane
			leases = append(leases, leaseOf(k, "n/b"))
		}
		return out, leases
	}
	a := w.enqueue(t, task.New{Lane: "a"})
	b := w.enqueue(t, task.New{Lane: "b"})
	c := w.enqueue(t, task.New{Lane: "c", After: []task.Task{a, b, a}})
	w.enqueue(t, task.New{Lane: "c"})                              // behind a head that waits elsewhere
	d := w.enqueue(t, task.New{Lane: "a", After: []task.Task{a}})  // its own lane
	w.enqueue(t, task.New{Lane: "d", After: []task.Task{d, c, b}}) // several levels
	e := w.enqueue(t, task.New{Lane: "e", RunAt: w.clock.add(time.Second)})
	same(t, "free lane", e.State, task.Ready)

	got, first := claim()
	same(t, "first", got, "abe")
	check(t, w.Tasks().Finish(ctx, first[1], task.Outcome{State: task.Failed, Reason: "r"}))
	got, _ = claim()
	same(t, "after b", got, "")
	check(t, w.Tasks().Finish(ctx, first[0], task.Success))
	got, next := claim()
	same(t, "after a and b", got, "ca")
	check(t, w.Tasks().Finish(ctx, next[0], task.Success))
	got, _ = claim()
	same(t, "after c", got, "c")
	check(t, w.Tasks().Retry(ctx, next[1], w.clock.Now(), true, ""))
	got, again := claim()
	same(t, "a retry ends nothing", got, "a")
	check(t, w.Tasks().Finish(ctx, again[0], task.Success))
	got, _ = claim()
	same(t, "after d", got, "d")
}

// testAfterEnded: what has ended already holds up nobody.
func testAfterEnded(t *testing.T, w *world) {
	ctx := t.Context()
	a := w.enqueue(t, task.New{Lane: "a"})
	b := w.enqueue(t, task.New{Lane: "b"})
	_, la := w.claimOne(t, "n/b")
	_, lb := w.claimOne(t, "n/b")
	check(t, w.Tasks().Finish(ctx, la, task.Success))
	same(t, "after an ended one", w.enqueue(t, task.New{Lane: "c", After: []task.Task{a}}).State, task.Ready)
	mixed := w.enqueue(t, task.New{Lane: "d", After: []task.Task{a, b}, ClientID: 7})
	same(t, "after an ended and a running one", mixed.State, task.Waiting)
	check(t, w.Tasks().Finish(ctx, lb, task.Success))
	same(t, "once that has ended", w.task(t, mixed.ID).State, task.Ready)
}

// signalled reports whether the queue's dispatcher was woken, and takes the
// signal.
func (w *world) signalled(q task.Queue) bool {
	select {
	case <-w.Tasks().Wake(q):
		return true
	default:
		return false
	}
}

// awake waits for the signal: an engine may bring it by another way.
func (w *world) awake(t testing.TB, what string, q task.Queue) {
	t.Helper()
	select {
	case <-w.Tasks().Wake(q):
	case <-time.After(10 * time.Second):
		t.Fatalf("%s woke nobody", what)
	}
}

func testWake(t *testing.T, w *world) {
	ctx := t.Context()
	for _, q := range []task.Queue{task.Quick, task.Imports, task.Housework} {
		w.enqueue(t, task.New{Lane: "l" + string(q), Queue: q})
		w.awake(t, "enqueue", q)
	}
	w.enqueue(t, task.New{Lane: "lquick", Queue: task.Imports})
	_, l := w.claimOne(t, "n/b")
	check(t, w.Tasks().Retry(ctx, l, w.clock.Now(), false, ""))
	w.awake(t, "retry", task.Quick)
	_, l = w.claimOne(t, "n/b")
	check(t, w.Tasks().Finish(ctx, l, task.Success))
	w.awake(t, "a finish that lets the next of the lane through", task.Imports)

	w.enqueue(t, task.New{Lane: "x"})
	w.awake(t, "enqueue", task.Quick)
	k, l := w.claimOne(t, "n/b")
	w.enqueue(t, task.New{Lane: "y", Queue: task.Housework, After: []task.Task{k}})
	check(t, w.Tasks().Finish(ctx, l, task.Success))
	w.awake(t, "a finish that lets another lane through", task.Housework)

	w.enqueue(t, task.New{Lane: "z"})
	w.awake(t, "enqueue", task.Quick)
	w.claimOne(t, "n/b")
	must(w.Tasks().ReleaseNode(ctx, "n"))(t)
	w.awake(t, "release", task.Quick)
	w.claimOne(t, "n/b")
	w.clock.add(time.Hour)
	must(w.Tasks().Reap(ctx))(t)
	w.awake(t, "reap", task.Quick)
}

// testWakeNot: what did not become ready wakes nobody, so that an idle server
// stays idle.
func testWakeNot(t *testing.T, w *world) {
	ctx := t.Context()
	k := w.enqueue(t, task.New{Lane: "l"})
	w.awake(t, "enqueue", task.Quick)
	w.enqueue(t, task.New{Lane: "l"})
	w.enqueue(t, task.New{Lane: "m", After: []task.Task{k}})
	is(t, w.Volumes().Tx(ctx, func(tx volume.Tx) error {
		check(t, second(tx.Enqueue(ctx, task.New{Kind: "k", Lane: "n", Queue: task.Quick})))
		return errBoom
	}), errBoom)
	_, l := w.claimOne(t, "n/b")
	check(t, w.Tasks().Save(ctx, l, nil, task.Progress{}))
	must(w.Tasks().Renew(ctx, "n/b", time.Minute))(t)
	must(w.Tasks().Reap(ctx))(t)
	if w.signalled(task.Quick) || w.signalled(task.Imports) || w.signalled(task.Housework) {
		t.Error("woken for nothing")
	}
}

// testWatch: who watches a task hears once the commit that ended it can be
// read, and of nothing else.
func testWatch(t *testing.T, w *world) {
	ctx := t.Context()
	k := w.enqueue(t, task.New{Lane: "l", ClientID: 7})
	other := w.enqueue(t, task.New{Lane: "m", ClientID: 7, RunAt: w.clock.Now().Add(time.Hour)})
	changed, cancel := w.Tasks().Watch(k.ID)
	again, cancelAgain := w.Tasks().Watch(k.ID)
	left, leave := w.Tasks().Watch(k.ID)
	none, cancelNone := w.Tasks().Watch(other.ID)
	defer cancel()
	defer cancelAgain()
	defer cancelNone()
	leave()
	leave()
	_, l := w.claimOne(t, "n/b")
	lost := l
	lost.Attempt++
	is(t, w.Tasks().Finish(ctx, lost, task.Success), task.ErrLeaseLost)
	check(t, w.Tasks().Save(ctx, l, nil, task.Progress{Percent: 1}))
	select {
	case <-changed:
		t.Error("signalled although the task has not ended")
	default:
	}
	check(t, w.Tasks().Finish(ctx, l, task.Success))
	for _, c := range []<-chan struct{}{changed, again} {
		select {
		case <-c:
		case <-time.After(10 * time.Second):
			t.Fatal("no signal of the end")
		}
	}
	same(t, "state", w.task(t, k.ID).State, task.Done)
	select {
	case <-left:
		t.Error("signalled after the watch was cancelled")
	case <-none:
		t.Error("signalled by another task's end")
	default:
	}
}
