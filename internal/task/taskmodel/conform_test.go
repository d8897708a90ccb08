package taskmodel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/store/storetest"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
	"github.com/drivebay/drivebay/internal/volume"
)

const lease = 15 * time.Second

// TestConform walks through the model at random and does each step to the real
// store too: what the store answers, and the state of every task after every
// step, must be the model's. Transactions are whole here, as SQLite has them.
func TestConform(t *testing.T) {
	t.Parallel()
	walks := testneed.Rounds(10, 30)
	if testing.Short() {
		walks = 5
	}
	var acts [acts]int
	for seed := range uint64(walks) {
		w := newWalk(t, rand.New(rand.NewPCG(seed, 0)))
		for range 250 {
			if !w.step() {
				break
			}
		}
		for a, n := range w.acts {
			acts[a] += n
		}
		if t.Failed() {
			t.Logf("walk %d:", seed)
			for i, st := range w.way {
				t.Logf("%4d  %v", i+1, st)
			}
			return
		}
	}
	for a, n := range acts {
		t.Logf("%5d times: %s", n, actNames[a])
	}
	for _, a := range []Act{CommitAccept, Claim, CommitEnd, LoseEnd, GiveBack, LeaseLapsed, Renew, ReapTask, AdoptTask, NodeStarted} {
		if acts[a] == 0 && !testing.Short() {
			t.Errorf("no walk did this to the store: %s", actNames[a])
		}
	}
}

// walk is one way through the model, and a store that goes with it.
type walk struct {
	t    *testing.T
	ctx  context.Context
	rnd  *rand.Rand
	m    Model
	s    State
	db   *store.DB
	now  atomic.Int64 // microseconds
	way  []Step
	acts [acts]int

	tasks  [maxTasks]task.Task
	owners [maxTasks][maxAttempts]string // who claimed the attempt
	boots  [maxNodes]int
}

func newWalk(t *testing.T, rnd *rand.Rand) *walk {
	t.Helper()
	w := &walk{t: t, ctx: t.Context(), rnd: rnd}
	w.m = Model{Tasks: maxTasks, Nodes: 1 + rnd.IntN(maxNodes), Faults: Budget{Kills: 2, Pauses: 5, Cuts: 3, Losses: 4, Retries: 4, All: 12, Failures: 2}}
	w.s = w.m.first()
	w.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro())
	db, err := store.Open(w.ctx, storetest.File(t), store.Options{
		Now: func() time.Time { return time.UnixMicro(w.now.Load()).UTC() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w.db = db
	return w
}

// step does one of the steps that can happen, and reports whether there was one.
func (w *walk) step() bool {
	type choice struct {
		st Step
		to State
	}
	var all, commits, calm []choice
	w.m.steps(&w.s, func(st Step, to State) {
		c := choice{st, to}
		switch st.Act {
		case CommitAccept, CommitEnd, LoseEnd:
			commits = append(commits, c)
		case LeaseLapsed:
			if !w.canLapse(st.Task) {
				return
			}
		}
		all = append(all, c)
		if st.Act < NodeKilled {
			calm = append(calm, c)
		}
	})
	switch {
	case len(commits) > 0:
		all = commits // SQLite lets nothing between the steps of a transaction
	case len(calm) > 0 && w.rnd.IntN(4) > 0:
		all = calm // faults are many, and would leave little else
	}
	if len(all) == 0 || w.t.Failed() {
		return false
	}
	c := all[w.rnd.IntN(len(all))]
	w.way = append(w.way, c.st)
	w.acts[c.st.Act]++
	before := w.s
	w.s = c.to
	w.now.Add(1000)
	w.do(c.st, &before)
	w.compare()
	return true
}

func (w *walk) owner(node int) string { return fmt.Sprintf("%c/%d", 'a'+node, w.boots[node]) }

func (w *walk) queue(i int) task.Queue {
	return []task.Queue{task.Quick, task.Imports}[w.s.Tasks[i].Lane]
}

func (w *walk) lease(i, attempt int) task.Lease {
	return task.Lease{TaskID: w.tasks[i].ID, Owner: w.owners[i][attempt-1], Attempt: int64(attempt)}
}

// answer fails the test unless a write was refused or not as the model says.
func (w *walk) answer(what string, err error, passes bool) {
	w.t.Helper()
	if passes && err != nil || !passes && !errors.Is(err, task.ErrLeaseLost) {
		w.t.Errorf("%s: the store answers %v; in the model it passes: %v", what, err, passes)
	}
}

// do does a step of the model to the store.
func (w *walk) do(st Step, before *State) {
	tasks := w.db.Tasks()
	i := st.Task
	switch st.Act {
	case CommitAccept:
		w.enqueue(i)
	case Claim:
		got, err := tasks.Claim(w.ctx, w.queue(i), w.owner(st.Node), lease, 1)
		if err != nil || len(got) != 1 || got[0].ID != w.tasks[i].ID || got[0].Attempt != int64(st.Attempt) {
			w.t.Errorf("claim: %+v, %v", got, err)
		}
		w.owners[i][st.Attempt-1] = w.owner(st.Node)
	case CommitEnd, LoseEnd, EndLost:
		o := task.Success
		if w.s.Tasks[i].Status == Failed {
			o = task.Outcome{State: task.Failed, Reason: "cancelled", Error: "no"}
		}
		w.answer("finish", tasks.Finish(w.ctx, w.lease(i, st.Attempt), o), st.Act != EndLost)
	case GiveBack:
		err := tasks.Retry(w.ctx, w.lease(i, st.Attempt), w.time(), true, "")
		w.answer("give back", err, before.Tasks[i].holds(st.Attempt))
	case AdoptTask:
		w.answer("adopt", tasks.Retry(w.ctx, w.lease(i, int(w.s.Tasks[i].Attempt)), w.time(), false, ""), true)
	case LeaseLapsed:
		w.lapse(i)
	case Renew:
		held, err := tasks.Renew(w.ctx, w.owner(st.Node), lease)
		want := w.s.tasks(func(t *Task) bool { return t.Owner == owner(st.Node) && !t.Gone })
		if err != nil || len(held) != len(want.list()) {
			w.t.Errorf("renew: %+v, %v; the model holds %v", held, err, want.list())
		}
	case ReapTask:
		n, err := tasks.Reap(w.ctx)
		want := before.tasks(func(t *Task) bool { return t.Lapsed })
		for _, j := range want.list() { // by one statement
			if w.s.Tasks[j].Lapsed {
				w.s.Tasks[j].giveBack()
			}
		}
		if err != nil || n != len(want.list()) {
			w.t.Errorf("reap: %d, %v; want %v", n, err, want.list())
		}
	case NodeStarted:
		w.boots[st.Node]++
		n, err := tasks.ReleaseNode(w.ctx, string(rune('a'+st.Node)))
		want := before.tasks(func(t *Task) bool { return t.Owner == owner(st.Node) })
		if err != nil || n != len(want.list()) {
			w.t.Errorf("release: %d, %v; want %v", n, err, want.list())
		}
	}
}

func (s set) list() (out []int) {
	for i := range 8 {
		if s.has(i) {
			out = append(out, i)
		}
	}
	return out
}

func (w *walk) time() time.Time { return time.UnixMicro(w.now.Load()) }

func (w *walk) enqueue(i int) {
	n := task.New{Kind: "work", Lane: fmt.Sprint("lane", w.s.Tasks[i].Lane), Queue: w.queue(i), ClientID: 7}
	for _, j := range w.s.Tasks[i].After.list() {
		n.After = append(n.After, w.tasks[j])
	}
	err := w.db.Volumes().Tx(w.ctx, func(tx volume.Tx) (err error) {
		w.tasks[i], err = tx.Enqueue(w.ctx, n)
		return err
	})
	if err != nil {
		w.t.Errorf("enqueue: %v", err)
	}
}

// holder is who the row of a running task names.
func (w *walk) holder(i int) string { return w.owners[i][w.s.Tasks[i].Attempt-1] }

// canLapse reports whether time can pass in the store until the lease of the
// task ends, and no lease of another node with it: a store renews all leases
// of an owner at once, so none of those may have lapsed.
func (w *walk) canLapse(i int) bool {
	for j := range w.s.Tasks {
		t := &w.s.Tasks[j]
		switch {
		case t.Status != Running:
		case w.holder(j) == w.holder(i):
			if !t.Lapsed && !w.m.mayLapse(&w.s, j) {
				return false
			}
		case t.Lapsed:
			for k := range w.s.Tasks {
				if o := &w.s.Tasks[k]; o.Status == Running && !o.Lapsed && w.holder(k) == w.holder(j) {
					return false
				}
			}
		}
	}
	return true
}

// lapse lets that time pass. Nothing is left of a lease but its 15 s.
func (w *walk) lapse(i int) {
	for j := range w.s.Tasks {
		t := &w.s.Tasks[j]
		switch {
		case t.Status != Running || t.Lapsed:
		case w.holder(j) == w.holder(i):
			t.Lapsed = true
		default:
			if _, err := w.db.Tasks().Renew(w.ctx, w.holder(j), 2*lease); err != nil {
				w.t.Error(err)
			}
		}
	}
	w.now.Add((lease + time.Second).Microseconds())
}

// words are the states of the store.
var words = map[Status]task.State{Waiting: task.Waiting, Ready: task.Ready, Running: task.Running, Done: task.Done, Failed: task.Failed}

// compare holds the store against the model: all tasks, and for every lease
// there ever was whether it may still write. A run that is stale may do so at
// any moment, so it is tried at every one.
func (w *walk) compare() {
	if w.s.tasks(func(t *Task) bool { return t.Lapsed }) == 0 {
		if n, err := w.db.Tasks().Reap(w.ctx); n != 0 || err != nil {
			w.t.Errorf("no lease has lapsed, and reaped were %d, %v", n, err)
		}
	}
	for i := range w.s.Tasks {
		t := &w.s.Tasks[i]
		if words[t.Status] == "" {
			continue
		}
		got, err := w.db.Tasks().Get(w.ctx, access.Scope{All: true}, w.tasks[i].ID)
		if err != nil || got.State != words[t.Status] || got.Attempt != int64(t.Attempt) {
			w.t.Errorf("after %q task %d is %s, attempt %d, %v; in the model %s, attempt %d",
				w.way[len(w.way)-1], i+1, got.State, got.Attempt, err, words[t.Status], t.Attempt)
		}
		for a := 1; a <= int(t.Attempt); a++ {
			l, present := w.lease(i, a), t.Status == Running && a == int(t.Attempt)
			what := fmt.Sprintf("task %d, attempt %d: ", i+1, a)
			w.answer(what+"save", w.db.Tasks().Save(w.ctx, l, nil, task.Progress{}), present)
			if !present { // what is refused changes nothing: the next comparison would see it
				w.answer(what+"late end", w.db.Tasks().Finish(w.ctx, l, task.Success), false)
				w.answer(what+"late retry", w.db.Tasks().Retry(w.ctx, l, w.time(), true, ""), false)
			}
		}
	}
}
