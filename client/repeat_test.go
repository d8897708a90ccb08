package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivebay/drivebay/client"
)

// TestUnknownServer holds that a change which may have been made is sent again
// only to a server that keeps idempotency keys, whatever it is asked.
func TestUnknownServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		first trip // the answer to the first try of the change
		quota trip // the answer to the question
		sent  int  // tries of the change
		asked int  // at least
	}{
		{"drivebay", breaking(errReset), always(200, "application/json", `{"limits":{},"used":{}}`), 2, 1},
		{"drivebay, key may not read", breaking(errReset), always(403, "application/json", errorJSON(403, "permission_missing")), 2, 1},
		{"drivebay, 503", always(503, "application/json", errorJSON(503, "not_ready")), always(200, "application/json", `{"limits":{},"used":{}}`), 2, 1},
		{"published", breaking(errReset), always(404, "application/json", `{"code":404,"message":"Not Found"}`), 1, 1},
		{"published, 502", always(502, "text/html", "<html>"), always(404, "text/html", "<html>"), 1, 1},
		{"published, 503", always(503, "text/html", "<html>"), always(404, "application/json", `{"code":404,"message":"Not Found"}`), 1, 1},
		{"published, refuses first", breaking(errReset), always(403, "application/json", `{"code":403,"message":"no"}`), 1, 1},
		{"another that has everything", breaking(errReset), always(200, "application/json", `{"quota":"unlimited"}`), 1, 1},
		{"another with reasons", breaking(errReset), always(400, "application/json", `{"message":"m","reason":"x"}`), 1, 1},
		{"sends on", breaking(errReset), always(302, "", ""), 1, 1},
		{"fails", breaking(errReset), always(500, "text/plain", "oops"), 1, 1},
		{"never connected", breaking(errDial), breaking(errReset), 2, 0},
		{"one too many", always(429, "application/json", errorJSON(429, "")), breaking(errReset), 2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sent, asked, later := 0, 0, false
				c := newClient(t, func(r *http.Request) (*http.Response, error) {
					switch {
					case r.URL.Path == "/api/v2/quota":
						if asked++; asked == 1 && tt.asked > 0 { // away for a moment, too
							return nil, errDial
						}
						return tt.quota(r)
					case r.Method != http.MethodPost:
						t.Errorf("sent %s %s", r.Method, r.URL)
					}
					if sent++; sent == 1 || later {
						return tt.first(r)
					}
					return reply(201, taskJSON), nil
				})
				err := create(t.Context(), c)
				if sent != tt.sent || (err == nil) != (tt.sent == 2) || (asked == 0) != (tt.asked == 0) {
					t.Fatalf("sent %d times, asked %d times, %v", sent, asked, err)
				}
				var e *client.Error
				if err == nil {
					return
				}
				if !errors.As(err, &e) || !e.Uncertain || e.IdempotencyKey != "" {
					t.Errorf("got %v with the key %q", err, e.IdempotencyKey)
				}
				// It is asked once only.
				before := asked
				sent, later = 0, true
				if err := create(t.Context(), c); err == nil || sent != 1 || asked != before {
					t.Errorf("sent %d times, asked %d times more, %v", sent, asked-before, err)
				}
			})
		})
	}
}

func breaking(err error) trip { return func(*http.Request) (*http.Response, error) { return nil, err } }

func always(status int, kind, body string) trip {
	return func(*http.Request) (*http.Response, error) { return respond(status, kind, body), nil }
}

// TestTransportDoesNotRepeat holds that the standard library does not send a
// change again by itself when a connection it has used before breaks.
func TestTransportDoesNotRepeat(t *testing.T) {
	t.Parallel()
	var changes atomic.Int32
	var key atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, volumeJSON)
			return
		}
		changes.Add(1)
		key.Store(r.Header.Get("Idempotency-Key"))
		panic(http.ErrAbortHandler) // done, and the connection is gone
	}))
	defer server.Close()
	c, err := client.New(server.URL, secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := get(t.Context(), c); err != nil { // a connection to use again
		t.Fatal(err)
	}
	_, err = c.Volume.Attach(t.Context(), "v-1", 1001, client.WithoutRetries())
	var e *client.Error
	if !errors.As(err, &e) || !e.Uncertain || changes.Load() != 1 {
		t.Errorf("the change arrived %d times: %v", changes.Load(), err)
	}
	if key.Load() != e.IdempotencyKey || e.IdempotencyKey == "" {
		t.Errorf("the server saw the key %q, the error has %q", key.Load(), e.IdempotencyKey)
	}
}

// TestBusyServer holds that many goroutines may use one client.
func TestBusyServer(t *testing.T) {
	t.Parallel()
	var changes, asked atomic.Int32
	c := newClient(t, func(r *http.Request) (*http.Response, error) {
		switch {
		case r.URL.Path == "/api/v2/quota":
			asked.Add(1)
			return reply(200, `{"limits":{},"used":{}}`), nil
		case changes.Add(1)%2 == 1:
			return nil, errReset
		}
		return reply(201, taskJSON), nil
	}, client.WithRetry(client.RetryPolicy{MaxTries: 50, First: time.Millisecond, Longest: time.Millisecond}))
	done := make(chan error)
	for range 20 {
		go func() { done <- create(t.Context(), c) }()
	}
	for range 20 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if asked.Load() < 1 || asked.Load() > 20 {
		t.Errorf("asked %d times", asked.Load())
	}
}
