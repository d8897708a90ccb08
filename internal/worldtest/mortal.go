package worldtest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// errDead is what a killed engine gets for every write.
var errDead = errors.New("this engine was killed")

// graves knows the owners whose engine was killed. What they still try to
// write does not get through, as if their process were gone.
type graves struct {
	mu    sync.Mutex
	owner map[string]bool

	// left is how many writes of tasks still get through; the one after waits
	// for dying, once it has been reported. 0: no such plan.
	left    int
	reached chan struct{}
	dying   func() <-chan struct{}
}

// plan makes the n-th write from now on wait for the engine's death.
func (g *graves) plan(n int, dying func() <-chan struct{}) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left, g.reached, g.dying = n, make(chan struct{}), dying
	return g.reached
}

// write is check ahead of a write of a task's run.
func (g *graves) write(owner string) error {
	g.mu.Lock()
	if g.left > 0 {
		if g.left--; g.left == 0 {
			dying := g.dying()
			close(g.reached)
			g.mu.Unlock()
			<-dying
			return errDead
		}
	}
	g.mu.Unlock()
	return g.check(owner)
}

func (g *graves) bury(owner string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.owner == nil {
		g.owner = map[string]bool{}
	}
	g.owner[owner] = true
}

func (g *graves) check(owner string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.owner[owner] {
		return errDead
	}
	return nil
}

// mortal is the store of engines that can be killed.
type mortal struct {
	task.Store
	graves *graves
}

// Claim is in task.Store.
func (m mortal) Claim(ctx context.Context, q task.Queue, owner string, ttl time.Duration, most int) ([]task.Task, error) {
	if err := m.graves.check(owner); err != nil {
		return nil, err
	}
	return m.Store.Claim(ctx, q, owner, ttl, most)
}

// Save is in task.Store.
func (m mortal) Save(ctx context.Context, l task.Lease, checkpoint []byte, p task.Progress) error {
	if err := m.graves.write(l.Owner); err != nil {
		return err
	}
	return m.Store.Save(ctx, l, checkpoint, p)
}

// Retry is in task.Store.
func (m mortal) Retry(ctx context.Context, l task.Lease, at time.Time, failed bool, why string) error {
	if err := m.graves.write(l.Owner); err != nil {
		return err
	}
	return m.Store.Retry(ctx, l, at, failed, why)
}

// Finish is in task.Store.
func (m mortal) Finish(ctx context.Context, l task.Lease, o task.Outcome) error {
	if err := m.graves.write(l.Owner); err != nil {
		return err
	}
	return m.Store.Finish(ctx, l, o)
}

// steps are the writes of a domain's tasks; T is its transaction.
type steps[T any] interface {
	Step(ctx context.Context, l task.Lease, fn func(T) error) error
	finisher[T]
}

type finisher[T any] interface {
	Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(T) error) error
}

func step[T any](ctx context.Context, g *graves, s steps[T], l task.Lease, fn func(T) error) error {
	if err := g.write(l.Owner); err != nil {
		return err
	}
	return s.Step(ctx, l, fn)
}

func finish[T any](ctx context.Context, g *graves, s finisher[T], l task.Lease, o task.Outcome, fn func(T) error) error {
	if err := g.write(l.Owner); err != nil {
		return err
	}
	return s.Finish(ctx, l, o, fn)
}

type mortalVolumes struct {
	volume.Store
	graves *graves
}

// Step is in volume.Store.
func (m mortalVolumes) Step(ctx context.Context, l task.Lease, fn func(volume.Tx) error) error {
	return step(ctx, m.graves, m.Store, l, fn)
}

// Finish is in volume.Store.
func (m mortalVolumes) Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(volume.Tx) error) error {
	return finish(ctx, m.graves, m.Store, l, o, fn)
}

type mortalISOs struct {
	iso.Store
	graves *graves
	// Advanced counts the writes of progress.
	advanced func()
}

// Advance is in iso.Store.
func (m mortalISOs) Advance(ctx context.Context, l task.Lease, isoID string, done, size int64) error {
	if err := m.graves.write(l.Owner); err != nil {
		return err
	}
	m.advanced()
	return m.Store.Advance(ctx, l, isoID, done, size)
}

// Step is in iso.Store.
func (m mortalISOs) Step(ctx context.Context, l task.Lease, fn func(iso.Tx) error) error {
	return step(ctx, m.graves, m.Store, l, fn)
}

// Finish is in iso.Store.
func (m mortalISOs) Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(iso.Tx) error) error {
	return finish(ctx, m.graves, m.Store, l, o, fn)
}

type mortalVPS struct {
	vps.Store
	graves *graves
}

// Finish is in vps.Store.
func (m mortalVPS) Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(vps.Tx) error) error {
	return finish(ctx, m.graves, m.Store, l, o, fn)
}

type mortalFindings struct {
	reconcile.Store
	graves *graves
}

// Step is in reconcile.Store.
func (m mortalFindings) Step(ctx context.Context, l task.Lease, fn func(reconcile.Tx) error) error {
	return step(ctx, m.graves, m.Store, l, fn)
}

// Finish is in reconcile.Store.
func (m mortalFindings) Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(reconcile.Tx) error) error {
	return finish(ctx, m.graves, m.Store, l, o, fn)
}
