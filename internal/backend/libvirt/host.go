package libvirt

import (
	"context"
	"io/fs"
	"net/url"
	"sync"
	"time"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// host is one hypervisor, and the connection to it that all calls share.
type host struct {
	Host
	d   *Driver
	url *url.URL

	mu       sync.Mutex
	cur      *conn
	dialling chan struct{} // closed when the attempt under way is over; nil without one
	err      error         // what the last attempt came to
	retryAt  time.Time     // no other attempt before
	missed   bool          // events may have been missed since the last connection
	failed   int           // attempts since then
	closed   bool
}

// The pause between attempts grows up to retryMax, and is at least as long as
// the last one took: a host that swallows everything does not hold up each call
// anew.
const (
	retryMin = 50 * time.Millisecond
	retryMax = 2 * time.Second
)

func retryPause(failed int, took time.Duration) time.Duration {
	return max(took, min(retryMin<<min(failed, 10), retryMax))
}

// conn returns the host's connection, which it makes if needed.
// ErrUnavailable: the host does not answer.
func (h *host) conn(ctx context.Context) (*conn, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h.mu.Lock()
		switch {
		case h.closed:
			h.mu.Unlock()
			return nil, backend.ErrUnavailable.Because(fs.ErrClosed)
		case h.cur != nil && !h.cur.isLost():
			defer h.mu.Unlock()
			return h.cur, nil
		case h.dialling == nil && h.err != nil && time.Now().Before(h.retryAt):
			defer h.mu.Unlock()
			return nil, h.err
		case h.dialling == nil:
			h.dialling = make(chan struct{})
			h.missed = h.missed || h.cur != nil
			h.cur, h.err = nil, nil
			h.d.background.Go(h.dial)
		}
		wait := h.dialling
		h.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		h.mu.Lock()
		err := h.err
		h.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
}

// dial makes a connection fit for use: events come in, and what was interrupted
// before is in order. Only then do calls get it.
func (h *host) dial() {
	begun := time.Now()
	c, err := h.open()
	if err == nil {
		if err = h.prepare(c); err != nil {
			c.drop()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && h.closed {
		c.drop()
		err = backend.ErrUnavailable.Because(fs.ErrClosed)
	}
	h.err = err
	if err == nil {
		h.cur = c
		if h.missed {
			h.d.events.Tell(backend.GuestEvent{What: backend.GuestUnknown})
		}
		if h.failed > 0 {
			h.d.log.Info("a host answers again", "host", h.Name)
		}
		h.missed, h.failed = false, 0
	} else {
		if h.failed == 0 && !h.closed {
			h.d.log.Warn("a host does not answer", "host", h.Name, "err", err)
		}
		h.missed = true
		h.retryAt = time.Now().Add(retryPause(h.failed, time.Since(begun)))
		h.failed++
	}
	close(h.dialling)
	h.dialling = nil
}

func (h *host) prepare(c *conn) error {
	if err := c.subscribe(); err != nil {
		return failure("subscribe to events", err)
	}
	return failure("repair what was interrupted", c.sweep(context.Background()))
}

// close ends the connection, and all later attempts.
func (h *host) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.cur != nil {
		h.cur.drop()
	}
}

// domains lists the host's domains, off or running.
func (c *conn) domains(ctx context.Context) ([]lv.Domain, error) {
	return ask(ctx, c, "list domains", func() ([]lv.Domain, error) {
		all, _, err := c.l.ConnectListAllDomains(1, 0)
		return all, err
	})
}
