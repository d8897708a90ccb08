package chaos

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// full is the device that takes as many volumes as any.
const full = int64(501)

// spares makes so many volumes and takes them off the device again.
func spares(l *load, rng *rand.Rand, n int) (ids []string) {
	var all sync.WaitGroup
	ids = make([]string, n)
	for w := range clients {
		own := rand.New(rand.NewPCG(rng.Uint64(), 0))
		all.Go(func() {
			for i := w; i < n; i += clients {
				o := l.accept(own, op{worker: w, kind: "volume.create", device: full, size: 50})
				ids[i] = o.volume
				l.accept(own, op{worker: w, kind: "volume.detach", device: full, volume: o.volume})
			}
		})
	}
	all.Wait()
	l.c.idle()
	l.repeats.Store(0)
	return ids
}

// patient is a load whose clients wait for every answer.
func patient(c *cluster) *load {
	l := newLoad(c)
	l.fixed = true
	l.http.Timeout = patience
	return l
}

// finish ends an installation on which nothing may have failed, and checks it.
func finish(t *testing.T, c *cluster, l *load) {
	t.Helper()
	l.http.CloseIdleConnections()
	c.quiet()
	k := c.check(l)
	for _, r := range k.tasks {
		if r.state != "done" {
			c.fail("%s of volume %s failed: %s %s", r.kind, r.volume, r.reason, r.error)
		}
	}
	c.verdict()
}

// TestParallelAttach attaches a hundred volumes to one device at once, by way
// of all servers.
func TestParallelAttach(t *testing.T) {
	needPostgres(t)
	const n = 100
	c := newCluster(t, 1, lease, "")
	l, rng := patient(c), rand.New(rand.NewPCG(1, 2))
	ids := spares(l, rng, n)
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i, id := range ids {
		own := rand.New(rand.NewPCG(uint64(i), 3))
		all.Go(func() {
			<-begin
			l.accept(own, op{worker: i, kind: "volume.attach", device: full, volume: id})
		})
	}
	began := time.Now()
	close(begin)
	all.Wait()
	accepted := time.Since(began)
	c.idle()
	t.Logf("%d attaches to one device: %d sent again after a 503, accepted in %v, done in %v", n, l.repeats.Load(), accepted.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	finish(t, c, l)
}

// TestCycles attaches volumes to one device and detaches them again and again,
// with requests sent ahead of the work, and holds that nothing stays.
func TestCycles(t *testing.T) {
	needPostgres(t)
	const volumes = 50
	n := *cycleFlag
	if n == 0 {
		n = rounds(50, 1000)
	}
	c := newCluster(t, 1, lease, "")
	c.host.watch = false
	l, rng := patient(c), rand.New(rand.NewPCG(1, 4))
	ids := spares(l, rng, volumes)
	began := time.Now()
	ahead := make(chan struct{}, 100) // cycles accepted and not seen to have ended
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go drain(ctx, c, ahead)
	var all sync.WaitGroup
	for i, id := range ids {
		own := rand.New(rand.NewPCG(uint64(i), 5))
		all.Go(func() {
			for range (n + i) / volumes {
				ahead <- struct{}{}
				l.accept(own, op{worker: i, kind: "volume.attach", device: full, volume: id})
				l.accept(own, op{worker: i, kind: "volume.detach", device: full, volume: id})
			}
		})
	}
	all.Wait()
	c.idle()
	took := time.Since(began)
	stop()
	t.Logf("%d cycles on one device in %v: %v a task", n, took.Round(time.Millisecond), (took / time.Duration(2*n)).Round(10*time.Microsecond))
	db := c.open()
	defer db.Close(context.Background())
	if left := number(t, db, `SELECT count(*) FROM volume WHERE device_id = $1`, full); left != 1 {
		t.Errorf("%d volumes are on the device, want its ROOT volume alone", left)
	}
	if done := number(t, db, `SELECT sum(generation) FROM volume WHERE type = 'DATADISK'`); done != int64(2*n+2*volumes) {
		t.Errorf("attachments changed %d times, want %d", done, 2*n+2*volumes)
	}
	finish(t, c, l)
}

// drain takes a cycle out of ahead for every one that has ended.
func drain(ctx context.Context, c *cluster, ahead <-chan struct{}) {
	db := c.open()
	defer db.Close(context.Background())
	done := number(c.t, db, endedDetaches)
	for pass(ctx, 10*time.Millisecond) {
		for now := number(c.t, db, endedDetaches); done < now; done++ {
			select {
			case <-ahead:
			case <-ctx.Done():
				return
			}
		}
	}
}

const endedDetaches = `SELECT count(*) FROM task WHERE kind = 'volume.detach' AND state IN ('done', 'failed')`
