package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/fieldmask"
)

// The model and the data of the case table of masks.
const (
	nics  = `[{"ip":"1.1.1.1","mac":"aa","vlan":{"id":1,"tag":2}},{"ip":"2.2.2.2","mac":"bb","vlan":null}]`
	ips   = `[{"ip":"1.1.1.1"},{"ip":"2.2.2.2"}]`
	rest  = `"keys":[1,2],"meta":{"a":1,"b":{"c":2}},"loc":null`
	whole = `{"deviceId":7,"status":"Running","isoId":null,"nics":` + nics + `,` + rest + `}`
	both  = `{"deviceId":7,"status":"Running"}`
	one   = `{"deviceId":7}`

	parse = "Mask parse error: "
	unfit = "Mask error: Mask is inconsistent with model"
)

func fields(all ...fieldmask.Field) *fieldmask.Schema {
	return &fieldmask.Schema{Kind: fieldmask.Object, Fields: all}
}

func maskModel() *fieldmask.Schema {
	type f = fieldmask.Field
	scalar := &fieldmask.Schema{}
	nic := fields(f{Name: "ip"}, f{Name: "mac"}, f{Name: "vlan", Schema: fields(f{Name: "id"}, f{Name: "tag"})})
	return fields(f{Name: "deviceId"}, f{Name: "status"}, f{Name: "isoId"},
		f{Name: "nics", Schema: &fieldmask.Schema{Kind: fieldmask.List, Elem: nic}},
		f{Name: "keys", Schema: &fieldmask.Schema{Kind: fieldmask.List, Elem: scalar}},
		f{Name: "meta", Schema: &fieldmask.Schema{Kind: fieldmask.Free}},
		f{Name: "loc", Schema: fields(f{Name: "city"}, f{Name: "zip"})})
}

// tiny is a server with the routes of the case table. It counts what its
// handlers have done.
type tiny struct {
	h    http.Handler
	key  string
	done *int
}

func newTiny(t testing.TB) tiny {
	t.Helper()
	keys := &keyring{keys: map[string]access.Key{}}
	d := Deps{}
	d, err := d.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d.Access = access.NewService(keys, d.Log, d.Now)
	s, done := newServer(d), new(int)
	route := func(method, path string, answer *fieldmask.Schema, status int, body string) {
		o := &operation{id: path, permission: access.Read, answer: answer, s: s, unsafe: method != http.MethodGet}
		o.next = func(w http.ResponseWriter, r *http.Request) {
			*done++
			if status == http.StatusNotFound {
				s.fail(w, r, fault.New(fault.NotFound, "vps_not_found", "Not found"))
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			if body == "" {
				return
			}
			if _, err := w.Write([]byte(body)); err != nil {
				t.Error(err)
			}
		}
		s.mux.Method(method, path, o)
	}
	model := maskModel()
	list := &fieldmask.Schema{Kind: fieldmask.List, Elem: model}
	task := fields(fieldmask.Field{Name: "taskId"}, fieldmask.Field{Name: "result"}, fieldmask.Field{Name: "metaData"})
	volume := fields(fieldmask.Field{Name: "volumeId"}, fieldmask.Field{Name: "type"}, fieldmask.Field{Name: "size"},
		fieldmask.Field{Name: "deviceId"}, fieldmask.Field{Name: "createdAt"}, fieldmask.Field{Name: "facilityCode"})
	route("GET", "/one", model, 200, whole)
	route("POST", "/one", model, 201, whole)
	route("GET", "/list", list, 200, `[`+whole+`,`+whole+`]`)
	route("GET", "/empty", list, 200, `[]`)
	route("GET", "/fails", model, 404, "")
	route("POST", "/fails", model, 404, "")
	route("DELETE", "/nothing", nil, 204, "")
	route("GET", "/task", task, 200, `{"taskId":"t","result":null,"metaData":"{}"}`)
	route("GET", "/volume", volume, 200, `{"volumeId":"v","type":"DATADISK","size":53687091200,"deviceId":7,"createdAt":"c","facilityCode":"TPA1"}`)
	return tiny{h: s.observe(s.authenticate(s.mux)), key: keys.add(nil, access.Read), done: done}
}

func (s tiny) get(method, path string, lines ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, nil)
	req.Header.Set("X-API-KEY", s.key)
	for _, l := range lines {
		req.Header.Add("x-fields", l)
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, req)
	return w
}

// maskCases are the sixty cases; each mask is one header line. A want that is
// no JSON is the message of a 400.
var maskCases = []struct {
	n      int
	method string // GET unless said
	path   string // /one unless said
	masks  []string
	want   string
}{
	{n: 1, masks: []string{"", " "}, want: whole},
	{n: 2, masks: []string{"deviceId"}, want: one},
	{n: 3, masks: []string{"{deviceId}"}, want: one},
	{n: 4, masks: []string{"deviceId,status"}, want: both},
	{n: 5, masks: []string{"{ deviceId , status }"}, want: both},
	{n: 6, masks: []string{"deviceId status", "deviceId;status", "deviceId\tstatus"}, want: both},
	{n: 7, masks: []string{`"deviceId"`}, want: one},
	{n: 8, masks: []string{"nics"}, want: `{"nics":` + nics + `}`},
	{n: 9, masks: []string{"nics{ip}", "{nics{ip}}", "nics {ip}"}, want: `{"nics":` + ips + `}`},
	{n: 10, masks: []string{"nics{ip,vlan{id}}"}, want: `{"nics":[{"ip":"1.1.1.1","vlan":{"id":1}},{"ip":"2.2.2.2","vlan":null}]}`},
	{n: 11, masks: []string{"*", "{*}", "*,*"}, want: whole},
	{n: 12, masks: []string{"nics{ip},*", "*,nics{ip}", "nics{ip}*"}, want: `{"nics":` + ips + `,"deviceId":7,"status":"Running","isoId":null,` + rest + `}`},
	{n: 13, masks: []string{"nics{*}", "nics{*,nope}"}, want: `{"nics":` + nics + `}`},
	{n: 14, masks: []string{"nics{vlan{id},*}"}, want: `{"nics":[{"vlan":{"id":1},"ip":"1.1.1.1","mac":"aa"},{"vlan":null,"ip":"2.2.2.2","mac":"bb"}]}`},
	{n: 15, masks: []string{"nope"}, want: `{}`},
	{n: 16, masks: []string{"deviceId,nope"}, want: one},
	{n: 17, masks: []string{"nope{a{b}}"}, want: `{}`},
	{n: 18, masks: []string{"Deviceid"}, want: `{}`},
	{n: 19, masks: []string{"device.Id"}, want: `{}`},
	{n: 20, masks: []string{"dev*", "**"}, want: `{}`},
	{n: 21, masks: []string{"deviceId,*,nope"}, want: whole},
	{n: 22, masks: []string{"isoId"}, want: `{"isoId":null}`},
	{n: 23, masks: []string{"loc", "loc{city}"}, want: `{"loc":null}`},
	{n: 24, masks: []string{"nics{nope}"}, want: `{"nics":[{},{}]}`},
	{n: 25, masks: []string{"nics{}"}, want: `{"nics":` + nics + `}`},
	{n: 25, masks: []string{"meta{}"}, want: `{"meta":{"a":1,"b":{"c":2}}}`},
	{n: 25, masks: []string{"nics{vlan{}}"}, want: `{"nics":[{"vlan":{"id":1,"tag":2}},{"vlan":null}]}`},
	{n: 26, masks: []string{"meta{a}"}, want: `{"meta":{"a":1}}`},
	{n: 27, masks: []string{"meta{b{c}}"}, want: `{"meta":{"b":{"c":2}}}`},
	{n: 28, masks: []string{"meta{zz}"}, want: `{"meta":{}}`},
	{n: 29, masks: []string{"meta{a,b{zz}}"}, want: `{"meta":{"a":1,"b":{}}}`},
	{n: 30, masks: []string{"{}", "{ }", "!!"}, want: `{}`},
	{n: 31, masks: []string{"deviceId,", "{deviceId,}"}, want: one},
	{n: 31, masks: []string{"nics{ip,}"}, want: `{"nics":` + ips + `}`},
	{n: 32, masks: []string{"nics{ip}deviceId"}, want: `{"nics":` + ips + `,"deviceId":7}`},
	{n: 33, masks: []string{"deviceId,deviceId"}, want: one},
	{n: 34, masks: []string{"nics{ip},nics"}, want: `{"nics":` + nics + `}`},
	{n: 35, masks: []string{"nics,nics{ip}"}, want: `{"nics":` + ips + `}`},
	{n: 36, masks: []string{"nics{ip},nics{mac}"}, want: `{"nics":[{"mac":"aa"},{"mac":"bb"}]}`},
	{n: 37, masks: []string{"*{ip}"}, want: whole},
	{n: 38, masks: []string{"deviceId{a}", "isoId{a}", "deviceId{}"}, want: unfit},
	{n: 39, masks: []string{"keys{a}"}, want: unfit},
	{n: 40, masks: []string{"keys{}"}, want: `{"keys":[1,2]}`},
	{n: 41, masks: []string{"nics{ip{x}}"}, want: unfit},
	{n: 42, masks: []string{"deviceId,,status", "nics{ip},,status"}, want: parse + "Unexpected comma"},
	{n: 43, masks: []string{",deviceId", "{,deviceId}"}, want: parse + "Unexpected comma"},
	{n: 44, masks: []string{"nics{,ip}"}, want: parse + "Unexpected comma"},
	{n: 45, masks: []string{"{deviceId", "{", "{deviceId},status", "{nics{ip"}, want: parse + "Missing closing bracket"},
	{n: 46, masks: []string{"nics{ip", "deviceId{", "nope{"}, want: parse + "Missing closing bracket"},
	{n: 47, masks: []string{"{nics{ip}"}, want: parse + "Missing closing bracket"},
	{n: 48, masks: []string{"deviceId}", "}", "nics{ip}}", "}{", "{deviceId}}"}, want: parse + "Unexpected closing bracket"},
	{n: 49, masks: []string{"{nics}{deviceId}"}, want: parse + "Unexpected closing bracket"},
	{n: 50, masks: []string{"{{deviceId}}", "nics{{ip}}", "nics,{ip}", "nics{ip},{deviceId}"}, want: parse + "Unexpected opening bracket"},
	{n: 51, masks: []string{"nics{ip}{mac}", "nics{}{}"}, want: parse + "Unexpected opening bracket"},
	{n: 52, path: "/list", masks: []string{"deviceId"}, want: `[{"deviceId":7},{"deviceId":7}]`},
	{n: 53, path: "/list", masks: []string{"nope"}, want: `[{},{}]`},
	{n: 54, path: "/empty", masks: []string{"deviceId"}, want: `[]`},
	{n: 55, path: "/empty", masks: []string{"deviceId{a}"}, want: unfit},
	{n: 55, path: "/empty", masks: []string{"{"}, want: parse + "Missing closing bracket"},
	{n: 56, masks: []string{"deviceId\x00status"}, want: both}, // two lines, parted below
	{n: 57, method: "POST", masks: []string{"deviceId"}, want: one},
	{n: 58, path: "/fails", masks: []string{"{", "deviceId{a}", "deviceId"}, want: "Not found"},
	{n: 59, path: "/task", masks: []string{"taskId,result"}, want: `{"taskId":"t","result":null}`},
	{n: 60, path: "/volume", masks: []string{"{volumeId,type,deviceId,createdAt,facilityCode}"},
		want: `{"volumeId":"v","type":"DATADISK","deviceId":7,"createdAt":"c","facilityCode":"TPA1"}`},
}

func TestMaskCases(t *testing.T) {
	t.Parallel()
	s, seen := newTiny(t), map[int]bool{}
	for _, c := range maskCases {
		seen[c.n] = true
		if c.method == "" {
			c.method = "GET"
		}
		if c.path == "" {
			c.path = "/one"
		}
		for _, mask := range c.masks {
			w := s.get(c.method, c.path, strings.Split(mask, "\x00")...)
			switch {
			case c.n == 58:
				if b := refused(t, w, 404, "vps_not_found"); b.Message != c.want {
					t.Errorf("%d %q: %s", c.n, mask, w.Body)
				}
			case json.Valid([]byte(c.want)):
				status := map[string]int{"GET": 200, "POST": 201}[c.method]
				if w.Code != status || strings.TrimSpace(w.Body.String()) != c.want || w.Header().Get("Content-Type") != "application/json" {
					t.Errorf("%d %q: %d %s, want %s", c.n, mask, w.Code, w.Body, c.want)
				}
			default:
				reason := "mask_parse_error"
				if c.want == unfit {
					reason = "mask_inconsistent"
				}
				if b := refused(t, w, 400, reason); b.Message != c.want {
					t.Errorf("%d %q: %s, want %s", c.n, mask, b.Message, c.want)
				}
			}
		}
	}
	for n := 1; n <= 60; n++ {
		if !seen[n] {
			t.Errorf("case %d is missing", n)
		}
	}
}

// TestBadMaskChangesNothing holds the one deviation: what changes something is
// not done under a bad mask.
func TestBadMaskChangesNothing(t *testing.T) {
	t.Parallel()
	s := newTiny(t)
	for _, mask := range []string{"{", "deviceId{a}", strings.Repeat("x", fieldmask.MaxLength+1)} {
		for _, path := range []string{"/one", "/fails"} {
			if w := s.get("POST", path, mask); w.Code != 400 {
				t.Errorf("%.20s: %d", mask, w.Code)
			}
		}
	}
	if *s.done != 0 {
		t.Error("a handler ran")
	}
	if w := s.get("DELETE", "/nothing", "{"); w.Code != 204 || w.Body.Len() > 0 {
		t.Errorf("a mask on an answer without a body: %d %s", w.Code, w.Body)
	}
	s.get("GET", "/one", "{")
	if *s.done != 2 {
		t.Error("a read did not run")
	}
}

func TestMaskOverTheContract(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.do("GET", base+"/vps/volume?deviceId=1", "", "X-Fields", "volumeId,nope")
	if w.Code != 200 || w.Body.String() != `[{"volumeId":"v1"}]`+"\n" || w.Header().Get("Content-Length") != "20" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	w = r.do("POST", base+"/vps/volume", `{"size":50,"deviceId":1}`, "X-Fields", "taskId")
	if w.Code != 201 || strings.TrimSpace(w.Body.String()) != `{"taskId":"t1"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	n := len(r.stub.got)
	refused(t, r.do("POST", base+"/vps/volume", `{"size":50,"deviceId":1}`, "X-Fields", "taskId{"), 400, "mask_parse_error")
	refused(t, r.do("POST", base+"/vps/volume", `{"size":50}`, "X-Fields", "taskId{"), 400, "validation_failed")
	refused(t, r.send("POST", base+"/vps/volume", `{"size":50}`, "X-Fields", "taskId{"), 403, "key_missing")
	refused(t, r.do("GET", base+"/nope", ``, "X-Fields", "{"), 404, "route_not_found")
	if len(r.stub.got) != n {
		t.Error("a handler ran")
	}
	r.stub.fail = fault.New(fault.NotFound, "volume_not_found", "Volume not found")
	refused(t, r.do("GET", base+"/vps/volume/v1", "", "X-Fields", "{"), 404, "volume_not_found")
}

// TestMaskSchemas holds that the shapes taken from the contract are whole: the
// mask of all fields of an answer leaves all of it.
func TestMaskSchemas(t *testing.T) {
	t.Parallel()
	doc, err := api.Spec()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := Deps{}.withDefaults()
	s := newServer(d)
	if err := s.register(doc, &stub{}); err != nil {
		t.Fatal(err)
	}
	service := s.routes["GET "+base+"/service/{serviceId}"].answer
	full, err := json.Marshal(api.Service{BandwidthBilling: &api.ServiceBandwidthBilling{}, Usage: &map[string]any{"x": 1.0}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := fieldmask.Parse("*")
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Apply(nil, service, full)
	if err != nil || string(out) != string(full) {
		t.Errorf("%v\n%s\n%s", err, out, full)
	}
	for mask, fits := range map[string]bool{"usage{x}": true, "bandwidthBilling{overageUnit}": true, "serviceDevices{deviceId}": true, "serviceId{x}": false} {
		m, err := fieldmask.Parse(mask)
		if err != nil || (m.Check(service) == nil) != fits {
			t.Errorf("%s: %v", mask, err)
		}
	}
	for route, o := range s.routes {
		if none := o.id == "adminRevokeKey" || o.id == "adminDeletePrice" || o.id == "adminDeleteDevice"; none != (o.answer == nil) {
			t.Errorf("%s: answer %v", route, o.answer)
		}
	}
}

func FuzzMaskHeader(f *testing.F) {
	for _, c := range maskCases {
		for _, mask := range c.masks {
			f.Add(mask)
		}
	}
	s := newTiny(f)
	f.Fuzz(func(t *testing.T, mask string) {
		for _, path := range []string{"/one", "/list", "/fails"} {
			w := s.get("GET", path, mask)
			switch {
			case path == "/fails" && w.Code == 404:
			case path != "/fails" && (w.Code == 200 || w.Code == 400):
			default:
				t.Fatalf("%q on %s: %d %s", mask, path, w.Code, w.Body)
			}
			if !json.Valid(w.Body.Bytes()) || !utf8.Valid(w.Body.Bytes()) {
				t.Fatalf("%q: %s", mask, w.Body)
			}
		}
	})
}
