package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/testneed"
)

// TestRepeatsThroughKills lets clients without patience create and delete
// volumes: they hang up after some milliseconds and send the same request
// again, under the same key, while the server is killed and started again.
// Each request is done exactly once, and each is answered in the end.
func TestRepeatsThroughKills(t *testing.T) {
	t.Parallel()
	s := newServer(t, "--demo", "--rate-limit=0", "--rate-limit-anonymous=0", "--log-level=warn")
	s.start()
	s.awaitDemo()
	l := &load{rand: random(t)}
	var url atomic.Value
	url.Store(s.demo.URL)
	var stop atomic.Bool
	var workers sync.WaitGroup
	var all []*impatient
	for i, device := range s.demo.DeviceIDs {
		for j := range 2 {
			w := &impatient{client: s.client(), name: fmt.Sprintf("%d-%d", i, j), where: &url, rand: l.fork(), told: map[string]string{}}
			all = append(all, w)
			workers.Go(func() {
				for !stop.Load() && !t.Failed() {
					w.useVolume(device)
				}
			})
		}
	}
	for range rounds(t) {
		l.pause(250 * time.Millisecond)
		s.kill()
		url.Store("http://127.0.0.1:1") // nobody's: the old port may soon be another server's
		s.start()
		url.Store(s.awaitDemo().URL)
	}
	stop.Store(true)
	workers.Wait()
	if t.Failed() {
		return
	}
	s.settle()
	check(t, s.dir)
	agree(t, s)
	exactlyOnce(t, s, all)
}

// exactlyOnce holds that what was asked for is all that was done, and that
// each request was told its own task.
func exactlyOnce(t *testing.T, s *server, all []*impatient) {
	t.Helper()
	c := open(t, s.dir)
	defer c.db.Close()
	done := map[string]bool{}
	for _, id := range rows(c, func(id *string) []any { return []any{id} }, `SELECT id FROM task WHERE kind IN ('volume.create', 'volume.delete')`) {
		done[id] = true
	}
	keys, tries, replays := 0, 0, 0
	for _, w := range all {
		tries, replays = tries+w.tries, replays+w.replays
		for _, key := range slices.Sorted(maps.Keys(w.told)) {
			keys++
			if id := w.told[key]; !done[id] {
				t.Errorf("%s was told the task %s, which is not there or not its own", key, id)
			} else {
				delete(done, id)
			}
		}
	}
	if len(done) > 0 {
		t.Errorf("%d tasks were made that no request was told of", len(done))
	}
	t.Logf("%d requests in %d tries, %d of them answered again", keys, tries, replays)
	if replays == 0 {
		t.Error("no request was ever answered again: this has tried nothing")
	}
}

// impatient is a client that does not wait for answers.
type impatient struct {
	*client
	name           string
	where          *atomic.Value // where the server is now
	rand           *rand.Rand
	told           map[string]string // the task of each key
	tries, replays int
}

// useVolume creates a volume, waits until it is there, and deletes it.
func (w *impatient) useVolume(deviceID int64) {
	w.t.Helper()
	made := w.change("POST", "/vps/volume", map[string]any{"deviceId": deviceID, "size": 50})
	testneed.Eventually(w.t, "the volume", func() bool {
		a, err := w.once(time.Second, "", "GET", "/network/status/"+made.TaskID, nil)
		var task api.Task
		if err != nil || json.Unmarshal(a.body, &task) != nil {
			return false // killed, or on its way down
		}
		if a.status == http.StatusNotFound || task.Result == api.TaskResultFailed {
			w.t.Errorf("the task of an answered request: %v", a)
		}
		return task.Result == api.TaskResultSuccess || w.t.Failed()
	})
	w.change("DELETE", "/vps/volume/"+metaOf(w.t, made).VolumeID, map[string]any{"deviceId": deviceID})
}

// change sends a request until it is answered.
func (w *impatient) change(method, path string, body any) (task api.Task) {
	w.t.Helper()
	key := fmt.Sprintf("%s-%d", w.name, len(w.told))
	patient := time.Duration(1+w.rand.IntN(8)) * time.Millisecond
	testneed.Eventually(w.t, "an answer to "+key, func() bool {
		w.tries++
		a, err := w.once(patient, key, method, path, body)
		patient = min(2*patient, 5*time.Second)
		if err != nil || a.status == http.StatusServiceUnavailable {
			return false
		}
		if a.status != http.StatusCreated || json.Unmarshal(a.body, &task) != nil {
			w.t.Errorf("%s, %s %s: %v", key, method, path, a)
		}
		if a.header.Get("Idempotent-Replayed") == "true" {
			w.replays++
		}
		return true
	})
	w.told[key] = task.TaskID
	return task
}

// once sends a request and waits only so long.
func (w *impatient) once(patient time.Duration, key, method, path string, body any) (answer, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), patient)
	defer cancel()
	w.url = w.where.Load().(string) + "/api/v2"
	if key == "" {
		return w.try(ctx, method, path, body)
	}
	return w.try(ctx, method, path, body, "Idempotency-Key", key)
}
