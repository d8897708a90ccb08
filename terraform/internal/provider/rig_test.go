package provider

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/client"
)

// script is a server that answers what a test has written down: for each
// request, by method and path, one answer after the other; the last one stays.
type script struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string][]reply
	seen    []string // method and path of every request
	keys    []string // the Idempotency-Keys of changes
}

type reply struct {
	status int
	body   any
}

// play starts a server and a client of it that does not wait long.
func play(t *testing.T, answers map[string][]reply) (*script, *connection) {
	t.Helper()
	s := &script{answers: answers}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	c, err := client.New(s.URL, "key", client.WithPollInterval(time.Millisecond),
		client.WithRetry(client.RetryPolicy{MaxTries: 2, First: time.Millisecond, Longest: time.Minute}))
	if err != nil {
		t.Fatal(err)
	}
	return s, &connection{api: c}
}

func (s *script) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.Method + " " + strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/api/v2"), "/")
	s.seen = append(s.seen, name)
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		s.keys = append(s.keys, key)
	}
	left := s.answers[name]
	if len(left) == 0 {
		left = []reply{refusal(http.StatusNotFound, "route_not_found")}
	}
	if len(left) > 1 {
		s.answers[name] = left[1:]
	}
	if left[0].status == 0 {
		panic(http.ErrAbortHandler) // no answer at all
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(left[0].status)
	_ = json.NewEncoder(w).Encode(left[0].body) // the client tells if it is broken
}

// changes are the requests that were not reading.
func (s *script) changes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, name := range s.seen {
		if !strings.HasPrefix(name, "GET ") {
			all = append(all, name)
		}
	}
	return all
}

func refusal(status int, reason string) reply {
	return reply{status, map[string]any{"code": status, "message": "Refused", "reason": reason, "requestId": "req-1"}}
}

func ok(body any) reply { return reply{http.StatusOK, body} }

// volume is what the server tells of one; device 0 is none.
func volume(id string, device, size int64) reply {
	v := map[string]any{"volumeId": id, "type": "DATADISK", "size": size, "sizeBytes": size << 30, "deviceId": nil, "facilityCode": "TPA1", "createdAt": "2026-01-02T03:04:05Z"}
	if device != 0 {
		v["deviceId"] = device
	}
	return ok(v)
}

// task is what the server tells of one on a volume.
func task(id, volumeID, result string) map[string]any {
	return map[string]any{"taskId": id, "result": result, "metaData": `{"volumeId": "` + volumeID + `", "errorCode": "storage_full", "error": "The storage is full"}`, "taskCreated": "2026-01-02T03:04:05Z"}
}

func device(id int64, facility string, max, has int64) reply {
	return ok(map[string]any{"deviceId": id, "facilityCode": facility, "maxVolumes": max, "attachedVolumes": has})
}
