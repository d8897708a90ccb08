package httpapi

import (
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	rateWindow = time.Hour
	// maxWindows bounds the memory of a limiter to some 15 MB. Where more
	// addresses call within an hour, some are forgotten and start anew.
	maxWindows = 100_000
	sweepEvery = time.Minute
)

// limiter counts requests per source address over a fixed window that starts
// with the address's first request. Requests with and without a key go into
// one count, as published ("over all endpoints together"); which limit it is
// held against depends on the request. What is refused is not counted, so
// callers without a key can take no more than their own limit away from
// callers with one behind the same address.
type limiter struct {
	keyed, anonymous int // 0: no limit
	now              func() time.Time
	max              int

	mu      sync.Mutex
	windows map[netip.Addr]window
	swept   time.Time
}

type window struct {
	end  time.Time
	used int
}

func newLimiter(keyed, anonymous int, now func() time.Time) *limiter {
	return &limiter{keyed: keyed, anonymous: anonymous, now: now, max: maxWindows, windows: map[netip.Addr]window{}, swept: now()}
}

// source is what counts as one address: an IPv4 address, or the /64 that one
// IPv6 customer has to himself.
func source(a netip.Addr) netip.Addr {
	if !a.Is6() || a.Is4In6() {
		return a.Unmap()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// take counts one request from a against limit. It returns how many are left,
// the time until the count starts anew, and whether this one was let through.
func (l *limiter) take(a netip.Addr, limit int) (left int, reset time.Duration, ok bool) {
	a = source(a)
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	w, known := l.windows[a]
	if !known || !now.Before(w.end) {
		l.makeRoom(now, known)
		w = window{end: now.Add(rateWindow)}
	}
	if w.used < limit {
		w.used++
		ok = true
	}
	l.windows[a] = w
	return max(0, limit-w.used), w.end.Sub(now), ok
}

// giveBack takes back one request of a's that was counted just now, and returns
// how many are left of limit.
func (l *limiter) giveBack(a netip.Addr, limit int) (left int) {
	a = source(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	w, known := l.windows[a]
	if !known { // forgotten for want of room
		return limit
	}
	w.used = max(0, w.used-1)
	l.windows[a] = w
	return max(0, limit-w.used)
}

// makeRoom drops windows that are over, and any one of the others when that is
// not enough for a new address.
func (l *limiter) makeRoom(now time.Time, known bool) {
	if now.Sub(l.swept) >= sweepEvery {
		l.swept = now
		for a, w := range l.windows {
			if !now.Before(w.end) {
				delete(l.windows, a)
			}
		}
	}
	if known || len(l.windows) < l.max {
		return
	}
	for a := range l.windows {
		delete(l.windows, a)
		return
	}
}

// limitRate refuses an address that has used up its requests, and tells every
// other how many are left. It adds no headers where there is no limit.
func (s *server) limitRate(next http.Handler) http.Handler {
	l := s.limit
	keyed, anonymous := strconv.Itoa(l.keyed), strconv.Itoa(l.anonymous)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		limit, text := l.keyed, keyed
		if c.refused != nil {
			limit, text = l.anonymous, anonymous
		}
		if limit == 0 {
			next.ServeHTTP(w, r)
			return
		}
		left, reset, ok := l.take(c.from, limit)
		seconds := strconv.Itoa(int((reset + time.Second - 1) / time.Second))
		c.limits = [3]string{text, strconv.Itoa(left), seconds}
		h := w.Header()
		h["X-RateLimit-Limit"] = c.limits[0:1:1]
		h["X-RateLimit-Remaining"] = c.limits[1:2:2]
		h["X-RateLimit-Reset"] = c.limits[2:3:3]
		if mayWait(c, r) {
			c.toll = &toll{l: l, c: c, limit: limit, paid: ok}
		} else if !ok {
			s.fail(w, r, errRate)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// toll is what a request that may wait owes the limiter, and nil for any other.
// It is counted like every request, and given back once it does wait. Where
// nothing was left to take it is let through in the hope that it will; if it
// does not, whatever it would have been answered, it is refused.
type toll struct {
	l     *limiter
	c     *call
	limit int
	paid  bool // counted
	waits bool
}

// due is errRate where the request has neither been counted nor does it wait.
func (t *toll) due() error {
	if t == nil || t.paid || t.waits {
		return nil
	}
	return errRate
}

// forgo notes that the request waits, so that it does not count.
func (t *toll) forgo() {
	if t == nil {
		return
	}
	t.waits = true
	if t.paid {
		t.paid = false
		t.c.limits[1] = strconv.Itoa(t.l.giveBack(t.c.from, t.limit)) // the header too
	}
}

// collect counts a request after all: its client did not stay.
func (t *toll) collect() {
	if t != nil {
		t.l.take(t.c.from, t.limit)
	}
}
