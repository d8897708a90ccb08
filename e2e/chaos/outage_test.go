package chaos

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/testneed"
)

// answerLimit bounds how long a reader waits for the word that the database is
// away: twice what the store waits for a statement, and some for the machine.
const answerLimit = 30 * time.Second

// TestDatabaseAway takes the database away under load, by stopping it and by
// swallowing what goes there and back. Readers are told so, nothing that was
// accepted is lost, and afterwards the same servers go on.
func TestDatabaseAway(t *testing.T) {
	needPostgres(t)
	ways := []struct {
		name     string
		cut, end func(*cluster) error
	}{
		{"stopped", func(c *cluster) error { return c.pg.Down(false) }, func(c *cluster) error { return c.pg.Up() }},
		{"crashed", func(c *cluster) error { return c.pg.Down(true) }, func(c *cluster) error { return c.pg.Up() }},
		{"swallowed", func(c *cluster) error {
			for _, n := range c.nodes {
				n.proxy.hole()
			}
			return nil
		}, func(c *cluster) error {
			for _, n := range c.nodes {
				n.proxy.cut(false)
				n.proxy.heal()
			}
			return nil
		}},
	}
	for _, way := range ways[:rounds(1, len(ways))] {
		t.Run(way.name, func(t *testing.T) { databaseAway(t, way.cut, way.end) })
	}
}

func databaseAway(t *testing.T, cut, end func(*cluster) error) {
	span := time.Duration(rounds(3, 20)) * time.Second
	c := newCluster(t, 1, lease, "") // with the limits of any installation
	begun := map[*node]int{}         // one that starts too slowly is started again
	for _, n := range c.nodes {
		begun[n] = n.starts
	}
	l := newLoad(c)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.run(ctx, 1, clients)
	}()
	pass(ctx, time.Second)
	if err := cut(c); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	var readers sync.WaitGroup
	for _, n := range c.nodes {
		readers.Go(func() { readWhileAway(t, c, n, gone.Add(span)) })
	}
	readers.Wait()
	if err := end(c); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for _, n := range c.nodes {
		testneed.Eventually(t, "an answer of "+n.conf.Name, func() bool {
			a := probe(t, c, n)
			return a.status == http.StatusOK
		})
		t.Logf("%s answers %v after the database", n.conf.Name, time.Since(back).Round(time.Millisecond))
	}
	writes := patient(c)
	if o := writes.accept(rand.New(rand.NewPCG(1, 1)), op{kind: "volume.create", device: full, size: 50}); o.task != "" {
		t.Logf("the first write is accepted %v after the database", time.Since(back).Round(time.Millisecond))
	}
	stop()
	<-loaded
	c.idle()
	t.Logf("all tasks have ended %v after the database", time.Since(back).Round(time.Millisecond))
	for _, n := range c.nodes {
		if n.starts != begun[n] {
			t.Errorf("%s was started %d times more", n.conf.Name, n.starts-begun[n])
		}
	}
	l.ops = append(l.ops, writes.ops...)
	c.quiet()
	c.check(l)
	c.verdict()
}

type answer struct {
	status        int
	reason, after string
	took          time.Duration
}

// probe reads the volumes of a device at one server.
func probe(t testing.TB, c *cluster, n *node) (a answer) {
	ten := c.world.tenants[4]
	req, err := http.NewRequest("GET", n.address()+"/api/v2/vps/volume?deviceId="+strconv.FormatInt(full, 10), nil)
	if err != nil {
		t.Error(err)
		return a
	}
	req.Header.Set("X-API-KEY", ten.key)
	began := time.Now()
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		t.Errorf("%s gives no answer: %v", n.conf.Name, err)
		return a
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a = answer{status: resp.StatusCode, after: resp.Header.Get("Retry-After"), took: time.Since(began)}
	if err == nil && a.status != http.StatusOK {
		var refused struct{ Reason string }
		err = json.Unmarshal(body, &refused)
		a.reason = refused.Reason
	}
	if err != nil {
		t.Errorf("answer of %s: %v", n.conf.Name, err)
	}
	return a
}

// readWhileAway reads until the time, and holds what a reader is told.
func readWhileAway(t *testing.T, c *cluster, n *node, until time.Time) {
	var longest time.Duration
	reads := 0
	for time.Now().Before(until) {
		a := probe(t, c, n)
		reads++
		longest = max(longest, a.took)
		seconds, err := strconv.Atoi(a.after)
		if a.status != http.StatusServiceUnavailable || a.reason != "database_unavailable" || err != nil || seconds < 1 {
			t.Errorf("%s answers %+v while the database is away", n.conf.Name, a)
			return
		}
		pass(t.Context(), 20*time.Millisecond)
	}
	t.Logf("%s told %d readers so, the last to hear waited %v", n.conf.Name, reads, longest.Round(time.Millisecond))
	if longest > answerLimit {
		t.Errorf("%s let a reader wait for %v", n.conf.Name, longest)
	}
}
