package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/config"
)

var createDevice = strings.Fields("device create --client 7 --facility TPA1")

func TestDeviceCreateWaits(t *testing.T) {
	t.Parallel()
	r := newRemote(t, map[string][]canned{
		"POST /api/v2/admin/devices": {{status: 201, body: taskJSON("Pending", "queued", "{}")}},
		"GET /api/v2/network/status/T1": {
			{status: 200, body: taskJSON("Pending", "making disks", "{}")},
			{status: 503, body: `{"code":503,"message":"Away.","reason":"unavailable"}`},
			{status: 429, body: `{"code":429,"message":"Slow down.","reason":"rate_limited"}`},
			{status: 200, body: taskJSON("Success", "done", "{}")},
		},
		"GET /api/v2/admin/devices": {{status: 200, body: "[" + deviceJSON + "]"}},
	})
	got := command(t.Context(), r.URL, nil, nil, createDevice...)
	if got.status != Done || !strings.Contains(got.out, "\n1004    7 ") {
		t.Errorf("%+v", got)
	}
	if want := "task T1: 50% queued\ntask T1: 50% making disks\n"; got.err != want {
		t.Errorf("stderr %q, want %q", got.err, want)
	}
	asked := r.requests()
	if last := asked[len(asked)-1]; len(asked) != 6 || last != "GET /api/v2/admin/devices?after=1003&limit=1" {
		t.Errorf("asked %v", asked)
	}
	r.mu.Lock()
	r.answers["POST /api/v2/admin/devices"] = []canned{{status: 201, body: taskJSON("Success", "", "{}")}}
	r.mu.Unlock()
	if got := command(t.Context(), r.URL, nil, nil, append(createDevice, "-q")...); got != (result{Done, "1004\n", ""}) {
		t.Errorf("quiet: %+v", got)
	}
}

func TestTaskFailures(t *testing.T) {
	t.Parallel()
	away := canned{status: 503, body: `{"code":503,"message":"Away.","reason":"unavailable"}`}
	for _, c := range []struct {
		name   string
		task   []canned
		args   []string
		status int
		want   string
	}{
		{"failed", []canned{{status: 200, body: taskJSON("Failed", "x", `{"error":"no room left","errorCode":"no_space"}`)}}, nil,
			TaskFailed, "Task T1 failed: No room left. (no_space)"},
		{"failed without data", []canned{{status: 200, body: taskJSON("Failed", "no room", "nonsense")}}, nil,
			TaskFailed, "Task T1 failed: No room. (task_failed)"},
		{"too long", []canned{{status: 200, body: taskJSON("Pending", "x", "{}")}}, []string{"--timeout", "30ms"}, TimedOut, "still running after 30ms"},
		{"away", []canned{away}, []string{"--timeout", "30ms"}, TimedOut, "To go on waiting: drivebay task wait T1"},
		{"gone", nil, nil, NotFound, "(not_found)"},
	} {
		r := newRemote(t, map[string][]canned{
			"POST /api/v2/admin/devices":    {{status: 201, body: taskJSON("Pending", "queued", "{}")}},
			"GET /api/v2/network/status/T1": c.task,
		})
		got := command(t.Context(), r.URL, nil, nil, append(createDevice, c.args...)...)
		if got.status != c.status || got.out != "" || !strings.Contains(got.err, c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestInterrupted ends the context while the server is still thinking.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		cancel()
		<-req.Context().Done()
	}))
	t.Cleanup(srv.Close)
	if got := command(ctx, srv.URL, nil, nil, "facility", "list"); got != (result{Interrupted, "", "Error: Interrupted.\n"}) {
		t.Errorf("%+v", got)
	}

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		if req.Method == http.MethodGet { // the second look at the task
			cancel()
		}
		_, _ = io.WriteString(w, taskJSON("Pending", "queued", "{}"))
	}))
	t.Cleanup(srv.Close)
	if got := command(ctx, srv.URL, nil, nil, createDevice...); got.status != Interrupted {
		t.Errorf("while waiting: %+v", got)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	var got config.Config
	run := func(_ context.Context, c config.Config, out io.Writer) error {
		got = c
		_, err := io.WriteString(out, "hello\n")
		return err
	}
	r := command(t.Context(), "", map[string]string{"DRIVEBAY_NODE": "n1", "DRIVEBAY_RATE_LIMIT": "5"}, run, "serve", "--demo", "--rate-limit", "6")
	if r != (result{Done, "hello\n", ""}) || !got.Demo || got.Node != "n1" || got.RateLimit != 6 {
		t.Errorf("%+v with %+v", r, got)
	}
	r = command(t.Context(), "", nil, func(context.Context, config.Config, io.Writer) error { return errors.New("port in use") }, "serve")
	if r != (result{Failed, "", "Error: Port in use.\n"}) {
		t.Errorf("%+v", r)
	}
	r = command(t.Context(), "", map[string]string{"DRIVEBAY_NODE": "a b", "DRIVEBAY_RATE_LIMIT": "x"}, run, "serve")
	if r.status != Usage || !strings.Contains(r.err, "  node: ") || !strings.Contains(r.err, "  rate_limit (DRIVEBAY_RATE_LIMIT): ") {
		t.Errorf("%+v", r)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if r := command(t.Context(), "", nil, nil, "version"); r.status != Done || !strings.HasPrefix(r.out, "drivebay ") {
		t.Errorf("%+v", r)
	}
	if r := command(t.Context(), "", nil, nil, "version", "-o", "json"); r.status != Done || !strings.Contains(r.out, `"platform": "`) {
		t.Errorf("%+v", r)
	}
	if r := command(t.Context(), "", nil, nil, "--help"); r.status != Done || !strings.Contains(r.out, "DRIVEBAY_API_KEY") {
		t.Errorf("%+v", r)
	}
}

// brokenWriter is a standard output that went away.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestBrokenOutput(t *testing.T) {
	t.Parallel()
	var errs strings.Builder
	status := Main(t.Context(), []string{"version"}, strings.NewReader(""), brokenWriter{}, &errs, Work{})
	if status != Failed || !strings.Contains(errs.String(), "broken pipe") {
		t.Errorf("status %d, %q", status, errs.String())
	}
}
