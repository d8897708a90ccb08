package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
)

// entry is a task as the model of lanes sees it.
type entry struct {
	task.Task
	after []string
	lease task.Lease
}

// model is what the lanes should do, in a few lines: a task is ready when
// nothing before it in its lane and nothing it comes after is unfinished.
type model struct {
	w     *world
	tasks []*entry // in order of acceptance
	round string
}

func (m *model) unfinished(id string) bool {
	return slices.ContainsFunc(m.tasks, func(e *entry) bool { return e.ID == id && !e.State.Ended() })
}

func (m *model) in(states ...task.State) (out []*entry) {
	for _, e := range m.tasks {
		if slices.Contains(states, e.State) {
			out = append(out, e)
		}
	}
	return out
}

// settle promotes what has become ready.
func (m *model) settle() {
	lanes := map[string]bool{}
	for _, e := range m.tasks {
		if e.State == task.Waiting && !lanes[e.Lane] && !slices.ContainsFunc(e.after, m.unfinished) {
			e.State = task.Ready
		}
		if !e.State.Ended() {
			lanes[e.Lane] = true
		}
	}
}

func (m *model) enqueue(t *rapid.T) {
	n := task.New{Kind: "test.work", Queue: task.Quick, Lane: m.round + rapid.StringMatching("[abcd]").Draw(t, "lane")}
	e := &entry{}
	for _, a := range m.tasks {
		if rapid.IntRange(0, 3).Draw(t, "after") == 0 {
			n.After = append(n.After, a.Task)
			e.after = append(e.after, a.ID)
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "later") == 0 {
		n.RunAt = m.w.clock.Now().Add(time.Second)
	}
	err := m.w.Volumes().Tx(context.Background(), func(tx volume.Tx) (err error) {
		e.Task, err = tx.Enqueue(context.Background(), n)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	was := e.State
	e.State = task.Waiting
	m.tasks = append(m.tasks, e)
	m.settle()
	if was != e.State {
		t.Fatalf("enqueued as %s, want %s", was, e.State)
	}
}

func (m *model) claim(t *rapid.T, limit int) int {
	now := m.w.clock.Now()
	var want []*entry
	for _, e := range m.in(task.Ready) {
		if !e.RunAt.After(now) {
			want = append(want, e)
		}
	}
	slices.SortStableFunc(want, func(a, b *entry) int { return cmp.Or(a.RunAt.Compare(b.RunAt), cmp.Compare(a.Seq, b.Seq)) })
	want = want[:min(limit, len(want))]
	got, err := m.w.Tasks().Claim(context.Background(), task.Quick, "n/b", time.Hour, limit)
	if err != nil || len(got) != len(want) {
		t.Fatalf("claimed %d, want %d: %v", len(got), len(want), err)
	}
	for i, e := range want {
		if got[i].ID != e.ID || got[i].Attempt != e.Attempt+1 {
			t.Fatalf("claim %d is %+v, want %+v", i, got[i], e.Task)
		}
		e.State, e.Attempt, e.lease = task.Running, got[i].Attempt, leaseOf(got[i], "n/b")
	}
	return len(got)
}

func (m *model) finish(t *rapid.T, e *entry, o task.Outcome) {
	if err := m.w.Tasks().Finish(context.Background(), e.lease, o); err != nil {
		t.Fatal(err)
	}
	e.State = o.State
	m.settle()
}

func (m *model) retry(t *rapid.T, e *entry, at time.Time) {
	if err := m.w.Tasks().Retry(context.Background(), e.lease, at, true, ""); err != nil {
		t.Fatal(err)
	}
	e.State, e.RunAt = task.Ready, at.UTC().Truncate(time.Microsecond)
}

// check compares the lanes of the database with the model's.
func (m *model) check(t *rapid.T) {
	var got []string
	err := m.w.Volumes().View(context.Background(), func(tx volume.Tx) error {
		for _, l := range []string{"a", "b", "c", "d"} {
			pending, err := tx.PendingIn(context.Background(), m.round+l)
			if err != nil {
				return err
			}
			for _, k := range pending {
				got = append(got, fmt.Sprint(k.Seq, " ", k.State))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, l := range []string{"a", "b", "c", "d"} {
		for _, e := range m.in(task.Waiting, task.Ready, task.Running) {
			if e.Lane == m.round+l {
				want = append(want, fmt.Sprint(e.Seq, " ", e.State))
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("lanes are\n%v, want\n%v", got, want)
	}
}

// testLaneModel lets random tasks with random dependencies run in every way
// and compares with the model after each step. At the end all must have run:
// no graph of dependencies can come to a halt.
func testLaneModel(t *testing.T, w *world) {
	rounds := 0
	rapid.Check(t, func(t *rapid.T) {
		w.drain(t)
		rounds++
		m := &model{w: w, round: fmt.Sprint(rounds, "/")}
		running := func(t *rapid.T) *entry {
			list := m.in(task.Running)
			if len(list) == 0 {
				t.Skip("nothing runs")
			}
			return rapid.SampledFrom(list).Draw(t, "run")
		}
		t.Repeat(map[string]func(*rapid.T){
			"enqueue":  m.enqueue,
			"enqueue2": m.enqueue,
			"claim":    func(t *rapid.T) { m.claim(t, rapid.IntRange(1, 4).Draw(t, "limit")) },
			"done":     func(t *rapid.T) { m.finish(t, running(t), task.Success) },
			"failed":   func(t *rapid.T) { m.finish(t, running(t), task.Outcome{State: task.Failed, Reason: "r"}) },
			"retry":    func(t *rapid.T) { m.retry(t, running(t), w.clock.Now()) },
			"later":    func(t *rapid.T) { m.retry(t, running(t), w.clock.Now().Add(time.Second)) },
			"time":     func(*rapid.T) { w.clock.add(700 * time.Millisecond) },
			"":         m.check,
		})
		for len(m.in(task.Waiting, task.Ready, task.Running)) > 0 {
			w.clock.add(2 * time.Second)
			claimed := m.claim(t, 10)
			list := m.in(task.Running)
			if claimed == 0 && len(list) == 0 {
				t.Fatalf("nothing can run any more of %d tasks", len(m.in(task.Waiting, task.Ready)))
			}
			for _, e := range list {
				m.finish(t, e, task.Success)
			}
		}
		m.check(t)
	})
}

// drain ends what a failed round has left.
func (w *world) drain(t *rapid.T) {
	ctx := context.Background()
	w.clock.add(2 * time.Hour)
	if _, err := w.Tasks().Reap(ctx); err != nil {
		t.Fatal(err)
	}
	for {
		got, err := w.Tasks().Claim(ctx, task.Quick, "drain/x", time.Hour, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			return
		}
		for _, k := range got {
			if err := w.Tasks().Finish(ctx, leaseOf(k, "drain/x"), task.Success); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// race is what testLaneRace has seen so far.
type race struct {
	w *world

	mu    sync.Mutex
	busy  map[string]bool     // lanes
	ended map[string][]string // task ids by lane
	left  int
}

// over reports whether every task has ended, or the test has failed.
func (r *race) over(t *testing.T) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left == 0 || t.Failed()
}

// run works on a claimed task: every fifth is tried twice.
func (r *race) run(ctx context.Context, t *testing.T, k task.Task, owner string) error {
	r.mu.Lock()
	if r.busy[k.Lane] {
		t.Errorf("two tasks of lane %s run at once", k.Lane)
	}
	r.busy[k.Lane] = true
	r.mu.Unlock()
	if err := r.w.Tasks().Save(ctx, leaseOf(k, owner), nil, task.Progress{Percent: 50}); err != nil {
		return err
	}
	again := k.Attempt == 1 && k.Seq%5 == 0
	r.mu.Lock()
	r.busy[k.Lane] = false // before the store lets the next one through
	if !again {
		r.ended[k.Lane] = append(r.ended[k.Lane], k.ID)
		r.left--
	}
	r.mu.Unlock()
	if again {
		return r.w.Tasks().Retry(ctx, leaseOf(k, owner), r.w.clock.Now(), true, "")
	}
	return r.w.Tasks().Finish(ctx, leaseOf(k, owner), task.Success)
}

// testLaneRace holds the order of lanes while tasks are accepted, claimed,
// retried and ended from all sides.
func testLaneRace(t *testing.T, w *world) {
	const lanes, each, claimers = 6, 20, 8
	ctx := t.Context()
	r := &race{w: w, busy: map[string]bool{}, ended: map[string][]string{}, left: lanes * each}
	accepted := make([][]string, lanes)
	var wg sync.WaitGroup
	for l := range lanes {
		wg.Go(func() {
			for range each {
				var k task.Task
				err := w.Volumes().Tx(ctx, func(tx volume.Tx) (err error) {
					k, err = tx.Enqueue(ctx, task.New{Kind: "test.work", Lane: fmt.Sprint(l), Queue: task.Quick})
					return err
				})
				if err != nil {
					t.Error(err)
				}
				accepted[l] = append(accepted[l], k.ID)
			}
		})
	}
	for i := range claimers {
		wg.Go(func() {
			owner := fmt.Sprint("n/", i)
			for !r.over(t) {
				got, err := w.Tasks().Claim(ctx, task.Quick, owner, time.Hour, 2)
				if err != nil {
					t.Error(err)
				}
				for _, k := range got {
					if err := r.run(ctx, t, k, owner); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for l := range lanes {
		equal(t, fmt.Sprint("order of lane ", l), r.ended[fmt.Sprint(l)], accepted[l])
	}
}
