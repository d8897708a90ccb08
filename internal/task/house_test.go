package task_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/store/storetest"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
)

// The engine is tested on the real SQLite store inside a bubble of fake time:
// a lease of 15 seconds lapses at once, and a goroutine that is left behind
// fails the test.

const lease = 15 * time.Second

var everyone = access.Scope{All: true}

// house is a database and the engines on it.
type house struct {
	t  *testing.T
	db *store.DB
}

// inHouse runs fn in a bubble, with an empty database.
func inHouse(t *testing.T, fn func(h *house)) {
	t.Helper()
	t.Parallel()
	path := storetest.File(t)
	synctest.Test(t, func(t *testing.T) {
		db, err := store.Open(t.Context(), path, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}()
		fn(&house{t: t, db: db})
	})
}

// pass lets fake time pass, until everything that happens by then has.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// enqueue accepts a task of client 7, by default of kind "work" in lane "l".
func (h *house) enqueue(n task.New) task.Task {
	h.t.Helper()
	if n.Kind == "" {
		n.Kind = "work"
	}
	if n.Lane == "" {
		n.Lane = "l"
	}
	if n.Queue == "" {
		n.Queue = task.Quick
	}
	n.ClientID = 7
	var out task.Task
	h.tx(func(tx volume.Tx) (err error) {
		out, err = tx.Enqueue(context.Background(), n)
		return err
	})
	return out
}

func (h *house) tx(fn func(volume.Tx) error) {
	h.t.Helper()
	if err := h.db.Volumes().Tx(context.Background(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// cancel marks a task as a request does.
func (h *house) cancel(id string) {
	h.t.Helper()
	err := h.db.ISOs().Tx(context.Background(), func(tx iso.Tx) error { return tx.Cancel(context.Background(), id) })
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) task(id string) task.Task {
	h.t.Helper()
	k, err := h.db.Tasks().Get(context.Background(), everyone, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return k
}

// want fails the test unless the task has this state and reason.
func (h *house) want(id string, s task.State, reason string) task.Task {
	h.t.Helper()
	k := h.task(id)
	if k.State != s || string(k.Reason) != reason {
		h.t.Fatalf("task is %s %q, want %s %q: %+v", k.State, k.Reason, s, reason, k)
	}
	return k
}

// node is an engine on the house's database through a store that can fail.
type node struct {
	*task.Engine
	*faulty
	h    *house
	stop func() // drains it; again is fine
	done <-chan struct{}

	mu      sync.Mutex
	results []string // of ended runs, as Observe hears them
}

// heard is what Observe was told so far.
func (n *node) heard() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.results)
}

// node makes an engine that is not started, with 8 quick workers and one of
// each other queue.
func (h *house) node(name string, with ...func(*task.Config)) *node {
	n := &node{faulty: &faulty{Store: h.db.Tasks()}, h: h}
	cfg := task.Config{
		Node: name, Boot: "b", Lease: lease, Workers: map[task.Queue]int{task.Quick: 8, task.Imports: 1, task.Housework: 1},
		Observe: func(_ task.Kind, result string, _ time.Duration) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.results = append(n.results, result)
		},
	}
	for _, f := range with {
		f(&cfg)
	}
	n.Engine = task.NewEngine(n.faulty, cfg)
	return n
}

// start runs the engine until stop or the end of the test.
func (n *node) start() *node {
	n.h.t.Helper()
	ctx, cancel := context.WithCancel(n.h.t.Context())
	done, err := n.Start(ctx)
	if err != nil {
		n.h.t.Fatal(err)
	}
	n.done = done
	n.stop = func() {
		cancel()
		<-done
	}
	return n
}

// work is a handler made of functions. Without fail a task ends as Failed.
type work struct {
	n    *node
	run  func(ctx context.Context, r *task.Run) error
	fail func(ctx context.Context, r *task.Run, f task.Failure) error
}

func (w work) Run(ctx context.Context, r *task.Run) error { return w.run(ctx, r) }

func (w work) Fail(ctx context.Context, r *task.Run, f task.Failure) error {
	if w.fail != nil {
		return w.fail(ctx, r, f)
	}
	return w.n.faulty.Finish(ctx, r.Lease, f.Outcome())
}

// on registers what tasks of kind "work" do.
func (n *node) on(p task.Policy, run func(ctx context.Context, r *task.Run) error) *node {
	n.Register("work", p, work{n: n, run: run})
	return n
}

// success ends the task.
func (n *node) success(r *task.Run) error {
	return n.faulty.Finish(context.Background(), r.Lease, task.Success)
}

// faulty is a store that fails on demand.
type faulty struct {
	task.Store

	mu sync.Mutex
	// before, if set, is asked ahead of each call; an error is the call's.
	before func(op string) error
	// after, if set, may change the answer of a call that was made.
	after func(op string, err error) error
	calls map[string]int
}

var errAway = errors.New("the store is away")

// away makes every call fail, or none.
func (f *faulty) away(is bool) {
	f.set(func(string) error {
		if is {
			return errAway
		}
		return nil
	}, nil)
}

// failing makes the named calls fail until restore.
func (f *faulty) failing(ops ...string) (restore func()) {
	f.set(func(op string) error {
		if slices.Contains(ops, op) {
			return errAway
		}
		return nil
	}, nil)
	return func() { f.away(false) }
}

func (f *faulty) set(before func(op string) error, after func(op string, err error) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

func (f *faulty) made(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

func (f *faulty) do(op string, call func() error) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[op]++
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(op); err != nil {
			return err
		}
	}
	err := call()
	if after != nil {
		err = after(op, err)
	}
	return err
}

func (f *faulty) Claim(ctx context.Context, q task.Queue, owner string, ttl time.Duration, limit int) (out []task.Task, err error) {
	err = f.do("Claim", func() error { out, err = f.Store.Claim(ctx, q, owner, ttl, limit); return err })
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (f *faulty) Renew(ctx context.Context, owner string, ttl time.Duration) (out []task.Held, err error) {
	err = f.do("Renew", func() error { out, err = f.Store.Renew(ctx, owner, ttl); return err })
	return out, err
}

func (f *faulty) Reap(ctx context.Context) (n int, err error) {
	err = f.do("Reap", func() error { n, err = f.Store.Reap(ctx); return err })
	return n, err
}

func (f *faulty) ReleaseNode(ctx context.Context, node string) (n int, err error) {
	err = f.do("ReleaseNode", func() error { n, err = f.Store.ReleaseNode(ctx, node); return err })
	return n, err
}

func (f *faulty) Save(ctx context.Context, l task.Lease, checkpoint []byte, p task.Progress) error {
	return f.do("Save", func() error { return f.Store.Save(ctx, l, checkpoint, p) })
}

func (f *faulty) Progress(ctx context.Context, all []task.Report) error {
	return f.do("Progress", func() error { return f.Store.Progress(ctx, all) })
}

func (f *faulty) Retry(ctx context.Context, l task.Lease, t time.Time, failed bool, why string) error {
	return f.do("Retry", func() error { return f.Store.Retry(ctx, l, t, failed, why) })
}

func (f *faulty) Finish(ctx context.Context, l task.Lease, o task.Outcome) error {
	return f.do("Finish", func() error { return f.Store.Finish(ctx, l, o) })
}

func (f *faulty) Ensure(ctx context.Context, n task.New) error {
	return f.do("Ensure", func() error { return f.Store.Ensure(ctx, n) })
}
