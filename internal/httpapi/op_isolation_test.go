package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/task"
)

// probe is a request of client 8 that names an object of somebody else in one
// place. In path and body, {theirs} stands for that object, {myVolume} and
// {myISO} for the client's own.
type probe struct {
	op, at     string // the operation, and where it names the object
	path, body string
	what       string // whose id {theirs} is
	status     int    // 0: 404
}

// probes has every place of the contract, outside /admin, that takes an id.
var probes = []probe{
	{op: "listVolumes", at: "query.deviceId", path: "/vps/volume?deviceId={theirs}", what: "device"},
	{op: "listVolumes", at: "query.deviceId", path: "/vps/volume?deviceId={theirs}&facilityCode=TPA1", what: "device"},
	{op: "createVolume", at: "body.deviceId", path: "/vps/volume", body: `{"size": 50, "deviceId": {theirs}}`, what: "device"},
	{op: "createVolume", at: "body.deviceId", path: "/vps/volume", body: `{"size": 51, "deviceId": {theirs}}`, what: "device"},
	{op: "createVolume", at: "body.deviceId", path: "/vps/volume?dryRun=true", body: `{"size": 50, "deviceId": {theirs}}`, what: "device"},
	{op: "getVolume", at: "path.volumeId", path: "/vps/volume/{theirs}", what: "volume"},
	{op: "listVolumeUpgradeSizes", at: "path.volumeId", path: "/vps/volume/{theirs}/available-sizes", what: "volume"},
	{op: "resizeVolume", at: "path.volumeId", path: "/vps/volume/{theirs}", body: `{"size": 100, "deviceId": 1001}`, what: "volume"},
	{op: "resizeVolume", at: "path.volumeId", path: "/vps/volume/{theirs}", body: `{"size": 50}`, what: "root"},
	{op: "resizeVolume", at: "body.deviceId", path: "/vps/volume/{myVolume}", body: `{"size": 100, "deviceId": {theirs}}`, what: "device", status: 400},
	{op: "resizeVolume", at: "path.volumeId", path: "/vps/volume/{theirs}?dryRun=true", body: `{"size": 100, "deviceId": 1001}`, what: "volume"},
	{op: "deleteVolume", at: "path.volumeId", path: "/vps/volume/{theirs}?dryRun=true", body: `{"deviceId": 1001}`, what: "volume"},
	{op: "deleteVolume", at: "path.volumeId", path: "/vps/volume/{theirs}?deviceId=1001", what: "volume"},
	{op: "deleteVolume", at: "path.volumeId", path: "/vps/volume/{theirs}", what: "detached"},
	{op: "deleteVolume", at: "query.deviceId", path: "/vps/volume/{myVolume}?deviceId={theirs}", what: "device", status: 400},
	{op: "deleteVolume", at: "body.deviceId", path: "/vps/volume/{myVolume}", body: `{"deviceId": {theirs}}`, what: "device", status: 400},
	{op: "attachVolume", at: "path.volumeId", path: "/vps/2001/volume/{theirs}/attach", what: "detached"},
	{op: "attachVolume", at: "path.volumeId", path: "/vps/2001/volume/{theirs}/attach", what: "volume"},
	{op: "attachVolume", at: "path.volumeId", path: "/vps/2001/volume/{theirs}/attach", what: "root"},
	{op: "attachVolume", at: "path.deviceId", path: "/vps/{theirs}/volume/{myVolume}/attach", what: "device"},
	{op: "detachVolume", at: "path.volumeId", path: "/vps/2001/volume/{theirs}/detach", what: "volume"},
	{op: "detachVolume", at: "path.deviceId", path: "/vps/{theirs}/volume/{myVolume}/detach", what: "device"},
	{op: "getISO", at: "path.isoId", path: "/vps/iso/{theirs}", what: "iso"},
	{op: "getISO", at: "path.isoId", path: "/vps/iso/{theirs}?facilityCode=LAX3", what: "iso"},
	{op: "deleteISO", at: "path.isoId", path: "/vps/iso/{theirs}", what: "iso"},
	{op: "attachISO", at: "body.isoId", path: "/vps/2001/attachiso", body: `{"isoId": "{theirs}"}`, what: "iso"},
	{op: "attachISO", at: "path.deviceId", path: "/vps/{theirs}/attachiso", body: `{"isoId": "{myISO}"}`, what: "device"},
	{op: "detachISO", at: "path.deviceId", path: "/vps/{theirs}/detachiso", what: "device"},
	{op: "powerVPS", at: "path.deviceId", path: "/vps/{theirs}/power", body: `{"action": "boot"}`, what: "device"},
	{op: "getVPS", at: "path.deviceId", path: "/vps/{theirs}", what: "device"},
	{op: "listVPSEvents", at: "path.deviceId", path: "/vps/{theirs}/events", what: "device"},
	{op: "listTasks", at: "query.deviceId", path: "/network/status?deviceId={theirs}", what: "device"},
	{op: "getTask", at: "path.id", path: "/network/status/{theirs}", what: "task"},
	{op: "getTask", at: "path.id", path: "/network/status/{theirs}", what: "device"},
	{op: "getService", at: "path.serviceId", path: "/service/{theirs}", what: "service"},
}

// places lists where an operation takes an id that may be somebody's.
func (o operation) places() []string {
	ids := []string{"volumeId", "isoId", "deviceId", "serviceId", "id"}
	var out []string
	for _, p := range o.params {
		if slices.Contains(ids, p.Value.Name) {
			out = append(out, p.Value.In+"."+p.Value.Name)
		}
	}
	if o.body != nil {
		for name := range o.body.Properties {
			if slices.Contains(ids, name) {
				out = append(out, "body."+name)
			}
		}
	}
	return out
}

// TestProbesCoverContract fails for a place that no probe tries.
func TestProbesCoverContract(t *testing.T) {
	t.Parallel()
	for id, o := range operations(t) {
		if o.may == string(access.Admin) {
			continue
		}
		for _, at := range o.places() {
			if !slices.ContainsFunc(probes, func(p probe) bool { return p.op == id && p.at == at }) {
				t.Errorf("nothing tries another client's id in %s of %s", at, id)
			}
		}
	}
}

// settled is a world in which clients 7 and 8 have something of everything.
type settled struct {
	*world
	theirs map[string]string // of client 7, by what it is
	mine   map[string]string // of client 8
}

func settle(t *testing.T) settled {
	t.Helper()
	w := newWorld(t)
	s := settled{world: w, theirs: map[string]string{"device": "1001"}, mine: map[string]string{}}
	made := w.done(w.keys.client, http.MethodPost, "/vps/volume", `{"size": 50, "deviceId": 1001}`)
	s.theirs["volume"], s.theirs["task"] = made.VolumeID, made.ID
	s.theirs["detached"] = w.done(w.keys.client, http.MethodPost, "/vps/volume", `{"size": 50, "deviceId": 1001}`).VolumeID
	w.done(w.keys.client, http.MethodPost, "/vps/1001/volume/"+s.theirs["detached"]+"/detach", "")
	s.theirs["root"] = (&golden{world: w}).root(1001)
	s.theirs["iso"] = w.imported(w.keys.client)
	w.done(w.keys.client, http.MethodPost, "/vps/1001/attachiso", `{"isoId": "`+s.theirs["iso"]+`"}`)
	var services []struct {
		ServiceID int64
		VolumeID  string
	}
	w.read(w.keys.client, "/service", &services)
	s.theirs["service"] = fmt.Sprint(services[0].ServiceID)

	s.mine["myVolume"] = w.done(w.keys.stranger, http.MethodPost, "/vps/volume", `{"size": 50, "deviceId": 2001}`).VolumeID
	s.mine["myISO"] = w.imported(w.keys.stranger)
	return s
}

// done sends a request and waits for its task to succeed.
func (w *world) done(key, method, path, body string) task.Task {
	w.t.Helper()
	a := w.ask(w.server, key, method, path, body)
	var said struct{ TaskID string }
	if err := json.Unmarshal(a.body, &said); err != nil || a.status != http.StatusCreated {
		w.t.Fatalf("%s %s answers %d: %s", method, path, a.status, a.body)
	}
	t := w.ended(said.TaskID)
	if t.State != task.Done {
		w.t.Fatalf("%s has failed: %s %s", t.Kind, t.Reason, t.Error)
	}
	return t
}

// imported makes an ISO in TPA1 and waits until it is ready.
func (w *world) imported(key string) string {
	w.t.Helper()
	a := w.ask(w.server, key, http.MethodPost, "/vps/iso",
		`{"facilityCode": "TPA1", "bootable": false, "name": "Demo", "description": "", "url": "`+w.images.URL+`/demo.iso"}`)
	var said struct{ ISOID, TaskID string }
	if err := json.Unmarshal(a.body, &said); err != nil || a.status != http.StatusOK {
		w.t.Fatalf("create ISO answers %d: %s", a.status, a.body)
	}
	if t := w.ended(said.TaskID); t.State != task.Done {
		w.t.Fatalf("the import has failed: %s %s", t.Reason, t.Error)
	}
	return said.ISOID
}

func (w *world) read(key, path string, into any) {
	w.t.Helper()
	a := w.ask(w.server, key, http.MethodGet, path, "")
	if a.status != http.StatusOK {
		w.t.Fatalf("GET %s answers %d: %s", path, a.status, a.body)
	}
	w.must(json.Unmarshal(a.body, into))
}

// fill puts ids into a probe's path or body.
func (s settled) fill(text, theirs string) string {
	text = strings.ReplaceAll(text, "{theirs}", theirs)
	for name, id := range s.mine {
		text = strings.ReplaceAll(text, "{"+name+"}", id)
	}
	return text
}

// anonymous is an error without its request id.
func (s settled) anonymous(a answer) string {
	s.t.Helper()
	var body map[string]any
	s.must(json.Unmarshal(a.body, &body))
	if body["requestId"] == "" {
		s.t.Errorf("an error without a request id: %s", a.body)
	}
	delete(body, "requestId")
	b, err := json.Marshal(body)
	s.must(err)
	return fmt.Sprintf("%d %s", a.status, b)
}

// TestTenantsDoNotSeeEachOther sends every operation with an id of another
// client's object and with one that nothing has. The answers are the same, and
// the owner's are others.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	s := settle(t)
	ops := operations(t)
	nothing := map[string]string{"device": "4711", "service": "4711"}
	for _, p := range probes {
		method := ops[p.op].method
		unknown := nobody
		if n := nothing[p.what]; n != "" {
			unknown = n
		}
		send := func(key, id string) answer {
			return s.ask(s.server, key, method, s.fill(p.path, id), s.fill(p.body, id))
		}
		foreign, none := send(s.keys.stranger, s.theirs[p.what]), send(s.keys.stranger, unknown)
		want := p.status
		if want == 0 {
			want = http.StatusNotFound
		}
		if got := s.anonymous(foreign); foreign.status != want || got != s.anonymous(none) {
			t.Errorf("%s, %s: another client's %s answers %s, an unknown one %s", p.op, p.at, p.what, got, s.anonymous(none))
		}
	}
	for _, p := range probes {
		// What names only their own objects is known to its owner; with one of
		// client 8 in it, the owner too is told that it is not there.
		if strings.Contains(p.path+p.body, "{my") || strings.Contains(p.path, "2001") || strings.Contains(p.path, "LAX3") {
			continue
		}
		id := s.theirs[p.what]
		if a := s.ask(s.server, s.keys.client, ops[p.op].method, s.fill(p.path, id), s.fill(p.body, id)); a.status == http.StatusNotFound {
			t.Errorf("%s, %s: the owner's own %s answers %s", p.op, p.at, p.what, a.body)
		}
	}
}

// TestListsHoldOnlyOnesOwn reads every list as client 8.
func TestListsHoldOnlyOnesOwn(t *testing.T) {
	t.Parallel()
	s := settle(t)
	for _, path := range []string{
		"/vps", "/vps?facilityCode=TPA1", "/vps/volume?facilityCode=TPA1", "/vps/iso?facilityCode=TPA1", "/network/status", "/service",
	} {
		a := s.ask(s.server, s.keys.stranger, http.MethodGet, path, "")
		if a.status != http.StatusOK || len(a.body) < len(`[{}]`) {
			t.Errorf("GET %s answers %d: %s", path, a.status, a.body)
		}
		for what, id := range s.theirs {
			shown := strings.ReplaceAll(string(a.body), `\`, "") // metaData has JSON inside JSON
			switch what {                                        // numbers are parts of other things too
			case "service":
				id = `"serviceId":` + id + ","
			case "device":
				id = `"deviceId":` + id + ","
			}
			if strings.Contains(shown, id) {
				t.Errorf("GET %s as client 8 shows a %s of client 7:\n%s", path, what, a.body)
			}
		}
	}
}

// TestClientIDIsNoProbe asks for other clients wherever one can be named. A
// client that exists and one that does not are refused alike; the caller's own
// and its children are not.
func TestClientIDIsNoProbe(t *testing.T) {
	t.Parallel()
	s := settle(t)
	takes := func(o operation) bool {
		return slices.ContainsFunc(o.params, func(p *openapi3.ParameterRef) bool { return p.Value.Name == "clientId" && p.Value.In == "query" })
	}
	paths := map[string]string{
		"getQuota":    "/quota?",
		"listVolumes": "/vps/volume?facilityCode=TPA1", "listISOs": "/vps/iso?facilityCode=TPA1", "listVPS": "/vps?", "listTasks": "/network/status?",
		"getISO": "/vps/iso/" + s.theirs["iso"] + "?", "deleteISO": "/vps/iso/" + s.theirs["iso"] + "?",
	}
	for id, o := range operations(t) {
		if o.may == string(access.Admin) || !takes(o) {
			continue
		}
		path := paths[id]
		if path == "" {
			t.Errorf("nothing tries another client's id on %s", id)
			continue
		}
		ask := func(key string, clientID int) answer {
			return s.ask(s.server, key, o.method, fmt.Sprintf("%s&clientId=%d", path, clientID), "")
		}
		foreign, none := ask(s.keys.stranger, 7), ask(s.keys.stranger, 4711)
		if foreign.status != http.StatusForbidden || s.anonymous(foreign) != s.anonymous(none) {
			t.Errorf("%s for client 7 answers %s, for none %s", id, s.anonymous(foreign), s.anonymous(none))
		}
		// A child may not act for its parent, a parent may for its child.
		for clientID, refused := range map[int]bool{7: false, 9: false, 8: true} {
			if a := ask(s.keys.client, clientID); (a.status == http.StatusForbidden) != refused {
				t.Errorf("%s of client 7 for %d answers %d: %s", id, clientID, a.status, a.body)
			}
		}
	}
	east := s.key(9, "child", access.Everything...)
	if a := s.ask(s.server, east, http.MethodGet, "/vps?clientId=7", ""); a.status != http.StatusForbidden {
		t.Errorf("a child acts for its parent: %d %s", a.status, a.body)
	}
}
