package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// sent is a raw answer with a fixed header.
func sent(header, body string) func(int, *http.Request, net.Conn) {
	return func(_ int, _ *http.Request, c net.Conn) {
		_, _ = io.WriteString(c, strings.ReplaceAll(header, "\n", "\r\n")+"\r\n\r\n"+body)
	}
}

func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(int, *http.Request, net.Conn)
		reason string
		tries  int
	}{
		"not HTTP":              {sent("SSH-2.0-OpenSSH_9.2", ""), "source_bad_answer", 4},
		"no answer":             {func(int, *http.Request, net.Conn) {}, "source_unreachable", 4},
		"two lengths":           {sent("HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6", "abcdef"), "source_bad_answer", 4},
		"negative length":       {sent("HTTP/1.1 200 OK\nContent-Length: -5", "abcdef"), "source_bad_answer", 4},
		"huge header":           {sent("HTTP/1.1 200 OK\nX: "+strings.Repeat("x", 200<<10), ""), "source_bad_answer", 4},
		"many headers":          {sent("HTTP/1.1 200 OK\n"+strings.Repeat("X-Y: z\n", 20_000)+"A: b", ""), "source_bad_answer", 4},
		"endless interim":       {sent(strings.Repeat("HTTP/1.1 103 Early Hints\nLink: x\n\n", 20_000)+"HTTP/1.1 200 OK", ""), "source_bad_answer", 4},
		"huge redirect header":  {sent("HTTP/1.1 302 Found\nLocation: /"+strings.Repeat("x", 200<<10), ""), "source_bad_answer", 4},
		"long redirect":         {sent("HTTP/1.1 302 Found\nLocation: /"+strings.Repeat("x", 10_000), ""), "source_bad_answer", 4},
		"unreadable redirect":   {sent("HTTP/1.1 302 Found\nLocation: http://[::1", ""), "source_bad_answer", 4},
		"redirect to nowhere":   {sent("HTTP/1.1 302 Found\nLocation: http:///", ""), "source_bad_answer", 4},
		"redirect, no location": {sent("HTTP/1.1 302 Found", ""), "source_status", 1},
		"redirect to a file":    {sent("HTTP/1.1 302 Found\nLocation: file:///etc/passwd", ""), "url_not_allowed", 1},
		"redirect loop":         {sent("HTTP/1.1 301 Moved\nLocation: /image.iso", ""), "too_many_redirects", 11},
		"part not asked for":    {sent("HTTP/1.1 206 Partial Content\nContent-Range: bytes 0-4/5\nContent-Length: 5", "abcde"), "source_bad_answer", 4},
		"range refused":         {sent("HTTP/1.1 416 Range Not Satisfiable\nContent-Range: bytes */5", ""), "source_status", 1},
		"404":                   {sent("HTTP/1.1 404 Gone fishing", "<html>"), "source_status", 1},
		"410":                   {sent("HTTP/1.1 410 Gone", ""), "source_status", 1},
		"401":                   {sent("HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Basic", ""), "source_status", 1},
		"403":                   {sent("HTTP/1.1 403 Forbidden", ""), "source_status", 1},
		"204":                   {sent("HTTP/1.1 204 No Content", ""), "source_status", 1},
		"304":                   {sent("HTTP/1.1 304 Not Modified", ""), "source_status", 1},
		"408":                   {sent("HTTP/1.1 408 Request Timeout", ""), "source_status", 4},
		"429":                   {sent("HTTP/1.1 429 Too Many Requests", ""), "source_status", 4},
		"500":                   {sent("HTTP/1.1 500 Oops", ""), "source_status", 4},
		"503":                   {sent("HTTP/1.1 503 Busy\nRetry-After: 1", ""), "source_status", 4},
		"gzip":                  {sent("HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 5", "abcde"), "content_encoded", 1},
		"two encodings":         {sent("HTTP/1.1 200 OK\nContent-Encoding: identity, br\nContent-Length: 5", "abcde"), "content_encoded", 1},
		"gzip transfer":         {sent("HTTP/1.1 200 OK\nTransfer-Encoding: gzip", "abcde"), "source_bad_answer", 4},
		"too large by length":   {sent("HTTP/1.1 200 OK\nContent-Length: 1048577", "abcde"), "iso_too_large", 1},
		"absurd length":         {sent("HTTP/1.1 200 OK\nContent-Length: 9223372036854775807", "abcde"), "iso_too_large", 1},
		"overflowing length":    {sent("HTTP/1.1 200 OK\nContent-Length: 99999999999999999999", "abcde"), "source_bad_answer", 4},
		"too large by bytes":    {sent("HTTP/1.1 200 OK", strings.Repeat("x", 1<<20+1)), "iso_too_large", 1},
		"truncated":             {sent("HTTP/1.1 200 OK\nContent-Length: 50", "abcde"), "source_truncated", 4},
		"truncated, no ranges":  {sent("HTTP/1.1 200 OK\nContent-Length: 50\nAccept-Ranges: none", "abcde"), "source_truncated", 4},
		"chunks cut":            {sent("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", "5\r\nabcde\r\n"), "source_truncated", 4},
		"chunks broken":         {sent("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", "zz\r\nabcde\r\n"), "source_truncated", 4},
		"html by type":          {sent("HTTP/1.1 200 OK\nContent-Type: text/html; charset=utf-8", "Your link has expired"), "source_is_html", 1},
		"html by looks":         {sent("HTTP/1.1 200 OK\nContent-Type: application/x-iso9660-image", "\n <!DOCTYPE html><title>Sign\x00 in</title>"), "source_is_html", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int32
			url := serveRaw(t, func(n int, r *http.Request, conn net.Conn) { tries.Add(1); c.answer(n, r, conn) })
			opt := testOptions()
			opt.MaxBytes = 1 << 20
			_, path, err := fetch(t, opt, url)
			e := wantReason(t, err, "")
			if string(e.Reason) != c.reason || int(tries.Load()) != c.tries {
				t.Errorf("%s after %d tries (%v), want %s after %d", e.Reason, tries.Load(), e, c.reason, c.tries)
			}
			if e.Permanent != (c.tries != 4) {
				t.Errorf("permanent: %v", e.Permanent)
			}
			if info, err := os.Stat(path); err != nil || info.Size() > opt.MaxBytes {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
}

func TestSentences(t *testing.T) {
	t.Parallel()
	for answer, words := range map[string]string{
		"HTTP/1.1 404 <script>\n\n": "status 404 Not Found",
		"HTTP/1.1 200 OK\nContent-Type: text/html\n\n<HTML><HEAD><TITLE lang=en>Log &amp; \n in\u202e</TITLE>": `"Log & in"`,
		"HTTP/1.1 200 OK\nContent-Encoding: br\n\nx":                                                           "(br)",
		"HTTP/1.1 200 OK\nContent-Length: 99999999999999\n\n":                                                  "is 99999999999999 bytes long",
		"HTTP/1.1 200 OK\nContent-Length: 50\n\nabc":                                                           "after 3 of 50 bytes (gave up after 4 tries)",
	} {
		header, body, _ := strings.Cut(answer, "\n\n")
		_, _, err := fetch(t, testOptions(), serveRaw(t, sent(header, body)))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Text, words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
}

// An endless body without a length ends at the cap, and the file with it.
func TestEndlessBody(t *testing.T) {
	t.Parallel()
	url := serveRaw(t, func(_ int, _ *http.Request, c net.Conn) {
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for block := testData(1 << 16); err == nil; {
			_, err = c.Write(block)
		}
	})
	opt := testOptions()
	opt.MaxBytes = 3 << 20
	_, path, err := fetch(t, opt, url)
	wantReason(t, err, ReasonTooLarge)
	if info, err := os.Stat(path); err != nil || info.Size() > opt.MaxBytes {
		t.Errorf("%v, %v", info, err)
	}
}

func TestStall(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	url := serveRaw(t, func(_ int, _ *http.Request, c net.Conn) {
		tries.Add(1)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nETag: \"x\"\r\n\r\nabc")
		waitGone(c)
	})
	opt := testOptions()
	opt.StallTimeout = 30 * time.Millisecond
	_, _, err := fetch(t, opt, url)
	if e := wantReason(t, err, ReasonStalled); e.Permanent || tries.Load() != 4 {
		t.Errorf("%+v after %d tries", e, tries.Load())
	}
}

// A stall is healed by a new connection that goes on where the old one hung.
func TestStallHeals(t *testing.T) {
	t.Parallel()
	data := testData(400_000)
	url := serveRaw(t, func(n int, r *http.Request, c net.Conn) {
		if n == 0 {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: \"x\"\r\n\r\n%s", len(data), data[:300_000])
			waitGone(c)
			return
		}
		if r.Header.Get("Range") != "bytes=300000-" || r.Header.Get("If-Range") != `"x"` {
			t.Errorf("asked for %q if %q", r.Header.Get("Range"), r.Header.Get("If-Range"))
		}
		fmt.Fprintf(c, "HTTP/1.1 206 Partial\r\nContent-Range: bytes 300000-399999/400000\r\n\r\n%s", data[300_000:])
	})
	opt := testOptions()
	opt.StallTimeout = 2 * time.Second // a busy machine does not stall as long
	res, path, err := fetch(t, opt, url)
	wantFile(t, res, err, path, data)
}

func TestNoHeaderInTime(t *testing.T) {
	t.Parallel()
	url := serveRaw(t, func(_ int, _ *http.Request, c net.Conn) { waitGone(c) })
	opt := testOptions()
	opt.HeaderTimeout = 20 * time.Millisecond
	_, _, err := fetch(t, opt, url)
	wantReason(t, err, ReasonUnreachable)
}

// A redirect whose body never ends costs no time.
func TestRedirectWithEndlessBody(t *testing.T) {
	t.Parallel()
	data := testData(1000)
	url := serveRaw(t, func(n int, _ *http.Request, c net.Conn) {
		if n == 0 {
			_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: /next\r\n\r\nabc")
			waitGone(c)
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(data), data)
	})
	res, path, err := fetch(t, testOptions(), url)
	wantFile(t, res, err, path, data)
}

// The clock moves ten seconds at each look, so any real speed is a drip.
func TestTooSlow(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	url := serveRaw(t, func(_ int, _ *http.Request, c net.Conn) {
		tries.Add(1)
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for err == nil {
			_, err = c.Write([]byte{0})
		}
	})
	var now atomic.Int64
	opt := testOptions()
	opt.Now = func() time.Time { return time.Unix(now.Add(10), 0) }
	opt.MinRate = 1 << 40
	_, _, err := fetch(t, opt, url)
	if e := wantReason(t, err, ReasonTooSlow); !e.Permanent || tries.Load() != 1 {
		t.Errorf("%+v after %d tries", e, tries.Load())
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	_, _, err := fetch(t, testOptions(), "http://127.0.0.1:1") // nobody listens there
	if e := wantReason(t, err, ReasonUnreachable); e.Permanent {
		t.Errorf("%+v", e)
	}
	opt := testOptions()
	opt.Resolver = fakeDNS(func(int, string) []netip.Addr { return nil })
	_, _, err = fetch(t, opt, "http://nosuch.test/")
	if e := wantReason(t, err, ReasonUnreachable); !e.Permanent || !strings.Contains(e.Text, "nosuch.test") {
		t.Errorf("%+v", e)
	}
	opt.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, syscall.ECONNREFUSED
	}}
	_, _, err = fetch(t, opt, "http://nosuch.test/")
	if e := wantReason(t, err, ReasonUnreachable); e.Permanent {
		t.Errorf("a name server that is down may come back: %+v", e)
	}
}

func TestRetryAfterIsHonouredAndCapped(t *testing.T) {
	t.Parallel()
	data := testData(10)
	url := serveRaw(t, func(n int, r *http.Request, c net.Conn) {
		wait := []string{"7", "100000", "Thu, 01 Jan 1970 00:01:00 GMT", "soon"}
		if n < len(wait) {
			sent("HTTP/1.1 503 Busy\nRetry-After: "+wait[n], "")(n, r, c)
			return
		}
		sent("HTTP/1.1 200 OK\nContent-Length: 10", string(data))(n, r, c)
	})
	var mu sync.Mutex
	var waits []time.Duration
	opt := testOptions()
	opt.Retries = 4
	opt.Now = func() time.Time { return time.Unix(20, 0) }
	opt.Backoff = func(n int) time.Duration { return time.Duration(n) * time.Second }
	opt.Sleep = func(_ context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		waits = append(waits, d)
		return nil
	}
	res, path, err := fetch(t, opt, url)
	wantFile(t, res, err, path, data)
	if got, want := fmt.Sprint(waits), "[7s 5m0s 40s 4s]"; got != want {
		t.Errorf("waited %s, want %s", got, want)
	}
}

// fullFile is a disk that is full after room bytes.
type fullFile struct {
	File
	room int64
	sync error
}

func (f *fullFile) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= f.room {
		return f.File.WriteAt(p, off)
	}
	n, _ := f.File.WriteAt(p[:max(f.room-off, 0)], off)
	return n, &os.PathError{Op: "write", Path: "/secret/path", Err: syscall.ENOSPC}
}

func (f *fullFile) Sync() error {
	if f.sync != nil {
		return f.sync
	}
	return f.File.Sync()
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	data := testData(2 << 20)
	var tries atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { tries.Add(1); content(data, "v1")(w, r) })
	open := func(room int64, sync error) func(string) (File, error) {
		return func(path string) (File, error) {
			f, err := openFile(path)
			return &fullFile{f, room, sync}, err
		}
	}
	for name, opener := range map[string]func(string) (File, error){
		"at once":   open(0, nil),
		"later":     open(1_000_000, nil),
		"at sync":   open(1<<40, syscall.EDQUOT),
		"at open":   func(string) (File, error) { return nil, syscall.ENOSPC },
		"dev full":  openDevFull,
		"file size": open(1<<40, syscall.EFBIG),
	} {
		opt := testOptions()
		opt.OpenFile = opener
		tries.Store(0)
		var keep keeper
		_, err := New(opt).Fetch(t.Context(), Request{URL: s.URL, Path: filepath.Join(t.TempDir(), "image"), Checkpoint: keep.save})
		e := wantReason(t, err, ReasonStorageFull)
		if !e.Permanent || tries.Load() > 1 || strings.Contains(e.Text, "/") {
			t.Errorf("%s: %+v after %d tries", name, e, tries.Load())
		}
	}
	opt := testOptions()
	opt.OpenFile = open(1<<40, syscall.EIO)
	_, _, err := fetch(t, opt, s.URL)
	var e *Error
	if errors.As(err, &e) || !errors.Is(err, syscall.EIO) {
		t.Errorf("a broken disk is internal: %v", err)
	}
}

// openDevFull is the real thing where there is one.
func openDevFull(path string) (File, error) {
	f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		return nil, syscall.ENOSPC
	}
	return f, nil
}

func TestFolderMissing(t *testing.T) {
	t.Parallel()
	_, err := New(testOptions()).Fetch(t.Context(), Request{URL: "http://127.0.0.1/", Path: filepath.Join(t.TempDir(), "no", "image")})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
