package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/api"
)

// TestKill kills the server at random moments under mixed load, starts it
// again on the same folder, waits until every accepted task has ended, and
// then checks everything that must hold (check_test.go).
func TestKill(t *testing.T) {
	k := newKill(t)
	for round := range rounds(t) {
		k.round(round)
		if t.Failed() {
			t.Fatalf("round %d left something wrong behind", round)
		}
	}
	k.summary()
}

// TestKillFirstStart kills a server while it makes its folder, again and again.
func TestKillFirstStart(t *testing.T) {
	needBinary(t)
	t.Parallel()
	for _, flags := range [][]string{{"--demo"}, nil} {
		name := strings.Join(append([]string{"serve"}, flags...), " ")
		t.Run(name, func(t *testing.T) {
			l := &load{rand: random(t)}
			for range (rounds(t) + 3) / 4 {
				s := newServer(t, flags...)
				for range 4 {
					s.start()
					l.pause(60 * time.Millisecond)
					s.kill()
				}
				s.start()
				if flags != nil {
					s.checkDemo()
				} else {
					s.checkAdmin()
				}
				s.kill()
			}
		})
	}
}

// checkDemo fails the test unless a demo is whole.
func (s *server) checkDemo() {
	s.t.Helper()
	s.awaitDemo()
	var list []api.VPS
	s.client().want(http.StatusOK, "GET", "/vps/", nil, &list)
	if len(list) != 3 {
		s.t.Fatalf("the demo client has %d devices, want 3", len(list))
	}
	check(s.t, s.dir)
	agree(s.t, s)
}

// checkAdmin fails the test unless admin.key opens a server that is no demo.
func (s *server) checkAdmin() {
	s.t.Helper()
	url := s.awaitURL()
	key, err := os.ReadFile(filepath.Join(s.dir, "admin.key"))
	if err != nil {
		s.t.Fatal(err)
	}
	newClient(s.t, url, strings.TrimSpace(string(key))).want(http.StatusOK, "GET", "/admin/clients", nil, nil)
}

// kill is a server that does not live long.
type kill struct {
	*server
	t      *testing.T
	load   *load
	origin *origin
	// accepted has the tasks a client was told of in the present round, and
	// whose they are.
	accepted map[string]*client
	total    int
	past     past // what the last check saw
}

func newKill(t *testing.T) *kill {
	k := &kill{t: t, origin: newOrigin(t)}
	k.server = newServer(t, "--demo", "--rate-limit=0", "--rate-limit-anonymous=0", "--log-level=warn", allow)
	k.load = newLoad(random(t), k.origin)
	k.start()
	k.awaitDemo()
	return k
}

// every is how many rounds pass between two looks at what takes long to see.
const every = 10

// round loads the server, kills it and looks at what the next start makes of
// it.
func (k *kill) round(n int) {
	k.t.Helper()
	k.origin.brake()
	k.accepted = k.load.run(k.t, k.server)
	k.total += len(k.accepted)
	k.origin.release()
	k.start()
	if k.load.chance(4) { // once more while it takes up what was left
		k.load.pause(80 * time.Millisecond)
		k.kill()
		k.start()
	}
	k.awaitDemo()
	k.drain()
	if n%every != 0 {
		k.past = checkNews(k.t, k.dir, k.past)
		return
	}
	k.past = check(k.t, k.dir)
	agree(k.t, k.server)
}

// drain waits until nothing is under way, and asks for the accepted tasks.
func (k *kill) drain() {
	k.t.Helper()
	k.settle()
	a, b := k.client(), k.other() // where the new process serves
	for _, id := range slices.Sorted(maps.Keys(k.accepted)) {
		c := a
		if k.accepted[id].key == b.key {
			c = b
		}
		var task api.Task
		c.want(http.StatusOK, "GET", "/network/status/"+id, nil, &task)
		switch m := metaOf(k.t, task); {
		case task.Result == api.TaskResultSuccess:
		case task.Result == api.TaskResultFailed && slices.Contains(fairReasons, m.ErrorCode):
		default:
			k.t.Errorf("the accepted task %s came out as %+v", id, task)
		}
	}
}

// fairReasons are what a task of the load may fail for: no fault is injected
// but the kill, and that must not be a reason.
var fairReasons = []string{"precondition_failed", "cancelled"}

// summary checks everything once more and fails the test if the load was none.
func (k *kill) summary() {
	k.t.Helper()
	check(k.t, k.dir)
	c := open(k.t, k.dir)
	defer c.db.Close()
	type kind struct {
		name                   string
		done, failed, repeated int
	}
	kinds := rows(c, func(s *kind) []any { return []any{&s.name, &s.done, &s.failed, &s.repeated} }, `
		SELECT kind, sum(state = 'done'), sum(state = 'failed'), sum(attempt > 1) FROM task
		WHERE client_id IS NOT NULL GROUP BY kind ORDER BY kind`)
	interrupted, seen := 0, map[string]bool{}
	for _, s := range kinds {
		k.t.Logf("%-14s %6d done %5d failed %5d taken up again", s.name, s.done, s.failed, s.repeated)
		interrupted += s.repeated
		seen[s.name] = s.done > 0
	}
	resumed := 0
	for _, r := range k.origin.seen() {
		if r != "" {
			resumed++
		}
	}
	k.t.Logf("%d tasks accepted before a kill, %d downloads resumed by range", k.total, resumed)
	for _, name := range []string{
		"volume.create", "volume.resize", "volume.attach", "volume.detach", "volume.delete",
		"iso.create", "iso.attach", "iso.detach", "iso.delete",
	} {
		if !seen[name] {
			k.t.Errorf("the load never had a %s succeed", name)
		}
	}
	if interrupted == 0 {
		k.t.Error("no kill ever hit a task that ran")
	}
}

// run loads the server from several clients until it is killed, at a random
// moment, and returns the accepted tasks.
func (l *load) run(t *testing.T, s *server) map[string]*client {
	var mu sync.Mutex
	accepted := map[string]*client{}
	note := func(c *client, id string) {
		mu.Lock()
		defer mu.Unlock()
		accepted[id] = c
	}
	ctx := within(t, patience)
	var workers sync.WaitGroup
	for i, c := range []*client{s.client(), s.client(), s.client(), s.other(), s.other()} {
		w := &worker{client: c, rand: l.fork(), images: l.urls, note: note}
		w.devices = s.demo.DeviceIDs
		if c.key == s.demo.Other.APIKey {
			w.devices = s.demo.Other.DeviceIDs
		}
		w.isos = i%2 == 0
		workers.Go(func() { w.work(ctx) })
	}
	l.pause(300 * time.Millisecond)
	s.kill()
	workers.Wait() // their next request fails
	return accepted
}

// accept notes the task of an answer that accepts one.
func (w *worker) accept(a answer) {
	var told struct {
		TaskID string `json:"taskId"`
	}
	if a.status != http.StatusOK && a.status != http.StatusCreated {
		return
	}
	if err := json.Unmarshal(a.body, &told); err == nil && told.TaskID != "" {
		w.note(w.client, told.TaskID)
	}
}
