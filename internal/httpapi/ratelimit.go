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
	// free, if set, names requests that are not counted, such as those that wait.
	free func(*http.Request) bool
	max  int

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
		if limit == 0 || (l.free != nil && l.free(r)) {
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
		if !ok {
			h["Retry-After"] = []string{seconds}
			s.fail(w, r, errRate)
			return
		}
		next.ServeHTTP(w, r)
	})
}
