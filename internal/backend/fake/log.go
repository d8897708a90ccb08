package fake

import (
	"context"
	"slices"
	"sync"
)

// callLog holds every call since New or ClearCalls, in the order they began.
type callLog struct {
	mu    sync.Mutex
	gen   int // so that a call from before a clear is not marked in the new log
	calls []Call
	grown chan struct{} // closed when a call begins; nil when nobody waits
}

type ticket struct{ gen, n int }

func (l *callLog) begin(c Call) ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
	return ticket{l.gen, len(l.calls) - 1}
}

func (l *callLog) end(at ticket, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.gen == l.gen {
		l.calls[at.n].Done, l.calls[at.n].Err = true, err
	}
}

// Calls returns the log: every call of a method, finished or not, in the order
// they began.
func (d *Driver) Calls() []Call {
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	return slices.Clone(d.log.calls)
}

// Count returns how many calls of the method have begun.
func (d *Driver) Count(method string) int {
	n, _ := d.log.count(method, false)
	return n
}

// ClearCalls empties the log.
func (d *Driver) ClearCalls() {
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	d.log.gen++
	d.log.calls = nil
}

// WaitCalls returns once n calls of the method have begun, or with ctx's error.
func (d *Driver) WaitCalls(ctx context.Context, method string, n int) error {
	for {
		have, grown := d.log.count(method, true)
		if have >= n {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *callLog) count(method string, watch bool) (n int, grown <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.calls {
		if c.Method == method {
			n++
		}
	}
	if watch && l.grown == nil {
		l.grown = make(chan struct{})
	}
	return n, l.grown
}
