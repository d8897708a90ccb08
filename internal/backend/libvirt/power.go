package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// askAgain is how often a guest is asked to shut down: one that is starting does
// not hear it.
const askAgain = 10 * time.Second

const (
	startsMax = 3                      // processes of one call
	apart     = 500 * time.Millisecond // for libvirt to handle the end of a process ahead of the next
	settle    = time.Second            // for it to do so late
)

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
		return c.start(ctx, dom)
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

// start starts a guest that is off and sees to it that it stays on. libvirt 9.0
// handles the end of a process by and by: the guest of one that was destroyed
// may have another by then, which libvirt takes for the one that ended, and
// kills.
func (c *conn) start(ctx context.Context, dom lv.Domain) error {
	ended, err := c.ended(ctx, dom)
	if err != nil {
		return err
	}
	watched := ended == lv.DomainShutoffDestroyed || ended == lv.DomainShutoffCrashed || ended == lv.DomainShutoffFailed
	for try := 1; ; try++ {
		if watched {
			if err := backend.Pause(ctx, apart); err != nil {
				return err
			}
		}
		err := c.do(ctx, "start", func() error {
			_, err := c.l.DomainCreateWithFlags(dom, 0)
			return err
		})
		switch {
		case gone(err):
			return backend.ErrVolumeNotFound.Because(err)
		case !watched, c.isLost(), err != nil && kindOf(err) != backend.ErrUnavailable:
			return err
		}
		runs, why, unknown := c.settled(ctx, dom)
		switch {
		case unknown != nil:
			return unknown
		case runs, err == nil && why == lv.DomainShutoffDestroyed: // else libvirt may have killed it, whatever reason it gives
			return nil
		case try < startsMax:
		case err == nil && why == lv.DomainShutoffShutdown: // it does so by itself
			return nil
		default:
			return backend.ErrUnavailable.Because(cmp.Or(err, errors.New("its process ended soon after the start")))
		}
		c.host.d.log.Warn("a guest's process ended while it started; it is started again", "guest", dom.Name, "error", err)
	}
}

// settled tells, once the time has passed in which libvirt may kill it, whether
// the guest's process is there, and else why not.
func (c *conn) settled(ctx context.Context, dom lv.Domain) (runs bool, why lv.DomainShutoffReason, err error) {
	for end := time.Now().Add(settle); ; {
		runs, err := c.runs(ctx, dom)
		switch {
		case err == nil && !runs:
			why, err := c.ended(ctx, dom)
			return false, why, err
		case err != nil || time.Now().After(end):
			return runs, 0, err
		}
		if err := backend.Pause(ctx, poll); err != nil {
			return false, 0, err
		}
	}
}

// ended is why a guest that is off is.
func (c *conn) ended(ctx context.Context, dom lv.Domain) (lv.DomainShutoffReason, error) {
	return ask(ctx, c, "ask why "+dom.Name+" is off", func() (lv.DomainShutoffReason, error) {
		state, reason, err := c.l.DomainGetState(dom, 0)
		if lv.DomainState(state) != lv.DomainShutoff {
			reason = int32(lv.DomainShutoffUnknown)
		}
		return lv.DomainShutoffReason(reason), err
	})
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
	var (
		asked   time.Time
		refused bool
	)
	for {
		runs, err := c.runs(ctx, dom)
		if err != nil || !runs {
			return err
		}
		if time.Since(asked) > askAgain {
			err := whileRunning(c.do(ctx, "shut down", func() error { return c.l.DomainShutdownFlags(dom, 0) }))
			// One that is going off at this moment cannot be asked: the next look tells.
			if err != nil && (refused || c.isLost()) {
				return err
			}
			if refused = err != nil; !refused {
				asked = time.Now()
			}
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
