package fake

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

// Call is one call of a driver method, with the arguments it has.
type Call struct {
	Method   string
	Ref      string
	VolumeID string
	ISOKey   string
	Bytes    int64
	Force    bool
	CDFirst  bool
	Guest    string // the one a volume is made for
	Action   backend.PowerAction
	// Done and Err are set in the log once the method has returned.
	Done bool
	Err  error
}

// names reports whether the call is about the object id.
func (c Call) names(id string) bool {
	return c.Ref == id || c.VolumeID == id || c.ISOKey == id
}

// objects are those the call holds.
func (c Call) objects() []backend.Object {
	guest, volume, image := backend.GuestObject(c.Ref), backend.VolumeObject(c.VolumeID), backend.ImageObject(c.ISOKey)
	switch c.Method {
	case "EnsureVM", "Power", "SetBoot", "Inspect":
		return []backend.Object{guest}
	case "EnsureVolume", "GrowVolume", "DeleteVolume", "InspectVolume":
		return []backend.Object{volume}
	case "EnsureAttached", "EnsureDetached":
		return []backend.Object{guest, volume}
	case "SetMedia":
		if c.ISOKey == "" {
			return []backend.Object{guest}
		}
		return []backend.Object{guest, image}
	case "ImportISO", "DeleteISO":
		return []backend.Object{image}
	}
	return nil
}

// script is what the test wants to happen, in the order it was written.
type script struct {
	mu      sync.Mutex
	actions []*action
}

type action struct {
	method, id string // id "" is any object
	after      bool   // once the effect has happened
	left       int    // how often it still acts; negative is always
	run        func(context.Context, Call) error
}

// Rule adds to what happens on the calls of one method. Its methods return the
// rule, so they can be chained; the steps of one call run in the order added,
// up to the first that fails. They run while the driver holds the locks of the
// call's objects, so a call that is blocked also blocks those behind it.
type Rule struct {
	s          *script
	method, id string
}

// On starts a rule for a method of backend.Driver or backend.Inventory. It panics when there is no
// method of that name, as a rule for none would silently do nothing.
func (d *Driver) On(method string) *Rule {
	switch method {
	case "Info", "Close", "Watch":
		panic("fake: " + method + " takes no rules")
	}
	_, driver := reflect.TypeFor[backend.Driver]().MethodByName(method)
	_, inventory := reflect.TypeFor[backend.Inventory]().MethodByName(method)
	if !driver && !inventory {
		panic(fmt.Sprintf("fake: backend.Driver has no method %q", method))
	}
	return &Rule{s: &d.script, method: method}
}

// Reset forgets all rules. Calls that are blocked stay so.
func (d *Driver) Reset() {
	d.script.mu.Lock()
	defer d.script.mu.Unlock()
	d.script.actions = nil
}

// For narrows the steps added from here on to calls that name the guest,
// volume or image id.
func (r *Rule) For(id string) *Rule {
	return &Rule{s: r.s, method: r.method, id: id}
}

// Fail makes the next times calls fail with err and do nothing; times below
// one is always.
func (r *Rule) Fail(err error, times int) *Rule {
	return r.add(false, times, func(context.Context, Call) error { return err })
}

// Lose makes the next times calls do their work and then fail with err, as
// when the answer is lost on the way; times below one is always.
func (r *Rule) Lose(err error, times int) *Rule {
	return r.add(true, times, func(context.Context, Call) error { return err })
}

// Block makes calls wait, with nothing done yet, until ch is closed (or has a
// value) or the context ends; a nil ch is never closed.
func (r *Rule) Block(ch <-chan struct{}) *Rule { return r.add(false, 0, wait(ch)) }

// BlockAfter is Block with the work done.
func (r *Rule) BlockAfter(ch <-chan struct{}) *Rule { return r.add(true, 0, wait(ch)) }

// Delay makes calls take at least that long, with nothing done yet meanwhile.
func (r *Rule) Delay(span time.Duration) *Rule { return r.add(false, 0, pause(span)) }

// DelayAfter is Delay with the work done.
func (r *Rule) DelayAfter(span time.Duration) *Rule { return r.add(true, 0, pause(span)) }

// Before calls f ahead of the work; an error from it is the answer.
func (r *Rule) Before(f func(Call) error) *Rule {
	return r.add(false, 0, func(_ context.Context, c Call) error { return f(c) })
}

// After calls f behind the work, if that went well; an error from it is the answer.
func (r *Rule) After(f func(Call) error) *Rule {
	return r.add(true, 0, func(_ context.Context, c Call) error { return f(c) })
}

func (r *Rule) add(after bool, times int, run func(context.Context, Call) error) *Rule {
	if times < 1 {
		times = -1
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.actions = append(r.s.actions, &action{method: r.method, id: r.id, after: after, left: times, run: run})
	return r
}

// play runs the steps of the script that c meets.
func (s *script) play(ctx context.Context, c Call, after bool) error {
	s.mu.Lock()
	actions := slices.Clone(s.actions)
	s.mu.Unlock()
	for _, a := range actions {
		if a.method != c.Method || a.after != after || a.id != "" && !c.names(a.id) || !s.take(a) {
			continue
		}
		if err := a.run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (s *script) take(a *action) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.left == 0 {
		return false
	}
	if a.left > 0 {
		a.left--
	}
	return true
}

func wait(ch <-chan struct{}) func(context.Context, Call) error {
	return func(ctx context.Context, _ Call) error {
		select {
		case <-ch:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func pause(span time.Duration) func(context.Context, Call) error {
	return func(ctx context.Context, _ Call) error { return backend.Pause(ctx, span) }
}

// do logs the call, lets it through the gate, and runs the script around the effect.
func (d *Driver) do(ctx context.Context, c Call, effect func(context.Context) error) (err error) {
	n := d.log.begin(c)
	defer func() { d.log.end(n, err) }()
	leave, err := d.gate.Enter(ctx, c.objects()...)
	if err != nil {
		return err
	}
	defer leave()
	if err := d.script.play(ctx, c, false); err != nil {
		return err
	}
	if err := d.ready(ctx); err != nil {
		return err
	}
	if err := effect(ctx); err != nil {
		return err
	}
	return d.script.play(ctx, c, true)
}

func (d *Driver) ready(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return backend.ErrUnavailable
	}
	return ctx.Err()
}
