package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/httpapi"
	"github.com/drivebay/drivebay/internal/idempotency"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/task"
)

var (
	update = flag.Bool("update", false, "rewrite testdata/golden from what the server says")
	noLog  = slog.New(slog.DiscardHandler)
)

// never are the documented answers that nothing leads to today, with why they
// are in the contract all the same.
var never = map[string]string{
	"adminPutFacility 404":  "a code no facility has makes one",
	"adminReconcile 404":    "an unknown facility is a field that is wrong",
	"adminImportVPS 404":    "an unknown client or facility is a field that is wrong",
	"adminCreateDevice 404": "an unknown client or facility is a field that is wrong",
}

// exchange is one request and its answer, as a golden file keeps them.
type exchange struct {
	Name    string            `json:"name"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Header  map[string]string `json:"header,omitempty"`
	Request json.RawMessage   `json:"request,omitempty"`
	Status  int               `json:"status"`
	Answer  json.RawMessage   `json:"answer,omitempty"`
}

// operation is what the contract says of one operation.
type operation struct {
	method   string
	path     *regexp.Regexp
	success  int
	statuses []int
	json     bool                     // answers a body
	schemas  map[int]*openapi3.Schema // of the answer, by status
	params   openapi3.Parameters
	body     *openapi3.Schema // of the request, nil for none
	may      string           // the permission
}

// operations returns those of the contract by id.
func operations(t *testing.T) map[string]operation {
	t.Helper()
	doc, err := api.Spec()
	if err != nil {
		t.Fatal(err)
	}
	// What the contract does not name must not be sent, but for the two fields
	// that every error has in addition.
	for name, s := range doc.Components.Schemas {
		if s.Value.Type.Is("object") && s.Value.AdditionalProperties.Has == nil && name != "ValidationError" {
			s.Value.AdditionalProperties.Has = new(bool)
		}
	}
	out := map[string]operation{}
	for path, item := range doc.Paths.Map() {
		pattern := regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(regexp.QuoteMeta(path), `[^/?]+`)
		for method, op := range item.Operations() {
			o := operation{method: method, path: regexp.MustCompile(`^` + pattern + `(\?.*)?$`)}
			o.read(t, item, op)
			out[op.OperationID] = o
		}
	}
	return out
}

func (o *operation) read(t *testing.T, item *openapi3.PathItem, op *openapi3.Operation) {
	t.Helper()
	o.schemas = map[int]*openapi3.Schema{}
	o.params = slices.Concat(item.Parameters, op.Parameters)
	o.may, _ = op.Extensions["x-permission"].(string)
	if op.RequestBody != nil {
		o.body = op.RequestBody.Value.Content.Get("application/json").Schema.Value
	}
	for code, r := range op.Responses.Map() {
		status, err := strconv.Atoi(code)
		if err != nil {
			t.Fatalf("%s documents the status %q", op.OperationID, code)
		}
		o.statuses = append(o.statuses, status)
		if m := r.Value.Content.Get("application/json"); m != nil {
			o.schemas[status] = m.Schema.Value
		}
		if status < 300 && status > o.success { // a dry run's is the lower one
			o.success, o.json = status, o.schemas[status] != nil
		}
	}
	slices.Sort(o.statuses)
}

// fits compares an answer with the schema of its status.
func (o operation) fits(a answer) error {
	schema := o.schemas[a.status]
	if schema == nil {
		if len(a.body) > 0 {
			return errors.New("there should be no body")
		}
		return nil
	}
	var v any
	if err := json.Unmarshal(a.body, &v); err != nil {
		return err
	}
	return schema.VisitJSON(v)
}

// golden plays the whole contract against one world and keeps what was said.
type golden struct {
	*world
	ops   map[string]operation
	cases map[string][]exchange
	// ids seen in an operation's cases, so that the same one gets the same name.
	seen map[string]map[string]string
}

// say sends a request and keeps the exchange. The status must be want.
func (g *golden) say(s *httptest.Server, key, op, name string, want int, path, body string, header ...string) answer {
	g.t.Helper()
	o, known := g.ops[op]
	if !known || !o.path.MatchString(path) {
		g.t.Fatalf("%s is not served at %s", op, path)
	}
	a := g.ask(s, key, o.method, path, body, header...)
	if a.status != want {
		g.t.Errorf("%s, %s: %s %s %s answers %d, want %d:\n%s", op, name, o.method, path, body, a.status, want, a.body)
	}
	if !slices.Contains(o.statuses, a.status) {
		g.t.Errorf("%s, %s: the contract does not document status %d", op, name, a.status)
	}
	if len(header) == 0 || a.status >= 300 { // a mask takes away what the schema requires
		if err := o.fits(a); err != nil {
			g.t.Errorf("%s, %s: the answer is not as documented: %v\n%s", op, name, err, a.body)
		}
	}
	x := exchange{Name: name, Method: o.method, Path: g.plain(op, path), Status: a.status, Answer: g.neutral(op, a.body)}
	if body != "" {
		x.Request = g.neutral(op, []byte(body))
	}
	for i := 0; i+1 < len(header); i += 2 {
		x.Header = map[string]string{header[i]: header[i+1]}
	}
	g.cases[op] = append(g.cases[op], x)
	return a
}

// ok keeps a success and, the first time, what the same request gets without a
// key and with a mask that cannot be read.
func (g *golden) ok(op, name, path, body string, header ...string) answer {
	g.t.Helper()
	return g.okAs(g.keys.client, op, name, path, body, header...)
}

func (g *golden) okAs(key, op, name, path, body string, header ...string) answer {
	g.t.Helper()
	first, o := len(g.cases[op]) == 0, g.ops[op]
	a := g.say(g.server, key, op, name, o.success, path, body, header...)
	if first {
		g.say(g.server, "", op, "no key", http.StatusForbidden, path, body)
		if o.json && slices.Contains(o.statuses, http.StatusBadRequest) {
			g.say(g.server, key, op, "a mask that cannot be read", http.StatusBadRequest, path, body, "X-Fields", "{")
		}
	}
	return a
}

// no keeps a refusal.
func (g *golden) no(status int, op, name, path, body string) {
	g.t.Helper()
	g.say(g.server, g.keys.client, op, name, status, path, body)
}

func (g *golden) noAs(key string, status int, op, name, path, body string) {
	g.t.Helper()
	g.say(g.server, key, op, name, status, path, body)
}

// follow waits for the task in an answer. It must end as want.
func (g *golden) follow(a answer, want task.State) task.Task {
	g.t.Helper()
	var said struct{ TaskID string }
	if err := json.Unmarshal(a.body, &said); err != nil || said.TaskID == "" {
		g.t.Fatalf("there is no task in %s", a.body)
	}
	t := g.ended(said.TaskID)
	if t.State != want {
		g.t.Fatalf("%s has ended as %s: %s %s", t.Kind, t.State, t.Reason, t.Error)
	}
	return t
}

// broken keeps what each operation says when the address has used up its
// requests, and when something inside is away.
func (g *golden) broken() {
	limited := g.serve(func(d *httpapi.Deps) { d.RateLimit, d.RateLimitAnonymous = 1, 1 })
	g.ask(limited, g.keys.client, http.MethodGet, "/inventory/locations", "")
	for _, c := range []struct {
		name   string
		status int
		server *httptest.Server
	}{
		{"too many requests", http.StatusTooManyRequests, limited},
		{"the database answers nonsense", http.StatusInternalServerError, g.serve(keysGone(g.world, errNonsense))},
		{"the database is away", http.StatusServiceUnavailable, g.serve(keysGone(g.world, store.ErrUnavailable))},
	} {
		for _, op := range slices.Sorted(maps.Keys(g.cases)) {
			x := g.cases[op][0]
			g.say(c.server, g.keys.operator, op, c.name, c.status, x.Path, string(x.Request))
		}
	}
}

// repeats keeps what each operation that changes something says to a key that
// cannot be read and to one that belongs to another request, and what happens
// to a secret.
func (g *golden) repeats() {
	for _, op := range []string{"adminPutFacility", "adminPutPrice", "adminCreateKey"} {
		x := g.cases[op][0]
		if a := g.ask(g.server, g.keys.operator, x.Method, x.Path, string(x.Request), idempotency.Header, op); a.status != g.ops[op].success {
			g.t.Fatalf("%s answers %d: %s", op, a.status, a.body)
		}
	}
	for _, op := range slices.Sorted(maps.Keys(g.cases)) {
		x := g.cases[op][0]
		if x.Method == http.MethodGet {
			continue
		}
		other := "adminPutFacility"
		if op == other {
			other = "adminPutPrice"
		}
		g.say(g.server, g.keys.operator, op, "an idempotency key that is none", 400, x.Path, string(x.Request), idempotency.Header, "two words")
		g.say(g.server, g.keys.operator, op, "another request's idempotency key", 422, x.Path, string(x.Request), idempotency.Header, other)
	}
	x := g.cases["adminCreateKey"][0]
	g.say(g.server, g.keys.operator, "adminCreateKey", "repeated", 409, x.Path, string(x.Request), idempotency.Header, "adminCreateKey")
}

var errNonsense = errors.New("page 7 of the database is not a page")

// neutralID begins every id in a golden file.
const neutralID = "00000000-0000-7000-8000-"

var (
	uuidForm  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	tokenForm = regexp.MustCompile(`dbay_[a-z0-9_]+`)
)

// plain replaces what differs from run to run in a text.
func (g *golden) plain(op, s string) string {
	ids := g.seen[op]
	if ids == nil {
		ids = map[string]string{}
		g.seen[op] = ids
	}
	s = uuidForm.ReplaceAllStringFunc(s, func(id string) string {
		if strings.HasPrefix(id, neutralID) {
			return id
		}
		if _, known := ids[id]; !known {
			ids[id] = fmt.Sprintf("%s%012d", neutralID, len(ids)+1)
		}
		return ids[id]
	})
	s = tokenForm.ReplaceAllString(s, "dbay_prefix_secret")
	return strings.ReplaceAll(s, strings.TrimPrefix(g.images.URL, "http://"), "images.example.org")
}

// neutral is a body without what differs from run to run, with its keys in
// order.
func (g *golden) neutral(op string, body []byte) json.RawMessage {
	g.t.Helper()
	if len(body) == 0 {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(g.plain(op, string(body))))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		g.t.Fatalf("%s answers no JSON: %v\n%s", op, err, body)
	}
	blank(v)
	b, err := json.Marshal(v)
	if err != nil {
		g.t.Fatal(err)
	}
	return b
}

// blank replaces values that are random but have no form of their own.
func blank(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			blank(e)
		}
	case map[string]any:
		for k, e := range v {
			if _, isText := e.(string); isText && (k == "requestId" || k == "prefix") {
				v[k] = "(" + k + ")"
			}
			blank(e)
		}
	}
}

// text is how the cases of an operation look in their file.
func text(t *testing.T, cases []exchange) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(cases); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const goldenFolder = "testdata/golden"

// TestGolden plays the contract and compares every body with the one kept.
func TestGolden(t *testing.T) {
	t.Parallel()
	g := &golden{world: newWorld(t), ops: operations(t), cases: map[string][]exchange{}, seen: map[string]map[string]string{}}
	g.play()
	g.repeats()
	g.broken()
	if t.Failed() {
		return
	}
	g.complete()
	if *update {
		g.write()
	}
	for op, cases := range g.cases {
		want, err := os.ReadFile(filepath.Join(goldenFolder, op+".json"))
		if err != nil {
			t.Errorf("%s has no golden file, make it with -update: %v", op, err)
			continue
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(text(t, cases)), "\n")); diff != "" {
			t.Errorf("%s (-golden +now):\n%s", op, diff)
		}
	}
}

// complete checks that every documented answer of every operation was met.
func (g *golden) complete() {
	for op, o := range g.ops {
		met := map[int]bool{}
		for _, x := range g.cases[op] {
			met[x.Status] = true
		}
		for _, status := range o.statuses {
			name := fmt.Sprintf("%s %d", op, status)
			switch why := never[name]; {
			case !met[status] && why == "":
				g.t.Errorf("%s is documented and has no golden body", name)
			case met[status] && why != "":
				g.t.Errorf("%s has a golden body, although it should never happen: %s", name, why)
			}
		}
	}
}

func (g *golden) write() {
	g.t.Helper()
	g.must(os.RemoveAll(goldenFolder))
	g.must(os.MkdirAll(goldenFolder, 0o755))
	for op, cases := range g.cases {
		g.must(os.WriteFile(filepath.Join(goldenFolder, op+".json"), text(g.t, cases), 0o644))
	}
}

// TestGoldenFiles holds the folder and the contract to each other.
func TestGoldenFiles(t *testing.T) {
	t.Parallel()
	if *update {
		t.Skip("the files are being rewritten")
	}
	want := slices.Sorted(maps.Keys(operations(t)))
	files, err := filepath.Glob(filepath.Join(goldenFolder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, f := range files {
		have = append(have, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	slices.Sort(have)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("operations and golden files differ (-operations +files):\n%s", diff)
	}
}
