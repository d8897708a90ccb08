package client_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivebay/drivebay/client"
)

const (
	taskJSON   = `{"taskId":"t-1","clientId":7,"deviceId":1001,"result":"Pending","metaData":"{\"volumeId\":\"v-1\"}","taskCreated":"2026-01-31T12:00:00Z","taskUpdated":"2026-01-31T12:00:00Z","progress":0,"message":""}`
	volumeJSON = `{"volumeId":"v-1","type":"DATADISK","size":50,"sizeBytes":53687091200,"deviceId":1001,"facilityCode":"TPA1","createdAt":"2026-01-31T12:00:00Z","state":"attached","monthlyPrice":5}`
)

func errorJSON(status int, reason string) string {
	return fmt.Sprintf(`{"code":%d,"message":"a sentence","description":"a sentence","reason":%q,"requestId":"r-1"}`, status, reason)
}

var (
	errDial  = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	errCert  = &tls.CertificateVerificationError{Err: errors.New("signed by nobody")}
)

func create(ctx context.Context, c *client.Client) error {
	_, err := c.Volume.Create(ctx, client.VolumeCreate{DeviceID: 1001, SizeGiB: 50})
	return err
}

func get(ctx context.Context, c *client.Client) error {
	_, err := c.Volume.Get(ctx, "v-1")
	return err
}

// TestWhatIsTriedAgain holds for each failure how often a call is tried.
func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	fails := func(status int, reason string) trip {
		return func(*http.Request) (*http.Response, error) { return reply(status, errorJSON(status, reason)), nil }
	}
	breaks := func(err error) trip { return func(*http.Request) (*http.Response, error) { return nil, err } }
	const all = 4
	for _, tt := range []struct {
		name                 string
		f                    trip
		get, create, unkeyed int // tries
		kind                 error
		uncertain            bool // of a change
	}{
		{"503", fails(503, "not_ready"), all, all, 1, client.ErrUnavailable, false},
		{"503 in progress", fails(503, "idempotency_in_progress"), all, all, 1, client.ErrUnavailable, false},
		{"502", fails(502, ""), all, all, 1, client.ErrUnavailable, true},
		{"504", fails(504, ""), all, all, 1, client.ErrUnavailable, true},
		{"429", fails(429, "rate_limited"), all, all, 1, client.ErrRateLimited, false},
		{"500", fails(500, "internal"), 1, 1, 1, nil, true},
		{"400", fails(400, "size_not_sold"), 1, 1, 1, client.ErrInvalid, false},
		{"403", fails(403, "key_invalid"), 1, 1, 1, client.ErrForbidden, false},
		{"404", fails(404, "volume_not_found"), 1, 1, 1, client.ErrNotFound, false},
		{"409", fails(409, "device_full"), 1, 1, 1, client.ErrConflict, false},
		{"409 secret", fails(409, "idempotency_secret_withheld"), 1, 1, 1, client.ErrConflict, false},
		{"422", fails(422, "idempotency_key_reused"), 1, 1, 1, client.ErrInvalid, false},
		{"dial", breaks(errDial), all, all, all, client.ErrUnavailable, false},
		{"reset", breaks(errReset), all, all, 1, client.ErrUnavailable, true},
		{"certificate", breaks(errCert), 1, 1, 1, client.ErrUnavailable, false},
		{"cut short", func(*http.Request) (*http.Response, error) {
			r := reply(201, "")
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"taskId":`), cut{}))
			return r, nil
		}, all, all, 1, client.ErrUnavailable, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tries{"get", get, tt.get, false}.check(t, tt.f, tt.kind)
				tries{"create", create, tt.create, tt.uncertain}.check(t, tt.f, tt.kind)
				tries{"create without a key", create, tt.unkeyed, tt.uncertain}.check(t, tt.f, tt.kind, client.WithoutIdempotencyKeys())
			})
		})
	}
}

// tries is how often a call is to be tried, and whether it is in doubt then.
type tries struct {
	name  string
	do    func(context.Context, *client.Client) error
	want  int
	doubt bool
}

// check makes the call against a server whose every answer is f's.
func (w tries) check(t *testing.T, f trip, kind error, opts ...client.Option) {
	t.Helper()
	n, keys := 0, map[string]bool{}
	c := newClient(t, keeper(func(r *http.Request) (*http.Response, error) {
		n++
		keys[keyOf(r)] = true
		return f(r)
	}), append(opts, client.WithRetry(client.RetryPolicy{MaxTries: 4, First: time.Second, Longest: time.Minute}))...)
	err := w.do(t.Context(), c)
	var e *client.Error
	if !errors.As(err, &e) || kind != nil && !errors.Is(err, kind) {
		t.Fatalf("%s: error %v, want kind %v", w.name, err, kind)
	}
	if n != w.want || e.Tries != n || len(keys) != 1 {
		t.Errorf("%s: %d tries (the error says %d) with %d keys, want %d with one", w.name, n, e.Tries, len(keys), w.want)
	}
	if e.Uncertain != w.doubt {
		t.Errorf("%s: uncertain %v: %v", w.name, e.Uncertain, err)
	}
	if keyed := w.name == "create"; (e.IdempotencyKey != "") != (w.doubt && keyed) || e.IdempotencyKey != "" && !keys[e.IdempotencyKey] {
		t.Errorf("%s: the error has the key %q", w.name, e.IdempotencyKey)
	}
}

type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestDoubtStays holds that a change in doubt stays so when a later try does
// not get through, and is settled by a refusal that it could not have got.
func TestDoubtStays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		last      func() (*http.Response, error)
		uncertain bool
	}{
		{func() (*http.Response, error) { return nil, errDial }, true},
		{func() (*http.Response, error) { return reply(503, errorJSON(503, "not_ready")), nil }, true},
		{func() (*http.Response, error) { return reply(429, errorJSON(429, "rate_limited")), nil }, true},
		{func() (*http.Response, error) { return reply(403, errorJSON(403, "key_expired")), nil }, true},
		{func() (*http.Response, error) { return reply(409, errorJSON(409, "idempotency_secret_withheld")), nil }, true},
		{func() (*http.Response, error) { return reply(409, errorJSON(409, "device_full")), nil }, false},
		{func() (*http.Response, error) { return reply(404, errorJSON(404, "device_not_found")), nil }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			tries := 0
			c := newClient(t, keeper(func(*http.Request) (*http.Response, error) {
				if tries++; tries == 1 {
					return nil, errReset
				}
				return tt.last()
			}), client.WithRetry(client.RetryPolicy{MaxTries: 3, First: time.Second, Longest: time.Minute}))
			var e *client.Error
			if err := create(t.Context(), c); !errors.As(err, &e) || e.Uncertain != tt.uncertain || (e.IdempotencyKey != "") != tt.uncertain {
				t.Errorf("got %v, want uncertain %v", err, tt.uncertain)
			}
		})
	}
}

// TestPauses holds how long the pauses between tries are.
func TestPauses(t *testing.T) {
	t.Parallel()
	const first, longest = time.Second, 10 * time.Second
	for _, tt := range []struct {
		name     string
		header   []string
		status   int
		min, max []time.Duration // of each pause; the call ends after them
	}{
		{"growing", nil, 503,
			[]time.Duration{first / 2, first, 2 * first, 4 * first, 5 * first}, []time.Duration{first, 2 * first, 4 * first, 8 * first, longest}},
		{"asked for", []string{"Retry-After", "9"}, 503,
			[]time.Duration{9 * first, 9 * first, 9 * first, 9 * first, 9 * first}, []time.Duration{9 * first, 9 * first, 9 * first, 9 * first, longest}},
		{"rate limit", []string{"X-RateLimit-Reset", "7"}, 429,
			[]time.Duration{7 * first, 7 * first, 7 * first, 7 * first, 7 * first}, []time.Duration{7 * first, 7 * first, 7 * first, 8 * first, longest}},
		{"rate limit and asked for", []string{"X-RateLimit-Reset", "3600", "Retry-After", "9"}, 429,
			[]time.Duration{9 * first, 9 * first, 9 * first, 9 * first, 9 * first}, []time.Duration{9 * first, 9 * first, 9 * first, 9 * first, longest}},
		{"reset without a limit", []string{"X-RateLimit-Reset", "9"}, 503,
			[]time.Duration{first / 2}, []time.Duration{first}},
		{"too long", []string{"Retry-After", "11"}, 503, nil, nil},
		{"an hour", []string{"X-RateLimit-Reset", "3600"}, 429, nil, nil},
		{"a time", []string{"Retry-After", "Sat, 01 Jan 2000 00:00:09 GMT"}, 503, // synctest begins at 2000
			[]time.Duration{9 * first}, []time.Duration{9 * first}},
		{"a time gone by", []string{"Retry-After", "Sat, 01 Jan 2000 00:00:00 GMT"}, 503, []time.Duration{first / 2}, []time.Duration{first}},
		{"nonsense", []string{"Retry-After", "-1"}, 503, []time.Duration{first / 2}, []time.Duration{first}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var at []time.Time
				c := newClient(t, func(*http.Request) (*http.Response, error) {
					at = append(at, time.Now())
					return reply(tt.status, errorJSON(tt.status, "x"), tt.header...), nil
				}, client.WithRetry(client.RetryPolicy{MaxTries: len(tt.min) + 1, First: first, Longest: longest}))
				if tt.min == nil {
					c = newClient(t, func(*http.Request) (*http.Response, error) {
						at = append(at, time.Now())
						return reply(tt.status, errorJSON(tt.status, "x"), tt.header...), nil
					}, client.WithRetry(client.RetryPolicy{MaxTries: 5, First: first, Longest: longest}))
				}
				err := get(t.Context(), c)
				var e *client.Error
				if !errors.As(err, &e) {
					t.Fatal(err)
				}
				if len(at) != len(tt.min)+1 {
					t.Fatalf("%d tries, want %d", len(at), len(tt.min)+1)
				}
				for i := range tt.min {
					if d := at[i+1].Sub(at[i]); d < tt.min[i] || d > tt.max[i] {
						t.Errorf("pause %d was %v, want %v to %v", i, d, tt.min[i], tt.max[i])
					}
				}
				if tt.min == nil && e.RetryAfter < 11*time.Second {
					t.Errorf("the error asks to come back after %v", e.RetryAfter)
				}
			})
		})
	}
}

// TestContextBounds holds that a call ends with its context, whatever the
// server does, and says what happened.
func TestContextBounds(t *testing.T) {
	t.Parallel()
	hang := func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }
	for _, tt := range []struct {
		name    string
		f       trip
		within  time.Duration // the context's time
		from    time.Duration // the call ends between this and the context's end
		is      []error
		isNot   error
		message string
	}{
		{"hanging", hang, 5 * time.Second, 5 * time.Second, []error{context.DeadlineExceeded}, nil, "deadline exceeded"},
		// A try that is too slow is not the caller's deadline.
		{"hanging for longer than a try", hang, 100 * time.Second, 30 * time.Second, []error{client.ErrUnavailable}, context.DeadlineExceeded, "no whole answer came in time"},
		{"away", func(*http.Request) (*http.Response, error) { return nil, errDial }, 5 * time.Second, time.Second, []error{client.ErrUnavailable, syscall.ECONNREFUSED}, context.DeadlineExceeded, "connection refused"},
		{"dribbling", func(r *http.Request) (*http.Response, error) {
			a := reply(200, "")
			a.Body = io.NopCloser(dribble{r.Context()})
			return a, nil
		}, 5 * time.Second, 5 * time.Second, []error{context.DeadlineExceeded}, nil, "deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.within)
				defer cancel()
				start := time.Now()
				c := newClient(t, tt.f, client.WithRetry(client.RetryPolicy{MaxTries: 3, First: 2 * time.Second, Longest: time.Minute}))
				err := get(ctx, c)
				if took := time.Since(start); took < tt.from || took > tt.within {
					t.Errorf("it took %v", took)
				}
				for _, is := range tt.is {
					if !errors.Is(err, is) {
						t.Errorf("%v is not %v", err, is)
					}
				}
				if tt.isNot != nil && errors.Is(err, tt.isNot) {
					t.Errorf("%v is %v", err, tt.isNot)
				}
				if err == nil || !strings.Contains(err.Error(), tt.message) {
					t.Errorf("error %v, want %q in it", err, tt.message)
				}
			})
		})
	}
}

// dribble sends a byte a second for as long as ctx lasts.
type dribble struct{ ctx context.Context }

func (d dribble) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

// TestCancel ends a pause at once.
func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := newClient(t, func(*http.Request) (*http.Response, error) {
			time.AfterFunc(time.Second, cancel)
			return nil, errReset
		}, client.WithRetry(client.RetryPolicy{MaxTries: 2, First: time.Hour, Longest: time.Hour}))
		start := time.Now()
		err := create(ctx, c)
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %v", took)
		}
		var e *client.Error
		if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Reason != client.ReasonInterrupted || !e.Uncertain || e.IdempotencyKey == "" {
			t.Errorf("got %#v", err)
		}
		if !strings.Contains(err.Error(), "connection reset") || !strings.Contains(err.Error(), "may have been made") {
			t.Errorf("the error does not tell what went before: %v", err)
		}
	})
}

// TestComesBack holds that a call outlasts a restart of the server.
func TestComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start, keys := time.Now(), map[string]bool{}
		c := newClient(t, keeper(func(r *http.Request) (*http.Response, error) {
			keys[keyOf(r)] = true
			if string(readAll(t, r.Body)) != `{"deviceId":1001,"size":50}` {
				t.Error("a try had another body")
			}
			switch away := time.Since(start); {
			case away < time.Second:
				return nil, errReset
			case away < 10*time.Second:
				return nil, errDial
			case away < 12*time.Second:
				return reply(503, errorJSON(503, "not_ready")), nil
			}
			return reply(201, taskJSON, "Idempotent-Replayed", "true"), nil
		}))
		task, err := c.Volume.Create(t.Context(), client.VolumeCreate{DeviceID: 1001, SizeGiB: 50}, client.WithIdempotencyKey("mine"))
		if err != nil || task.VolumeID() != "v-1" || len(keys) != 1 || !keys["mine"] {
			t.Errorf("got %v, %v with the keys %v", task, err, keys)
		}
	})
}

// TestLog holds that a log tells of tries, and never the key.
func TestLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		tries := 0
		c := newClient(t, func(r *http.Request) (*http.Response, error) {
			if tries++; tries == 1 {
				return nil, fmt.Errorf("proxy says: no %s", r.Header.Get("X-API-KEY"))
			}
			return reply(200, volumeJSON), nil
		}, client.WithLogger(log))
		if err := get(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if strings.Count(text, "msg=call") != 2 || strings.Count(text, `msg="trying again"`) != 1 || !strings.Contains(text, `"GET /vps/volume/v-1"`) {
			t.Errorf("the log is\n%s", text)
		}
		if strings.Contains(text, secret) {
			t.Errorf("the log has the key:\n%s", text)
		}
	})
}

// TestNoRetries holds the two ways to try only once.
func TestNoRetries(t *testing.T) {
	t.Parallel()
	tries := 0
	f := func(*http.Request) (*http.Response, error) { tries++; return nil, errDial }
	if err := get(t.Context(), newClient(t, f, client.WithRetry(client.RetryPolicy{}))); err == nil || tries != 1 {
		t.Errorf("%d tries, %v", tries, err)
	}
	if _, err := newClient(t, f).Volume.Get(t.Context(), "v", client.WithoutRetries()); err == nil || tries != 2 {
		t.Errorf("%d tries, %v", tries-1, err)
	}
}
