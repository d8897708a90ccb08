package task

import (
	"context"
	"time"

	"github.com/drivebay/drivebay/internal/access"
)

// Filter narrows a list of tasks.
type Filter struct {
	DeviceID *int64
	Since    time.Time // created at or after; zero: any time
	Limit    int
}

// Lister reads tasks for those who asked for them. The server's own work is
// in no list; who is in charge of everything may read it by its id.
type Lister interface {
	// List returns tasks, newest first.
	List(ctx context.Context, s access.Scope, f Filter) ([]Task, error)
	// Get returns one task of the scope. ErrNotFound.
	Get(ctx context.Context, s access.Scope, id string) (Task, error)
	// Newest returns the newest task of a device of the scope. ErrNotFound.
	Newest(ctx context.Context, s access.Scope, deviceID int64) (Task, error)
	// Watch returns a channel that is signalled after a commit that ended the
	// task, if that happened in this process; with several nodes it may not
	// have. It takes any id. cancel must be called in the end.
	Watch(id string) (changed <-chan struct{}, cancel func())
	// Count returns how many tasks are in each unfinished state, and since when
	// the oldest of them has been there.
	Count(ctx context.Context) ([]Count, error)
}

// Count is how many tasks of a queue are in a state.
type Count struct {
	Queue  Queue
	State  State
	Tasks  int
	Oldest time.Time // its creation
}
