package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/api"
	"github.com/go-chi/chi/v5"
)

// wireTypes are the Go types of what answers carry, by schema.
var wireTypes = map[string]any{
	"APIKey": api.APIKey{}, "Charge": api.Charge{}, "CityStateCountry": api.CityStateCountry{},
	"ClientAccount": api.ClientAccount{}, "Device": api.Device{}, "Error": api.Error{}, "ISO": api.ISO{},
	"ImportedDisk": api.ImportedDisk{}, "ImportedGuest": api.ImportedGuest{},
	"Finding": api.Finding{}, "Quarantined": api.Quarantined{},
	"Location": api.Location{}, "Node": api.Node{}, "NewAPIKey": api.NewAPIKey{}, "Price": api.Price{}, "Quote": api.Quote{}, "Quota": api.Quota{}, "QuotaUsage": api.QuotaUsage{}, "Usage": api.Usage{}, "Service": api.Service{},
	"ServiceBandwidthBilling": api.ServiceBandwidthBilling{}, "ServiceOption": api.ServiceOption{},
	"ServiceType": api.ServiceType{}, "Task": api.Task{}, "VPS": api.VPS{}, "VPSEvent": api.VPSEvent{},
	"VPSNetworkInterface": api.VPSNetworkInterface{}, "ValidationError": api.ValidationError{},
	"Volume": api.Volume{}, "VolumeProduct": api.VolumeProduct{}, "VolumeProducts": api.VolumeProducts{},
}

// requestTypes are the schemas that only requests carry.
var requestTypes = []string{
	"ClientCreate", "DeviceCreate", "FacilityPut", "ISOAttach", "ISOCreate", "ISODetach", "ISOUpload", "KeyCreate", "PricePut", "QuotaPut", "ReconcileRequest",
	"VPSImport", "VolumeCreate", "VolumeDelete", "VolumeResize", "VPSPower",
}

// TestWireTypes holds that a type sends every key of its schema, null where the
// schema allows it, also when nothing was set.
func TestWireTypes(t *testing.T) {
	t.Parallel()
	for name, ref := range load(t).Components.Schemas {
		if !ref.Value.Type.Is("object") || slices.Contains(requestTypes, name) {
			continue
		}
		zero, ok := wireTypes[name]
		if !ok {
			t.Errorf("schema %s is neither in wireTypes nor in requestTypes", name)
			continue
		}
		b, err := json.Marshal(zero)
		if err != nil {
			t.Fatal(err)
		}
		var sent map[string]json.RawMessage
		if err := json.Unmarshal(b, &sent); err != nil {
			t.Fatal(err)
		}
		if len(sent) != len(ref.Value.Properties) {
			t.Errorf("%s sends %d keys of %d", name, len(sent), len(ref.Value.Properties))
		}
		for prop, s := range ref.Value.Properties {
			raw, ok := sent[prop]
			if !ok {
				t.Errorf("%s.%s is left out", name, prop)
			}
			container := s.Value.Type.Is("array") || s.Value.Type.Is("object")
			if isNull := string(raw) == "null"; isNull != s.Value.Nullable && !container {
				t.Errorf("%s.%s: nullable is %v, but the zero value is %s", name, prop, s.Value.Nullable, raw)
			}
		}
	}
}

// TestIdsFitTheTypes holds that ids and bytes are 64 bits wide on every machine.
func TestIdsFitTheTypes(t *testing.T) {
	t.Parallel()
	int64Type := reflect.TypeFor[int64]()
	for name, zero := range wireTypes {
		typ := reflect.TypeOf(zero)
		for f := range typ.Fields() {
			ft := f.Type
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			id := strings.HasSuffix(f.Name, "ID") && ft.Kind() != reflect.String && f.Name != "VlanID"
			if (id || f.Name == "SizeBytes") && ft != int64Type {
				t.Errorf("%s.%s is %v", name, f.Name, ft)
			}
		}
	}
}

// recorder serves the generated routes and notes which operation a request
// reached; no operation is carried out.
type recorder struct {
	api.StrictServerInterface
	operation string
	request   any
}

func (rec *recorder) handler(t *testing.T) http.Handler {
	t.Helper()
	note := func(_ api.StrictHandlerFunc, id string) api.StrictHandlerFunc {
		return func(_ context.Context, w http.ResponseWriter, _ *http.Request, request any) (any, error) {
			rec.operation, rec.request = id, request
			w.WriteHeader(http.StatusNoContent)
			return nil, nil
		}
	}
	fail := func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	strict := api.NewStrictHandlerWithOptions(rec, []api.StrictMiddlewareFunc{note}, api.StrictHTTPServerOptions{
		RequestErrorHandlerFunc: fail, ResponseErrorHandlerFunc: fail,
	})
	return api.HandlerWithOptions(strict, api.ChiServerOptions{
		BaseURL: "/api/v2", BaseRouter: chi.NewRouter(), ErrorHandlerFunc: fail,
	})
}

func (rec *recorder) send(t *testing.T, method, target string, body io.Reader) int {
	t.Helper()
	rec.operation, rec.request = "", nil
	w := httptest.NewRecorder()
	rec.handler(t).ServeHTTP(w, httptest.NewRequest(method, target, body))
	return w.Code
}

// TestRoutes holds that each operation is reached by its own path, whatever
// static and variable segments lie side by side.
func TestRoutes(t *testing.T) {
	t.Parallel()
	segment := regexp.MustCompile(`\{[^}]+\}`)
	for _, op := range operations(t, load(t)) {
		var rec recorder
		target := "/api/v2" + segment.ReplaceAllString(op.path, "1001")
		if strings.Contains(op.path, "/iso") && op.method == http.MethodGet {
			target += "?facilityCode=TPA1"
		}
		var body io.Reader
		if op.body() != nil {
			body = strings.NewReader("{}")
		}
		if code := rec.send(t, op.method, target, body); code != http.StatusNoContent {
			t.Errorf("%s: status %d", op, code)
		}
		if !strings.EqualFold(rec.operation, op.OperationID) {
			t.Errorf("%s reached %q", op, rec.operation)
		}
	}
}

func TestOptionalBody(t *testing.T) {
	t.Parallel()
	device := int64(1001)
	for body, want := range map[string]*api.VolumeDelete{
		"":                  nil,
		"{}":                {},
		`{"deviceId":1001}`: {DeviceID: &device},
	} {
		var rec recorder
		if code := rec.send(t, http.MethodDelete, "/api/v2/vps/volume/v1?deviceId=7", strings.NewReader(body)); code != http.StatusNoContent {
			t.Errorf("body %q: status %d", body, code)
			continue
		}
		got, ok := rec.request.(api.DeleteVolumeRequestObject)
		if !ok || !reflect.DeepEqual(got.Body, want) {
			t.Errorf("body %q: request %+v", body, rec.request)
		}
		if got.VolumeID != "v1" || got.Params.DeviceID == nil || *got.Params.DeviceID != 7 {
			t.Errorf("body %q: request %+v", body, got)
		}
	}
	var rec recorder
	if code := rec.send(t, http.MethodDelete, "/api/v2/vps/volume/v1", strings.NewReader("{")); code != http.StatusBadRequest {
		t.Errorf("a broken body: status %d", code)
	}
	if code := rec.send(t, http.MethodPut, "/api/v2/vps/volume/v1", http.NoBody); code != http.StatusBadRequest {
		t.Errorf("a required body left out: status %d", code)
	}
}

// TestClient drives the generated client against a loopback server.
func TestClient(t *testing.T) {
	t.Parallel()
	const volume = `{"volumeId":"v1","type":"DATADISK","size":50,"sizeBytes":53687091200,"deviceId":null,` +
		`"facilityCode":"TPA1","createdAt":"2026-01-31T12:00:00.771Z","state":"detached","monthlyPrice":5}`
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.String()+" "+r.Header.Get("X-API-KEY"))
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != "/api/v2/vps/volume/v1" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":404,"message":"m","description":"m","reason":"volume_not_found","requestId":"r"}`)
			return
		}
		_, _ = io.WriteString(w, volume)
	}))
	defer srv.Close()
	key := func(_ context.Context, r *http.Request) error { r.Header.Set("X-API-KEY", "k"); return nil }
	c, err := api.NewClientWithResponses(srv.URL+"/api/v2", api.WithRequestEditorFn(key))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetVolumeWithResponse(t.Context(), "v1")
	if err != nil || got.JSON200 == nil {
		t.Fatalf("get: %v, %+v", err, got)
	}
	if v := got.JSON200; v.DeviceID != nil || v.SizeBytes != 50<<30 || v.State != api.VolumeStateDetached {
		t.Errorf("volume %+v", v)
	}
	gone, err := c.GetVolumeWithResponse(t.Context(), "../v1?x=/")
	if err != nil || gone.JSON200 != nil || gone.StatusCode() != http.StatusNotFound {
		t.Fatalf("get of a strange id: %v, %+v", err, gone)
	}
	var e api.Error
	if err := json.Unmarshal(gone.Body, &e); err != nil || e.Reason != "volume_not_found" || e.Code != 404 {
		t.Errorf("error body %s: %v", gone.Body, err)
	}
	want := []string{"GET /api/v2/vps/volume/v1 k", "GET /api/v2/vps/volume/..%2Fv1%3Fx=%2F k"}
	sort.Strings(asked)
	sort.Strings(want)
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}
