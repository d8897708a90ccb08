package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/httpapi"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
)

// pending makes a task of client 7 that nobody works on, on device 1003. It ends when end is
// called.
func (w *world) pending() (id string, end func()) {
	w.t.Helper()
	ctx := w.t.Context()
	s := w.db.Tasks()
	w.must(s.Ensure(ctx, task.New{Kind: "held", Lane: "held", Queue: "nobody", ClientID: 7, DeviceID: 1003}))
	all, err := s.Claim(ctx, "nobody", "held/1", time.Hour, 100)
	w.must(err)
	i := slices.IndexFunc(all, func(k task.Task) bool { return k.Kind == "held" })
	if i < 0 {
		w.t.Fatal("the task cannot be held")
	}
	lease := task.Lease{TaskID: all[i].ID, Owner: "held/1", Attempt: all[i].Attempt}
	return lease.TaskID, func() {
		w.t.Helper()
		w.must(s.Finish(context.Background(), lease, task.Success))
	}
}

// watched is a task list that tells when somebody begins to wait.
type watched struct {
	task.Lister
	begun chan struct{}
}

func (l watched) Watch(id string) (<-chan struct{}, func()) {
	c, cancel := l.Lister.Watch(id)
	l.begun <- struct{}{}
	return c, cancel
}

// waiting starts a server that tells when a call begins to wait.
func (w *world) waiting(change func(*httpapi.Deps)) (*httptest.Server, chan struct{}) {
	begun := make(chan struct{}, 100)
	return w.serve(func(d *httpapi.Deps) {
		d.Tasks = watched{d.Tasks, begun}
		change(d)
	}), begun
}

// later sends a request and does not wait for its answer.
func (w *world) later(ctx context.Context, s *httptest.Server, method, path string) <-chan *http.Response {
	w.t.Helper()
	out := make(chan *http.Response, 1)
	r, err := http.NewRequestWithContext(ctx, method, s.URL+"/api/v2"+path, nil)
	w.must(err)
	r.Header.Set("X-API-KEY", w.keys.client)
	go func() {
		resp, _ := s.Client().Do(r)
		out <- resp // nil where the request was given up
	}()
	return out
}

// begin is later for a call that must wait, and returns once it does.
func (w *world) begin(ctx context.Context, s *httptest.Server, begun <-chan struct{}, method, path string) <-chan *http.Response {
	w.t.Helper()
	out := w.later(ctx, s, method, path)
	select {
	case <-begun:
	case <-time.After(awaitTime):
		w.t.Fatalf("%s %s does not wait", method, path)
	}
	return out
}

// said checks that an answer is a task with the result.
func (w *world) said(resp *http.Response, id, result string) {
	w.t.Helper()
	if resp == nil {
		w.t.Fatal("no answer")
	}
	defer resp.Body.Close()
	var t struct{ TaskID, Result string }
	raw, err := io.ReadAll(resp.Body)
	w.must(err)
	if resp.Request.Method != http.MethodHead {
		w.must(json.Unmarshal(raw, &t))
		if t.TaskID != id || t.Result != result {
			w.t.Errorf("%s, want task %s with %s", raw, id, result)
		}
	}
	if resp.StatusCode != http.StatusOK {
		w.t.Errorf("status %d: %s", resp.StatusCode, raw)
	}
}

func TestWaitEndsWithTheTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, begun := w.waiting(func(*httpapi.Deps) {})
	id, end := w.pending()
	var calls []<-chan *http.Response
	for _, c := range []struct{ method, path string }{
		{"GET", "/network/status/" + id + "?wait=60"}, {"GET", "/network/status/1003?wait=1m"},
		{"HEAD", "/network/status/" + id + "/?wait=30s"}, {"GET", "/network//status/" + id + "?x=1&wait=30.5s"},
	} {
		calls = append(calls, w.begin(t.Context(), s, begun, c.method, c.path))
	}
	end()
	for _, c := range calls {
		w.said(<-c, id, "Success")
	}
	w.said(<-w.later(t.Context(), s, "GET", "/network/status/"+id+"?wait=60"), id, "Success")
}

func TestWaitIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := make(chan struct{})
	s, begun := w.waiting(func(d *httpapi.Deps) { d.Stopping = stop })
	id, _ := w.pending()
	for _, wait := range []string{"", "?wait=0", "?wait=0s", "?wait=1ms"} {
		w.said(<-w.later(t.Context(), s, "GET", "/network/status/"+id+wait), id, "Pending")
	}
	<-begun // of 1ms
	ctx, leave := context.WithCancel(t.Context())
	left := w.begin(ctx, s, begun, "GET", "/network/status/"+id+"?wait=60")
	leave()
	if r := <-left; r != nil {
		t.Errorf("an answer to nobody: %s", r.Status)
	}
	stopped := w.begin(t.Context(), s, begun, "GET", "/network/status/"+id+"?wait=60")
	close(stop)
	w.said(<-stopped, id, "Pending")
}

// A wait outlasts the times that the server allows for other requests.
func TestWaitOutlastsTimeouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, err := httpapi.New(w.deps)
	w.must(err)
	s := httptest.NewUnstartedServer(h)
	s.Config.ReadTimeout, s.Config.WriteTimeout = 4*time.Second, 4*time.Second
	s.Start()
	t.Cleanup(s.Close)
	id, _ := w.pending()
	w.said(<-w.later(t.Context(), s, "GET", "/network/status/"+id+"?wait=6s"), id, "Pending")
}

func TestWaitRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _ := w.pending()
	for _, wait := range []string{"", "61", "61s", "-1s", "-1", "1.5", "soon", "1e1", "NaN", "60.000000001s", "99999999999999999999", "1%20s", "%00", "5s&wait=5s"} {
		a := w.ask(w.server, w.keys.client, "GET", "/network/status/"+id+"?wait="+wait, "")
		if a.status != http.StatusBadRequest || !strings.Contains(string(a.body), `"validation_failed"`) || !strings.Contains(string(a.body), `{"wait":`) {
			t.Errorf("wait=%s: %d %s", wait, a.status, a.body)
		}
	}
	for _, path := range []string{id, "1003", nobody, "4711"} {
		a := w.ask(w.server, w.keys.stranger, "GET", "/network/status/"+path+"?wait=60", "")
		if a.status != http.StatusNotFound {
			t.Errorf("another client's %s: %d %s", path, a.status, a.body)
		}
	}
	// What will be refused anyway is refused at once.
	a := w.ask(w.server, w.keys.client, "GET", "/network/status/"+id+"?wait=60", "", "X-Fields", "{")
	if a.status != http.StatusBadRequest {
		t.Errorf("a wrong mask: %d %s", a.status, a.body)
	}
}

// TestWaitsAreNotCounted: a call that waits takes nothing from the limit and
// goes on when it is used up; one that does not wait is counted, however it is
// answered.
func TestWaitsAreNotCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const limit = 8
	stop := make(chan struct{})
	s, begun := w.waiting(func(d *httpapi.Deps) { d.RateLimit, d.RateLimitAnonymous, d.Stopping = limit, limit, stop })
	id, end := w.pending()
	const long = "?wait=60"
	call := func(key, path, header string, status, left int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/api/v2/network/status/"+path, nil)
		w.must(err)
		r.Header.Set("X-API-KEY", key)
		if header != "" {
			r.Header.Set("X-Fields", header)
		}
		resp, err := s.Client().Do(r)
		w.must(err)
		defer resp.Body.Close()
		if got := resp.Header.Get("X-RateLimit-Remaining"); resp.StatusCode != status || got != fmt.Sprint(left) {
			t.Errorf("%s: %d, %s left, want %d, %d", path, resp.StatusCode, got, status, left)
		}
		if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != "3600" {
			t.Errorf("%s: Retry-After %s", path, resp.Header.Get("Retry-After"))
		}
	}
	var waiting []<-chan *http.Response
	wait := func() {
		waiting = append(waiting, w.begin(t.Context(), s, begun, "GET", "/network/status/"+id+long))
	}
	for range 3 {
		wait()
	}
	call(w.keys.client, id, "", 200, 7)
	call(w.keys.client, id+"?wait=0", "", 200, 6)
	call(w.keys.client, id+"?wait=1ms", "", 200, 5) // as good as no wait
	<-begun
	call(w.keys.client, nobody+long, "", 404, 4)
	call(w.keys.client, id+"?wait=61", "", 400, 3)
	call(w.keys.client, id+long, "{", 400, 2)
	call("", id+long, "", 403, 1)
	call(w.keys.client, id, "", 200, 0)
	for range 3 {
		wait()
	}
	call(w.keys.client, id, "", 429, 0)
	call(w.keys.client, nobody+long, "", 429, 0)
	call(w.keys.client, id+"?wait=61", "", 429, 0)
	call(w.keys.client, id+long, "{", 429, 0)
	call("", id+long, "", 429, 0)
	end()
	for i, c := range waiting {
		resp := <-c
		if resp == nil {
			t.Fatal("no answer")
		}
		want := fmt.Sprint(limit)
		if i >= 3 {
			want = "0"
		}
		if got := resp.Header.Get("X-RateLimit-Remaining"); got != want {
			t.Errorf("wait %d: %s left, want %s", i, got, want)
		}
		w.said(resp, id, "Success")
	}
	call(w.keys.client, id+long, "", 429, 0) // ended: nothing to wait for
}

// A client that asks to wait and hangs up at once is counted.
func TestBriefWaitsAreCounted(t *testing.T) {
	t.Parallel()
	testneed.Eventually(t, "a wait that the machine lets be brief", func() bool { return briefWait(t) })
}

// briefWait makes such a call and one more, and reports whether it was brief: a
// machine may be slow.
func briefWait(t *testing.T) bool {
	w := newWorld(t)
	begun, served := make(chan struct{}, 1), make(chan struct{}, 2)
	d := w.deps
	d.Tasks, d.RateLimit = watched{d.Tasks, begun}, 1
	h, err := httpapi.New(d)
	w.must(err)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(rw, r)
		served <- struct{}{}
	}))
	t.Cleanup(s.Close)
	id, _ := w.pending()
	ctx, leave := context.WithCancel(t.Context())
	start := time.Now()
	left := w.begin(ctx, s, begun, "GET", "/network/status/"+id+"?wait=60")
	leave()
	<-left
	<-served
	if time.Since(start) >= time.Second {
		return false
	}
	if a := w.ask(s, w.keys.client, "GET", "/network/status/"+id, ""); a.status != http.StatusTooManyRequests {
		t.Errorf("%d %s", a.status, a.body)
	}
	return true
}

func TestWaitsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const most = 64
	s, begun := w.waiting(func(*httpapi.Deps) {})
	id, end := w.pending()
	var waiting []<-chan *http.Response
	for range most {
		waiting = append(waiting, w.later(t.Context(), s, "GET", "/network/status/"+id+"?wait=60"))
	}
	for range most {
		<-begun
	}
	resp := <-w.later(t.Context(), s, "GET", "/network/status/"+id+"?wait=60")
	raw, err := io.ReadAll(resp.Body)
	w.must(err)
	if resp.StatusCode != 429 || !strings.Contains(string(raw), `"too_many_waits"`) || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("%d %s, Retry-After %s", resp.StatusCode, raw, resp.Header.Get("Retry-After"))
	}
	w.said(<-w.later(t.Context(), s, "GET", "/network/status/"+id), id, "Pending")
	// Another key has places of its own.
	other := make(chan answer, 1)
	go func() { other <- w.ask(s, w.keys.reader, "GET", "/network/status/"+id+"?wait=60", "") }()
	<-begun
	end()
	for _, c := range append(waiting, w.later(t.Context(), s, "GET", "/network/status/"+id+"?wait=60")) {
		w.said(<-c, id, "Success")
	}
	if a := <-other; a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}
