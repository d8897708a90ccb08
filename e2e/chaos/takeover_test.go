package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/testneed"
)

// calmLease is that of tests in which a server has to be the one that runs a
// task: not even a very busy machine makes it lose that for being slow.
const calmLease = 4 * lease

// TestTakeover kills a server inside a call of a driver, for each kind of task.
// Another one finishes the task.
func TestTakeover(t *testing.T) {
	needPostgres(t)
	t.Parallel()
	c := newCluster(t, 1, calmLease, limits)
	l, rng := patient(c), rand.New(rand.NewPCG(1, 6))
	id := ""
	for _, k := range []struct {
		kind, method string
		size         int
	}{
		{"volume.create", "EnsureAttached", 50}, {"volume.resize", "GrowVolume", 100}, {"volume.detach", "EnsureDetached", 0},
		{"volume.attach", "EnsureAttached", 0}, {"volume.delete", "DeleteVolume", 0},
	} {
		came, release := c.host.holdNext(k.method)
		o := l.accept(rng, op{kind: k.kind, device: full, volume: id, size: k.size})
		id = o.volume
		<-came
		n := c.runner(o.task)
		n.end(syscall.SIGKILL)
		died := time.Now()
		c.done(o.task, 2)
		t.Logf("%s, killed in %s: done by another server after %v, lease %v", k.kind, k.method, time.Since(died).Round(time.Millisecond), calmLease)
		close(release)
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
		c.ready()
	}
	finish(t, c, l)
}

// TestLateCalls holds a call on its way to the host while its server is stopped
// or killed, another one finishes the task, and the next task undoes what it
// did. Then the call arrives. It must find itself out of date: it would connect
// a volume that is detached, take one from its guest, or make a disk of nobody.
func TestLateCalls(t *testing.T) {
	needPostgres(t)
	t.Parallel()
	c := newCluster(t, 1, calmLease, limits)
	l, rng := patient(c), rand.New(rand.NewPCG(1, 7))
	for _, how := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL}[:rounds(1, 2)] {
		id := ""
		for _, k := range []struct{ kind, method, next string }{
			{"volume.create", "EnsureVolume", "volume.delete"}, {"volume.create", "EnsureAttached", "volume.detach"},
			{"volume.attach", "EnsureAttached", "volume.detach"}, {"", "", "volume.attach"},
			{"volume.detach", "EnsureDetached", "volume.attach"}, {"volume.delete", "DeleteVolume", ""},
		} {
			if k.kind == "" {
				c.done(l.accept(rng, op{kind: k.next, device: full, volume: id}).task, 1)
				continue
			}
			came, release := c.host.holdNext(k.method)
			o := l.accept(rng, op{kind: k.kind, device: full, volume: id, size: 50})
			id = o.volume
			<-came
			n := c.runner(o.task)
			if how == syscall.SIGKILL {
				n.end(how)
			} else {
				n.pause()
			}
			c.done(o.task, 2)
			if k.next != "" {
				c.done(l.accept(rng, op{kind: k.next, device: full, volume: id}).task, 1)
			}
			before := c.fenced()
			close(release)
			testneed.Eventually(t, "the late "+k.method+" to be refused", func() bool { return c.fenced() > before })
			if how == syscall.SIGKILL {
				if err := n.start(); err != nil {
					t.Fatal(err)
				}
			} else {
				n.resume()
			}
			c.ready()
		}
	}
	finish(t, c, l)
}

// fenced is how many calls of runs that are over have been refused.
func (c *cluster) fenced() (n int) {
	calls, _ := c.host.log()
	for _, h := range calls {
		if h.refused() {
			n++
		}
	}
	return n
}

// done waits until a task has succeeded, with at least so many attempts.
func (c *cluster) done(task string, attempts int) {
	c.t.Helper()
	db := c.open()
	defer db.Close(context.Background())
	testneed.Eventually(c.t, "the end of a task", func() bool {
		return number(c.t, db, `SELECT count(*) FROM task WHERE id = $1 AND state = 'done' AND attempt >= $2`, task, attempts) == 1
	})
}

// runner is the server that runs a task.
func (c *cluster) runner(task string) *node {
	c.t.Helper()
	db := c.open()
	defer db.Close(context.Background())
	owner := all(c.t, db, func(s *string) []any { return []any{s} }, `SELECT split_part(owner, '/', 1) FROM task WHERE id = $1`, task)
	var i int
	if _, err := fmt.Sscanf(owner[0], "node%d", &i); err != nil || i < 1 || i > nodes {
		c.t.Fatalf("no such server: %q", owner)
	}
	return c.nodes[i-1]
}
