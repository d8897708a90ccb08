package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

var (
	serviceFilter = billing.ServiceFilter{}
	chargeFilter  = billing.ChargeFilter{Limit: 10000}
)

func count[T any](list []T, err error) int {
	if err != nil {
		return -1
	}
	return len(list)
}

// testTaskLife follows one task from its acceptance to both ends.
func testTaskLife(t *testing.T, w *world) {
	ctx := t.Context()
	now := w.clock.Now().Truncate(time.Microsecond)
	n := task.New{
		Kind: "volume.create", Lane: task.DeviceLane(dev1), Queue: task.Quick, ClientID: 7, DeviceID: dev1, VolumeID: "v", ISOID: "i",
		Args: map[string]int{"size": 50},
	}
	k := w.enqueue(t, n)
	want := task.Task{
		Seq: k.Seq, ID: k.ID, Kind: n.Kind, Lane: n.Lane, Queue: n.Queue, State: task.Ready, ClientID: 7, DeviceID: dev1, VolumeID: "v", ISOID: "i",
		Args: []byte(`{"size":50}`), CreatedAt: now, UpdatedAt: now, RunAt: now,
	}
	equal(t, "accepted", k, want)
	equal(t, "accepted, read", w.task(t, k.ID), want)

	later := w.clock.add(time.Second).Truncate(time.Microsecond)
	got, l := w.claimOne(t, "n/b")
	want.State, want.Attempt, want.StartedAt, want.UpdatedAt = task.Running, 1, later, later
	equal(t, "claimed", got, want)

	check(t, w.Tasks().Save(ctx, l, []byte("cp"), task.Progress{Percent: 30, Message: "a"}))
	check(t, w.Tasks().Progress(ctx, []task.Report{{Lease: l, Progress: task.Progress{Percent: 40, Message: "b"}}}))
	check(t, w.Tasks().Retry(ctx, l, w.clock.Now(), true, "c"))
	want.State, want.Checkpoint, want.Progress, want.Message, want.Failures = task.Ready, []byte("cp"), 40, "c", 1
	want.RunAt = later
	equal(t, "given back", w.task(t, k.ID), want)

	_, l = w.claimOne(t, "n/b")
	check(t, w.Tasks().Retry(ctx, l, w.clock.Now(), false, ""))
	_, l = w.claimOne(t, "n/b")
	check(t, w.Tasks().Finish(ctx, l, task.Success))
	want.State, want.Attempt, want.Checkpoint, want.Progress, want.Message = task.Done, 3, nil, 100, ""
	equal(t, "done", w.task(t, k.ID), want)

	f := w.enqueue(t, n)
	_, l = w.claimOne(t, "n/b")
	check(t, w.Tasks().Finish(ctx, l, task.Outcome{State: task.Failed, Reason: "storage_full", Error: "A sentence.", Message: "m"}))
	end := w.task(t, f.ID)
	same(t, "outcome", fmt.Sprintf("%s/%s/%s/%s/%d", end.State, end.Reason, end.Error, end.Message, end.Progress), "failed/storage_full/A sentence./m/0")

	steps := ""
	for _, e := range must(w.VPS().Events(ctx, dev1, 10))(t) {
		steps = fmt.Sprintf("%s/%s/%s ", e.State, e.Level, e.Text) + steps
		same(t, "type", e.Type, "VOLUME.CREATE")
	}
	same(t, "events", steps, "Scheduled/INFO/ Started/INFO/ Completed/INFO/ Scheduled/INFO/ Started/INFO/ Completed/ERROR/storage_full ")
}

func testTaskLists(t *testing.T, w *world) {
	ctx, s := t.Context(), w.Tasks()
	ids := map[string]string{}
	add := func(name string, client, device int64) {
		k := w.enqueue(t, task.New{Lane: name, ClientID: client, DeviceID: device})
		ids[k.ID] = name
		w.clock.add(time.Second)
	}
	start := w.clock.Now()
	add("a", 7, dev1)
	add("b", 7, dev2)
	add("c", 8, other)
	add("d", 9, 0)
	add("e", 7, dev1)
	house := w.enqueue(t, task.New{Lane: "house", DeviceID: dev1})
	for _, c := range []struct {
		scope access.Scope
		f     task.Filter
		want  string
	}{
		{everyone, task.Filter{Limit: 10}, "edcba"},
		{everyone, task.Filter{Limit: 2}, "ed"},
		{only(7), task.Filter{Limit: 10}, "eba"},
		{only(8, 9), task.Filter{Limit: 10}, "dc"},
		{only(7), task.Filter{DeviceID: new(dev1), Limit: 10}, "ea"},
		{only(8), task.Filter{DeviceID: new(dev1), Limit: 10}, ""},
		{everyone, task.Filter{Since: start.Add(2 * time.Second), Limit: 10}, "edc"},
		{only(7), task.Filter{DeviceID: new(dev1), Since: start.Add(time.Second), Limit: 10}, "e"},
		{access.Scope{}, task.Filter{Limit: 10}, ""},
	} {
		got := ""
		for _, k := range must(s.List(ctx, c.scope, c.f))(t) {
			got += ids[k.ID]
		}
		same(t, fmt.Sprintf("list of %+v %+v", c.scope, c.f), got, c.want)
	}
	is(t, second(s.Get(ctx, only(7, 8, 9), house.ID)), task.ErrNotFound)
	is(t, second(s.Get(ctx, everyone, house.ID)), nil)
	is(t, second(s.Get(ctx, everyone, "nothing")), task.ErrNotFound)
	newest := must(s.Newest(ctx, only(7), dev1))(t)
	same(t, "newest of the device", ids[newest.ID], "e")
	equal(t, "by id", must(s.Get(ctx, only(7), newest.ID))(t), newest)
	is(t, second(s.Get(ctx, only(8), newest.ID)), task.ErrNotFound)
	is(t, second(s.Newest(ctx, only(8), dev1)), task.ErrNotFound)
	is(t, second(s.Newest(ctx, everyone, dev3)), task.ErrNotFound)

	w.claimOne(t, "n/b")
	w.enqueue(t, task.New{Lane: "a"})
	counts := map[string]string{}
	for _, c := range must(s.Count(ctx))(t) {
		counts[fmt.Sprint(c.Queue, " ", c.State)] = fmt.Sprint(c.Tasks, " since ", c.Oldest.Sub(start.Truncate(time.Microsecond)))
	}
	equal(t, "counts", counts, map[string]string{"quick running": "1 since 0s", "quick ready": "5 since 1s", "quick waiting": "1 since 5s"})
}

func testTaskPending(t *testing.T, w *world) {
	ctx := t.Context()
	a := w.enqueue(t, task.New{Lane: "l", VolumeID: "v", ISOID: "i"})
	b := w.enqueue(t, task.New{Lane: "m", VolumeID: "v"})
	c := w.enqueue(t, task.New{Lane: "l", ISOID: "i"})
	names := map[string]string{a.ID: "a", b.ID: "b", c.ID: "c"}
	pending := func() string {
		var volumes, isos, lane []task.Task
		check(t, w.Volumes().View(ctx, func(tx volume.Tx) (err error) {
			if volumes, err = tx.Pending(ctx, "v"); err != nil {
				return err
			}
			lane, err = tx.PendingIn(ctx, "l")
			return err
		}))
		check(t, w.ISOs().View(ctx, func(tx iso.Tx) (err error) {
			isos, err = tx.Pending(ctx, "i")
			return err
		}))
		out := ""
		for _, list := range [][]task.Task{volumes, isos, lane} {
			for _, k := range list {
				out += names[k.ID]
			}
			out += " "
		}
		return out
	}
	same(t, "ready and waiting", pending(), "ab ac ac ")
	k, l := w.claimOne(t, "n/b")
	same(t, "claimed", k.ID, a.ID)
	same(t, "running", pending(), "ab ac ac ")
	check(t, w.Tasks().Finish(ctx, l, task.Success))
	same(t, "one ended", pending(), "b c c ")
}

func testClaimOrder(t *testing.T, w *world) {
	ctx, now := t.Context(), w.clock.Now()
	names := map[string]string{}
	for i, at := range []time.Duration{0, -time.Second, -3 * time.Second, -2 * time.Second, -3 * time.Second} {
		names[w.enqueue(t, task.New{Lane: fmt.Sprint(i), RunAt: now.Add(at)}).ID] = fmt.Sprint(i)
	}
	names[w.enqueue(t, task.New{Lane: "import", Queue: task.Imports}).ID] = "import"
	claim := func(q task.Queue, limit int) (out string) {
		for _, k := range must(w.Tasks().Claim(ctx, q, "n/b", time.Minute, limit))(t) {
			out += names[k.ID]
		}
		return out
	}
	same(t, "oldest first, then by acceptance", claim(task.Quick, 3), "243")
	same(t, "another queue", claim(task.Imports, 10), "import")
	same(t, "the rest", claim(task.Quick, 10), "10")
	same(t, "nothing left", claim(task.Quick, 10), "")
}

// testClaimOnce: each task goes to one of many claimers.
func testClaimOnce(t *testing.T, w *world) {
	const n = 40
	for i := range n {
		w.enqueue(t, task.New{Lane: fmt.Sprint(i)})
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for i := range 8 {
		wg.Go(func() {
			for {
				tasks, err := w.Tasks().Claim(context.Background(), task.Quick, fmt.Sprint("n/", i), time.Minute, 3)
				if err != nil {
					t.Error(err)
				}
				if len(tasks) == 0 {
					return
				}
				mu.Lock()
				for _, k := range tasks {
					got[k.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	same(t, "tasks claimed", len(got), n)
	for id, times := range got {
		same(t, "claims of "+id, times, 1)
	}
}

func testRunAt(t *testing.T, w *world) {
	ctx := t.Context()
	first := w.enqueue(t, task.New{Lane: "l", RunAt: w.clock.Now().Add(time.Minute)})
	w.enqueue(t, task.New{Lane: "l"})
	claim := func() []task.Task { return must(w.Tasks().Claim(ctx, task.Quick, "n/b", time.Hour, 10))(t) }
	same(t, "too early, and the lane waits behind it", len(claim()), 0)
	w.clock.add(time.Minute - time.Microsecond)
	same(t, "still too early", len(claim()), 0)
	w.clock.add(time.Microsecond)
	got := claim()
	if len(got) != 1 || got[0].ID != first.ID {
		t.Fatalf("claimed %+v", got)
	}
	check(t, w.Tasks().Retry(ctx, leaseOf(got[0], "n/b"), w.clock.Now().Add(time.Second), true, ""))
	same(t, "a retry keeps the lane", len(claim()), 0)
	w.clock.add(time.Second)
	got = claim()
	if len(got) != 1 || got[0].ID != first.ID || got[0].Attempt != 2 {
		t.Fatalf("claimed %+v", got)
	}
}

// writes is every write of a run, by name. ran is set when a step gets in.
func (w *world) writes(ctx context.Context, l task.Lease, ran *bool) map[string]func() error {
	return map[string]func() error{
		"Save":   func() error { return w.Tasks().Save(ctx, l, []byte("x"), task.Progress{Percent: 99}) },
		"Retry":  func() error { return w.Tasks().Retry(ctx, l, w.clock.Now(), true, "x") },
		"Finish": func() error { return w.Tasks().Finish(ctx, l, task.Success) },
		"volume step": func() error {
			return w.Volumes().Step(ctx, l, func(volume.Tx) error { *ran = true; return nil })
		},
		"volume finish": func() error {
			return w.Volumes().Finish(ctx, l, task.Success, func(tx volume.Tx) error { return tx.RemoveVolume(ctx, "v") })
		},
		"ISO step":    func() error { return w.ISOs().Step(ctx, l, func(iso.Tx) error { *ran = true; return nil }) },
		"ISO advance": func() error { return w.ISOs().Advance(ctx, l, "i", 1, 1) },
		"ISO finish": func() error {
			return w.ISOs().Finish(ctx, l, task.Success, func(tx iso.Tx) error {
				return tx.PutContent(ctx, tpa, "s", iso.Content{State: iso.Present})
			})
		},
		"device finish": func() error {
			return w.VPS().Finish(ctx, l, task.Success, func(tx vps.Tx) error { return tx.SetStatus(ctx, dev1, vps.Stopped) })
		},
	}
}

// testFencing: a lease that another run has superseded writes nothing.
func testFencing(t *testing.T, w *world) {
	ctx := t.Context()
	w.vol(t, "v")
	k := w.enqueue(t, task.New{Lane: "l", ClientID: 7, DeviceID: dev1, VolumeID: "v"})
	_, stale := w.claimOne(t, "n/b")
	w.clock.add(2 * time.Minute)
	same(t, "reaped", must(w.Tasks().Reap(ctx))(t), 1)
	released := w.state(t)
	refuse := func(l task.Lease) {
		t.Helper()
		ran := false
		for name, write := range w.writes(ctx, l, &ran) {
			if err := write(); err == nil || err.Error() != task.ErrLeaseLost.Error() {
				t.Errorf("%s with lease %+v: %v", name, l, err)
			}
		}
		same(t, "step ran", ran, false)
		// Progress is of many runs: the lost ones are passed over.
		check(t, w.Tasks().Progress(ctx, []task.Report{{Lease: l, Progress: task.Progress{Percent: 99}}}))
		same(t, "rows", w.state(t), released)
		same(t, "status", must(w.VPS().Device(ctx, everyone, dev1))(t).Status, vps.Running)
		got := w.task(t, k.ID)
		same(t, "task", fmt.Sprintf("%t %d %d %q", got.State.Ended(), got.Progress, got.Failures, got.Checkpoint), `false 0 0 ""`)
		w.readVolume(t, "v")
	}
	refuse(stale)
	_, present := w.claimOne(t, "n/b")
	same(t, "attempt", present.Attempt, int64(2))
	refuse(stale)
	refuse(task.Lease{TaskID: k.ID, Owner: "n/other", Attempt: 2})
	refuse(task.Lease{TaskID: k.ID, Owner: "n/b", Attempt: 3})
	refuse(task.Lease{TaskID: "nothing", Owner: "n/b", Attempt: 2})

	is(t, w.Volumes().Step(ctx, present, func(tx volume.Tx) error { return errBoom }), errBoom)
	is(t, w.Volumes().Finish(ctx, present, task.Success, func(tx volume.Tx) error {
		check(t, tx.RemoveVolume(ctx, "v"))
		return errBoom
	}), errBoom)
	w.readVolume(t, "v")
	same(t, "a failed end ends nothing", w.task(t, k.ID).State, task.Running)
	check(t, w.Volumes().Finish(ctx, present, task.Success, func(tx volume.Tx) error { return tx.RemoveVolume(ctx, "v") }))
	w.noVolume(t, "v")
	is(t, w.Tasks().Finish(ctx, present, task.Success), task.ErrLeaseLost)
}
