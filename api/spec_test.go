package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/api"
	"github.com/getkin/kin-openapi/openapi3"
)

// operation is one operation with where it stands.
type operation struct {
	*openapi3.Operation
	method, path string
	params       openapi3.Parameters // the path's and its own
}

func (o operation) String() string { return o.method + " " + o.path }

// body returns the schema of the request body, or nil.
func (o operation) body() *openapi3.SchemaRef {
	if o.RequestBody == nil {
		return nil
	}
	return o.RequestBody.Value.Content.Get("application/json").Schema
}

// answer returns the success status and its schema, which is nil without a
// body. That of a dry run is quote's.
func (o operation) answer() (status string, schema *openapi3.SchemaRef) {
	for code, ref := range o.Responses.Map() {
		if code[0] != '2' || code == "200" && o.quote() != nil {
			continue
		}
		status = code
		if mt := ref.Value.Content.Get("application/json"); mt != nil {
			schema = mt.Schema
		}
	}
	return status, schema
}

// quote returns the schema of a dry run's answer, nil for an operation without.
func (o operation) quote() *openapi3.SchemaRef {
	if !slices.ContainsFunc(o.params, func(p *openapi3.ParameterRef) bool { return p.Ref == dryRun }) {
		return nil
	}
	return o.Responses.Value("200").Value.Content.Get("application/json").Schema
}

func load(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := api.Spec()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func operations(t *testing.T, doc *openapi3.T) []operation {
	t.Helper()
	var ops []operation
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			params := append(slices.Clone(item.Parameters), op.Parameters...)
			ops = append(ops, operation{op, method, path, params})
		}
	}
	sort.Slice(ops, func(i, j int) bool { return ops[i].String() < ops[j].String() })
	if len(ops) < 36 {
		t.Fatalf("only %d operations", len(ops))
	}
	return ops
}

func TestSpecIsFresh(t *testing.T) {
	t.Parallel()
	a, b := load(t), load(t)
	a.Info.Title = "changed"
	if b.Info.Title == a.Info.Title {
		t.Error("two calls of Spec share a document")
	}
	y := api.SpecYAML()
	y[0]++
	if y[0] == api.SpecYAML()[0] {
		t.Error("two calls of SpecYAML share their bytes")
	}
}

func TestOperations(t *testing.T) {
	t.Parallel()
	doc := load(t)
	ids := map[string]bool{}
	for _, op := range operations(t, doc) {
		if ids[op.OperationID] {
			t.Errorf("%s: operationId %s twice", op, op.OperationID)
		}
		ids[op.OperationID] = true
		if strings.HasSuffix(op.path, "/") || strings.Contains(op.path, "//") {
			t.Errorf("%s: the path must be without a trailing or double slash", op)
		}
		if op.Summary == "" || len(op.Tags) != 1 || doc.Tags.Get(op.Tags[0]) == nil {
			t.Errorf("%s: needs a summary and one known tag", op)
		}
		checkAccess(t, doc, op)
		checkErrors(t, op)
	}
}

// checkAccess holds that an operation names its permission and needs a key.
func checkAccess(t *testing.T, doc *openapi3.T, op operation) {
	t.Helper()
	perm, _ := op.Extensions["x-permission"].(string)
	want := map[string]string{"vps": "read", "tasks": "read", "locations": "read", "quotas": "read", "services": "billing", "admin": "admin"}[op.Tags[0]]
	if op.Tags[0] == "volumes" || op.Tags[0] == "isos" {
		want = op.Tags[0]
		if op.method == http.MethodGet {
			want = "read"
		}
	}
	if op.Tags[0] == "vps" && op.method != http.MethodGet {
		want = "volumes" // what changes a device
	}
	if perm == "" || perm != want {
		t.Errorf("%s: x-permission %q, want %q", op, perm, want)
	}
	security := &doc.Security
	if op.Security != nil {
		security = op.Security
	}
	var schemes []string
	for _, alternative := range *security {
		if len(alternative) == 0 {
			t.Errorf("%s: can be called without a key", op)
		}
		for name := range alternative {
			schemes = append(schemes, name)
		}
	}
	if !slices.Contains(schemes, "ApiKeyAuth") || !slices.Contains(schemes, "Bearer") {
		t.Errorf("%s: security %v, want ApiKeyAuth or Bearer", op, schemes)
	}
}

const dryRun = "#/components/parameters/QueryDryRun"

// TestDryRuns holds that what has a price can be tried, and nothing else answers
// in two ways.
func TestDryRuns(t *testing.T) {
	t.Parallel()
	var dry []string
	for _, op := range operations(t, load(t)) {
		successes := 0
		for code := range op.Responses.Map() {
			if code[0] == '2' {
				successes++
			}
		}
		quote := op.quote()
		if quote != nil {
			dry = append(dry, op.OperationID)
			if quote.Ref != "#/components/schemas/Quote" {
				t.Errorf("%s: a dry run answers %q", op, quote.Ref)
			}
		}
		if want := map[bool]int{false: 1, true: 2}[quote != nil]; successes != want {
			t.Errorf("%s: %d success answers, want %d", op, successes, want)
		}
	}
	slices.Sort(dry)
	if !slices.Equal(dry, []string{"createVolume", "deleteVolume", "resizeVolume"}) {
		t.Errorf("dry runs of %v", dry)
	}
}

const idempotencyKey = "#/components/parameters/IdempotencyKey"

// TestRepeats holds that exactly the operations that change something can be
// repeated.
func TestRepeats(t *testing.T) {
	t.Parallel()
	for _, op := range operations(t, load(t)) {
		has := slices.ContainsFunc(op.params, func(p *openapi3.ParameterRef) bool { return p.Ref == idempotencyKey })
		if changes := op.method != http.MethodGet; has != changes {
			t.Errorf("%s: takes an idempotency key: %v, changes something: %v", op, has, changes)
		}
	}
}

// checkErrors holds that an operation documents what can go wrong with it.
func checkErrors(t *testing.T, op operation) {
	t.Helper()
	want := []string{"403", "429", "500", "503"}
	_, answer := op.answer()
	query, named := false, false
	for _, p := range op.params {
		query = query || p.Value.In == "query"
		named = named || p.Value.In == "path" || slices.Contains([]string{"clientId", "deviceId", "facilityCode"}, p.Value.Name)
	}
	if body := op.body(); body != nil {
		query = true
		for name := range body.Value.Properties {
			named = named || strings.HasSuffix(name, "Id") || name == "facilityCode"
		}
	}
	if query || answer != nil { // a mask can be wrong too
		want = append(want, "400")
	}
	if op.method != http.MethodGet { // the key it may name itself by
		want = append(want, "400", "422")
	}
	if named {
		want = append(want, "404")
	}
	if op.method != http.MethodGet && op.Tags[0] != "admin" && op.Tags[0] != "vps" {
		want = append(want, "409")
	}
	for _, code := range want {
		if op.Responses.Value(code) == nil {
			t.Errorf("%s: status %s is not documented", op, code)
		}
	}
	for code, ref := range op.Responses.Map() {
		if code[0] != '2' && !strings.HasPrefix(ref.Ref, "#/components/responses/") {
			t.Errorf("%s: status %s is not one of the shared errors", op, code)
		}
	}
}

// TestAnswersAreWhole holds that every key of every answer is always sent.
func TestAnswersAreWhole(t *testing.T) {
	t.Parallel()
	doc := load(t)
	for _, op := range operations(t, doc) {
		status, schema := op.answer()
		if schema == nil {
			if status != "204" {
				t.Errorf("%s: answers %q without a schema", op, status)
			}
			continue
		}
		checkWhole(t, op.String(), schema.Value)
		if quote := op.quote(); quote != nil {
			checkWhole(t, op.String()+" dry run", quote.Value)
		}
	}
	for _, name := range []string{"Error", "ValidationError"} {
		checkWhole(t, name, doc.Components.Schemas[name].Value)
	}
}

func checkWhole(t *testing.T, where string, s *openapi3.Schema) {
	t.Helper()
	switch {
	case s.Type.Is("array"):
		if s.Nullable {
			t.Errorf("%s: a list must be empty, not null", where)
		}
		checkWhole(t, where+"[]", s.Items.Value)
	case s.Type.Is("object"):
		free := s.AdditionalProperties.Has != nil || s.AdditionalProperties.Schema != nil
		if len(s.Properties) == 0 && !free {
			t.Errorf("%s: an object of nothing", where)
		}
		for name, prop := range s.Properties {
			if !slices.Contains(s.Required, name) {
				t.Errorf("%s.%s is not required", where, name)
			}
			checkWhole(t, where+"."+name, prop.Value)
		}
		for _, name := range s.Required {
			if s.Properties[name] == nil {
				t.Errorf("%s.%s is required but not described", where, name)
			}
		}
	case s.Type.Is("number") && s.Format != "double":
		t.Errorf("%s: a number must have the format double", where)
	case s.Type == nil:
		t.Errorf("%s has no type", where)
	}
}

// TestRequestsAreBounded holds that validation leaves nothing open-ended.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	doc := load(t)
	for _, op := range operations(t, doc) {
		for _, p := range op.params {
			where := fmt.Sprintf("%s %s parameter %s", op, p.Value.In, p.Value.Name)
			checkBounded(t, where, p.Value.Schema.Value)
			if p.Value.Description == "" {
				t.Errorf("%s has no description", where)
			}
			if p.Value.In == "header" && p.Ref != idempotencyKey || p.Value.In == "cookie" {
				t.Errorf("%s: headers are the transport's business", where)
			}
		}
		if body := op.body(); body != nil {
			checkBounded(t, op.String()+" body", body.Value)
		}
	}
}

func checkBounded(t *testing.T, where string, s *openapi3.Schema) {
	t.Helper()
	if s.Nullable {
		t.Errorf("%s: null has no meaning in a request", where)
	}
	switch {
	case s.Type.Is("object"):
		if len(s.Properties) == 0 {
			t.Errorf("%s: an object of anything", where)
		}
		for name, prop := range s.Properties {
			checkBounded(t, where+"."+name, prop.Value)
		}
	case s.Type.Is("array"):
		if s.MaxItems == nil {
			t.Errorf("%s: no maxItems", where)
		}
		checkBounded(t, where+"[]", s.Items.Value)
	case s.Type.Is("string"):
		if s.MaxLength == nil && len(s.Enum) == 0 {
			t.Errorf("%s: neither maxLength nor enum", where)
		}
	case s.Type.Is("integer"), s.Type.Is("number"):
		if s.Min == nil || s.Max == nil {
			t.Errorf("%s: minimum or maximum is missing", where)
		}
	case !s.Type.Is("boolean"):
		t.Errorf("%s: unknown type %v", where, s.Type)
	}
}

// TestLooseBoolean holds the one field that takes a boolean in other spellings.
func TestLooseBoolean(t *testing.T) {
	t.Parallel()
	doc := load(t)
	var loose []string
	for _, op := range operations(t, doc) {
		if body := op.body(); body != nil {
			for name, prop := range body.Value.Properties {
				if prop.Value.Extensions["x-loose-boolean"] == true && prop.Value.Type.Is("boolean") {
					loose = append(loose, op.OperationID+"."+name)
				}
			}
		}
	}
	if !slices.Equal(loose, []string{"createISO.bootable"}) {
		t.Errorf("x-loose-boolean on %v", loose)
	}
}
