package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/testneed"
)

// client speaks to one server with one key, without the generated client, so
// that what is on the wire is what is tested.
type client struct {
	t    testing.TB
	url  string // of the API, with /api/v2
	key  string
	http *http.Client
}

func newClient(t testing.TB, url, key string) *client {
	tr := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{t: t, url: url + "/api/v2", key: key, http: &http.Client{Transport: tr, Timeout: patience}}
}

// answer is a whole answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, bytes.TrimSpace(a.body)) }

// refusal is the error shape of the contract.
type refusal struct {
	Code        int               `json:"code"`
	Message     string            `json:"message"`
	Description string            `json:"description"`
	Reason      string            `json:"reason"`
	RequestID   string            `json:"requestId"`
	Errors      map[string]string `json:"errors"`
}

// try sends a request; body is sent as JSON unless it is nil. An error means
// that no whole answer came. header is a list of names and values.
func (c *client) try(ctx context.Context, method, path string, body any, header ...string) (answer, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, r)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("X-API-KEY", c.key)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return c.send(req)
}

func (c *client) send(req *http.Request) (answer, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: b}, err
}

// do is try where an answer must come.
func (c *client) do(method, path string, body any) answer {
	c.t.Helper()
	a, err := c.try(c.t.Context(), method, path, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// want is do where the answer must have this status; it is decoded into to
// unless that is nil.
func (c *client) want(status int, method, path string, body, to any) {
	c.t.Helper()
	a := c.do(method, path, body)
	if a.status != status {
		c.t.Fatalf("%s %s %v: got %v, want status %d", method, path, body, a, status)
	}
	if to == nil {
		return
	}
	if err := json.Unmarshal(a.body, to); err != nil {
		c.t.Fatalf("%s %s: %v in %v", method, path, err, a)
	}
}

// refused is want for a request that must be refused for a reason.
func (c *client) refused(status int, reason, method, path string, body any) refusal {
	c.t.Helper()
	var r refusal
	c.want(status, method, path, body, &r)
	if r.Reason != reason || r.RequestID == "" || r.Message == "" {
		c.t.Fatalf("%s %s: got %+v, want reason %q", method, path, r, reason)
	}
	return r
}

// ended waits until a task has ended and returns it.
func (c *client) ended(id string) api.Task {
	c.t.Helper()
	var task api.Task
	testneed.Eventually(c.t, "the end of task "+id, func() bool {
		c.want(http.StatusOK, "GET", "/network/status/"+id, nil, &task)
		return task.Result != api.TaskResultPending
	})
	return task
}

// succeed sends a request that is accepted as a task, and waits until that has
// succeeded.
func (c *client) succeed(method, path string, body any) api.Task {
	c.t.Helper()
	var task api.Task
	c.want(http.StatusCreated, method, path, body, &task)
	task = c.ended(task.TaskID)
	if task.Result != api.TaskResultSuccess {
		c.t.Fatalf("%s %s: the task ended %+v", method, path, task)
	}
	return task
}

// meta is what metaData of a task says.
type meta struct {
	Action    string `json:"action"`
	VolumeID  string `json:"volumeId"`
	ISOID     string `json:"isoId"`
	Error     string `json:"error"`
	ErrorCode string `json:"errorCode"`
}

func metaOf(t testing.TB, task api.Task) (m meta) {
	t.Helper()
	if err := json.Unmarshal([]byte(task.MetaData), &m); err != nil {
		t.Fatalf("metaData of task %s is no JSON: %v\n%s", task.TaskID, err, task.MetaData)
	}
	return m
}

// newVolume creates a volume and returns its id once it exists.
func (c *client) newVolume(deviceID int64, sizeGiB int) string {
	c.t.Helper()
	task := c.succeed("POST", "/vps/volume", map[string]any{"deviceId": deviceID, "size": sizeGiB})
	return metaOf(c.t, task).VolumeID
}

// importISO registers an ISO and returns it; its import goes on.
func (c *client) importISO(facility, url string, bootable bool) api.ISO {
	c.t.Helper()
	var iso api.ISO
	c.want(http.StatusOK, "POST", "/vps/iso", isoBody(facility, url, bootable), &iso)
	if iso.TaskID == nil {
		c.t.Fatalf("the new ISO names no task: %+v", iso)
	}
	return iso
}

func isoBody(facility, url string, bootable bool) map[string]any {
	return map[string]any{"facilityCode": facility, "bootable": bootable, "name": "test", "description": "a test image", "url": url}
}

// iso reads an ISO.
func (c *client) iso(id string) (iso api.ISO) {
	c.t.Helper()
	c.want(http.StatusOK, "GET", "/vps/iso/"+id, nil, &iso)
	return iso
}

// isShape reports how an answer of status 400 and above differs from the error
// shape of the contract, "" if it does not.
func isShape(method string, a answer) string {
	if typ := a.header.Get("Content-Type"); !strings.HasPrefix(typ, "application/json") {
		return fmt.Sprintf("content type %q", typ)
	}
	if method == http.MethodHead {
		return ""
	}
	var r refusal
	if err := json.Unmarshal(a.body, &r); err != nil {
		return "no JSON: " + err.Error()
	}
	switch {
	case r.Reason == "" || r.RequestID == "" || r.Message == "":
		return "reason, requestId or message is missing"
	case r.RequestID != a.header.Get("X-Request-Id"):
		return "requestId and X-Request-Id differ"
	case r.Errors != nil && (a.status != http.StatusBadRequest || r.Code != 0 || len(r.Errors) == 0):
		return "not the shape of wrong fields"
	case r.Errors == nil && (r.Code != a.status || r.Description != r.Message):
		return "code or description are wrong"
	}
	return ""
}

// within is a context that ends by itself.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
