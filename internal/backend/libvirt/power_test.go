package libvirt

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/libvirttest"
	"github.com/drivebay/drivebay/internal/testneed"
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
			var (
				killer sync.WaitGroup
				mu     sync.Mutex
				killed []int
				starts int
				seen   int // of the killed
			)
			// crash ends the guest's process, unless that was done often enough, and
			// returns how often it was.
			crash := func() int {
				mu.Lock()
				defer mu.Unlock()
				if len(killed) < c.kills {
					killed = append(killed, g.Crash(killed)...)
				}
				return len(killed)
			}
			over := make(chan struct{})
			d.onCall = func(doing string) {
				switch {
				case doing == "start":
					starts++
				case strings.HasPrefix(doing, "look at") && starts > 0:
					if n := crash(); n > seen {
						seen = n
						// On a busy machine libvirt hears of it later than a start is watched.
						testneed.Eventually(t, "libvirt notices the end of the process", func() bool { return !g.Running() })
					}
				}
			}
			if !c.running {
				killer.Go(func() {
					for crash() < c.kills {
						select {
						case <-over:
							return
						case <-time.After(5 * time.Millisecond):
						}
					}
				})
			}
			err := d.Power(t.Context(), g.UUID, backend.PowerStart)
			close(over)
			killer.Wait()
			if c.want == nil {
				ok(t, err)
			} else if !errors.Is(err, c.want) {
				t.Errorf("got error %v, want %v", err, c.want)
			}
			// libvirt may have killed one more.
			if want, runs := c.want == nil, g.Running(); runs != want || starts < min(c.kills+1, startsMax) {
				t.Errorf("the guest runs: %t, after %d starts", runs, starts)
			}
		})
	}
}

// TestRefusedStart: a start that libvirt refuses ahead of any process is none.
func TestRefusedStart(t *testing.T) {
	r := newRig(t, libvirttest.Shared(t))
	g := r.guest(t, 0, libvirttest.GuestOptions{Ports: 4})
	d := r.open(t, Options{})
	ok(t, d.Power(t.Context(), g.UUID, backend.PowerOff))
	ok(t, os.RemoveAll(r.roots))
	if err := d.Power(t.Context(), g.UUID, backend.PowerStart); err == nil || g.Running() {
		t.Errorf("the guest runs: %t; error %v", g.Running(), err)
	}
}
