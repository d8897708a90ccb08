package httpapi

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/fault"
)

// withBody are the operations that read a body, by id.
func withBody(t testing.TB) (map[string]*operation, *openapi3.T) {
	t.Helper()
	doc, err := api.Spec()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := Deps{}.withDefaults()
	s := newServer(d)
	if err := s.register(doc, &stub{}); err != nil {
		t.Fatal(err)
	}
	found := map[string]*operation{}
	for _, o := range s.routes {
		if o.body != nil {
			found[o.id] = o
		}
	}
	return found, doc
}

// targets are what the generated decoders fill, by operation.
var targets = map[string]func() any{
	"createVolume": func() any { return new(api.VolumeCreate) }, "resizeVolume": func() any { return new(api.VolumeResize) },
	"deleteVolume": func() any { return new(api.VolumeDelete) }, "createISO": func() any { return new(api.ISOCreate) },
	"attachISO": func() any { return new(api.ISOAttach) }, "detachISO": func() any { return new(api.ISODetach) },
	"powerVPS": func() any { return new(api.VPSPower) }, "adminPutFacility": func() any { return new(api.FacilityPut) },
	"adminCreateClient": func() any { return new(api.ClientCreate) }, "adminCreateKey": func() any { return new(api.KeyCreate) },
	"adminCreateDevice": func() any { return new(api.DeviceCreate) }, "adminPutPrice": func() any { return new(api.PricePut) },
	"adminPutClientQuota": func() any { return new(api.QuotaPut) },
	"adminReconcile":      func() any { return new(api.ReconcileRequest) },
	"adminImportVPS":      func() any { return new(api.VPSImport) },
}

func TestEveryBodyHasATarget(t *testing.T) {
	t.Parallel()
	ops, _ := withBody(t)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(ops)), slices.Sorted(maps.Keys(targets))); diff != "" {
		t.Error(diff)
	}
}

// read runs the check and returns what the decoder will see.
func read(o *operation, raw []byte) (out string, errs fieldErrors, err error) {
	b := bodies.Get().(*body)
	defer b.free()
	if err := b.check(o, raw, &errs); err != nil {
		return "", nil, err
	}
	return string(b.out.Buf), errs, nil
}

func TestBodies(t *testing.T) {
	t.Parallel()
	ops, _ := withBody(t)
	iso := func(bootable string) string {
		return `{"facilityCode":"TPA1","name":"n","description":"","url":"http://x/","bootable":` + bootable + `}`
	}
	isoOut := func(b string) string {
		return `{"facilityCode":"TPA1","name":"n","description":"","url":"http://x/","bootable":` + b + `}`
	}
	for _, c := range []struct{ op, in, want string }{
		{"createVolume", `{"size":50,"deviceId":1001}`, `{"size":50,"deviceId":1001}`},
		{"createVolume", " {\n\"deviceId\" : 1001 ,\t\"size\" : 50 }\r\n", `{"deviceId":1001,"size":50}`},
		{"createVolume", `{"size":50.0,"deviceId":1.001e3}`, `{"size":50,"deviceId":1001}`},
		{"createVolume", `{"size":5e1,"deviceId":10010E-1}`, `{"size":50,"deviceId":1001}`},
		{"createVolume", `{"size":50,"deviceId":1001,"x":[1,{"y":null}],"":0}`, `{"size":50,"deviceId":1001}`},
		{"createVolume", `{"\u0073ize":50,"deviceId":1001}`, `{"size":50,"deviceId":1001}`},
		{"resizeVolume", `{"size":100,"deviceId":null}`, `{"size":100}`},
		{"resizeVolume", `{"deviceId":null,"size":100}`, `{"size":100}`},
		{"deleteVolume", ``, ``},
		{"deleteVolume", " \r\n\t", ``},
		{"deleteVolume", `{}`, `{}`},
		{"deleteVolume", `{"deviceId":7}`, `{"deviceId":7}`},
		{"createISO", iso(`true`), isoOut("true")},
		{"createISO", iso(`"True"`), isoOut("true")},
		{"createISO", iso(`"FALSE"`), isoOut("false")},
		{"createISO", iso(`1`), isoOut("true")},
		{"createISO", iso(`0`), isoOut("false")},
		{"attachISO", `{"isoId":"a\u00e4\n\"\\"}`, `{"isoId":"aä\n\"\\"}`},
		{"attachISO", `{"isoId":"\ud83d\ude00"}`, `{"isoId":"😀"}`},
		{"adminPutPrice", `{"monthlyPrice":5.25}`, `{"monthlyPrice":5.25}`},
		{"adminPutPrice", `{"monthlyPrice":0}`, `{"monthlyPrice":0}`},
		{"adminCreateKey", `{"name":"k","permissions":["read","isos"],"expiresAt":"2030-01-31T12:00:00+02:00","allowedAddresses":[]}`,
			`{"name":"k","permissions":["read","isos"],"expiresAt":"2030-01-31T12:00:00+02:00","allowedAddresses":[]}`},
	} {
		out, errs, err := read(ops[c.op], []byte(c.in))
		if err != nil || len(errs) > 0 || out != c.want {
			t.Errorf("%s %s: %q, %v, %v", c.op, c.in, out, errs, err)
		}
	}
}

func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func wide(n int, last string) string {
	var b strings.Builder
	b.WriteString(`{"size":50,"deviceId":1001`)
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":0`, i)
	}
	return b.String() + last + `}`
}

var badBodies = []struct {
	name, in string
	want     error
}{
	{"cut", `{"size":50`, errBodyJSON},
	{"word", `size=50`, errBodyJSON},
	{"form", `size=50&deviceId=1001`, errBodyJSON},
	{"trailing", `{"size":50,"deviceId":1}x`, errBodyJSON},
	{"two values", `{"size":50,"deviceId":1} {}`, errBodyJSON},
	{"trailing comma", `{"size":50,}`, errBodyJSON},
	{"NaN", `{"size":NaN,"deviceId":1}`, errBodyJSON},
	{"infinity", `{"size":Infinity,"deviceId":1}`, errBodyJSON},
	{"leading zero", `{"size":050,"deviceId":1}`, errBodyJSON},
	{"plus", `{"size":+50,"deviceId":1}`, errBodyJSON},
	{"hex", `{"size":0x32,"deviceId":1}`, errBodyJSON},
	{"single quotes", `{'size':50}`, errBodyJSON},
	{"comment", `{/**/"size":50}`, errBodyJSON},
	{"control character", "{\"size\":50,\"x\":\"a\nb\"}", errBodyJSON},
	{"byte order mark", "\ufeff{}", errBodyJSON},
	{"UTF-16", "\xff\xfe{\x00}\x00", errBodyJSON},
	{"bad UTF-8", "{\"size\":50,\"x\":\"\xff\"}", errBodyJSON},
	{"surrogate in UTF-8", "{\"x\":\"\xed\xa0\x80\"}", errBodyJSON},
	{"nothing but a nul", "\x00", errBodyJSON},

	{"repeated", `{"size":50,"deviceId":1,"size":50}`, errBodyRepeat},
	{"repeated as an escape", `{"size":50,"deviceId":1,"\u0073ize":50}`, errBodyRepeat},
	{"repeated null", `{"size":null,"size":50,"deviceId":1}`, errBodyRepeat},
	{"repeated unknown", `{"size":50,"deviceId":1,"x":1,"x":1}`, errBodyRepeat},
	{"repeated below", `{"size":50,"deviceId":1,"x":[{"y":{"z":1,"z":2}}]}`, errBodyRepeat},
	{"repeated in a wrong type", `{"size":{"a":1,"a":1},"deviceId":1}`, errBodyRepeat},
	{"repeated in no object", `[{"a":1,"a":1}]`, errBodyRepeat},
	{"repeated among many", wide(100, `,"k3":0`), errBodyRepeat},

	{"case", `{"size":50,"deviceId":5,"DEVICEID":-1}`, errBodyCase},
	{"case alone", `{"Size":50,"deviceId":5}`, errBodyCase},
	{"long s", `{"size":100,"ſize":7,"deviceId":1}`, errBodyCase},
	{"long s as an escape", `{"size":100,"\u017fize":7,"deviceId":1}`, errBodyCase},

	{"deep", `{"x":` + deep(64) + `}`, errBodyDeep},
	{"very deep", `{"x":` + deep(9000) + `}`, errBodyDeep},
	{"too deep for any", `{"x":` + deep(100_000) + `}`, errBodyJSON},
	{"deep in a wrong type", `{"size":` + deep(64) + `}`, errBodyDeep},
	{"deep without an object", deep(65), errBodyDeep},
}

func TestBadBodies(t *testing.T) {
	t.Parallel()
	ops, _ := withBody(t)
	for _, c := range badBodies {
		if _, errs, err := read(ops["createVolume"], []byte(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, errs, err, c.want)
		}
	}
	for _, in := range []string{`{"size":50,"deviceId":1,"x":` + deep(63) + `}`, wide(2000, "")} {
		if _, errs, err := read(ops["createVolume"], []byte(in)); err != nil || errs != nil {
			t.Errorf("%.40s: %v %v", in, errs, err)
		}
	}
}

func TestWrongFields(t *testing.T) {
	t.Parallel()
	ops, _ := withBody(t)
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		op, in string
		want   fieldErrors
	}{
		{"createVolume", ``, fieldErrors{"size": "'size' is a required property", "deviceId": "'deviceId' is a required property"}},
		{"createVolume", `{}`, fieldErrors{"size": "'size' is a required property", "deviceId": "'deviceId' is a required property"}},
		{"createVolume", `{"size":"1"}`, fieldErrors{"size": "'1' is not of type 'integer'", "deviceId": "'deviceId' is a required property"}},
		{"createVolume", `{"size":true,"deviceId":null}`, fieldErrors{"size": "True is not of type 'integer'", "deviceId": "None is not of type 'integer'"}},
		{"createVolume", `{"size":[1],"deviceId":{"a":1}}`, fieldErrors{"size": "[...] is not of type 'integer'", "deviceId": "{...} is not of type 'integer'"}},
		{"createVolume", `{"size":50.5,"deviceId":1e-1}`, fieldErrors{"size": "50.5 is not of type 'integer'", "deviceId": "1e-1 is not of type 'integer'"}},
		{"createVolume", `{"size":0,"deviceId":-1}`, fieldErrors{"size": "0 is less than the minimum of 1", "deviceId": "-1 is less than the minimum of 1"}},
		{"createVolume", `{"size":1048577,"deviceId":2147483648}`, fieldErrors{
			"size": "1048577 is greater than the maximum of 1048576", "deviceId": "2147483648 is greater than the maximum of 2147483647"}},
		{"createVolume", `{"size":1e999,"deviceId":-99999999999999999999}`, fieldErrors{
			"size": "1e999 is greater than the maximum of 1048576", "deviceId": "-99999999999999999999 is less than the minimum of 1"}},
		{"createVolume", `{"size":18446744073709551666,"deviceId":4294968297}`, fieldErrors{ // 50 and 1001 in fewer bits
			"size": "18446744073709551666 is greater than the maximum of 1048576", "deviceId": "4294968297 is greater than the maximum of 2147483647"}},
		{"createVolume", `[]`, fieldErrors{"": "[...] is not of type 'object'"}},
		{"createVolume", `null`, fieldErrors{"": "None is not of type 'object'"}},
		{"createVolume", `"a"`, fieldErrors{"": "'a' is not of type 'object'"}},
		{"createVolume", `5`, fieldErrors{"": "5 is not of type 'object'"}},
		{"deleteVolume", `null`, fieldErrors{"": "None is not of type 'object'"}},
		{"deleteVolume", `{"deviceId":false}`, fieldErrors{"deviceId": "False is not of type 'integer'"}},
		{"attachISO", `{"isoId":""}`, fieldErrors{"isoId": "'' is too short: it must not be empty"}},
		{"attachISO", `{"isoId":7}`, fieldErrors{"isoId": "7 is not of type 'string'"}},
		{"attachISO", `{"isoId":"a\u0000b"}`, fieldErrors{"isoId": "'a\x00b' has a character U+0000"}},
		{"attachISO", `{"isoId":"` + long + `"}`, fieldErrors{"isoId": "'" + long[:80] + "...' is too long: at most 64 characters"}},
		{"createISO", `{"bootable":"maybe","checksum":"sha256:` + strings.Repeat("g", 64) + `","url":"","name":null}`, fieldErrors{
			"bootable": "'maybe' is not of type 'boolean'", "url": "'' is too short: it must not be empty", "name": "None is not of type 'string'",
			"checksum":     "'sha256:" + strings.Repeat("g", 64) + "' does not match '" + ops["createISO"].body.props[1].shape.pattern.String() + "'",
			"facilityCode": "'facilityCode' is a required property", "description": "'description' is a required property"}},
		{"createISO", `{"bootable":2,"facilityCode":"T","name":"n","description":"d","url":"u"}`, fieldErrors{"bootable": "2 is not of type 'boolean'"}},
		{"createISO", `{"bootable":"1","facilityCode":"T","name":"n","description":"d","url":"u"}`, fieldErrors{"bootable": "'1' is not of type 'boolean'"}},
		{"createISO", `{"bootable":null,"facilityCode":"T","name":"n","description":"d","url":"u"}`, fieldErrors{"bootable": "None is not of type 'boolean'"}},
		{"adminPutPrice", `{"monthlyPrice":1e400}`, fieldErrors{"monthlyPrice": "1e400 is greater than the maximum of 1000000"}},
		{"adminPutPrice", `{"monthlyPrice":"5"}`, fieldErrors{"monthlyPrice": "'5' is not of type 'number'"}},
		{"adminPutPrice", `{"monthlyPrice":-0.01}`, fieldErrors{"monthlyPrice": "-0.01 is less than the minimum of 0"}},
		{"adminCreateKey", `{"name":"k","permissions":["read","root",1,null],"expiresAt":"tomorrow","allowedAddresses":["1"]}`, fieldErrors{
			"permissions.1": "'root' is not one of ['read', 'volumes', 'isos', 'billing', 'admin']", "permissions.2": "1 is not of type 'string'",
			"permissions.3": "None is not of type 'string'", "expiresAt": "'tomorrow' is not a time as in '2026-01-31T12:00:00Z'",
			"allowedAddresses.0": "'1' is too short: at least 2 characters"}},
		{"adminCreateKey", `{"name":"k","permissions":[]}`, fieldErrors{"permissions": "has too few items: at least 1"}},
		{"adminCreateKey", `{"name":"k","permissions":["read","isos","read"]}`, fieldErrors{"permissions": "has non-unique elements"}},
		{"adminCreateKey", `{"name":"k","permissions":["read","volumes","isos","billing","admin","read",7]}`, fieldErrors{"permissions": "has too many items: at most 5"}},
		{"adminCreateKey", `{"name":"k","permissions":["read"],"expiresAt":"9999-12-31T23:59:59-01:00"}`, fieldErrors{
			"expiresAt": "'9999-12-31T23:59:59-01:00' is not a time as in '2026-01-31T12:00:00Z'"}},
		{"adminCreateKey", `{"name":"k","permissions":["read"],"expiresAt":"2030-01-31T12:00:00,5Z"}`, fieldErrors{
			"expiresAt": "'2030-01-31T12:00:00,5Z' is not a time as in '2026-01-31T12:00:00Z'"}},
	} {
		_, errs, err := read(ops[c.op], []byte(c.in))
		if diff := cmp.Diff(c.want, errs); diff != "" || err != nil {
			t.Errorf("%s %s: %v %s", c.op, c.in, err, diff)
		}
	}
}

func TestBodiesOverHTTP(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const path = base + "/vps/volume"
	for _, ct := range []string{"", "application/json", "application/x-www-form-urlencoded", "text/plain; charset=latin1", "nonsense"} {
		w := r.do("POST", path, `{"size":50.0,"deviceId":1001}`, "Content-Type", ct)
		ok(t, w, http.StatusCreated)
		got := *r.stub.last().(api.CreateVolumeRequestObject).Body
		if got != (api.VolumeCreate{Size: 50, DeviceID: 1001}) {
			t.Errorf("content type %q: %+v", ct, got)
		}
	}
	n := len(r.stub.got)
	b := refused(t, r.do("POST", path, `{"size":"x"}`), 400, "validation_failed")
	if len(b.Errors) != 2 {
		t.Errorf("errors %v", b.Errors)
	}
	refused(t, r.do("POST", path, ""), 400, "validation_failed")
	refused(t, r.do("POST", path, "{"), 400, "body_malformed")
	refused(t, r.do("POST", path, `{"a":1,"a":1}`), 400, "body_key_repeated")
	refused(t, r.do("POST", path, `{"SIZE":1}`), 400, "body_key_case")
	refused(t, r.do("POST", path, strings.Repeat("[", 100)+strings.Repeat("]", 100)), 400, "body_too_deep")
	refused(t, r.send("POST", path, "{"), 403, "key_missing") // the caller comes first
	b = refused(t, r.do("DELETE", path+"/v1?deviceId=x", `{"deviceId":"y"}`), 400, "validation_failed")
	if len(b.Errors) != 1 {
		t.Errorf("errors %v", b.Errors)
	}
	if len(r.stub.got) != n {
		t.Error("a bad request reached its handler")
	}

	ok(t, r.do("DELETE", path+"/v1", ""), http.StatusCreated)
	if got := r.stub.last().(api.DeleteVolumeRequestObject); got.Body != nil {
		t.Errorf("no body became %+v", got.Body)
	}
	ok(t, r.do("DELETE", path+"/v1?deviceId=5", `{}`), http.StatusCreated)
	if got := r.stub.last().(api.DeleteVolumeRequestObject); got.Body == nil || got.Body.DeviceID != nil || *got.Params.DeviceID != 5 {
		t.Errorf("got %+v", got)
	}
	for _, body := range []string{"", "{", strings.Repeat("x", maxBody+1)} { // not read at all
		ok(t, r.do("POST", base+"/vps/1001/volume/v1/detach", body, "Content-Type", "application/json"), http.StatusCreated)
	}
	ok(t, r.do("POST", base+"/vps/1001/detachiso", "", "Content-Type", "application/json"), http.StatusCreated) // as published
	if got := r.stub.last().(api.DetachISORequestObject); got.Body != nil {
		t.Errorf("no body became %+v", got.Body)
	}
}

func TestBodyCap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	full := `{"size":50,"deviceId":1001,"x":"` + strings.Repeat("x", maxBody-40) + `"}`
	full += strings.Repeat(" ", maxBody-len(full))
	ok(t, r.do("POST", base+"/vps/volume", full), http.StatusCreated)
	refused(t, r.do("POST", base+"/vps/volume", full+" "), http.StatusRequestEntityTooLarge, "body_too_large")

	// The same where the length is not announced.
	for _, c := range []struct {
		body   string
		status int
	}{{full, 201}, {full + " ", 413}} {
		req, err := http.NewRequest("POST", "http://x"+base+"/vps/volume", struct{ *strings.Reader }{strings.NewReader(c.body)})
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = -1
		req.Header.Set("X-API-KEY", r.key)
		w := httptest.NewRecorder()
		r.h.ServeHTTP(w, req)
		ok(t, w, c.status)
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("secret") }
func (brokenBody) Close() error             { return nil }

func TestBodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	req, err := http.NewRequest("POST", "http://x"+base+"/vps/volume", brokenBody{})
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-KEY", r.key)
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, req)
	refused(t, w, 400, "body_unreadable")
	if strings.Contains(w.Body.String(), "secret") {
		t.Error("the cause is in the answer")
	}
}

func TestIntegersAreExact(t *testing.T) {
	t.Parallel()
	s := &operation{body: &shape{kind: object, props: []property{{name: "n", required: true, shape: &shape{kind: integer, min: -exact, max: exact}}}}}
	for _, n := range []int64{exact, exact - 1, -exact, -exact + 1, 0, 1 << 31, math.MaxInt32} {
		want := strconv.FormatInt(n, 10)
		for _, in := range []string{want, want + ".0", want + "e0"} {
			out, errs, err := read(s, []byte(`{"n":`+in+`}`))
			if err != nil || errs != nil || out != `{"n":`+want+`}` {
				t.Errorf("%s: %s %v %v", in, out, errs, err)
			}
		}
	}
}

func TestFaultsOfBodiesAreInvalid(t *testing.T) {
	t.Parallel()
	for _, e := range []*fault.Error{errBodyJSON, errBodyDeep, errBodyCase, errBodyRepeat, errBodyRead, errQuery} {
		if refusalOf(e).status != http.StatusBadRequest {
			t.Errorf("%v", e)
		}
	}
}
