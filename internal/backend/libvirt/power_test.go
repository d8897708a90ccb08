package libvirt

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

// TestKilledStart: libvirt may take the end of a guest's last process for the end
// of the one that has just been started, and kill it. The guest runs all the
// same, if it can run at all.
func TestKilledStart(t *testing.T) {
	libvirttest.Need(t)
	for name, c := range map[string]struct {
		running bool // the process is killed once libvirt has started it, not before
		kills   int
		want    error
	}{
		"while it starts": {kills: 1},
		"once it runs":    {running: true, kills: 1},
		"each time":       {kills: startsMax, want: backend.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, libvirttest.Shared(t))
			g := r.guest(t, 0, libvirttest.GuestOptions{Ports: 4})
			d := r.open(t, Options{})
			ok(t, d.Power(t.Context(), g.UUID, backend.PowerOff))
			var dying sync.WaitGroup
			starts, killed := 0, 0
			d.onCall = func(doing string) {
				if doing == "start" {
					starts++
				}
				switch {
				case starts == killed || killed == c.kills:
				case !c.running:
					dying.Go(g.Crash)
					killed++
				case strings.HasPrefix(doing, "look at"):
					g.Crash()
					killed++
				}
			}
			err := d.Power(t.Context(), g.UUID, backend.PowerStart)
			dying.Wait()
			if c.want == nil {
				ok(t, err)
			} else if !errors.Is(err, c.want) {
				t.Errorf("got error %v, want %v", err, c.want)
			}
			if want := c.want == nil; g.Running() != want || starts != min(c.kills+1, startsMax) {
				t.Errorf("the guest runs: %t, after %d starts", !want, starts)
			}
		})
	}
}
