package fetch

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

func TestParseContentRange(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"bytes 0-0/1":                       "{0 0 1} true",
		"bytes 5-9/10":                      "{5 9 10} true",
		"Bytes 5-9/*":                       "{5 9 -1} true",
		"bytes 5-9/9":                       "{0 0 0} false",
		"bytes 9-5/10":                      "{0 0 0} false",
		"bytes -5/10":                       "{0 0 0} false",
		"bytes */10":                        "{0 0 0} false",
		"bytes 5-9":                         "{0 0 0} false",
		"bytes=5-9/10":                      "{0 0 0} false",
		"items 5-9/10":                      "{0 0 0} false",
		"bytes +5-9/10":                     "{0 0 0} false",
		"bytes 5- 9/10":                     "{0 0 0} false",
		"bytes 5-9/99999999999999999999":    "{0 0 0} false",
		"bytes 0x5-9/10":                    "{0 0 0} false",
		"bytes ٥-9/10":                      "{0 0 0} false",
		"":                                  "{0 0 0} false",
		"bytes " + strings.Repeat("1", 200): "{0 0 0} false",
	} {
		r, ok := parseContentRange(http.Header{"Content-Range": {value}})
		if !ok {
			r = contentRange{}
		}
		if got := fmt.Sprint(r, ok); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	if _, ok := parseContentRange(http.Header{"Content-Range": {"bytes 0-1/2", "bytes 0-1/2"}}); ok {
		t.Error("two values are taken")
	}
}

func TestValidators(t *testing.T) {
	t.Parallel()
	const early, late = "Thu, 02 Jan 2020 03:04:05 GMT", "Thu, 02 Jan 2020 03:04:06 GMT"
	for _, c := range []struct{ etag, modified, date, want string }{
		{`"a"`, early, late, `"a"|` + early},
		{`""`, early, "", `""|` + early},
		{`W/"a"`, early, early, "|"},
		{`"a`, late, early, "|"},
		{`a`, "yesterday", late, "|"},
		{`"a"b"`, "", "", "|"},
		{"\"a\x80\"", "", "", "|"},
		{`"` + strings.Repeat("a", 300) + `"`, "", "", "|"},
	} {
		e, m := validators(http.Header{"Etag": {c.etag}, "Last-Modified": {c.modified}, "Date": {c.date}})
		if got := e + "|" + m; got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes 5-9/*", "bytes */5", "bytes 9-5/10", "bytes 0-9223372036854775807/*", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r, ok := parseContentRange(http.Header{"Content-Range": {value}})
		if !ok {
			return
		}
		if r.first < 0 || r.last < r.first || (r.total != -1 && r.last >= r.total) {
			t.Errorf("%q: %+v", value, r)
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte("ETag: \"a\"\r\nLast-Modified: Thu, 02 Jan 2020 03:04:05 GMT\r\nRetry-After: 5\r\n\r\n"), "<title>a</title>")
	f.Add([]byte("Content-Encoding: gzip, , identity\r\nRetry-After: Thu, 02 Jan 2030 03:04:05 GMT\r\n\r\n"), "<script><!--")
	f.Add([]byte("Content-Type: text/html; charset=\"\r\nRetry-After: -1\r\nDate: x\r\n\r\n"), "<html>&#x202e;&lt;\xff<title")
	f.Fuzz(func(t *testing.T, raw []byte, body string) {
		h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(raw))).ReadMIMEHeader()
		if err != nil {
			return
		}
		head := http.Header(h)
		if d := retryAfter(head, time.Unix(0, 0)); d < 0 || d > maxRetryAfter {
			t.Errorf("wait %s", d)
		}
		etag, _ := validators(head)
		if strings.ContainsAny(etag, "\r\n\x00 ") || len(etag) > 256 {
			t.Errorf("etag %q", etag)
		}
		enc := contentEncoding(head)
		quote, _ := htmlPage([]byte(body), head.Get("Content-Type"))
		for _, s := range []string{enc, quote} {
			if len(s) > 4*90 || strings.ContainsAny(s, "\r\n\x00\u202e") {
				t.Errorf("not clean: %q", s)
			}
		}
	})
}
