package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/client"
)

// shelf is a server that takes one upload by the core of tus 1.0. Each request
// that sends bytes first asks faults what goes wrong with it.
type shelf struct {
	*httptest.Server
	t  *testing.T
	id string

	mu     sync.Mutex
	size   int64
	bytes  []byte
	begun  []map[string]any
	faults []func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	iso    map[string]any                                      // what GET answers beyond the id; nil: 404
	heads  int
}

func newShelf(t *testing.T, faults ...func(http.ResponseWriter, *http.Request) bool) *shelf {
	t.Helper()
	s := &shelf{t: t, id: "i1", faults: faults}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-API-KEY") != "k" {
		s.t.Errorf("%s %s without the key", r.Method, r.URL)
	}
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/api/v2/vps/iso":
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			s.t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.begun = append(s.begun, body)
		s.size = int64(body["upload"].(map[string]any)["size"].(float64))
		writeJSON(w, 200, map[string]any{"isoId": s.id, "size": s.size, "status": "Waiting for upload", "uploadUrl": "/api/v2/vps/iso/i1/upload", "uploadOffset": 0, "taskId": "t1"})
	case r.Method == http.MethodGet && r.URL.Path == "/api/v2/vps/iso/i1" && s.iso != nil:
		s.iso["isoId"] = s.id
		writeJSON(w, 200, s.iso)
	case r.URL.Path != "/api/v2/vps/iso/i1/upload" || r.Header.Get("Tus-Resumable") != "1.0.0":
		writeJSON(w, 404, map[string]any{"message": "No.", "reason": "iso_not_found"})
	case r.Method == http.MethodHead:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.heads++
		w.Header().Set("Upload-Offset", strconv.Itoa(len(s.bytes)))
		w.Header().Set("Upload-Length", strconv.FormatInt(s.size, 10))
	case r.Method == http.MethodPatch:
		s.patch(w, r)
	}
}

func (s *shelf) patch(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	var fault func(http.ResponseWriter, *http.Request) bool
	if len(s.faults) > 0 {
		fault, s.faults = s.faults[0], s.faults[1:]
	}
	from := r.Header.Get("Upload-Offset")
	if from != strconv.Itoa(len(s.bytes)) || r.Header.Get("Content-Type") != "application/offset+octet-stream" {
		s.t.Errorf("PATCH from %s of %d bytes, %s", from, len(s.bytes), r.Header.Get("Content-Type"))
	}
	s.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	data, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes = append(s.bytes, data...)
	if err != nil {
		return
	}
	w.Header().Set("Upload-Offset", strconv.Itoa(len(s.bytes)))
	w.WriteHeader(http.StatusNoContent)
}

// keep stores n bytes of a request and cuts the connection.
func (s *shelf) keep(n int64) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		data, err := io.ReadAll(io.LimitReader(r.Body, n))
		if err != nil {
			s.t.Error(err)
		}
		s.mu.Lock()
		s.bytes = append(s.bytes, data...)
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
}

func refuse(status int, reason string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		writeJSON(w, status, map[string]any{"code": status, "message": "No.", "reason": reason, "requestId": "r"})
		return true
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client sees what is missing
}

func (s *shelf) client() *client.Client {
	s.t.Helper()
	c, err := client.New(s.URL, "k", client.WithRetry(client.RetryPolicy{MaxTries: 1, First: time.Millisecond, Longest: time.Millisecond}))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// begin makes the ISO for an image of n bytes.
func (s *shelf) begin(n int) (*client.Client, client.ISO, []byte) {
	s.t.Helper()
	image := bytes.Repeat([]byte("0123456789abcdef"), n/16)
	c := s.client()
	i, err := c.ISO.BeginUpload(s.t.Context(), client.ISOUpload{FacilityCode: "TPA1", Name: "n", SizeBytes: int64(len(image)), Bootable: true, Checksum: "sha256:00"})
	if err != nil || i.UploadURL == "" || i.SizeBytes != int64(len(image)) {
		s.t.Fatalf("%+v, %v", i, err)
	}
	return c, i, image
}

// TestUploadGoesOn breaks an upload off in every way that passes.
func TestUploadGoesOn(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	c, i, image := s.begin(1 << 20)
	s.faults = []func(http.ResponseWriter, *http.Request) bool{
		s.keep(1000), refuse(503, "upload_elsewhere"), refuse(409, "upload_busy"), s.keep(300_000), refuse(409, "upload_offset"),
		refuse(400, "upload_interrupted"), refuse(500, "internal"), s.keep(0),
	}
	var sent []int64
	if err := c.ISO.Upload(t.Context(), i, bytes.NewReader(image), func(n int64) { sent = append(sent, n) }); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.bytes, image) {
		t.Errorf("%d bytes are stored, of %d, or others", len(s.bytes), len(image))
	}
	if len(sent) == 0 || sent[len(sent)-1] != int64(len(image)) {
		t.Errorf("the progress ends with %v", sent[max(0, len(sent)-1):])
	}
	if b := s.begun[0]; b["name"] != "n" || b["checksum"] != "sha256:00" || b["bootable"] != true || b["url"] != nil {
		t.Errorf("it began with %v", b)
	}
	// Nothing is sent of what is there.
	if err := c.ISO.Upload(t.Context(), i, bytes.NewReader(nil), nil); err != nil {
		t.Errorf("of a whole upload: %v", err)
	}
}

func TestUploadEnds(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		name   string
		status int
		reason string
		iso    map[string]any
		is     error
	}{
		{"no permission", 403, "permission_missing", nil, client.ErrForbidden},
		{"too long", 400, "upload_too_long", nil, client.ErrInvalid},
		{"over", 409, "upload_over", map[string]any{"reason": "upload_abandoned", "status": "No byte came for a day."}, client.ErrTaskFailed},
		{"lost", 409, "upload_lost", map[string]any{}, client.ErrConflict},
		{"redirect", 307, "", nil, client.ErrBadAnswer},
	} {
		s := newShelf(t)
		c, i, image := s.begin(1 << 10)
		s.faults = []func(http.ResponseWriter, *http.Request) bool{refuse(f.status, f.reason)}
		s.iso = f.iso
		if err := c.ISO.Upload(t.Context(), i, bytes.NewReader(image), nil); !errors.Is(err, f.is) || s.heads != 1 {
			t.Errorf("%s: %v after %d looks", f.name, err, s.heads)
		}
	}
	// A server that never stores a byte is given up.
	s := newShelf(t)
	c, i, image := s.begin(1 << 10)
	for range 100 {
		s.faults = append(s.faults, refuse(503, "not_ready"))
	}
	if err := c.ISO.Upload(t.Context(), i, bytes.NewReader(image), nil); !errors.Is(err, client.ErrUnavailable) || s.heads > 20 {
		t.Errorf("%v after %d looks", err, s.heads)
	}
	// The key goes to no other address.
	for _, url := range []string{"", "http://192.0.2.1/api/v2/x", "//192.0.2.1/api/v2/x", "/api/v2/../x"} {
		i.UploadURL = url
		var e *client.Error
		if err := c.ISO.Upload(t.Context(), i, bytes.NewReader(image), nil); !errors.As(err, &e) || e.Reason != client.ReasonBadCall {
			t.Errorf("to %q: %v", url, err)
		}
	}
}

// broken is an image that cannot be read.
type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("bad sector") }

func TestUploadStops(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	c, i, image := s.begin(1 << 10)
	var e *client.Error
	if err := c.ISO.Upload(t.Context(), i, broken{}, nil); !errors.As(err, &e) || e.Reason != client.ReasonBadCall {
		t.Errorf("an image that cannot be read: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.faults = []func(http.ResponseWriter, *http.Request) bool{func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body) // of which nothing is stored
		cancel()
		<-r.Context().Done()
		return true
	}}
	if err := c.ISO.Upload(ctx, i, bytes.NewReader(image), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if err := c.ISO.Upload(t.Context(), i, bytes.NewReader(image), nil); err != nil || !bytes.Equal(s.bytes, image) {
		t.Errorf("again: %v, %d bytes", err, len(s.bytes))
	}
}
