package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/httpapi"
	"github.com/drivebay/drivebay/internal/idempotency"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
)

const aVolume = `{"size": 50, "deviceId": 1001}`

// keyed sends a request of client 7 under a key.
func (w *world) keyed(key, method, path, body string, header ...string) answer {
	w.t.Helper()
	return w.ask(w.server, w.keys.client, method, path, body, append(header, idempotency.Header, key)...)
}

// volumes is how many data volumes all clients have, those being made included.
func (w *world) volumes() int {
	w.t.Helper()
	n := 0
	for _, t := range w.tasks() {
		if t.Kind == volume.KindCreate {
			n++
		}
	}
	return n
}

// tasks are all that clients have asked for.
func (w *world) tasks() []task.Task {
	w.t.Helper()
	list, err := w.deps.Tasks.List(w.t.Context(), access.Scope{All: true}, task.Filter{Limit: 1000})
	w.must(err)
	return list
}

func taskOf(t *testing.T, a answer) string {
	t.Helper()
	var said struct{ TaskID string }
	if err := json.Unmarshal(a.body, &said); err != nil || said.TaskID == "" {
		t.Fatalf("there is no task in %d %s", a.status, a.body)
	}
	return said.TaskID
}

func reasonOf(t *testing.T, a answer) string {
	t.Helper()
	var said struct{ Reason string }
	if err := json.Unmarshal(a.body, &said); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return said.Reason
}

// isReplay holds that b is a again, and says so.
func isReplay(t *testing.T, what string, a, b answer) {
	t.Helper()
	if b.status != a.status || string(b.body) != string(a.body) || b.header.Get("Content-Type") != a.header.Get("Content-Type") {
		t.Errorf("%s: first %d %s, then %d %s", what, a.status, a.body, b.status, b.body)
	}
	if a.header.Get("Idempotent-Replayed") != "" || b.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%s: Idempotent-Replayed is %q, then %q", what, a.header.Get("Idempotent-Replayed"), b.header.Get("Idempotent-Replayed"))
	}
}

func TestRepeatIsReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.keyed("k", http.MethodPost, "/vps/volume", aVolume)
	if first.status != http.StatusCreated {
		t.Fatalf("answers %d: %s", first.status, first.body)
	}
	isReplay(t, "at once", first, w.keyed("k", http.MethodPost, "/vps/volume", aVolume))
	isReplay(t, "spelt otherwise", first, w.keyed(`"k"`, http.MethodPost, "/vps//volume/", ` {"deviceId":1001, "ignored": [], "size":50}`))
	w.ended(taskOf(t, first))
	isReplay(t, "after its task", first, w.keyed("k", http.MethodPost, "/vps/volume", aVolume))

	// A mask is how an answer is looked at; it is not part of what was asked.
	masked := w.keyed("k", http.MethodPost, "/vps/volume", aVolume, "X-Fields", "taskId")
	if want := fmt.Sprintf("{\"taskId\":%q}\n", taskOf(t, first)); masked.status != first.status || string(masked.body) != want {
		t.Errorf("masked: %d %s, want %s", masked.status, masked.body, want)
	}
	made := w.keyed("m", http.MethodPost, "/vps/volume", aVolume, "X-Fields", "taskId")
	isReplay(t, "masked", made, w.keyed("m", http.MethodPost, "/vps/volume", aVolume, "X-Fields", "taskId"))
	if whole := w.keyed("m", http.MethodPost, "/vps/volume", aVolume); taskOf(t, whole) != taskOf(t, made) || len(whole.body) <= len(made.body) {
		t.Errorf("without the mask: %s", whole.body)
	}
	if n := w.volumes(); n != 2 {
		t.Errorf("two requests have made %d volumes", n)
	}
}

func TestKeyOfAnotherRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := volumeOf(t, w.done(w.keys.client, http.MethodPost, "/vps/volume", aVolume))
	first := w.keyed("k", http.MethodPost, "/vps/volume", aVolume)
	before := len(w.tasks())
	for name, a := range map[string]answer{
		"body":      w.keyed("k", http.MethodPost, "/vps/volume", `{"size": 100, "deviceId": 1001}`),
		"query":     w.keyed("k", http.MethodPost, "/vps/volume?x=1", aVolume),
		"path":      w.keyed("k", http.MethodPost, "/vps/1001/detachiso", ""),
		"operation": w.keyed("k", http.MethodPut, "/vps/volume/"+id, `{"size": 100, "deviceId": 1001}`),
	} {
		if a.status != http.StatusUnprocessableEntity || reasonOf(t, a) != "idempotency_key_reused" || a.header.Get("Idempotent-Replayed") != "" {
			t.Errorf("another %s: %d %s", name, a.status, a.body)
		}
	}
	if after := len(w.tasks()); after != before {
		t.Errorf("refused requests have made %d tasks", after-before)
	}
	isReplay(t, "afterwards", first, w.keyed("k", http.MethodPost, "/vps/volume", aVolume))
}

func volumeOf(t *testing.T, k task.Task) string {
	t.Helper()
	if k.VolumeID == "" {
		t.Fatalf("the task names no volume: %+v", k)
	}
	return k.VolumeID
}

// TestKeysOfTenants: the same key of another client is another key, and tells
// nothing. A second API key of the same client means the same.
func TestKeysOfTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.keyed("k", http.MethodPost, "/vps/volume", aVolume)
	theirs := w.ask(w.server, w.keys.stranger, http.MethodPost, "/vps/volume", `{"size": 50, "deviceId": 2001}`, idempotency.Header, "k")
	operators := w.ask(w.server, w.keys.operator, http.MethodPost, "/vps/volume", `{"size": 50, "deviceId": 2001}`, idempotency.Header, "k")
	if theirs.status != http.StatusCreated || operators.status != http.StatusCreated || taskOf(t, theirs) == taskOf(t, operators) {
		t.Fatalf("the stranger: %d %s, the operator: %d %s", theirs.status, theirs.body, operators.status, operators.body)
	}
	stolen := w.ask(w.server, w.keys.stranger, http.MethodPost, "/vps/volume", aVolume, idempotency.Header, "mine")
	if stolen.status != http.StatusNotFound {
		t.Errorf("another client's device: %d %s", stolen.status, stolen.body)
	}
	colleague := w.key(7, "colleague", access.Everything...)
	isReplay(t, "a colleague", first, w.ask(w.server, colleague, http.MethodPost, "/vps/volume", aVolume, idempotency.Header, "k"))
	if a := w.ask(w.server, w.keys.reader, http.MethodPost, "/vps/volume", aVolume, idempotency.Header, "k"); a.status != http.StatusForbidden {
		t.Errorf("a key for reading: %d %s", a.status, a.body)
	}
}

// TestRefusedIsJudgedAnew: a refusal is not kept.
func TestRefusedIsJudgedAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const body = `{"size": 50, "deviceId": 1002}` // which takes one
	full := volumeOf(t, w.done(w.keys.client, http.MethodPost, "/vps/volume", body))
	for range 2 {
		if a := w.keyed("k", http.MethodPost, "/vps/volume", body); a.status != http.StatusConflict || reasonOf(t, a) != "device_full" {
			t.Fatalf("a full device: %d %s", a.status, a.body)
		}
	}
	w.done(w.keys.client, http.MethodDelete, "/vps/volume/"+full, `{"deviceId": 1002}`)
	first := w.keyed("k", http.MethodPost, "/vps/volume", body)
	if first.status != http.StatusCreated {
		t.Fatalf("with room for it: %d %s", first.status, first.body)
	}
	// Now the device is full again, and that is no reason to refuse the repeat.
	isReplay(t, "on the full device", first, w.keyed("k", http.MethodPost, "/vps/volume", body))
}

// TestRepeatsAtOnce sends one request many times at once, through two servers
// on one database.
func TestRepeatsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	servers := []*httptest.Server{w.server, w.serve(func(*httpapi.Deps) {})}
	for _, mask := range [][]string{nil, {"X-Fields", "taskId,metaData"}} {
		key := fmt.Sprint("k", len(mask))
		// One place only: to the rules each of the others would be one too many.
		device := 1002
		if mask != nil {
			device = 1003
		}
		body := fmt.Sprintf(`{"size": 50, "deviceId": %d}`, device)
		answers := make([]answer, 20)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				<-start
				answers[i] = w.ask(servers[i%2], w.keys.client, http.MethodPost, "/vps/volume", body, append(mask, idempotency.Header, key)...)
			})
		}
		close(start)
		wg.Wait()
		fresh := 0
		for i, a := range answers {
			if a.status != http.StatusCreated || string(a.body) != string(answers[0].body) {
				t.Errorf("answer %d: %d %s, the first: %s", i, a.status, a.body, answers[0].body)
			}
			if a.header.Get("Idempotent-Replayed") == "" {
				fresh++
			}
		}
		if fresh != 1 {
			t.Errorf("%d answers say that they are the first", fresh)
		}
	}
	if n := w.volumes(); n != 2 {
		t.Errorf("two requests have made %d volumes", n)
	}
}

// TestKeyExpires: after its time a key is free, whether it was forgotten or not.
func TestKeyExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.keyed("k", http.MethodPost, "/vps/volume", aVolume)
	w.ahead.Store(int64(idempotency.Retention - time.Second))
	isReplay(t, "in the last second", first, w.keyed("k", http.MethodPost, "/vps/volume", aVolume))
	w.ahead.Store(int64(idempotency.Retention))
	next := w.keyed("k", http.MethodPost, "/vps/volume", aVolume)
	if next.status != http.StatusCreated || taskOf(t, next) == taskOf(t, first) || next.header.Get("Idempotent-Replayed") != "" {
		t.Fatalf("after its time: %d %s", next.status, next.body)
	}
	isReplay(t, "the new one", next, w.keyed("k", http.MethodPost, "/vps/volume", aVolume))
}

func TestKeyForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, key := range []string{"", "two words", `"open`, strings.Repeat("k", 256)} {
		if a := w.keyed(key, http.MethodPost, "/vps/volume", aVolume); a.status != http.StatusBadRequest || reasonOf(t, a) != "idempotency_key_malformed" || !strings.Contains(string(a.body), idempotency.Header) {
			t.Errorf("key %q: %d %s", key, a.status, a.body)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/api/v2/vps/volume", strings.NewReader(aVolume))
	w.must(err)
	r.Header = http.Header{"X-Api-Key": {w.keys.client}, idempotency.Header: {"a", "a"}}
	resp, err := w.server.Client().Do(r)
	w.must(err)
	b, err := io.ReadAll(resp.Body)
	w.must(errors.Join(err, resp.Body.Close()))
	if a := (answer{status: resp.StatusCode, body: b}); a.status != http.StatusBadRequest || reasonOf(t, a) != "idempotency_key_malformed" {
		t.Errorf("two keys: %d %s", a.status, a.body)
	}
	if n := w.volumes(); n != 0 {
		t.Errorf("refused requests have made %d volumes", n)
	}
	// Reading changes nothing, so the header means nothing there.
	if a := w.keyed("two words", http.MethodGet, "/vps", ""); a.status != http.StatusOK {
		t.Errorf("a read: %d %s", a.status, a.body)
	}
}

// TestRepeatsCount: the rate limit takes repeats like any other request.
func TestRepeatsCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	limited := w.serve(func(d *httpapi.Deps) { d.RateLimit = 2 })
	for _, want := range []int{http.StatusCreated, http.StatusCreated, http.StatusTooManyRequests} {
		if a := w.ask(limited, w.keys.client, http.MethodPost, "/vps/volume", aVolume, idempotency.Header, "k"); a.status != want {
			t.Errorf("answers %d, want %d: %s", a.status, want, a.body)
		}
	}
}

// TestAnswerLateIsStored: where a repeat comes before the first answer is
// stored, and settles what the answer is, both say the same.
func TestAnswerLateIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := &overtaken{Store: w.db.Idempotency(), settling: make(chan struct{}), release: make(chan struct{})}
	slow := w.serve(func(d *httpapi.Deps) { d.Idempotency = s })
	later := w.serve(func(d *httpapi.Deps) { d.Now = func() time.Time { return noon.Add(time.Minute) } })
	first := make(chan answer)
	go func() {
		first <- w.ask(slow, w.keys.client, http.MethodPost, "/vps/volume", aVolume, idempotency.Header, "k")
	}()
	<-s.settling
	repeat := w.ask(later, w.keys.client, http.MethodPost, "/vps/volume", aVolume, idempotency.Header, "k")
	close(s.release)
	isReplay(t, "overtaken", <-first, repeat)
	isReplay(t, "afterwards", answer{status: repeat.status, body: repeat.body, header: http.Header{"Content-Type": repeat.header["Content-Type"]}},
		w.keyed("k", http.MethodPost, "/vps/volume", aVolume))
	if n := w.volumes(); n != 1 {
		t.Errorf("one request has made %d volumes", n)
	}
}

// overtaken stores an answer late.
type overtaken struct {
	idempotency.Store
	settling, release chan struct{}
}

func (s *overtaken) Settle(ctx context.Context, r *idempotency.Request, id string, a idempotency.Answer) (idempotency.Answer, error) {
	close(s.settling)
	<-s.release
	return s.Store.Settle(ctx, r, id, a)
}
