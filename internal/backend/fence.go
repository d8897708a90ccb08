package backend

import (
	"context"
	"sync"
	"time"
)

// Fence names the run of a task on whose behalf a driver is called: the task's
// order of acceptance, and its attempt. A node that was stopped for longer than
// its lease may wake up in the middle of a run that another node has taken
// over. The database refuses what it then writes; storage and guests know
// nothing of the database, so drivers refuse what is older than what they have
// seen for the same object.
type Fence struct {
	Task    int64
	Attempt int64
}

// ErrFenced: a later run has been at work on the object; nothing was done.
var ErrFenced = &Error{Reason: "superseded", Text: "another run of the task has taken over", Permanent: true}

type fenceKey struct{}

// WithFence returns a context whose driver calls carry f.
func WithFence(ctx context.Context, f Fence) context.Context {
	return context.WithValue(ctx, fenceKey{}, f)
}

// FenceOf returns the fence of a call; ok is false where it has none, as in the
// server's own housekeeping.
func FenceOf(ctx context.Context) (f Fence, ok bool) {
	f, ok = ctx.Value(fenceKey{}).(Fence)
	return f, ok
}

func (f Fence) before(o Fence) bool {
	return f.Task < o.Task || f.Task == o.Task && f.Attempt < o.Attempt
}

// fences remembers the latest fence of each object.
type fences struct {
	mu   sync.Mutex
	seen map[string]seenFence
}

type seenFence struct {
	Fence
	at time.Time
}

// A fence is of use for as long as a stopped node may come back. These bound
// what is remembered.
const (
	fenceLife = 24 * time.Hour
	fencesMax = 100_000 // above it the old ones are looked for
)

// pass answers ErrFenced where the object has seen a later fence than the
// call's, and remembers the call's. The caller holds the object's lock, and
// keeps it for as long as it acts.
func (f *fences) pass(ctx context.Context, object string) error {
	mine, ok := FenceOf(ctx)
	if !ok || object == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if mine.before(f.seen[object].Fence) {
		return ErrFenced
	}
	now := time.Now()
	if f.seen == nil {
		f.seen = map[string]seenFence{}
	}
	if len(f.seen) >= fencesMax {
		for name, s := range f.seen {
			if now.Sub(s.at) > fenceLife {
				delete(f.seen, name)
			}
		}
	}
	f.seen[object] = seenFence{mine, now}
	return nil
}
