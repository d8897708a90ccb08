package libvirt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// conn is one connection to a host. It is never used again once it is lost.
type conn struct {
	host *host
	l    *lv.Libvirt
	w    *wire

	mu    sync.Mutex
	pools map[string]*pool
}

func (h *host) open() (*conn, error) {
	l, w, err := open(h.url, min(dialLimit, h.d.opts.CallTimeout))
	if err != nil {
		// The text only: a dial that timed out says that it is a context's end.
		return nil, backend.ErrUnavailable.Because(fmt.Errorf("connect to host %s: %v", h.Name, err))
	}
	return &conn{host: h, l: l, w: w, pools: make(map[string]*pool)}, nil
}

// drop ends the connection. Calls under way come back with an error, and what
// they did is not known.
func (c *conn) drop() { _ = c.w.Close() }

func (c *conn) isLost() bool {
	select {
	case <-c.w.lost:
		return true
	default:
		return false
	}
}

// do runs one call of libvirt's, which knows neither contexts nor deadlines. The
// context is looked at before and not during the call, whose outcome would not
// be known; a call past its deadline loses the connection.
func (c *conn) do(ctx context.Context, doing string, call func() error) error {
	return c.doFor(ctx, c.host.d.opts.CallTimeout, doing, call)
}

func (c *conn) doFor(ctx context.Context, limit time.Duration, doing string, call func() error) error {
	_, err := askFor(ctx, c, limit, doing, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

func (d *Driver) called(doing string) {
	d.calling.Lock()
	defer d.calling.Unlock()
	d.onCall(doing)
}

// ask is do for a call with an answer.
func ask[T any](ctx context.Context, c *conn, doing string, call func() (T, error)) (T, error) {
	return askFor(ctx, c, c.host.d.opts.CallTimeout, doing, call)
}

func askFor[T any](ctx context.Context, c *conn, limit time.Duration, doing string, call func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if c.host.d.onCall != nil {
		c.host.d.called(doing)
	}
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := call()
		done <- answer{value, err}
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case a := <-done:
		return a.value, c.outcome(doing, a.err)
	case <-t.C:
		c.drop()
		return none, c.outcome(doing, fmt.Errorf("no answer within %s", limit))
	}
}

// outcome keeps libvirt's answers as they are, to be looked at; anything else is
// a connection that is of no more use.
func (c *conn) outcome(doing string, err error) error {
	var answer lv.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer), errors.Is(err, lv.ErrUnsupported):
		return fmt.Errorf("%s on host %s: %w", doing, c.host.Name, err)
	}
	c.drop()
	return backend.ErrUnavailable.Because(fmt.Errorf("%s on host %s: %v", doing, c.host.Name, err))
}
