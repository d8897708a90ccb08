package compat

import (
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	swagger "github.com/hivelocity/hivelocity-client-go/client"
)

// recorder is a transport that notes which methods of the generated client
// succeeded, named like "VPSApi.GetVpsResource". It holds every answer to what
// all of them must have.
type recorder struct {
	t         *testing.T
	transport *http.Transport

	mu        sync.Mutex
	succeeded map[string]bool
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{t: t, transport: &http.Transport{}, succeeded: map[string]bool{}}
	t.Cleanup(r.transport.CloseIdleConnections)
	return r
}

func (r *recorder) httpClient() *http.Client {
	return &http.Client{Transport: r, CheckRedirect: func(q *http.Request, _ []*http.Request) error {
		r.t.Errorf("%s %s: the server redirects, which loses bodies", q.Method, q.URL.Path)
		return http.ErrUseLastResponse
	}}
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	a, err := r.transport.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	if kind := a.Header.Get("Content-Type"); !strings.Contains(kind, "application/json") {
		r.t.Errorf("%s %s: content type %q", q.Method, q.URL.Path, kind)
	}
	for _, h := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
		if a.Header.Get(h) == "" {
			r.t.Errorf("%s %s: no %s", q.Method, q.URL.Path, h)
		}
	}
	if a.StatusCode < 300 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.succeeded[caller()] = true
	}
	return a, nil
}

func (r *recorder) has(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.succeeded[name]
}

// clientPath is the import path of the generated client.
var clientPath = reflect.TypeFor[swagger.APIClient]().PkgPath()

// caller is the generated method on whose behalf a request is sent: the one on
// the stack, since the client sends requests on its caller's goroutine.
func caller() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if rest, ok := strings.CutPrefix(f.Function, clientPath+".(*"); ok {
			if service, method, ok := strings.Cut(rest, "Service)."); ok {
				return service + "." + method
			}
		}
		if !more {
			return ""
		}
	}
}
