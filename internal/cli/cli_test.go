package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/internal/config"
)

const testKey = "dbk_test"

// canned is one answer of the test server.
type canned struct {
	status int
	body   string
	header map[string]string
}

// remote is a test server: for each "METHOD path" it gives the answers in
// turn and stays with the last one. What it is not told of is 404.
type remote struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string][]canned
	asked   []string // "METHOD path?query body"
}

func newRemote(t *testing.T, answers map[string][]canned) *remote {
	t.Helper()
	r := &remote{answers: answers}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil || req.Header.Get("X-API-KEY") != testKey {
			t.Errorf("%s %s: key %q, %v", req.Method, req.URL, req.Header.Get("X-API-KEY"), err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked = append(r.asked, strings.TrimSpace(req.Method+" "+req.URL.String()+" "+string(body)))
		route := req.Method + " " + req.URL.Path
		a := canned{status: 404, body: `{"code":404,"message":"There is no such thing.","description":"","reason":"not_found","requestId":"R1"}`}
		if list := r.answers[route]; len(list) > 0 {
			a = list[0]
			if len(list) > 1 {
				r.answers[route] = list[1:]
			}
		}
		w.Header().Set("Content-Type", "application/json")
		for k, v := range a.header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *remote) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.asked...)
}

// result is what a command left behind.
type result struct {
	status   int
	out, err string
}

// command runs the command line against url with env on top of a valid key.
func command(ctx context.Context, url string, env map[string]string, run func(context.Context, config.Config, io.Writer) error, args ...string) result {
	return commandWith(ctx, url, env, Work{Serve: run}, "", args...)
}

// commandWith is command for those that do some work themselves.
func commandWith(ctx context.Context, url string, env map[string]string, work Work, stdin string, args ...string) result {
	all := map[string]string{"DRIVEBAY_URL": url, "DRIVEBAY_API_KEY": testKey}
	for k, v := range env {
		all[k] = v
	}
	var out, errs bytes.Buffer
	s := &shell{
		in: strings.NewReader(stdin), out: &out, err: &errs, getenv: func(k string) string { return all[k] },
		now:  func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) },
		http: http.DefaultTransport, poll: backoff{first: time.Millisecond, most: 2 * time.Millisecond}, work: work,
	}
	status := s.main(ctx, args)
	return result{status, out.String(), errs.String()}
}

const (
	facilityJSON = `{"id":1,"code":"TPA1","title":"Tampa 1","core":true,"edge":false,"location":{"city":"Tampa","state":"Florida","country":"US"},"location_option_ids":[]}`
	clientJSON   = `{"clientId":7,"name":"Example\u001b[31m Ltd","parentId":null,"createdAt":"2029-01-01T00:00:00Z"}`
	keyJSON      = `{"keyId":"k1","clientId":7,"name":"ci","prefix":"dbk_ab","permissions":["read","volumes"],"allowedAddresses":[],"createdAt":"2029-01-01T00:00:00Z","expiresAt":null,"lastUsedAt":null,"revokedAt":null}`
	newKeyJSON   = `{"keyId":"k1","clientId":7,"key":"dbk_secret","name":"ci","prefix":"dbk_ab","permissions":["read","volumes"],"allowedAddresses":[],"createdAt":"2029-01-01T00:00:00Z","expiresAt":"2030-01-31T00:00:00Z","lastUsedAt":null,"revokedAt":null}`
	deviceJSON   = `{"deviceId":1004,"clientId":7,"facilityCode":"TPA1","hostname":"web1","status":"Running","vcpu":2,"memory":2048,"maxVolumes":8,"attachedVolumes":1,"createdAt":"2029-01-01T00:00:00Z","later":"kept"}`
	importedJSON = `{"ref":"u1","name":"web1","host":"h1","result":"imported","reason":null,"message":null,"deviceId":1004,"maxVolumes":16,"disks":[` +
		`{"source":"/a","target":"vda","sizeBytes":21474836480,"type":"ROOT","volumeId":"v1","monthlyPrice":null,"reason":null,"message":null},` +
		`{"source":"/b","target":"sda","sizeBytes":7516192768,"type":"DATADISK","volumeId":"v2","monthlyPrice":0,"reason":null,"message":null},` +
		`{"source":"/c","target":"sdb","sizeBytes":53687091200,"type":"DATADISK","volumeId":null,"monthlyPrice":null,"reason":"disk_shared","message":"It is shared"}]}`
	refusedJSON = `{"ref":"u2","name":"web2","host":"h1","result":"refused","reason":"guest_taken","message":"It is taken","deviceId":null,"maxVolumes":16,"disks":[]}`
	priceJSON   = `{"facilityCode":"TPA1","size":100,"monthlyPrice":9.9}`
)

func taskJSON(result, message, meta string) string {
	m, err := json.Marshal(meta)
	if err != nil {
		panic(err)
	}
	return `{"taskId":"T1","clientId":7,"deviceId":1004,"result":"` + result + `","metaData":` + string(m) +
		`,"taskCreated":"2029-01-01T00:00:00Z","taskUpdated":"2029-01-01T00:00:00Z","progress":50,"message":"` + message + `"}`
}

// TestCommands runs every command once and looks at what it asked and printed.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args    string // split at blanks
		answers map[string][]canned
		asked   []string
		out     string // the whole of it
		err     string // part of it
	}{
		{args: "node list", answers: map[string][]canned{"GET /api/v2/admin/nodes": {{status: 200,
			body: `[{"name":"a","role":"worker","facilities":["TPA1"],"version":"v1","url":null,"alive":true,"tasks":2,"startedAt":"2029-01-01T00:00:00Z","seenAt":"2029-01-01T00:00:05Z"}]`}}},
			asked: []string{"GET /api/v2/admin/nodes"},
			out:   "NAME  ROLE    FACILITIES  ALIVE  TASKS  VERSION  SEEN\na     worker  TPA1        yes    2      v1       2029-01-01T00:00:05Z\n"},
		{args: "facility list", answers: map[string][]canned{"GET /api/v2/admin/facilities": {{status: 200, body: "[" + facilityJSON + "]"}}},
			asked: []string{"GET /api/v2/admin/facilities"},
			out:   "CODE  TITLE    CITY   STATE    COUNTRY\nTPA1  Tampa 1  Tampa  Florida  US\n"},
		{args: "client quota 7 --volumes 2 --iso-bytes unlimited", answers: map[string][]canned{
			"GET /api/v2/admin/clients/7/quota": {{status: 200, body: `{"volumes":null,"gib":500,"isos":null,"isoBytes":9}`}},
			"PUT /api/v2/admin/clients/7/quota": {{status: 200, body: `{"volumes":2,"gib":500,"isos":null,"isoBytes":null}`}},
			"GET /api/v2/quota":                 {{status: 200, body: `{"clientId":7,"limits":{"volumes":2,"gib":500,"isos":null,"isoBytes":null},"used":{"volumes":1,"gib":50,"isos":0,"isoBytes":0}}`}},
		},
			asked: []string{"GET /api/v2/admin/clients/7/quota", `PUT /api/v2/admin/clients/7/quota {"gib":500,"volumes":2}`, "GET /api/v2/quota?clientId=7"},
			out:   "WHAT       LIMIT      USED\nvolumes    2          1\ngib        500        50\nisos       unlimited  0\niso-bytes  unlimited  0\n"},
		{args: "facility set TPA1 --title Tampa --city Tampa --country US",
			answers: map[string][]canned{"PUT /api/v2/admin/facilities/TPA1": {{status: 200, body: facilityJSON}}},
			asked:   []string{`PUT /api/v2/admin/facilities/TPA1 {"city":"Tampa","country":"US","title":"Tampa"}`},
			out:     "CODE  TITLE    CITY   STATE    COUNTRY\nTPA1  Tampa 1  Tampa  Florida  US\n"},
		{args: "client list", answers: map[string][]canned{"GET /api/v2/admin/clients": {{status: 200, body: "[" + clientJSON + "]"}}},
			asked: []string{"GET /api/v2/admin/clients?after=0&limit=1000"},
			out:   "CLIENT  NAME              PARENT  CREATED\n7       Example [31m Ltd  -       2029-01-01T00:00:00Z\n"},
		{args: "client create --name x --parent 3", answers: map[string][]canned{"POST /api/v2/admin/clients": {{status: 201, body: clientJSON}}},
			asked: []string{`POST /api/v2/admin/clients {"name":"x","parentId":3}`},
			out:   "CLIENT  NAME              PARENT  CREATED\n7       Example [31m Ltd  -       2029-01-01T00:00:00Z\n"},
		{args: "client create --name x -q", answers: map[string][]canned{"POST /api/v2/admin/clients": {{status: 201, body: clientJSON}}},
			asked: []string{`POST /api/v2/admin/clients {"name":"x"}`}, out: "7\n"},
		{args: "key list --client 7", answers: map[string][]canned{"GET /api/v2/admin/keys": {{status: 200, body: "[" + keyJSON + "]"}}},
			asked: []string{"GET /api/v2/admin/keys?clientId=7&limit=1000"},
			out: "KEY  BEGINS  CLIENT  NAME  PERMISSIONS   FROM  EXPIRES  LAST USED  REVOKED\n" +
				"k1   dbk_ab  7       ci    read,volumes  -     -        -          -\n"},
		{args: "key create --client 7 --name ci --permission read,volumes --expires 720h --allow 192.0.2.7",
			answers: map[string][]canned{"POST /api/v2/admin/keys": {{status: 201, body: newKeyJSON}}},
			asked:   []string{`POST /api/v2/admin/keys {"allowedAddresses":["192.0.2.7"],"clientId":7,"expiresAt":"2030-01-31T00:00:00Z","name":"ci","permissions":["read","volumes"]}`},
			out: "KEY  CLIENT  NAME  PERMISSIONS   EXPIRES               API KEY\n" +
				"k1   7       ci    read,volumes  2030-01-31T00:00:00Z  dbk_secret\n",
			err: "this once only"},
		{args: "key create -q --name ci --permission admin", answers: map[string][]canned{"POST /api/v2/admin/keys": {{status: 201, body: newKeyJSON}}},
			asked: []string{`POST /api/v2/admin/keys {"name":"ci","permissions":["admin"]}`}, out: "dbk_secret\n"},
		{args: "key revoke k1", answers: map[string][]canned{"DELETE /api/v2/admin/keys/k1": {{status: 204}}},
			asked: []string{"DELETE /api/v2/admin/keys/k1"}, err: "Key k1 is revoked."},
		{args: "device list", answers: map[string][]canned{"GET /api/v2/admin/devices": {{status: 200, body: "[" + deviceJSON + "]"}}},
			asked: []string{"GET /api/v2/admin/devices?after=0&limit=1000"},
			out: "DEVICE  CLIENT  FACILITY  HOSTNAME  STATUS   VCPU  MEMORY MB  VOLUMES  CREATED\n" +
				"1004    7       TPA1      web1      Running  2     2048       1/8      2029-01-01T00:00:00Z\n"},
		{args: "device create --client 7 --facility TPA1 --no-wait --max-volumes 0",
			answers: map[string][]canned{"POST /api/v2/admin/devices": {{status: 201, body: taskJSON("Pending", "", "{}")}}},
			asked:   []string{`POST /api/v2/admin/devices {"clientId":7,"facilityCode":"TPA1","maxVolumes":0}`}, out: "T1\n"},
		{args: "device create --client 7 --facility TPA1 --ref web1 --no-wait",
			answers: map[string][]canned{"POST /api/v2/admin/devices": {{status: 201, body: taskJSON("Pending", "", "{}")}}},
			asked:   []string{`POST /api/v2/admin/devices {"clientId":7,"facilityCode":"TPA1","ref":"web1"}`}, out: "T1\n"},
		{args: "device delete 1004", answers: map[string][]canned{"DELETE /api/v2/admin/devices/1004": {{status: 204}}},
			asked: []string{"DELETE /api/v2/admin/devices/1004"}, err: "Device 1004 is forgotten."},
		{args: "vps import --facility TPA1 --client 7 --all --dry-run", answers: map[string][]canned{"POST /api/v2/admin/vps/import": {{status: 200, body: "[]"}}},
			asked: []string{`POST /api/v2/admin/vps/import {"all":true,"clientId":7,"dryRun":true,"facilityCode":"TPA1"}`},
			out:   "GUEST  HOST  RESULT  DEVICE  DISK  BYTES  TYPE  MONTHLY  VOLUME  WHY\n"},
		{args: "vps import --facility TPA1 --client 7 --host h1 web1", answers: map[string][]canned{"POST /api/v2/admin/vps/import": {{status: 200, body: "[" + importedJSON + "]"}}},
			asked: []string{`POST /api/v2/admin/vps/import {"clientId":7,"domains":["web1"],"facilityCode":"TPA1","host":"h1"}`},
			out: "GUEST  HOST  RESULT    DEVICE  DISK  BYTES        TYPE      MONTHLY  VOLUME  WHY\n" +
				"web1   h1    imported  1004    vda   21474836480  ROOT      -        v1      -\n" +
				"-      -     -         -       sda   7516192768   DATADISK  0.00     v2      -\n" +
				"-      -     -         -       sdb   53687091200  DATADISK  -        -       It is shared\n"},
		{args: "price list --facility TPA1", answers: map[string][]canned{"GET /api/v2/admin/prices": {{status: 200, body: "[" + priceJSON + "]"}}},
			asked: []string{"GET /api/v2/admin/prices?facilityCode=TPA1"}, out: "FACILITY  SIZE GIB  MONTHLY\nTPA1      100       9.90\n"},
		{args: "price set TPA1 100 --monthly 9.90", answers: map[string][]canned{"PUT /api/v2/admin/prices/TPA1/100": {{status: 200, body: priceJSON}}},
			asked: []string{`PUT /api/v2/admin/prices/TPA1/100 {"monthlyPrice":9.9}`}, out: "FACILITY  SIZE GIB  MONTHLY\nTPA1      100       9.90\n"},
		{args: "price delete TPA1 100", answers: map[string][]canned{"DELETE /api/v2/admin/prices/TPA1/100": {{status: 204}}},
			asked: []string{"DELETE /api/v2/admin/prices/TPA1/100"}, err: "no longer on sale in TPA1"},
	} {
		r := newRemote(t, c.answers)
		got := command(t.Context(), r.URL, nil, nil, strings.Fields(c.args)...)
		if got.status != Done || !strings.Contains(got.err, c.err) || (c.err == "" && got.err != "") {
			t.Errorf("%s: status %d, stderr %q", c.args, got.status, got.err)
		}
		if diff := cmp.Diff(c.out, got.out); diff != "" {
			t.Errorf("%s: %s", c.args, diff)
		}
		if diff := cmp.Diff(c.asked, r.requests()); diff != "" {
			t.Errorf("%s: %s", c.args, diff)
		}
	}
}

// TestJSON holds that --output json is what the server sent, fields that this
// program does not know included.
func TestJSON(t *testing.T) {
	t.Parallel()
	r := newRemote(t, map[string][]canned{
		"GET /api/v2/admin/devices":     {{status: 200, body: "[" + deviceJSON + "]"}},
		"POST /api/v2/admin/devices":    {{status: 201, body: taskJSON("Pending", "queued", "{}")}},
		"GET /api/v2/network/status/T1": {{status: 200, body: taskJSON("Success", "", "{}")}},
		"GET /api/v2/admin/facilities":  {{status: 200, body: "[]\n"}},
	})
	for args, want := range map[string]string{
		"device list -o json":                              "[" + deviceJSON + "]",
		"device create --client 7 --facility TPA1 -o json": deviceJSON,
		"facility list --output=json":                      "[]",
	} {
		got := command(t.Context(), r.URL, nil, nil, strings.Fields(args)...)
		if got.err != "" || !strings.HasSuffix(got.out, "\n") || strings.HasSuffix(got.out, "\n\n") {
			t.Errorf("%s: stdout %q, stderr %q", args, got.out, got.err)
		}
		var g, w any
		if err := json.Unmarshal([]byte(got.out), &g); err != nil {
			t.Errorf("%s: %v in %q", args, err, got.out)
		}
		if err := json.Unmarshal([]byte(want), &w); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, g); diff != "" || got.status != Done {
			t.Errorf("%s: status %d: %s", args, got.status, diff)
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	page := func(n int, id func(i int) int) string {
		var b strings.Builder
		b.WriteByte('[')
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.Replace(clientJSON, `"clientId":7`, `"clientId":`+number(id(i)), 1))
		}
		return b.String() + "]"
	}
	r := newRemote(t, map[string][]canned{"GET /api/v2/admin/clients": {
		{status: 200, body: page(pageSize, func(i int) int { return i + 1 })},
		{status: 200, body: page(2, func(i int) int { return pageSize + i + 1 })},
	}})
	got := command(t.Context(), r.URL, nil, nil, "client", "list", "-o", "json")
	var list []struct{ ClientID int }
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list) != pageSize+2 || list[pageSize+1].ClientID != pageSize+2 {
		t.Errorf("%d entries, %v, stderr %q", len(list), err, got.err)
	}
	want := []string{"GET /api/v2/admin/clients?after=0&limit=1000", "GET /api/v2/admin/clients?after=1000&limit=1000"}
	if diff := cmp.Diff(want, r.requests()); diff != "" {
		t.Error(diff)
	}
	// A server that repeats itself does not keep us for ever.
	r = newRemote(t, map[string][]canned{"GET /api/v2/admin/clients": {{status: 200, body: page(pageSize, func(i int) int { return i + 1 })}}})
	if got := command(t.Context(), r.URL, nil, nil, "client", "list"); got.status != Failed || got.out != "" {
		t.Errorf("a list without an end: %+v", got)
	}
}

// TestRefusals holds the exit status and the sentence for each way to fail.
func TestRefusals(t *testing.T) {
	t.Parallel()
	fail := func(code int, reason string) []canned {
		return []canned{{status: code, body: `{"code":` + number(code) + `,"message":"No.","description":"No.","reason":"` + reason + `","requestId":"R1"}`}}
	}
	for _, c := range []struct {
		name   string
		answer []canned
		status int
		want   []string
	}{
		{"not found", fail(404, "client_not_found"), NotFound, []string{"Error: No. (client_not_found)\n"}},
		{"forbidden", fail(403, "permission_missing"), Refused, []string{"(permission_missing)"}},
		{"conflict", fail(409, "device_exists"), Conflict, []string{"(device_exists)"}},
		{"limit", fail(429, "rate_limited"), Refused, []string{"(rate_limited)"}},
		{"internal", fail(500, "internal"), Failed, []string{"(internal)", "Request R1"}},
		{"fields", []canned{{status: 400, body: `{"errors":{"name":"too long","b\u001b":"x"},"message":"Input payload validation failed"}`}}, Refused,
			[]string{"Error: Input payload validation failed\n  b : x\n  name: too long\n"}},
		{"HTML", []canned{{status: 502, body: "<html>", header: map[string]string{"Content-Type": "text/html"}}}, Failed, []string{"status 502"}},
		{"redirect", []canned{{status: 301, header: map[string]string{"Location": "http://elsewhere.example/"}}}, Failed, []string{"http://elsewhere.example/"}},
		{"not JSON", []canned{{status: 200, body: "hello"}}, Failed, []string{"(bad_answer)"}},
		{"other JSON", []canned{{status: 200, body: `{"a":1}`}}, Failed, []string{"(bad_answer)"}},
	} {
		r := newRemote(t, map[string][]canned{"GET /api/v2/admin/facilities": c.answer})
		got := command(t.Context(), r.URL, nil, nil, "facility", "list")
		if got.status != c.status || got.out != "" {
			t.Errorf("%s: status %d, stdout %q", c.name, got.status, got.out)
		}
		for _, want := range c.want {
			if !strings.Contains(got.err, want) {
				t.Errorf("%s: %q is not in %q", c.name, want, got.err)
			}
		}
	}
	r := newRemote(t, map[string][]canned{"GET /api/v2/admin/facilities": fail(409, "busy")})
	got := command(t.Context(), r.URL, nil, nil, "facility", "list", "-o", "json")
	if want := `{"code":409,"message":"No.","reason":"busy","requestId":"R1"}` + "\n"; got.err != want || got.status != Conflict {
		t.Errorf("status %d, stderr %q, want %q", got.status, got.err, want)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	r := newRemote(t, nil)
	r.Close()
	got := command(t.Context(), r.URL, nil, nil, "facility", "list")
	if got.status != Failed || !strings.Contains(got.err, "does not answer") {
		t.Errorf("%+v", got)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status, want int
		out, err     string
	}{
		{http.StatusOK, Done, "ready\n", ""},
		{http.StatusServiceUnavailable, Failed, "", "not ready (status 503)"},
		{http.StatusFound, Failed, "", "not ready (status 302)"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" || r.Header.Get("X-API-KEY") != "" {
				t.Errorf("asked %s with key %q", r.URL, r.Header.Get("X-API-KEY"))
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(tt.status)
		}))
		t.Cleanup(server.Close)
		for _, url := range []string{server.URL, server.URL + "/api/v2"} {
			got := command(t.Context(), url, map[string]string{"DRIVEBAY_API_KEY": ""}, nil, "ready")
			if got.status != tt.want || got.out != tt.out || (tt.err == "") != (got.err == "") || !strings.Contains(got.err, tt.err) {
				t.Errorf("%d: %+v", tt.status, got)
			}
		}
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	if got := command(t.Context(), gone.URL, nil, nil, "ready"); got.status != Failed || !strings.Contains(got.err, "does not answer") {
		t.Errorf("%+v", got)
	}
}

// TestUsage holds that a wrong command line has status 2 and asks no server.
func TestUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":                                      "needs one of: ",
		"volumes":                               `no command "volumes"`,
		"facility":                              "needs one of: list, set",
		"facility drop":                         `no command "drop"`,
		"facility list x":                       "one argument too many",
		"facility set":                          "needs CODE",
		"facility set TPA1":                     `"city", "country", "title" not set`,
		"facility list -o xml":                  "--output is table or json",
		"facility list --bogus":                 "Unknown flag",
		"facility list -o":                      "Flag needs an argument",
		"client create":                         `"name" not set`,
		"price set TPA1":                        "needs SIZE",
		"price delete TPA1 ten":                 "number of GiB",
		"price delete TPA1 0":                   "number of GiB",
		"ready x":                               "one argument too many",
		"ready --url ht":                        "--url is not an address",
		"serve x":                               "one argument too many",
		"migrate":                               "needs one of: status, up",
		"migrate status x":                      "one argument too many",
		"migrate up --listen :1":                "Unknown flag",
		"migrate up --database=mysql://x":       "database: ",
		"export a b":                            "at most 1 arg",
		"export --database=x":                   "database: ",
		"import":                                "needs FILE",
		"import a b":                            "one argument too many",
		"serve --rate-limit=x":                  "not a whole number",
		"serve --listen=x":                      "listen: ",
		"facility list --url ht":                "--url is not an address",
		"facility list --url http://u:secret@h": "--url is not an address",
		"price set TPA1 100 --monthly 9.999":    "at most two decimals",
		"price set TPA1 100 --monthly NaN":      "at most two decimals",
		"price set TPA1 100 --monthly=-1":       "at most two decimals",
		"key create --name a --permission read --expires soon": "--expires is",
		"key create --name a --permission read --expires -5h":  "--expires is",
	} {
		r := newRemote(t, nil)
		got := command(t.Context(), r.URL, nil, func(context.Context, config.Config, io.Writer) error { return errors.New("it ran") }, strings.Fields(args)...)
		if got.status != Usage || got.out != "" || !strings.Contains(got.err, want) || strings.Contains(got.err, "secret") {
			t.Errorf("%q: %+v", args, got)
		}
		if asked := r.requests(); len(asked) > 0 {
			t.Errorf("%q asked %v", args, asked)
		}
	}
}

func TestAPIKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.key")
	if err := os.WriteFile(path, []byte(testKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRemote(t, map[string][]canned{"GET /api/v2/admin/facilities": {{status: 200, body: "[]"}}})
	for _, c := range []struct {
		env    map[string]string
		status int
	}{
		{map[string]string{"DRIVEBAY_API_KEY": "", "DRIVEBAY_API_KEY_FILE": path}, Done},
		{map[string]string{"DRIVEBAY_API_KEY": "", "DRIVEBAY_API_KEY_FILE": path + ".none"}, Failed},
		{map[string]string{"DRIVEBAY_API_KEY": ""}, Usage},
		{map[string]string{"DRIVEBAY_API_KEY": "a\nb"}, Usage},
		{map[string]string{"DRIVEBAY_URL": r.URL + "/api/v2/"}, Done},
	} {
		if got := command(t.Context(), r.URL, c.env, nil, "facility", "list"); got.status != c.status || strings.Contains(got.err, "a\nb") {
			t.Errorf("%v: %+v", c.env, got)
		}
	}
}

// TestImportRefused: what was done is shown, and the exit status tells that it
// was not all.
func TestImportRefused(t *testing.T) {
	t.Parallel()
	r := newRemote(t, map[string][]canned{"POST /api/v2/admin/vps/import": {{status: 200, body: "[" + importedJSON + "," + refusedJSON + "]"}}})
	for format, want := range map[string]string{"table": "web2   h1    refused", "json": `"reason": "guest_taken"`} {
		got := command(t.Context(), r.URL, nil, nil, "vps", "import", "--facility", "TPA1", "--client", "7", "--all", "-o", format)
		if got.status != Conflict || !strings.Contains(got.out, want) || !strings.Contains(got.err, "1 of 2 guests were refused") {
			t.Errorf("%s: status %d, %q, %q", format, got.status, got.out, got.err)
		}
	}
	for _, args := range []string{"", " --all web1"} {
		got := command(t.Context(), r.URL, nil, nil, strings.Fields("vps import --facility TPA1 --client 7"+args)...)
		if got.status != Usage || got.out != "" {
			t.Errorf("vps import%s: status %d, %q", args, got.status, got.err)
		}
	}
	if got := command(t.Context(), r.URL, nil, nil, "device", "delete", "web1"); got.status != Usage {
		t.Errorf("device delete web1: status %d, %q", got.status, got.err)
	}
}
