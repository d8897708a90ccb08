package worldtest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/task"
)

// Start runs the engine, as a server does that has just been started.
func (w *World) Start() {
	w.t.Helper()
	boot := NewID()
	imports := w.opt.Imports
	if imports == 0 {
		imports = 4
	}
	e := task.NewEngine(mortal{w.DB.Tasks(), w.graves}, task.Config{
		Facilities: facilities,
		Node:       node, Boot: boot, Poll: 5 * time.Millisecond,
		Workers: map[task.Queue]int{task.Quick: 4, task.Imports: imports, task.Housework: 2},
		Observe: func(task.Kind, string, time.Duration) { w.wake() },
	})
	w.VPS.Register(e)
	w.Volumes.Register(e)
	w.ISOs.Register(e)
	w.Reconcile.Register(e)
	ctx, stop := context.WithCancel(context.Background())
	drained, err := e.Start(ctx)
	if err != nil {
		stop()
		w.t.Fatalf("start engine: %v", err)
	}
	deaf := make(chan struct{})
	go func() {
		defer close(deaf)
		quiet := slog.New(slog.DiscardHandler)
		var hearing sync.WaitGroup
		hearing.Go(func() { w.ISOs.Listen(ctx, facilities, quiet) })
		if w.Drivers[Lab] != nil {
			hearing.Go(func() { w.VPS.Follow(ctx, Lab, quiet) })
		}
		hearing.Wait()
	}()
	w.mu.Lock()
	w.engine, w.boot, w.stop, w.drained, w.deaf, w.dying = e, boot, stop, drained, deaf, make(chan struct{})
	w.mu.Unlock()
}

func facilities(context.Context) ([]string, error) { return Facilities, nil }

func (w *World) running() *task.Engine {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.engine
}

func (w *World) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// Stop drains the engine: what runs is given back.
func (w *World) Stop() { w.end(false) }

// Kill ends the engine as a crash does: nothing it would still have written
// gets into the database, and its leases stay.
func (w *World) Kill() { w.end(true) }

func (w *World) end(crash bool) {
	w.mu.Lock()
	stop, drained, deaf := w.stop, w.drained, w.deaf
	if stop == nil {
		w.mu.Unlock()
		return
	}
	w.engine, w.stop = nil, nil
	if crash {
		w.graves.bury(node + "/" + w.boot)
		for _, d := range w.Drivers {
			_ = d.Close() // a fake's Close cannot fail
		}
	}
	close(w.dying)
	w.mu.Unlock()
	stop()
	<-drained
	<-deaf
	for _, d := range w.Drivers {
		d.Reopen()
	}
}

// KillAtWrite kills the engine ahead of the n-th write (from 1) of the task
// that do asks for, and starts another one. It reports false, without a kill,
// if the task ended with fewer writes.
func (w *World) KillAtWrite(n int, do func() task.Task) bool {
	w.t.Helper()
	reached := w.graves.plan(n, w.Dying)
	id := do().ID
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if t, err := w.Tasks.Get(context.Background(), access.Scope{All: true}, id); err != nil || t.State.Ended() {
			w.graves.plan(0, nil)
			return false
		}
		select {
		case <-reached:
			w.Kill()
			w.Start()
			return true
		case <-changed:
		case <-limit.C:
			w.t.Fatalf("the task neither ended nor wrote %d times", n)
		}
	}
}

// Dying is closed when the engine now running is about to be stopped or
// killed. A hook that waits for it ends a task's run at that point.
func (w *World) Dying() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dying
}

// Advances is how often an import's progress has been written.
func (w *World) Advances() int { return int(w.advances.Load()) }

// KillAt kills the engine ahead of the next call of a method of the facility's
// driver, or once the call has had its effect, and starts another one. do
// makes the call happen.
func (w *World) KillAt(facility, method string, after bool, do func()) {
	w.t.Helper()
	driver := w.Drivers[facility]
	reached := make(chan struct{}, 64)
	hook := func(fake.Call) error {
		dying := w.Dying()
		reached <- struct{}{}
		<-dying
		return nil
	}
	if after {
		driver.On(method).After(hook)
	} else {
		driver.On(method).Before(hook)
	}
	do()
	select {
	case <-reached:
	case <-time.After(Patience):
		w.t.Fatalf("%s was never called", method)
	}
	w.Kill()
	driver.Reset()
	w.Start()
}

// Hurry starts the engine anew with a deadline for quick tasks; 0 gives them
// their own again.
func (w *World) Hurry(deadline time.Duration) {
	w.t.Helper()
	if w.Volumes.Deadline == deadline {
		return
	}
	w.Stop()
	w.Volumes.Deadline, w.ISOs.Deadline, w.VPS.Deadline = deadline, deadline, deadline
	w.Start()
}

// Restart is Kill and Start.
func (w *World) Restart() {
	w.t.Helper()
	w.Kill()
	w.Start()
}

// Ended waits until the task has ended and returns it.
func (w *World) Ended(id string) task.Task {
	w.t.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		t, err := w.Tasks.Get(context.Background(), access.Scope{All: true}, id)
		if err != nil {
			w.t.Fatalf("read task: %v", err)
		}
		if t.State.Ended() {
			return t
		}
		select {
		case <-changed:
		case <-limit.C:
			w.t.Fatalf("%s has not ended: %+v", t.Kind, t)
		}
	}
}

// Until waits until what is true, looking whenever a run has ended.
func (w *World) Until(what string, ok func() bool) {
	w.t.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Succeeds waits until the task has ended well.
func (w *World) Succeeds(t task.Task) task.Task {
	w.t.Helper()
	t = w.Ended(t.ID)
	if t.State != task.Done {
		w.t.Fatalf("%s failed: %s: %s", t.Kind, t.Reason, t.Error)
	}
	return t
}

// Fails waits until the task has ended, for the reason.
func (w *World) Fails(t task.Task, reason string) task.Task {
	w.t.Helper()
	t = w.Ended(t.ID)
	if t.State != task.Failed || string(t.Reason) != reason || t.Error == "" {
		w.t.Fatalf("%s ended %s, reason %q (%s), want failed, %s", t.Kind, t.State, t.Reason, t.Error, reason)
	}
	return t
}

// Quiet waits until no task of a client is unfinished.
func (w *World) Quiet() {
	w.t.Helper()
	for _, id := range w.column(`SELECT id FROM task WHERE client_id IS NOT NULL AND state IN ('waiting', 'ready', 'running') ORDER BY seq`) {
		w.Ended(id)
	}
}
