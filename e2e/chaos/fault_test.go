package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// mishap is one thing that goes wrong for a while. It ends with what it broke
// whole again, or leaves that to heal.
type mishap struct {
	name string
	run  func(ctx context.Context, c *cluster, rng *rand.Rand)
}

// upTo is a span from least to most.
func upTo(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// mishaps are all that is injected. Every seed has the one its number falls on,
// and some others.
var mishaps = []mishap{
	{"kill", func(ctx context.Context, c *cluster, rng *rand.Rand) {
		n := c.lockNode(rng)
		defer n.fault.Unlock()
		n.end(syscall.SIGKILL)
		pass(ctx, upTo(rng, 0, 800*time.Millisecond))
		if err := n.start(); err != nil {
			c.fail("start %s: %v", n.conf.Name, err)
		}
	}},
	{"stop", func(ctx context.Context, c *cluster, rng *rand.Rand) {
		n := c.lockNode(rng)
		defer n.fault.Unlock()
		n.signal(syscall.SIGSTOP)
		pass(ctx, upTo(rng, lapse(), lapse()+lease))
		n.signal(syscall.SIGCONT)
	}},
	{"nap", func(ctx context.Context, c *cluster, rng *rand.Rand) { // shorter than the lease, again and again
		n := c.lockNode(rng)
		defer n.fault.Unlock()
		for range 2 + rng.IntN(6) {
			n.signal(syscall.SIGSTOP)
			pass(ctx, upTo(rng, 50*time.Millisecond, lease*2/3))
			n.signal(syscall.SIGCONT)
			if !pass(ctx, upTo(rng, 20*time.Millisecond, 300*time.Millisecond)) {
				return
			}
		}
	}},
	{"cut", func(ctx context.Context, c *cluster, rng *rand.Rand) {
		n := c.nodes[rng.IntN(nodes)]
		for range 1 + rng.IntN(8) {
			n.proxy.cut(false)
			if !pass(ctx, upTo(rng, 10*time.Millisecond, 300*time.Millisecond)) {
				return
			}
		}
		n.proxy.cut(true)
		pass(ctx, upTo(rng, 0, lapse()))
		n.proxy.heal()
	}},
	{"hole", func(ctx context.Context, c *cluster, rng *rand.Rand) {
		n := c.nodes[rng.IntN(nodes)]
		n.proxy.hole()
		pass(ctx, upTo(rng, 200*time.Millisecond, lapse()+lease))
		if rng.IntN(2) == 0 { // what was swallowed is lost, or else it comes late
			n.proxy.cut(false)
		}
		n.proxy.heal()
	}},
	{"slow", func(ctx context.Context, c *cluster, rng *rand.Rand) {
		n := c.nodes[rng.IntN(nodes)]
		n.proxy.slow(upTo(rng, time.Millisecond, 40*time.Millisecond))
		pass(ctx, upTo(rng, 300*time.Millisecond, 2*time.Second))
		n.proxy.heal()
	}},
	{"postgres fast", func(ctx context.Context, c *cluster, rng *rand.Rand) { c.bounce(ctx, rng, false) }},
	{"postgres crash", func(ctx context.Context, c *cluster, rng *rand.Rand) { c.bounce(ctx, rng, true) }},
	{"storm", func(ctx context.Context, c *cluster, rng *rand.Rand) {
		c.host.mood.Store(&storm)
		pass(ctx, upTo(rng, 300*time.Millisecond, 1500*time.Millisecond))
		c.host.mood.Store(&life)
	}},
	{"stop in limbo", func(ctx context.Context, c *cluster, rng *rand.Rand) { // calls arrive when their run is over
		n := c.lockNode(rng)
		defer n.fault.Unlock()
		c.host.mood.Store(&limbo)
		pass(ctx, upTo(rng, 150*time.Millisecond, 600*time.Millisecond))
		n.signal(syscall.SIGSTOP)
		c.host.mood.Store(&life)
		pass(ctx, upTo(rng, lapse(), lapse()+lease))
		n.signal(syscall.SIGCONT)
	}},
	{"kill in limbo", func(ctx context.Context, c *cluster, rng *rand.Rand) {
		n := c.lockNode(rng)
		defer n.fault.Unlock()
		c.host.mood.Store(&limbo)
		pass(ctx, upTo(rng, 150*time.Millisecond, 600*time.Millisecond))
		n.end(syscall.SIGKILL)
		c.host.mood.Store(&life)
		if err := n.start(); err != nil {
			c.fail("start %s: %v", n.conf.Name, err)
		}
	}},
}

// lockNode is a node that no other fault has its hands on. With all of them
// taken it waits for one.
func (c *cluster) lockNode(rng *rand.Rand) *node {
	from := rng.IntN(nodes)
	for i := range nodes {
		if n := c.nodes[(from+i)%nodes]; n.fault.TryLock() {
			return n
		}
	}
	c.nodes[from].fault.Lock()
	return c.nodes[from]
}

// bounce stops PostgreSQL and starts it again.
func (c *cluster) bounce(ctx context.Context, rng *rand.Rand, crash bool) {
	c.pgFault.Lock()
	defer c.pgFault.Unlock()
	if err := c.pg.Down(crash); err != nil {
		c.fail("stop PostgreSQL: %v", err)
	}
	pass(ctx, upTo(rng, 0, 700*time.Millisecond))
	if err := c.pg.Up(); err != nil {
		c.fail("start PostgreSQL: %v", err)
	}
}

// inject lets faults come over the span, the first of them the seed's own. It
// returns once all have ended, and says what they were.
func (c *cluster) inject(ctx context.Context, seed int64, span time.Duration) (names []string) {
	rng := rand.New(rand.NewPCG(uint64(seed), 7))
	var all sync.WaitGroup
	for i := range 3 + rng.IntN(5) {
		f := mishaps[rng.IntN(len(mishaps))]
		if i == 0 {
			f = mishaps[seed%int64(len(mishaps))]
		}
		at, own := time.Duration(rng.Int64N(int64(span))), rand.New(rand.NewPCG(uint64(seed), uint64(i+10)))
		names = append(names, fmt.Sprintf("%s at %v", f.name, at.Round(time.Millisecond)))
		all.Go(func() {
			if pass(ctx, at) {
				f.run(ctx, c, own)
			}
		})
	}
	all.Wait()
	slices.Sort(names)
	return names
}
