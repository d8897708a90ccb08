package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/drivebay/drivebay/api"
)

// generator makes up requests from the contract: right in many places, wrong
// in some, so that they get far before they are refused.
type generator struct {
	*rand.Rand
	ops   []operation
	keys  []string // valid ones
	ids   []string // of things that exist, or did
	links []string // of images

	done, refused map[string]bool // operations that answered so
}

type operation struct {
	method, path, id string
	params           openapi3.Parameters
	body             *openapi3.Schema
}

func newGenerator(t *testing.T, r *rand.Rand, d demo, links []string) *generator {
	t.Helper()
	doc, err := api.Spec()
	if err != nil {
		t.Fatal(err)
	}
	g := &generator{Rand: r, done: map[string]bool{}, refused: map[string]bool{}, keys: []string{d.APIKey, d.APIKey, d.APIKey, d.Other.APIKey, d.AdminKey}, links: links}
	for _, id := range append(d.DeviceIDs, d.Other.DeviceIDs...) {
		g.ids = append(g.ids, fmt.Sprint(id))
	}
	for _, path := range slices.Sorted(slices.Values(doc.Paths.InMatchingOrder())) {
		item := doc.Paths.Value(path)
		for method, def := range item.Operations() {
			op := operation{method: method, path: path, id: def.OperationID, params: append(append(openapi3.Parameters{}, item.Parameters...), def.Parameters...)}
			if def.RequestBody != nil {
				op.body = def.RequestBody.Value.Content.Get("application/json").Schema.Value
			}
			g.ops = append(g.ops, op)
		}
	}
	slices.SortFunc(g.ops, func(a, b operation) int { return strings.Compare(a.id, b.id) })
	return g
}

// maybe is true p times in a hundred.
func (g *generator) maybe(p int) bool { return g.IntN(100) < p }

// odd are values that are rarely right.
var odd = []string{
	"", " ", "0", "-1", "+1", "1.0", "1e3", "0x3e9", "00001001", "2147483648", "9223372036854775807", "9223372036854775808",
	"99999999999999999999999999", "null", "true", "NaN", "undefined", "..", "../..", "%2e%2e", "a/b", "\x00", "1001\x00", "\xff\xfe",
	"é", "日本語", "\u202e", "'; DROP TABLE volume; --", "<script>", "{}", "[]", "*", "TPA1", "tpa1", "LAX3", "XXX9", "\r\n", "\t",
	"01a2088f-0000-7000-8000-000000000000", strings.Repeat("a", 300), strings.Repeat("9", 5000), strings.Repeat("%", 50),
	"read", "admin", "all", "active", "50", "100", "8", "7", "2030-01-01T00:00:00Z", "10.0.0.0/8",
}

// word is a value for a place called name.
func (g *generator) word(name string) string {
	switch {
	case name == "url":
		return pick(g.Rand, append([]string{"", "x", "http://", "ftp://127.0.0.1/x", "http://10.0.0.1/x", "http://[::1", "http://a:b@127.0.0.2/x", "é"}, g.links...))
	case g.maybe(15):
		return pick(g.Rand, odd)
	case strings.Contains(strings.ToLower(name), "facility") || name == "code":
		return pick(g.Rand, []string{"TPA1", "TPA1", "LAX3", "NYC2"})
	case name == "deviceId":
		return g.ids[g.IntN(4)]
	case name == "clientId":
		return pick(g.Rand, []string{"7", "8", "9"})
	case name == "size":
		return pick(g.Rand, []string{"50", "100", "200", "500", "51"})
	case name == "status":
		return pick(g.Rand, []string{"all", "active", "cancelled"})
	case strings.HasSuffix(strings.ToLower(name), "id"):
		return pick(g.Rand, g.ids)
	}
	return pick(g.Rand, []string{"1", "2", "3", "10", "name"})
}

// request makes up one request.
func (g *generator) request() wild {
	op := pick(g.Rand, g.ops)
	r := wild{op: op.id, method: op.method, header: g.header()}
	if g.maybe(5) {
		r.method = pick(g.Rand, []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"})
	}
	r.target = "/api/v2" + g.path(op)
	if query := g.query(op); query != "" {
		r.target += "?" + query
	}
	switch {
	case g.maybe(10):
		r.body = g.garbage()
	case op.body != nil:
		r.body = g.json(op.body, "", 0)
		if g.maybe(10) {
			r.body = g.damage(r.body)
		}
	}
	return r
}

var inPath = regexp.MustCompile(`\{([^}]*)\}`)

func (g *generator) path(op operation) string {
	if g.maybe(2) {
		return "/" + url.PathEscape(pick(g.Rand, odd)) + op.path
	}
	path := inPath.ReplaceAllStringFunc(op.path, func(name string) string {
		value := g.word(strings.Trim(name, "{}"))
		if op.id == "adminRevokeKey" {
			value = pick(g.Rand, []string{"0", "-1", "4000", "x", "99999999999999999999"}) // ours are needed
		}
		return url.PathEscape(value)
	})
	if g.maybe(10) {
		path = strings.Replace(path, "/", pick(g.Rand, []string{"//", "/./", "/%2F"}), 1+g.IntN(2))
	}
	if g.maybe(20) {
		path += "/"
	}
	return path
}

func (g *generator) query(op operation) string {
	var parts []string
	for _, p := range op.params {
		if p.Value.In == "query" && g.maybe(60) {
			parts = append(parts, p.Value.Name+"="+url.QueryEscape(g.word(p.Value.Name)))
		}
	}
	if g.maybe(5) {
		parts = append(parts, pick(g.Rand, []string{"%zz", "a;b", "&&", "=", "deviceId=1001&deviceId=1002", "facilityCode", "x=%00", "limit=%ff"}))
	}
	return strings.Join(parts, "&")
}

func (g *generator) header() http.Header {
	h := http.Header{}
	if !g.maybe(3) {
		h.Set("X-API-KEY", pick(g.Rand, g.keys))
	}
	if g.maybe(3) {
		h.Set("X-API-KEY", pick(g.Rand, []string{"", "x", "dbay_", "dbay_aaaaaaaaaaaa_" + strings.Repeat("a", 32), strings.Repeat("k", 5000), "é"}))
	}
	if g.maybe(3) {
		h.Set("Authorization", pick(g.Rand, []string{"Bearer " + pick(g.Rand, g.keys), "Bearer", "Basic eDp5", "bearer  x"}))
	}
	if g.maybe(20) {
		h.Set("X-Fields", g.mask())
	}
	if g.maybe(30) {
		h.Set("Content-Type", pick(g.Rand, []string{"application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "é"}))
	}
	if g.maybe(5) {
		h.Set("X-Request-Id", pick(g.Rand, []string{"mine", "", "a b", strings.Repeat("i", 500), "é"}))
	}
	if g.maybe(5) {
		h.Set(pick(g.Rand, []string{"Accept", "Accept-Encoding", "Range", "If-None-Match", "Origin", "X-Forwarded-For", "Content-Encoding"}),
			pick(g.Rand, []string{"*", "gzip", "bytes=0-", "10.0.0.1", "text/html"}))
	}
	return h
}

// mask is a field mask, or nearly one.
func (g *generator) mask() string {
	tokens := []string{"volumeId", "size", "*", "isoId", "taskId", "volumeProducts", "location", "code", "{", "}", ",", ",", "{", "}", " ", "a", "é", "-", "."}
	if g.maybe(40) {
		return pick(g.Rand, []string{
			"volumeId,size", "{volumeId}", "volumeProducts{size}", "*", "taskId,result", "location{city},code", "", "{}", "{{", "a{b{c{d}}}",
			strings.Repeat("{a", 500), strings.Repeat("a,", 2000), "volumeId,*", "size{a}",
		})
	}
	var b strings.Builder
	for range g.IntN(12) {
		b.WriteString(pick(g.Rand, tokens))
	}
	return b.String()
}

// json makes up a value for a schema.
func (g *generator) json(s *openapi3.Schema, name string, depth int) string {
	if g.maybe(4) || depth > 5 {
		return pick(g.Rand, []string{
			"null", "true", "0", "-0", "-1", "1e400", "1e-400", "1.5", "50.0", "5e1", "9223372036854775808", "123456789012345678901234567890",
			`""`, `"\u0000"`, `"\ud800"`, "[]", "{}", "[[[[]]]]", `{"a":{"b":null}}`, `"50"`, `"TRUE"`,
		})
	}
	switch {
	case s.Type == nil || s.Type.Is("object"):
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(s.Properties)) {
			if slices.Contains(s.Required, key) && !g.maybe(4) || g.maybe(40) {
				parts = append(parts, g.member(s, key, depth))
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	case s.Type.Is("array"):
		var parts []string
		for range g.IntN(4) {
			parts = append(parts, g.json(s.Items.Value, name, depth+1))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case s.Type.Is("boolean"):
		return pick(g.Rand, []string{"true", "false", `"True"`, "1"})
	case s.Type.Is("integer"), s.Type.Is("number"):
		if word := g.word(name); json.Valid([]byte(word)) {
			return word
		}
		return "1"
	case len(s.Enum) > 0 && !g.maybe(10):
		return fmt.Sprintf("%q", fmt.Sprint(pick(g.Rand, s.Enum)))
	}
	b, err := json.Marshal(g.word(name))
	if err != nil {
		return `""`
	}
	return string(b)
}

// member is one key of an object with its value, sometimes twice or in another
// case.
func (g *generator) member(s *openapi3.Schema, key string, depth int) string {
	member := fmt.Sprintf("%q:%s", key, g.json(s.Properties[key].Value, key, depth+1))
	switch {
	case g.maybe(2):
		return member + "," + member
	case g.maybe(2):
		return strings.ToUpper(member[:3]) + member[3:]
	case g.maybe(2):
		return `"unknown":[1,{"x":"y"}],` + member
	}
	return member
}

// damage breaks a body somewhere.
func (g *generator) damage(body string) string {
	if body == "" {
		return "{"
	}
	at := g.IntN(len(body))
	switch g.IntN(4) {
	case 0:
		return body[:at]
	case 1:
		return body[:at] + string([]byte{byte(g.IntN(256))}) + body[at+1:]
	case 2:
		return body + body
	}
	return "\ufeff" + body
}

// garbage is a body that nobody asked for.
func (g *generator) garbage() string {
	switch g.IntN(8) {
	case 0:
		return strings.Repeat("[", 10_000)
	case 1:
		return `{"size":50,"deviceId":1001,"x":"` + strings.Repeat("x", maxBody-g.IntN(100)+50) + `"}`
	case 2:
		b := make([]byte, g.IntN(200))
		for i := range b {
			b[i] = byte(g.IntN(256))
		}
		return string(b)
	}
	return pick(g.Rand, odd)
}

// learn takes ids from an answer, so that later requests name what is there.
func (g *generator) learn(op string, a answer) {
	if a.status >= 300 {
		g.refused[op] = true
		return
	}
	g.done[op] = true
	for _, m := range idPattern.FindAllStringSubmatch(string(a.body), 20) {
		if len(g.ids) < 200 {
			g.ids = append(g.ids, m[1])
		} else {
			g.ids[4+g.IntN(len(g.ids)-4)] = m[1]
		}
	}
}

var idPattern = regexp.MustCompile(`(?:Id\\?":\\?")([0-9a-f-]{36})`)
