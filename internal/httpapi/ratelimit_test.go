package httpapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that moves when told.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func limits(w *httptest.ResponseRecorder) string {
	h := map[string][]string(w.Header()) // the spelling counts: it is what goes out
	return strings.Join(slices.Concat(h["X-RateLimit-Limit"], h["X-RateLimit-Remaining"], h["X-RateLimit-Reset"]), " ")
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	c := newClock()
	r := newRig(t, func(d *Deps) { d.RateLimit, d.RateLimitAnonymous, d.Now = 5, 2, c.now })
	const path = base + "/vps/volume/v1"
	want := func(w *httptest.ResponseRecorder, status int, headers string) {
		t.Helper()
		if w.Code != status || limits(w) != headers {
			t.Errorf("%d %q, want %d %q", w.Code, limits(w), status, headers)
		}
	}
	want(r.do("GET", path, ""), 200, "5 4 3600")
	c.add(1500 * time.Millisecond)
	want(r.send("GET", path, ""), 403, "2 0 3599") // one count, two limits
	w := r.send("GET", base+"/nope", "")
	want(w, 429, "2 0 3599")
	b := refused(t, w, 429, "rate_limited")
	if b.Description != "Your IP is rate limited." || w.Header().Get("Retry-After") != "3599" {
		t.Errorf("%+v, Retry-After %s", b, w.Header().Get("Retry-After"))
	}
	want(r.send("GET", path, "", "X-API-KEY", "bad"), 429, "2 0 3599") // what is refused is not counted
	want(r.do("GET", base+"/nope", ""), 404, "5 2 3599")
	want(r.do("PATCH", path, ""), 405, "5 1 3599")
	want(r.do("POST", base+"/vps/volume", "{"), 400, "5 0 3599")
	c.add(time.Hour - 1501*time.Millisecond)
	want(r.do("GET", path, ""), 429, "5 0 1")
	c.add(time.Millisecond)
	want(r.do("GET", path, ""), 200, "5 4 3600")
	want(r.do("GET", base+"/vps/1001", ""), 500, "5 3 3600") // a panic
}

func TestRateLimitOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(d *Deps) { d.RateLimitAnonymous = 1 })
	for range 3 {
		if w := r.do("GET", base+"/vps/volume/v1", ""); w.Code != 200 || limits(w) != "" {
			t.Errorf("%d %q", w.Code, limits(w))
		}
	}
	if w := r.send("GET", base+"/vps/volume/v1", ""); w.Code != 403 || limits(w) != "1 0 3600" {
		t.Errorf("%d %q", w.Code, limits(w))
	}
}

func TestLimiterGivesBack(t *testing.T) {
	t.Parallel()
	l := newLimiter(2, 2, newClock().now)
	a := netip.MustParseAddr("192.0.2.1")
	if left := l.giveBack(a, 2); left != 2 {
		t.Errorf("%d left of an address that is not known", left)
	}
	for range 3 {
		l.take(a, 2)
	}
	for i, want := range []int{1, 2, 2} {
		if left := l.giveBack(a, 2); left != want {
			t.Errorf("%d: %d left, want %d", i, left, want)
		}
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"[2001:db8::1]:1", "[2001:db8::ffff:1]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::2%eth1]:1", true},
		{"@", "unix", true},
	} {
		a := source(peer(&http.Request{RemoteAddr: c.a}))
		b := source(peer(&http.Request{RemoteAddr: c.b}))
		if (a == b) != c.same {
			t.Errorf("%s and %s: %v and %v", c.a, c.b, a, b)
		}
	}
}

func TestLimiterForgets(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := newLimiter(10, 10, c.now)
	l.max = 100
	addr := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", i/256, i%256)) }
	for i := range 1000 {
		if _, _, ok := l.take(addr(i), 10); !ok {
			t.Fatal("a first request was refused")
		}
		if len(l.windows) > l.max {
			t.Fatalf("%d windows", len(l.windows))
		}
	}
	if len(l.windows) != l.max {
		t.Errorf("%d windows", len(l.windows))
	}
	c.add(rateWindow)
	l.take(addr(0), 10)
	if len(l.windows) != 1 {
		t.Errorf("%d windows after all were over", len(l.windows))
	}
}

func TestLimiterIsExactUnderLoad(t *testing.T) {
	t.Parallel()
	l := newLimiter(100, 100, time.Now)
	var wg sync.WaitGroup
	var mu sync.Mutex
	passed := 0
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, _, ok := l.take(netip.MustParseAddr("192.0.2.1"), 100); ok {
					mu.Lock()
					passed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if passed != 100 {
		t.Errorf("%d passed", passed)
	}
}
