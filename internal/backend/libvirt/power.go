package libvirt

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// askAgain is how often a guest is asked to shut down: one that is starting does
// not hear it.
const askAgain = 10 * time.Second

// Power implements backend.Driver.
func (d *Driver) Power(ctx context.Context, ref string, action backend.PowerAction) error {
	leave, err := d.gate.Enter(ctx, backend.GuestObject(ref))
	if err != nil {
		return err
	}
	defer leave()
	return failure(fmt.Sprintf("power %s of guest %s", action, ref), anew(func() error { return d.power(ctx, ref, action) }))
}

func (d *Driver) power(ctx context.Context, ref string, action backend.PowerAction) error {
	c, dom, err := d.find(ctx, ref)
	if err != nil {
		return err
	}
	runs, err := c.runs(ctx, dom)
	if err != nil {
		return err
	}
	switch action {
	case backend.PowerStart:
		if runs {
			return nil
		}
		err := c.do(ctx, "start", func() error {
			_, err := c.l.DomainCreateWithFlags(dom, 0)
			return err
		})
		if gone(err) {
			return backend.ErrVolumeNotFound.Because(err)
		}
		return err
	case backend.PowerOff:
		if !runs {
			return nil
		}
		return c.do(ctx, "power off", func() error { return c.l.DomainDestroyFlags(dom, lv.DomainDestroyDefault) })
	case backend.PowerReset:
		if !runs {
			return nil
		}
		return c.do(ctx, "reset", func() error { return c.l.DomainReset(dom, 0) })
	case backend.PowerShutdown:
		return c.shutdown(ctx, dom)
	}
	return backend.ErrUnsupported.Because(fmt.Errorf("power action %q", action))
}

func (c *conn) runs(ctx context.Context, dom lv.Domain) (bool, error) {
	return ask(ctx, c, "look at domain "+dom.Name, func() (bool, error) {
		active, err := c.l.DomainIsActive(dom)
		return active != 0, err
	})
}

// shutdown asks the guest to stop until it has.
func (c *conn) shutdown(ctx context.Context, dom lv.Domain) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var asked time.Time
	for {
		runs, err := c.runs(ctx, dom)
		if err != nil || !runs {
			return err
		}
		if time.Since(asked) > askAgain {
			err := c.do(ctx, "shut down", func() error { return c.l.DomainShutdownFlags(dom, 0) })
			if whileRunning(err) != nil {
				return err
			}
			asked = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.host.d.gate.Closing():
			return backend.ErrUnavailable.Because(fs.ErrClosed)
		}
	}
}
