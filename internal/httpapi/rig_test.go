package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
)

// keyring is the part of access.Store that requests need.
type keyring struct {
	access.Store
	keys map[string]access.Key // by prefix
	err  error
}

func (k *keyring) KeyByPrefix(_ context.Context, prefix string) (access.Key, error) {
	if k.err != nil {
		return access.Key{}, k.err
	}
	key, ok := k.keys[prefix]
	if !ok {
		return access.Key{}, access.ErrKeyNotFound
	}
	return key, nil
}

func (k *keyring) Family(_ context.Context, clientID int64) ([]int64, error) {
	return []int64{clientID}, nil
}

// add makes a key of client 7 and returns its token.
func (k *keyring) add(change func(*access.Key), may ...access.Permission) string {
	token, prefix := access.NewToken()
	sum := sha256.Sum256([]byte(token))
	key := access.Key{ID: int64(len(k.keys) + 1), ClientID: 7, Prefix: prefix, Hash: sum[:], Permissions: may}
	if change != nil {
		change(&key)
	}
	k.keys[prefix] = key
	return token
}

// stub answers some operations; any other panics, which is a test as well.
type stub struct {
	api.StrictServerInterface
	mu   sync.Mutex
	got  []any // the requests that reached a handler
	fail error
}

func (s *stub) note(r any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, r)
	return s.fail
}

func (s *stub) last() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.got) == 0 {
		return nil
	}
	return s.got[len(s.got)-1]
}

var aVolume = api.Volume{VolumeID: "v1", Type: api.VolumeTypeDATADISK, Size: 50, SizeBytes: 50 << 30, FacilityCode: "TPA1", State: "attached"}

func (s *stub) ListVolumes(ctx context.Context, r api.ListVolumesRequestObject) (api.ListVolumesResponseObject, error) {
	return api.ListVolumes200JSONResponse{aVolume}, s.note(r)
}

func (s *stub) GetVolume(ctx context.Context, r api.GetVolumeRequestObject) (api.GetVolumeResponseObject, error) {
	return api.GetVolume200JSONResponse(aVolume), s.note(r)
}

func (s *stub) CreateVolume(ctx context.Context, r api.CreateVolumeRequestObject) (api.CreateVolumeResponseObject, error) {
	return api.CreateVolume201JSONResponse{TaskAcceptedJSONResponse: api.TaskAcceptedJSONResponse{TaskID: "t1", ClientID: caller(ctx).ClientID}}, s.note(r)
}

func (s *stub) DeleteVolume(ctx context.Context, r api.DeleteVolumeRequestObject) (api.DeleteVolumeResponseObject, error) {
	return api.DeleteVolume201JSONResponse{}, s.note(r)
}

func (s *stub) DetachVolume(ctx context.Context, r api.DetachVolumeRequestObject) (api.DetachVolumeResponseObject, error) {
	return api.DetachVolume201JSONResponse{}, s.note(r)
}

func (s *stub) DetachISO(ctx context.Context, r api.DetachISORequestObject) (api.DetachISOResponseObject, error) {
	return api.DetachISO201JSONResponse{}, s.note(r)
}

func (s *stub) CreateISO(ctx context.Context, r api.CreateISORequestObject) (api.CreateISOResponseObject, error) {
	return api.CreateISO200JSONResponse{}, s.note(r)
}

func (s *stub) GetService(ctx context.Context, r api.GetServiceRequestObject) (api.GetServiceResponseObject, error) {
	return api.GetService200JSONResponse{}, s.note(r)
}

func (s *stub) ListServices(ctx context.Context, r api.ListServicesRequestObject) (api.ListServicesResponseObject, error) {
	return api.ListServices200JSONResponse{}, s.note(r)
}

func (s *stub) ListTasks(ctx context.Context, r api.ListTasksRequestObject) (api.ListTasksResponseObject, error) {
	return api.ListTasks200JSONResponse{}, s.note(r)
}

func (s *stub) AdminRevokeKey(ctx context.Context, r api.AdminRevokeKeyRequestObject) (api.AdminRevokeKeyResponseObject, error) {
	return api.AdminRevokeKey204Response{}, s.note(r)
}

// rig is a transport with stub handlers.
type rig struct {
	t    *testing.T
	h    http.Handler
	stub *stub
	keys *keyring
	log  *syncBuffer
	key  string // may do everything
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newRig(t *testing.T, change ...func(*Deps)) *rig {
	t.Helper()
	r := &rig{t: t, stub: &stub{}, keys: &keyring{keys: map[string]access.Key{}}, log: &syncBuffer{}}
	r.key = r.keys.add(nil, access.Read, access.Volumes, access.ISOs, access.Billing, access.Admin)
	d := Deps{Log: slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	d.Access = access.NewService(r.keys, slog.New(slog.DiscardHandler), time.Now)
	for _, c := range change {
		c(&d)
	}
	d, err := d.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if r.h, err = newHandler(d, r.stub); err != nil {
		t.Fatal(err)
	}
	return r
}

// do sends a request with the key; header is a list of names and values.
func (r *rig) do(method, target, body string, header ...string) *httptest.ResponseRecorder {
	return r.send(method, target, body, append([]string{"X-API-KEY", r.key}, header...)...)
}

// send sends a request as it is.
func (r *rig) send(method, target, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, nil)
	if body != "" {
		req = httptest.NewRequest(method, target, strings.NewReader(body))
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, req)
	return w
}

// refusedBody is the union of the two shapes of an error.
type refusedBody struct {
	Code        *int              `json:"code"`
	Message     string            `json:"message"`
	Description string            `json:"description"`
	Reason      string            `json:"reason"`
	RequestID   string            `json:"requestId"`
	Errors      map[string]string `json:"errors"`
}

// refused holds that w is an error of the contract's shape.
func refused(t *testing.T, w *httptest.ResponseRecorder, status int, reason string) refusedBody {
	t.Helper()
	var b refusedBody
	dec := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		t.Fatalf("status %d, body %q: %v", w.Code, w.Body, err)
	}
	if w.Code != status || b.Reason != reason {
		t.Errorf("status %d, reason %s, want %d, %s; body %s", w.Code, b.Reason, status, reason, w.Body)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
	if b.RequestID == "" || b.RequestID != w.Header().Get("X-Request-Id") {
		t.Errorf("request id %q, in the header %q", b.RequestID, w.Header().Get("X-Request-Id"))
	}
	switch {
	case b.Errors != nil:
		if b.Code != nil || b.Description != "" || b.Message != "Input payload validation failed" {
			t.Errorf("a validation error has a code, a description or another message: %s", w.Body)
		}
	case b.Code == nil || *b.Code != status || b.Message == "" || b.Message != b.Description:
		t.Errorf("an error lacks its code or its sentence: %s", w.Body)
	}
	return b
}

func ok(t *testing.T, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
}
