package backend

import (
	"context"
	"sync"
)

// Locks gives each name a lock of its own. Drivers use it to serialise the
// calls on one guest and on one volume. A name that nobody holds or waits for
// takes no memory. The zero value is ready to use.
type Locks struct {
	mu   sync.Mutex
	byID map[string]*nameLock
}

// nameLock is free while its channel is empty. refs counts the holder and
// everybody waiting; the entry goes when it reaches zero.
type nameLock struct {
	held chan struct{}
	refs int
}

// Lock takes the named locks in the order given and returns the function that
// gives them back. Waiters are served in order of arrival. When ctx ends first,
// nothing is held and the error is ctx's. To be free of deadlock, all callers
// must name their locks in one common order, none of them twice.
func (l *Locks) Lock(ctx context.Context, names ...string) (unlock func(), err error) {
	for i, name := range names {
		if err := l.lock(ctx, name); err != nil {
			l.release(names[:i])
			return nil, err
		}
	}
	return func() { l.release(names) }, nil
}

// Len returns how many names are held or waited for.
func (l *Locks) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.byID)
}

func (l *Locks) lock(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	n := l.byID[name]
	if n == nil {
		if l.byID == nil {
			l.byID = make(map[string]*nameLock)
		}
		n = &nameLock{held: make(chan struct{}, 1)}
		l.byID[name] = n
	}
	n.refs++
	l.mu.Unlock()

	select {
	case n.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		l.drop(name, n)
		return ctx.Err()
	}
}

func (l *Locks) release(names []string) {
	for i := len(names) - 1; i >= 0; i-- {
		l.mu.Lock()
		n := l.byID[names[i]]
		l.mu.Unlock()
		<-n.held
		l.drop(names[i], n)
	}
}

func (l *Locks) drop(name string, n *nameLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.refs--; n.refs == 0 {
		delete(l.byID, name)
	}
}
