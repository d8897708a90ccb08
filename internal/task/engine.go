package task

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

// Config sets up an Engine. Zero durations get the defaults.
type Config struct {
	Node    string        // stable name of this node
	Boot    string        // unique for this start of the node
	Lease   time.Duration // default 15 s; renewed each third of it
	Poll    time.Duration // default 1 s: the net below lost wake-ups
	Workers map[Queue]int // runs at once, by queue
	Log     *slog.Logger
	// Backoff is the pause after the n-th temporary error of a task, from 0;
	// default Backoff.
	Backoff func(n int) time.Duration
	// Facilities names those that have house work of their own; nil: none has.
	Facilities func(context.Context) ([]string, error)
	// Observe, if set, hears of every ended run.
	Observe func(k Kind, result string, took time.Duration)
}

// Engine leases tasks from a Store and runs their handlers.
type Engine struct {
	cfg   Config
	owner string
	store Store
	kinds map[Kind]registration

	mu   sync.Mutex
	runs map[string]*Run // by task id

	active sync.WaitGroup // runs
}

// unknownTries is how often a task without a handler is tried: some minutes.
const unknownTries = 20

type registration struct {
	handler Handler
	policy  Policy
}

// NewEngine returns an engine without handlers.
func NewEngine(store Store, cfg Config) *Engine {
	if cfg.Lease <= 0 {
		cfg.Lease = 15 * time.Second
	}
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Backoff == nil {
		cfg.Backoff = Backoff
	}
	return &Engine{
		cfg: cfg, store: store, owner: cfg.Node + "/" + cfg.Boot,
		kinds: map[Kind]registration{}, runs: map[string]*Run{},
	}
}

// Register names the handler of a kind. Call it before Start.
func (e *Engine) Register(k Kind, p Policy, h Handler) {
	e.kinds[k] = registration{handler: h, policy: p}
}

// Start releases what an earlier process of this node left running, makes sure
// that periodic work is enqueued, and runs tasks until ctx ends. Then it drains:
// runs are cancelled and their tasks given back without counting the attempt.
// The returned channel closes when nothing runs any more.
func (e *Engine) Start(ctx context.Context) (<-chan struct{}, error) {
	n, err := e.store.ReleaseNode(ctx, e.cfg.Node)
	if err != nil {
		return nil, fmt.Errorf("release own tasks: %w", err)
	}
	if n > 0 {
		e.cfg.Log.Info("took up interrupted tasks", "tasks", n)
	}
	if err := e.furnish(ctx); err != nil {
		return nil, err
	}
	var dispatchers, beat sync.WaitGroup
	for q, workers := range e.cfg.Workers {
		dispatchers.Go(func() { e.dispatch(ctx, q, workers) })
	}
	// The heartbeat outlives ctx: leases are kept while runs wind down.
	beatCtx, stopBeat := context.WithCancel(context.WithoutCancel(ctx))
	beat.Go(func() { e.heartbeat(beatCtx) })
	done := make(chan struct{})
	go func() {
		<-ctx.Done()
		e.cancelAll(errDraining)
		dispatchers.Wait() // a claim under way may still begin runs
		e.active.Wait()
		stopBeat()
		beat.Wait()
		close(done)
	}()
	return done, nil
}

// dispatch fills the workers of one queue.
func (e *Engine) dispatch(ctx context.Context, q Queue, workers int) {
	free := make(chan struct{}, workers)
	for range workers {
		free <- struct{}{}
	}
	poll := time.NewTicker(e.cfg.Poll)
	defer poll.Stop()
	for {
		// Hold every free worker, claim that many, hand back the rest.
		held := 0
		select {
		case <-ctx.Done():
			return
		case <-free:
			held++
		}
	more:
		for {
			select {
			case <-free:
				held++
			default:
				break more
			}
		}
		tasks := e.claim(ctx, q, held)
		for _, t := range tasks {
			e.begin(ctx, t, func() { free <- struct{}{} })
		}
		for range held - len(tasks) {
			free <- struct{}{}
		}
		if len(tasks) == held {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-e.store.Wake(q):
		case <-poll.C:
		}
	}
}

// claim leases up to n tasks of a queue, and answers with those to begin now.
// An answer that took a third of a lease is too old for that: the heartbeat may
// have given its tasks back as strays, or the leases be over, and another node
// runs them.
func (e *Engine) claim(ctx context.Context, q Queue, n int) []Task {
	asked := time.Now()
	tasks, err := e.store.Claim(ctx, q, e.owner, e.cfg.Lease, n)
	if err != nil && ctx.Err() == nil {
		e.cfg.Log.Error("claim tasks", "queue", q, "error", err)
	}
	took := time.Since(asked)
	if took < e.cfg.Lease/3 {
		return tasks
	}
	for _, t := range tasks {
		e.cfg.Log.Warn("a claim was answered too late, give the task back", "task", t.ID, "after", took)
		l := Lease{TaskID: t.ID, Owner: e.owner, Attempt: t.Attempt}
		err := e.store.Retry(context.WithoutCancel(ctx), l, time.Now(), false, "")
		if err != nil && !errors.Is(err, ErrLeaseLost) {
			e.cfg.Log.Error("give task back", "task", t.ID, "error", err) // the heartbeat will
		}
	}
	return nil
}

// begin runs one attempt in its own goroutine and calls release at its end.
func (e *Engine) begin(ctx context.Context, t Task, release func()) {
	r := &Run{
		Task:  t,
		Lease: Lease{TaskID: t.ID, Owner: e.owner, Attempt: t.Attempt},
		Log:   e.cfg.Log.With("task", t.ID, "kind", t.Kind, "attempt", t.Attempt),
		store: e.store,
	}
	r.progress = Progress{Percent: t.Progress, Message: t.Message}
	// The run is not a child of ctx: at a stop it is cancelled with a cause
	// and still needs a live context to undo its work and give its task back.
	base := context.WithoutCancel(ctx)
	if t.ClientID != 0 { // the server's own work is in no order with that of clients
		base = backend.WithFence(base, backend.Fence{Task: t.Seq, Attempt: t.Attempt})
	}
	held, lose := context.WithCancelCause(base)
	runCtx, cancel := context.WithCancelCause(held)
	r.held, r.lose, r.cancel = held, lose, cancel
	if t.Cancel { // asked for while it waited
		cancel(ErrCancelled)
	}
	e.mu.Lock()
	if old := e.runs[t.ID]; old != nil { // no heartbeat has told it yet, and none would
		old.lose(ErrLeaseLost)
	}
	e.runs[t.ID] = r
	e.active.Add(1)
	e.mu.Unlock()
	if ctx.Err() != nil { // the drain may have passed before r was listed
		cancel(errDraining)
	}
	go func() {
		defer e.active.Done()
		start := time.Now()
		result := e.attempt(runCtx, r)
		cancel(nil)
		lose(nil)
		e.mu.Lock()
		if e.runs[t.ID] == r { // else it has lost its lease, and a later run of the task is here
			delete(e.runs, t.ID)
		}
		e.mu.Unlock()
		if e.cfg.Observe != nil {
			e.cfg.Observe(t.Kind, result, time.Since(start))
		}
		release()
	}()
}

// attempt runs the handler once and settles what follows from its error. It
// returns a word for the metrics.
func (e *Engine) attempt(ctx context.Context, r *Run) string {
	reg, ok := e.kinds[r.Task.Kind]
	if !ok {
		// A newer node may know the kind, so there is some time to find it.
		return e.settle(r, Policy{MaxFailures: unknownTries}, nil, fmt.Errorf("no handler for %s", r.Task.Kind))
	}
	runCtx, cancel := ctx, context.CancelFunc(func() {})
	if d := reg.policy.Deadline; d > 0 {
		runCtx, cancel = context.WithDeadlineCause(ctx, r.Task.StartedAt.Add(d), ErrDeadline)
	}
	err := safely(func() error {
		if runCtx.Err() != nil {
			return context.Cause(runCtx)
		}
		return reg.handler.Run(runCtx, r)
	})
	cause := context.Cause(runCtx)
	cancel()
	if err == nil && reg.policy.Every > 0 {
		err = e.store.Retry(context.WithoutCancel(ctx), r.Lease, time.Now().Add(reg.policy.Every), false, "")
	}
	if err == nil {
		return "done"
	}
	if cause != nil {
		err = fmt.Errorf("%w (%v)", cause, err)
	}
	return e.settle(r, reg.policy, reg.handler, err)
}

// settle decides what becomes of a task whose attempt ended with err.
func (e *Engine) settle(r *Run, p Policy, h Handler, err error) string {
	switch {
	case errors.Is(err, ErrLeaseLost), errors.Is(err, backend.ErrFenced):
		r.Log.Warn("another node has taken the task over")
		return "lost"
	case errors.Is(err, ErrPostponed):
		return "postponed"
	case errors.Is(err, errDraining):
		return e.giveBack(r, time.Now(), false, "")
	}
	f := Classify(err)
	late := p.Deadline > 0 && time.Since(r.Task.StartedAt) >= p.Deadline || errors.Is(err, ErrDeadline)
	spent := p.MaxFailures > 0 && r.Task.Failures >= p.MaxFailures
	if p.Every > 0 || (!f.Permanent && !late && !spent) {
		wait := e.cfg.Backoff(r.Task.Failures)
		r.Log.Warn("attempt ended, will try again", "reason", f.Reason, "in", wait, "error", err)
		return e.giveBack(r, time.Now().Add(wait), true, f.Text)
	}
	if late && !f.Permanent {
		f = r.expired(f) // whether the last try ended ahead of the deadline or by it is chance
	}
	f.Late = late || spent
	r.Log.Warn("task failed", "reason", f.Reason, "error", err)
	// Neither a cancel nor a stop interrupts the undoing, only a lost lease.
	end := func() error { return h.Fail(r.held, r, f) }
	if h == nil {
		end = func() error { return e.store.Finish(r.held, r.Lease, f.Outcome()) }
	}
	if ferr := safely(end); ferr != nil {
		if errors.Is(ferr, ErrLeaseLost) || errors.Is(ferr, backend.ErrFenced) || r.held.Err() != nil {
			return "lost"
		}
		r.Log.Error("end failed task", "error", ferr)
		return e.giveBack(r, time.Now().Add(e.cfg.Backoff(r.Task.Failures)), true, f.Text)
	}
	return "failed"
}

// expired is the failure of a task whose time is over: what kept it is said too,
// whether its last try found that, last, or an earlier one.
func (r *Run) expired(last Failure) Failure {
	f := Classify(ErrDeadline)
	switch why := r.Task.Message; {
	case last.Reason != f.Reason && last.Reason != internalReason:
		f.Text += ": " + last.Text
	case r.Task.Failures > 0 && why != "" && why != internalText && why != f.Text:
		f.Text += ": " + why
	}
	return f
}

func (e *Engine) giveBack(r *Run, at time.Time, failed bool, why string) string {
	err := e.store.Retry(context.WithoutCancel(r.held), r.Lease, at, failed, why)
	if err != nil && !errors.Is(err, ErrLeaseLost) {
		r.Log.Error("give task back", "error", err) // the heartbeat will
	}
	return "retry"
}

func (e *Engine) cancelAll(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.runs {
		if errors.Is(cause, ErrLeaseLost) {
			r.lose(cause)
		}
		r.cancel(cause)
	}
}

// CancelRun ends the run of a task on this node at once, if there is one; the
// task's cancel mark does the same on other nodes at their next heartbeat.
func (e *Engine) CancelRun(taskID string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.runs[taskID]; r != nil {
		r.cancel(ErrCancelled)
	}
}

// Backoff is the pause after the n-th temporary error (from 0): 0.1 s doubling
// to 30 s, shortened by up to a quarter so that many do not come back at once.
func Backoff(n int) time.Duration {
	d := min(100*time.Millisecond<<min(n, 10), 30*time.Second)
	return d - rand.N(d/4+1)
}

// safely turns a panic of fn into an error with its stack for the log.
func safely(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}
