package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/fault"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]Deps{
		"unit": {SizeUnit: "GB"}, "negative": {RateLimit: -1}, "negative without a key": {RateLimitAnonymous: -1},
	} {
		if _, err := New(d); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Deps{}); err != nil {
		t.Errorf("empty settings: %v", err)
	}
}

// fill makes a path of the contract concrete.
func fill(path string) string {
	return strings.NewReplacer("{deviceId}", "1001", "{clientId}", "7", "{serviceId}", "3", "{quarantineId}", "3", "{size}", "50",
		"{volumeId}", "v1", "{isoId}", "i1", "{keyId}", "k1", "{id}", "t1", "{code}", "TPA1", "{facilityCode}", "TPA1").Replace(path)
}

// TestEveryOperationIsGuarded walks the contract: no operation without a
// permission, none reachable without a key or with a key that lacks it.
func TestEveryOperationIsGuarded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	doc, err := api.Spec()
	if err != nil {
		t.Fatal(err)
	}
	all := []access.Permission{access.Read, access.Volumes, access.ISOs, access.Billing, access.Admin}
	n := 0
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			n++
			word, _ := op.Extensions["x-permission"].(string)
			need, known := access.ParsePermission(word)
			if !known {
				t.Errorf("%s has no permission", op.OperationID)
				continue
			}
			target := base + fill(path)
			refused(t, r.send(method, target, ""), http.StatusForbidden, "key_missing")
			refused(t, r.send(method, target, "", "X-API-KEY", "nonsense"), http.StatusForbidden, "key_invalid")
			none := r.keys.add(nil)
			refused(t, r.send(method, target, "", "X-API-KEY", none), http.StatusForbidden, "permission_missing")
			others := slices.DeleteFunc(slices.Clone(all), func(p access.Permission) bool { return p == need })
			if need != access.Read { // which every other permission brings with it
				lacking := r.keys.add(nil, others...)
				refused(t, r.send(method, target, "", "X-API-KEY", lacking), http.StatusForbidden, "permission_missing")
			}
			if len(r.stub.got) > 0 {
				t.Fatalf("%s reached its handler", op.OperationID)
			}
			with := r.keys.add(nil, need)
			if w := r.send(method, target, "", "X-API-KEY", with); w.Code == http.StatusForbidden || w.Code == http.StatusNotFound {
				t.Errorf("%s with permission %s: %d", op.OperationID, need, w.Code)
			}
			r.stub.got = nil
		}
	}
	if n < 36 {
		t.Errorf("only %d operations", n)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	past := func(k *access.Key) { k.ExpiresAt = time.Now().Add(-time.Hour) }
	elsewhere := func(k *access.Key) { k.Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }
	here := func(k *access.Key) { k.Allowed = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} }
	const path = base + "/vps/volume/v1"
	for _, c := range []struct {
		name, reason string
		header       []string
	}{
		{"header", "", []string{"X-API-KEY", r.key}},
		{"header in another case", "", []string{"x-api-key", r.key}},
		{"bearer", "", []string{"Authorization", "Bearer " + r.key}},
		{"bearer in another case", "", []string{"Authorization", "bearer  " + r.key}},
		{"header counts before bearer", "key_invalid", []string{"X-API-KEY", "x", "Authorization", "Bearer " + r.key}},
		{"empty header", "", []string{"X-API-KEY", "", "Authorization", "Bearer " + r.key}},
		{"basic", "key_missing", []string{"Authorization", "Basic " + r.key}},
		{"no scheme", "key_missing", []string{"Authorization", r.key}},
		{"expired", "key_expired", []string{"X-API-KEY", r.keys.add(past, access.Read)}},
		{"other address", "key_address_not_allowed", []string{"X-API-KEY", r.keys.add(elsewhere, access.Read)}},
		{"claimed address", "key_address_not_allowed", []string{"X-API-KEY", r.keys.add(elsewhere, access.Read), "X-Forwarded-For", "10.0.0.1", "Forwarded", "for=10.0.0.1"}},
		{"own address", "", []string{"X-API-KEY", r.keys.add(here, access.Read)}},
	} {
		w := r.send("GET", path, "", c.header...)
		if c.reason == "" {
			if w.Code != 200 {
				t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
			}
			continue
		}
		b := refused(t, w, http.StatusForbidden, c.reason)
		if !strings.HasPrefix(b.Message, "You have not been granted permission to complete this action.") {
			t.Errorf("%s: %s", c.name, b.Message)
		}
	}
	if strings.Contains(r.log.String(), r.key) {
		t.Error("a key is in the log")
	}
	if !strings.Contains(r.log.String(), `"key":"`+access.Fingerprint(r.key)+`"`) {
		t.Error("the log does not tell which key was used")
	}
}

func TestKeysCannotBeRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.keys.err = fault.New(fault.Unavailable, "database_unavailable", "try again").Because(errors.New("disk on fire"))
	w := r.do("GET", base+"/vps/volume/v1", "")
	refused(t, w, http.StatusServiceUnavailable, "database_unavailable")
	if w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "fire") {
		t.Errorf("headers %v, body %s", w.Header(), w.Body)
	}
	r.keys.err = errors.New("disk on fire")
	b := refused(t, r.do("GET", base+"/vps/volume/v1", ""), http.StatusInternalServerError, "internal")
	if b.Message != "internal error" {
		t.Errorf("message %q", b.Message)
	}
	refused(t, r.do("GET", base+"/nothing", ""), http.StatusNotFound, "route_not_found")
	if log := r.log.String(); !strings.Contains(log, "disk on fire") || !strings.Contains(log, b.RequestID) {
		t.Errorf("the cause is not in the log: %s", log)
	}
}

var routeCases = []struct {
	method, target string
	status         int
	reason, allow  string
}{
	{"GET", "/api/v2/vps/volume/v1", 200, "", ""},
	{"GET", "/api/v2/vps/volume/v1/", 200, "", ""},
	{"GET", "/api/v2//vps///volume//v1//", 200, "", ""},
	{"GET", "//api/v2/vps/volume/v1", 200, "", ""},
	{"POST", "/api/v2//vps/1001/detachiso/", 201, "", ""},
	{"GET", "/api/v2/vps/%76olume/v1", 200, "", ""},
	{"GET", "/api/v2/vps/volume/a%2Fb", 200, "", ""},
	{"GET", "/api/v2/vps/volume/a%2f%2Fb/", 200, "", ""},
	{"GET", "/api/v2/vps/volume/%2E%2E", 200, "", ""},
	{"HEAD", "/api/v2/vps/volume/v1", 200, "", ""},

	{"GET", "/", 404, "route_not_found", ""},
	{"GET", "/api/v2", 404, "route_not_found", ""},
	{"GET", "/api/v2/nope", 404, "route_not_found", ""},
	{"GET", "/api/v1/vps/volume/v1", 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/volume/v1/nope", 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/abc", 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/-1", 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/0", 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/1.0", 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/99999999999999999999999", 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/2147483648", 404, "route_not_found", ""},
	{"POST", "/api/v2/vps/volume/attachiso", 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/volume/" + strings.Repeat("x", 65), 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/volume/a%00b", 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/volume/%ff", 404, "route_not_found", ""},
	{"GET", "/api/v2/vps/volume/%2F%ff", 404, "route_not_found", ""},
	{"BREW", "/api/v2/nope", 404, "route_not_found", ""},

	{"PATCH", "/api/v2/vps/volume/v1", 405, "method_not_allowed", "GET, HEAD, PUT, DELETE"},
	{"DELETE", "/api/v2/vps/volume", 405, "method_not_allowed", "GET, HEAD, POST"},
	{"GET", "/api/v2/vps/1001/detachiso/", 405, "method_not_allowed", "POST"},
	{"HEAD", "/api/v2/vps/1001/detachiso", 405, "method_not_allowed", "POST"},
	{"OPTIONS", "/api/v2/vps/volume/a%2Fb", 405, "method_not_allowed", "GET, HEAD, PUT, DELETE"},
	{"BREW", "/api/v2/vps/volume/v1", 405, "method_not_allowed", "GET, HEAD, PUT, DELETE"},
	{"PUT", "/api/v2/vps/abc", 404, "route_not_found", ""},
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range routeCases {
		for _, header := range [][]string{{"X-API-KEY", r.key}, nil} {
			if header == nil && c.status < 300 {
				continue
			}
			w := r.send(c.method, c.target, "", header...)
			if c.reason == "" {
				if w.Code != c.status {
					t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Body)
				}
				continue
			}
			refused(t, w, c.status, c.reason)
			if got := w.Header().Get("Allow"); got != c.allow {
				t.Errorf("%s %s: Allow %q, want %q", c.method, c.target, got, c.allow)
			}
		}
	}
}

func TestEscapedSlashStaysInItsSegment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for target, want := range map[string]string{
		"/vps/volume/a%2Fb": "a/b", "/vps/volume/%2F": "/", "//vps/volume//a%2F%2Fb%20c/": "a//b c", "/vps/volume/a%20b": "a b",
		"/vps/volume/%25": "%", "/vps/volume/%2525%2F": "%25/",
	} {
		w := r.do("GET", base+target, "")
		ok(t, w, 200)
		if got := r.stub.last().(api.GetVolumeRequestObject).VolumeID; got != want {
			t.Errorf("%s: id %q, want %q", target, got, want)
		}
	}
}

func TestHeadOverTheWire(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	srv := httptest.NewServer(r.h)
	defer srv.Close()
	req, err := http.NewRequest("HEAD", srv.URL+base+"/vps/volume/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-KEY", r.key)
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || len(b) != 0 || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%v %s %q", err, resp.Status, b)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for sent, kept := range map[string]bool{
		"abc-1_2.3": true, "Root=1-67891233-abcdef012345678912345678": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a\"b": false, "é": false, "a\x00": false,
	} {
		w := r.do("GET", base+"/vps/volume/v1", "", "X-Request-Id", sent)
		got := w.Header().Get("X-Request-Id")
		if (got == sent) != kept || len(got) < 9 {
			t.Errorf("sent %q, got %q", sent, got)
		}
	}
	a, b := requestID(httptest.NewRequest("GET", "/", nil)), requestID(httptest.NewRequest("GET", "/", nil))
	if a == b || len(a) != 16 {
		t.Errorf("ids %q and %q", a, b)
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := refused(t, r.do("GET", base+"/vps/1001", ""), http.StatusInternalServerError, "internal")
	if b.Message != "internal error" {
		t.Errorf("message %q", b.Message)
	}
	if log := r.log.String(); !strings.Contains(log, "nil pointer") || !strings.Contains(log, "goroutine") || !strings.Contains(log, b.RequestID) {
		t.Errorf("no stack in the log: %s", log)
	}
}

// late panics once its answer has begun.
type late struct{ api.StrictServerInterface }

func (late) GetVolume(context.Context, api.GetVolumeRequestObject) (api.GetVolumeResponseObject, error) {
	return late{}, nil
}

func (late) VisitGetVolumeResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Length", "2")
	w.WriteHeader(200)
	if _, err := w.Write([]byte("{")); err != nil {
		return err
	}
	panic("too late")
}

func TestPanicAfterTheHeaderCutsTheConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d, _ := Deps{Access: access.NewService(r.keys, slog.New(slog.DiscardHandler), time.Now)}.withDefaults()
	h, err := newHandler(d, late{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("panic %v", v)
		}
	}()
	r.h = h
	r.do("GET", base+"/vps/volume/v1", "")
	t.Error("the handler returned")
}

func TestFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		err    error
		status int
		reason string
	}{
		{fault.New(fault.NotFound, "volume_not_found", "Volume not found"), 404, "volume_not_found"},
		{fault.New(fault.Invalid, "size_not_sold", "no"), 400, "size_not_sold"},
		{fault.Field("size_not_sold", "size", "no"), 400, "size_not_sold"},
		{fault.New(fault.Conflict, "busy", "no"), 409, "busy"},
		{fault.New(fault.Forbidden, "client_not_allowed", "no"), 403, "client_not_allowed"},
		{fault.New(fault.Exhausted, "quota", "no"), 429, "quota"},
		{fault.New(fault.Unavailable, "away", "no"), 503, "away"},
		{fault.New(fault.Internal, "secret", "secret"), 500, "internal"},
		{fault.New(fault.Kind(99), "odd", "odd"), 500, "internal"},
		{errors.New("secret"), 500, "internal"},
		{context.DeadlineExceeded, 503, "deadline_exceeded"},
		{context.Canceled, 500, "internal"}, // not the client's doing: it still waits
	} {
		r.stub.fail = c.err
		w := r.do("GET", base+"/vps/volume/v1", "")
		b := refused(t, w, c.status, c.reason)
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v leaks", c.err)
		}
		if f, is := fault.As(c.err); is && (f.Fields != nil) != (b.Errors != nil) {
			t.Errorf("%v: errors %v", c.err, b.Errors)
		}
		if (w.Header().Get("Retry-After") != "") != (c.status == 503) {
			t.Errorf("%v: Retry-After %q", c.err, w.Header().Get("Retry-After"))
		}
	}
}

func TestClientGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.stub.fail = context.Canceled
	for _, mask := range []string{"", "volumeId", "{"} {
		req := httptest.NewRequestWithContext(ctx, "GET", base+"/vps/volume/v1", nil)
		req.Header.Set("X-API-KEY", r.key)
		req.Header.Set("X-Fields", mask)
		w := httptest.NewRecorder()
		r.h.ServeHTTP(w, req)
		refused(t, w, 503, "request_cancelled")
	}
	if log := r.log.String(); strings.Contains(log, "ERROR") || strings.Contains(log, "WARN") || strings.Count(log, `"status":499`) != 3 {
		t.Errorf("log: %s", log)
	}
}

// TestBrokenConnectionInside holds that a connection of ours that breaks is no
// client that went away.
func TestBrokenConnectionInside(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.stub.fail = fmt.Errorf("query: %w", syscall.ECONNRESET)
	refused(t, r.do("GET", base+"/vps/volume/v1", ""), 500, "internal")
}

// silent answers nothing at all.
type silent struct{ api.StrictServerInterface }

func (silent) GetVolume(context.Context, api.GetVolumeRequestObject) (api.GetVolumeResponseObject, error) {
	return nil, nil
}

func TestSilentHandler(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d, _ := Deps{Access: access.NewService(r.keys, slog.New(slog.DiscardHandler), time.Now)}.withDefaults()
	var err error
	if r.h, err = newHandler(d, silent{}); err != nil {
		t.Fatal(err)
	}
	for _, mask := range []string{"", "volumeId"} {
		refused(t, r.do("GET", base+"/vps/volume/v1", "", "X-Fields", mask), 500, "internal")
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	var down error
	r := newRig(t, func(d *Deps) {
		d.RateLimit, d.RateLimitAnonymous = 1, 1
		d.Ready = func(context.Context) error { return down }
	})
	for range 3 {
		for _, path := range []string{"/healthz", "/readyz", "/readyz/"} {
			w := r.send("GET", path, "")
			ok(t, w, 200)
			if limits(w) != "" {
				t.Errorf("%s is counted", path)
			}
		}
	}
	down = errors.New("secret")
	w := r.send("GET", "/readyz", "")
	refused(t, w, 503, "not_ready")
	if strings.Contains(w.Body.String(), "secret") {
		t.Error("the cause is in the answer")
	}
	ok(t, r.send("GET", "/healthz", ""), 200)
	w = r.send("POST", "/healthz", "")
	refused(t, w, 405, "method_not_allowed")
	if w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow %q", w.Header().Get("Allow"))
	}
}

func TestOneLogLinePerRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.do("GET", base+"/vps/volume/v1", "", "X-Request-Id", "abc")
	var line map[string]any
	if err := json.Unmarshal([]byte(r.log.String()), &line); err != nil {
		t.Fatalf("%v in %s", err, r.log)
	}
	for k, want := range map[string]any{
		"request": "abc", "method": "GET", "path": base + "/vps/volume/v1", "operation": "getVolume", "status": 200.0,
		"bytes": float64(w.Body.Len()), "from": "192.0.2.1",
	} {
		if line[k] != want {
			t.Errorf("%s is %v, want %v", k, line[k], want)
		}
	}
}

// TestStartsOnlyWithAKnownContract holds that nothing in the contract is passed over.
func TestStartsOnlyWithAKnownContract(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*openapi3.T){
		"permission":     func(d *openapi3.T) { delete(d.Paths.Value("/vps/volume").Get.Extensions, "x-permission") },
		"odd permission": func(d *openapi3.T) { d.Paths.Value("/vps/volume").Get.Extensions["x-permission"] = "all" },
		"no route":       func(d *openapi3.T) { d.Paths.Set("/more", d.Paths.Value("/vps/volume")) },
		"gone":           func(d *openapi3.T) { d.Paths.Delete("/vps/volume") },
		"keyword": func(d *openapi3.T) {
			of := 2.0
			d.Components.Schemas["VolumeCreate"].Value.Properties["size"].Value.MultipleOf = &of
		},
		"combination": func(d *openapi3.T) {
			d.Components.Schemas["VolumeCreate"].Value.AllOf = openapi3.SchemaRefs{d.Components.Schemas["VolumeDelete"]}
		},
		"extension":     func(d *openapi3.T) { d.Components.Schemas["SizeGiB"].Value.Extensions = map[string]any{"x-even": true} },
		"format":        func(d *openapi3.T) { d.Components.Schemas["ObjectId"].Value.Format = "uuid" },
		"number format": func(d *openapi3.T) { d.Components.Schemas["SizeGiB"].Value.Format = "uint8" },
		"unbounded":     func(d *openapi3.T) { d.Components.Schemas["SizeGiB"].Value.Max = nil },
		"null":          func(d *openapi3.T) { d.Components.Schemas["SizeGiB"].Value.Nullable = true },
		"bad pattern":   func(d *openapi3.T) { d.Components.Schemas["NewFacilityCode"].Value.Pattern = "(" },
		"in a header":   func(d *openapi3.T) { d.Components.Parameters["QueryLimit"].Value.In = "header" },
		"not described": func(d *openapi3.T) {
			v := d.Components.Schemas["VolumeCreate"].Value
			v.Required = append(v.Required, "more")
		},
		"no list bound": func(d *openapi3.T) {
			d.Components.Schemas["KeyCreate"].Value.Properties["permissions"].Value.MaxItems = nil
		},
	} {
		doc, err := api.Spec()
		if err != nil {
			t.Fatal(err)
		}
		change(doc)
		d, _ := Deps{}.withDefaults()
		if err := newServer(d).register(doc, &stub{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
