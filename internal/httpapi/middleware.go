package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/access"
)

// maxBody is the largest request body in bytes.
const maxBody = 1 << 20

// Header values that never change, so that setting them allocates nothing.
var (
	typeJSON = []string{"application/json"}
	noStore  = []string{"no-store"}
	noSniff  = []string{"nosniff"}
)

// observe gives the request its id, recovers from panics, and writes one log
// line and the metrics once it is answered.
func (s *server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{ResponseWriter: w, id: requestID(r), start: time.Now(), from: peer(r)}
		h := w.Header()
		h["X-Request-Id"] = []string{c.id}
		h["X-Content-Type-Options"] = noSniff
		h["Cache-Control"] = noStore
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		defer s.finish(c, r)
		defer s.rescue(c, r)
		next.ServeHTTP(c, r)
	})
}

// rescue answers 500 after a panic. Where an answer has begun the connection
// is cut instead, so that nobody takes half of it for the whole.
func (s *server) rescue(c *call, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		s.Log.LogAttrs(r.Context(), slog.LevelError, "panic in a request", slog.String("request", c.id),
			slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
		if c.status == 0 {
			s.write(c, r, &internalRefusal)
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// finish writes the log line and the metrics.
func (s *server) finish(c *call, r *http.Request) {
	took := time.Since(c.start)
	status := c.status
	switch {
	case c.gone:
		status = statusGone
	case status == 0:
		status = http.StatusOK // as the standard library answers
	}
	name := "none"
	if c.op != nil {
		name = c.op.id
	}
	if s.Metrics != nil && !c.probe {
		s.Metrics.request(name, r.Method, status, took-c.waited)
	}
	level := slog.LevelInfo
	switch {
	case status >= 500:
		level = slog.LevelError
	case c.probe:
		level = slog.LevelDebug
	}
	if !s.Log.Enabled(r.Context(), level) {
		return
	}
	// Made by hand: finding out where this line stands in the source, which
	// nothing shows, takes longer than the rest.
	line := slog.NewRecord(c.start.Add(took), level, "request", 0)
	line.AddAttrs(
		slog.String("request", c.id), slog.String("method", r.Method), slog.String("path", short(r.URL.Path, 256)),
		slog.String("operation", name), slog.Int("status", status), slog.Int64("bytes", c.size),
		slog.Duration("took", took), slog.String("from", c.from.String()), slog.String("key", c.key))
	_ = s.Log.Handler().Handle(r.Context(), line) // as Logger does: there is nowhere to tell
}

// short cuts s to at most n bytes, at a rune's start.
func short(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

// requestID is the caller's own X-Request-Id where that is short and plain,
// else a new one of 80 random bits.
func requestID(r *http.Request) string {
	if sent := first(r.Header["X-Request-Id"]); saneID(sent) {
		return sent
	}
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	var b [16]byte
	x := rand.Uint64()
	for i := range b {
		if i == 12 { // 60 bits are used up
			x = rand.Uint64()
		}
		b[i] = alphabet[x&31]
		x >>= 5
	}
	return string(b[:])
}

func saneID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !plain && strings.IndexByte("-_.:=+/", c) < 0 {
			return false
		}
	}
	return true
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// capBody bounds what can be read of a body. The operation that reads it
// answers 413. An upload, which has bounds of its own, reads what was sent.
func capBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && r.Body != nil {
			inner := w
			if c, ok := w.(*call); ok {
				inner = c.ResponseWriter // the standard library's own, told to close the connection
				c.sent = r.Body
			}
			r.Body = http.MaxBytesReader(inner, r.Body, maxBody)
		}
		next.ServeHTTP(w, r)
	})
}

// cleanPath collapses repeated slashes and drops trailing ones, without a
// redirect. An escaped slash stays part of its segment.
func cleanPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, raw, changed := tidy(r.URL)
		if changed {
			u := *r.URL
			u.Path, u.RawPath = path, raw
			clean := *r
			clean.URL = &u
			r = &clean
		}
		next.ServeHTTP(w, r)
	})
}

// tidy returns what the router is to see. RawPath stays only where Path would
// mistake an escaped slash for a separator.
func tidy(u *url.URL) (path, raw string, changed bool) {
	if u.RawPath == "" {
		path = oneSlash(u.Path)
		return path, "", path != u.Path
	}
	if !strings.Contains(u.RawPath, "%2F") && !strings.Contains(u.RawPath, "%2f") {
		return oneSlash(u.Path), "", true
	}
	raw = oneSlash(u.RawPath)
	path, err := url.PathUnescape(raw)
	if err != nil {
		return u.Path, u.RawPath, false
	}
	return path, raw, raw != u.RawPath
}

func oneSlash(p string) string {
	if !strings.Contains(p, "//") && (len(p) < 2 || p[len(p)-1] != '/') {
		return p
	}
	b := make([]byte, 0, len(p))
	for i := range len(p) {
		if p[i] != '/' || i == 0 || p[i-1] != '/' {
			b = append(b, p[i])
		}
	}
	if len(b) > 1 && b[len(b)-1] == '/' {
		b = b[:len(b)-1]
	}
	return string(b)
}

// probes answers /healthz, which tells that the process lives, and /readyz,
// which tells that it can serve. They need no key and are not counted.
func (s *server) probes(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
			next.ServeHTTP(w, r)
			return
		}
		callOf(r.Context()).probe = true
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			s.fail(w, r, errMethod)
			return
		case r.URL.Path == "/readyz" && s.Ready != nil:
			if err := s.Ready(r.Context()); err != nil {
				s.fail(w, r, errNotReady.Because(err))
				return
			}
		}
		w.Header()["Content-Type"] = typeJSON
		w.Write([]byte(`{"status":"ok"}` + "\n")) // a peer that has gone needs no answer
	})
}

// authenticate finds out who is calling. A refusal waits until an operation is
// reached: an unknown path is 404 to everyone.
func (s *server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		token := tokenOf(r)
		if token == "" {
			c.refused = access.ErrKeyMissing
		} else {
			c.key = access.Fingerprint(token)
			c.identity, c.refused = s.Access.Authenticate(r.Context(), token, c.from)
		}
		next.ServeHTTP(w, r)
	})
}

// tokenOf returns the key of X-API-KEY or, where that is absent, of
// Authorization: Bearer.
func tokenOf(r *http.Request) string {
	if t := first(r.Header["X-Api-Key"]); t != "" {
		return t
	}
	scheme, token, _ := strings.Cut(first(r.Header["Authorization"]), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
