package fetch

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// contentRange is a Content-Range of a 206 (RFC 9110, 14.4). last is
// inclusive; total is -1 when the source does not say.
type contentRange struct {
	first, last, total int64
}

// parseContentRange reads the header's one value. ok is false for everything
// but a well-formed, possible byte range.
func parseContentRange(h http.Header) (r contentRange, ok bool) {
	values := h.Values("Content-Range")
	if len(values) != 1 || len(values[0]) > 100 {
		return r, false
	}
	unit, rest, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	span, total, ok := strings.Cut(rest, "/")
	first, last, ok2 := strings.Cut(span, "-")
	if !strings.EqualFold(unit, "bytes") || !ok || !ok2 {
		return r, false
	}
	var ok1, ok3 bool
	r.first, ok1 = parseLength(first)
	r.last, ok2 = parseLength(last)
	r.total, ok3 = -1, true
	if total != "*" {
		r.total, ok3 = parseLength(total)
		ok3 = ok3 && r.last < r.total
	}
	if !ok1 || !ok2 || !ok3 || r.first > r.last {
		return contentRange{}, false
	}
	return r, true
}

// parseLength reads digits only: no sign, no space, no overflow.
func parseLength(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// retryAfter is the wait a source asks for, zero when it asks for none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if s, ok := parseLength(v); ok {
		return time.Duration(min(s, int64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// validators returns what proves in an If-Range that the file is still the
// same: a strong ETag, and a Last-Modified that is at least a second older
// than the answer (RFC 9110, 8.8.2.2). Either may be empty.
func validators(h http.Header) (etag, modified string) {
	etag = h.Get("ETag")
	if !isStrong(etag) {
		etag = ""
	}
	modified = h.Get("Last-Modified")
	at, err := http.ParseTime(modified)
	if err != nil {
		return etag, ""
	}
	if sent, err := http.ParseTime(h.Get("Date")); err == nil && !at.Before(sent) {
		return etag, ""
	}
	return etag, modified
}

// isStrong reports whether etag is a strong one that can be sent back as it
// is: printable ASCII in quotes.
func isStrong(etag string) bool {
	if len(etag) < 2 || len(etag) > 256 || etag[0] != '"' || etag[len(etag)-1] != '"' {
		return false
	}
	return !strings.ContainsFunc(etag[1:len(etag)-1], func(r rune) bool { return r <= ' ' || r > '~' || r == '"' })
}

// contentEncoding returns what the body is encoded with, "" for nothing.
func contentEncoding(h http.Header) string {
	for _, v := range h.Values("Content-Encoding") {
		for part := range strings.SplitSeq(v, ",") {
			part = strings.TrimSpace(part)
			if part != "" && !strings.EqualFold(part, "identity") {
				return clean(part, 30)
			}
		}
	}
	return ""
}
