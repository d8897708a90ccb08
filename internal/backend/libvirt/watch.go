package libvirt

import (
	"context"
	"sync"
	"time"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// events hands on what hosts tell: to those who watch, and to the calls that
// wait for a guest to let go of a disk.
type events struct {
	backend.Watchers

	mu      sync.Mutex
	waiting map[release]map[chan bool]struct{}
}

// release is a disk that a guest was asked to let go.
type release struct{ ref, alias string }

// await registers for the end of a detach: the channel gets true when the disk
// is gone, false when the guest has refused.
func (e *events) await(r release) (outcome <-chan bool, stop func()) {
	ch := make(chan bool, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting == nil {
		e.waiting = make(map[release]map[chan bool]struct{})
	}
	if e.waiting[r] == nil {
		e.waiting[r] = make(map[chan bool]struct{})
	}
	e.waiting[r][ch] = struct{}{}
	return ch, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if delete(e.waiting[r], ch); len(e.waiting[r]) == 0 {
			delete(e.waiting, r)
		}
	}
}

func (e *events) released(r release, gone bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for ch := range e.waiting[r] {
		select {
		case ch <- gone:
		default: // it has one already
		}
	}
}

// Watch implements backend.Driver. It keeps a connection to every host.
func (d *Driver) Watch(ctx context.Context, fn func(backend.GuestEvent)) error {
	leave, err := d.gate.Enter(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer leave()
	keeping, cancel := context.WithCancel(ctx)
	var keepers sync.WaitGroup
	defer keepers.Wait()
	defer cancel()
	for _, h := range d.hosts {
		keepers.Go(func() { h.keep(keeping) })
	}
	return d.events.Watch(ctx, d.gate.Closing(), fn)
}

// keep makes a connection whenever there is none.
func (h *host) keep(ctx context.Context) {
	for ctx.Err() == nil {
		c, err := h.conn(ctx)
		if err != nil {
			_ = backend.Pause(ctx, poll) // the context ends the loop
			continue
		}
		select {
		case <-c.w.lost:
		case <-ctx.Done():
		case <-h.d.gate.Closing():
			return
		}
	}
}

// subscribe has the host's events come in for as long as the connection lasts.
// libvirt's client takes no domain: each subscription is for all of them.
func (c *conn) subscribe() error {
	for _, id := range []lv.DomainEventID{
		lv.DomainEventIDLifecycle, lv.DomainEventIDReboot,
		lv.DomainEventIDDeviceRemoved, lv.DomainEventIDDeviceRemovalFailed,
	} {
		ch, err := askFor(context.Background(), c, c.host.d.opts.CallTimeout, "subscribe to events", func() (<-chan any, error) {
			return c.l.SubscribeEvents(context.Background(), id, nil)
		})
		if err != nil {
			return err
		}
		// It ends with the connection, and has to be read until then.
		c.host.d.background.Go(func() {
			for ev := range ch {
				c.host.d.happened(ev)
			}
		})
	}
	return nil
}

// happened takes one event of libvirt's.
func (d *Driver) happened(ev any) {
	switch e := ev.(type) {
	case *lv.DomainEventCallbackLifecycleMsg:
		switch lv.DomainEventType(e.Msg.Event) {
		case lv.DomainEventStarted:
			d.events.Tell(backend.GuestEvent{Ref: refOf(e.Msg.Dom.UUID), What: backend.GuestStarted})
		case lv.DomainEventStopped:
			d.events.Tell(backend.GuestEvent{Ref: refOf(e.Msg.Dom.UUID), What: backend.GuestStopped})
		}
	case *lv.DomainEventCallbackRebootMsg:
		d.events.Tell(backend.GuestEvent{Ref: refOf(e.Msg.Dom.UUID), What: backend.GuestReset})
	case *lv.DomainEventCallbackDeviceRemovedMsg:
		d.events.released(release{refOf(e.Msg.Dom.UUID), e.Msg.DevAlias}, true)
	case *lv.DomainEventCallbackDeviceRemovalFailedMsg:
		d.events.released(release{refOf(e.Dom.UUID), e.DevAlias}, false)
	}
}

// poll is how often a wait for a guest looks for itself: some ends, such as that
// of its process, have no event.
const poll = 200 * time.Millisecond
