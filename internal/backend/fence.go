package backend

import (
	"context"
	"strings"
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

// Fences remembers the latest fence of each object. The zero value is ready to
// use.
type Fences struct {
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

// Pass answers ErrFenced where the object has seen a later fence than the
// call's, and remembers the call's. The caller holds the object's lock, and
// keeps it for as long as it acts.
func (f *Fences) Pass(ctx context.Context, object string) error {
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

// FencedObject is which of a call's locks, named "volume/ID" or "vm/REF", its
// fence belongs to: the volume, else the guest. The tasks on a volume run in
// the order they were accepted, wherever it is attached; those on a guest do
// too, but a volume may be taken from a guest by an older one. Images are
// shared by tasks that know nothing of each other.
func FencedObject(locks []string) string {
	object := ""
	for _, name := range locks {
		if strings.HasPrefix(name, "volume/") {
			return name
		}
		if strings.HasPrefix(name, "vm/") {
			object = name
		}
	}
	return object
}
