package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

var longAgo = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

// sources are servers that all have data, each with a weakness of its own.
func sources(data []byte) map[string]http.HandlerFunc {
	etag := content(data, "v1")
	return map[string]http.HandlerFunc{
		"etag": etag,
		"last modified": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", longAgo, bytes.NewReader(data))
		},
		"weak etag": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `W/"v1"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		},
		"no ranges": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data)
		},
		"no length":      chunked(data),
		"cuts":           cutAfter(len(data)/3+1000, etag),
		"etag each time": func(w http.ResponseWriter, r *http.Request) { content(data, fmt.Sprint(rand.Uint64()))(w, r) },
		"wrong part": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				r.Header.Set("Range", "bytes=5-")
			}
			etag(w, r)
		},
	}
}

// Whatever the moment at which a run ends, the next one goes on from the last
// checkpoint, whatever became of the bytes beyond it, and the digest is right.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	data := testData(3<<20 + 4321)
	for name, h := range sources(data) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, h)
			for seed := range uint64(12) {
				killRounds(t, s.URL, data, rand.New(rand.NewPCG(seed, 1)))
			}
		})
	}
}

func killRounds(t *testing.T, url string, data []byte, rnd *rand.Rand) {
	t.Helper()
	opt := testOptions()
	opt.Retries = 20
	path := filepath.Join(t.TempDir(), "image")
	var keep keeper
	for range 4 {
		at := rnd.Int64N(int64(len(data)) + 1000)
		ctx, cancel := context.WithCancel(t.Context())
		res, err := New(opt).Fetch(ctx, Request{
			URL: url, Path: path, State: keep.state(t), Checkpoint: keep.save, Digests: []string{"md5"},
			Progress: func(done, _ int64) {
				if done >= at {
					cancel()
				}
			},
		})
		cancel()
		if err == nil {
			wantFile(t, res, err, path, data)
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("killed at %d: %v", at, err)
		}
		spoil(t, path, keep.state(t), rnd)
	}
	st := keep.state(t)
	res, err := New(opt).Fetch(t.Context(), Request{URL: url, Path: path, State: st, Checkpoint: keep.save})
	wantFile(t, res, err, path, data)
}

// spoil does to the file what a crash may do to bytes that were never synced.
func spoil(t *testing.T, path string, st *State, rnd *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var safe int64
	if st != nil {
		safe = st.Bytes
	}
	switch rnd.IntN(3) {
	case 0:
		err = f.Truncate(safe)
	case 1:
		_, err = f.WriteAt(make([]byte, 100_000), safe)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// partial downloads the first part of data from a server that then hangs, and
// returns the state.
func partial(t *testing.T, path, url string) *State {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var keep keeper
	_, err := New(testOptions()).Fetch(ctx, Request{URL: url, Path: path, Checkpoint: func(s State) error {
		err := keep.save(s)
		if s.Bytes > 0 {
			cancel()
		}
		return err
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("partial: %v", err)
	}
	st := keep.state(t)
	if st == nil || st.Bytes == 0 {
		t.Fatalf("no checkpoint: %+v", st)
	}
	return st
}

// half serves the first half of data and hangs, until resumed is set. It
// counts the bytes it sends after that.
type half struct {
	data    []byte
	resumed atomic.Bool
	after   atomic.Int64
	version atomic.Value
}

func (h *half) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", fmt.Sprintf("%q", h.version.Load()))
	if !h.resumed.Load() {
		w.Header().Set("Content-Length", fmt.Sprint(len(h.data)))
		_, _ = w.Write(h.data[:len(h.data)/2])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	http.ServeContent(&counter{w, &h.after}, r, "", time.Time{}, bytes.NewReader(h.data))
}

type counter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

// What a restart finds wrong must cost a new download, never a wrong file.
func TestResumeAfterRestart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(path string, st *State) *State
		whole bool // the source has to send everything again
	}{
		"as it was":          {func(_ string, st *State) *State { return st }, false},
		"hash of another Go": {func(_ string, st *State) *State { st.Hashes["sha256"] = []byte("sha\x99"); return resealed(st) }, false},
		"no hashes":          {func(_ string, st *State) *State { st.Hashes = nil; return resealed(st) }, false},
		"state damaged":      {func(_ string, st *State) *State { st.Hashes["sha256"][40] ^= 1; return st }, true},
		"state of no use":    {func(_ string, st *State) *State { st.Bytes = -5; return resealed(st) }, true},
		"state beyond end":   {func(_ string, st *State) *State { st.Bytes = st.Total + 1; return resealed(st) }, true},
		"state lost":         {func(string, *State) *State { return nil }, true},
		"other URL":          {func(_ string, st *State) *State { st.Source = sourceID("x"); return resealed(st) }, true},
		"file lost":          {func(path string, st *State) *State { os.Remove(path); return st }, true},
		"file short":         {func(path string, st *State) *State { os.Truncate(path, st.Bytes-1); return st }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &half{data: testData(2 << 20)}
			h.version.Store("v1")
			s := httptest.NewServer(h)
			t.Cleanup(s.Close)
			path := filepath.Join(t.TempDir(), "image")
			st := partial(t, path, s.URL)
			kept := st.Bytes
			st = c.spoil(path, st)
			h.resumed.Store(true)
			var keep keeper
			res, err := New(testOptions()).Fetch(t.Context(), Request{
				URL: s.URL, Path: path, State: st, Checkpoint: keep.save, Digests: []string{"sha512"},
			})
			wantFile(t, res, err, path, h.data)
			want := int64(len(h.data))
			if !c.whole {
				want -= kept
			}
			if h.after.Load() != want || res.Resumed == c.whole {
				t.Errorf("source sent %d bytes, want %d; resumed %v", h.after.Load(), want, res.Resumed)
			}
		})
	}
}

func resealed(st *State) *State {
	st.Check = st.check()
	return st
}

// The file at the source became another one of the same length.
func TestSourceChangedBetweenRuns(t *testing.T) {
	t.Parallel()
	h := &half{data: testData(2 << 20)}
	h.version.Store("v1")
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	path := filepath.Join(t.TempDir(), "image")
	st := partial(t, path, s.URL)
	h.data = bytes.Repeat([]byte("new content "), len(h.data)/12)
	h.version.Store("v2")
	h.resumed.Store(true)
	zeroed := false
	res, err := New(testOptions()).Fetch(t.Context(), Request{URL: s.URL, Path: path, State: st, Checkpoint: func(s State) error {
		if info, err := os.Stat(path); s.Bytes == 0 && !zeroed {
			zeroed = true
			if err != nil || info.Size() < st.Bytes {
				t.Errorf("the file was emptied before its state was given up: %v", err)
			}
		}
		return nil
	}})
	wantFile(t, res, err, path, h.data)
	if !zeroed {
		t.Error("the old state was never given up")
	}
}

// part answers like a range server that is made to lie by its headers.
func part(header string, body []byte) func(net.Conn) {
	return func(c net.Conn) { fmt.Fprintf(c, "HTTP/1.1 %s\r\n\r\n%s", header, body) }
}

func TestRangesThatLie(t *testing.T) {
	t.Parallel()
	data := testData(300_000)
	cut := len(data) / 2
	rest := data[cut:]
	whole := part(fmt.Sprintf("200 OK\r\nETag: \"v1\"\r\nContent-Length: %d", len(data)), data)
	for name, c := range map[string]struct {
		second func(net.Conn)
		tries  int32
	}{
		"honest":         {part("206 P\r\nETag: \"v1\"\r\nContent-Range: bytes 150000-299999/300000", rest), 2},
		"no total":       {part("206 P\r\nContent-Range: bytes 150000-299999/*\r\nContent-Length: 150000", rest), 2},
		"whole again":    {whole, 2},
		"other start":    {part("206 P\r\nETag: \"v1\"\r\nContent-Range: bytes 0-149999/300000", data[:cut]), 3},
		"other etag":     {part("206 P\r\nETag: \"v2\"\r\nContent-Range: bytes 150000-299999/300000", testData(cut)), 3},
		"other total":    {part("206 P\r\nETag: \"v1\"\r\nContent-Range: bytes 150000-399999/400000", testData(250_000)), 3},
		"other length":   {part("206 P\r\nETag: \"v1\"\r\nContent-Range: bytes 150000-299999/300000\r\nContent-Length: 7", data[:7]), 3},
		"too long":       {part("206 P\r\nETag: \"v1\"\r\nContent-Range: bytes 150000-299999/300000", append(bytes.Clone(rest), "more"...)), 3},
		"multipart":      {part("206 P\r\nContent-Type: multipart/byteranges; boundary=x", []byte("--x")), 3},
		"two ranges":     {part("206 P\r\nContent-Range: bytes 150000-299999/300000\r\nContent-Range: bytes 0-1/2", rest), 3},
		"not satisfied":  {part("416 N\r\nContent-Range: bytes */300000\r\nContent-Length: 0", nil), 3},
		"short part":     {part("206 P\r\nETag: \"v1\"\r\nContent-Range: bytes 150000-199999/300000\r\nContent-Length: 50000", rest[:50_000]), 3},
		"whole, shorter": {part("200 OK\r\nETag: \"v2\"\r\nContent-Length: 9", []byte("\x00otherone")), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int32
			url := serveRaw(t, func(n int, r *http.Request, conn net.Conn) {
				tries.Add(1)
				switch {
				case n == 0:
					part(fmt.Sprintf("200 OK\r\nETag: \"v1\"\r\nContent-Length: %d", len(data)), data[:cut])(conn)
				case n == 1:
					if r.Header.Get("Range") != "bytes=150000-" || r.Header.Get("If-Range") != `"v1"` {
						t.Errorf("asked for %q if %q", r.Header.Get("Range"), r.Header.Get("If-Range"))
					}
					c.second(conn)
				case r.Header.Get("Range") == "bytes=200000-":
					part("206 P\r\nContent-Range: bytes 200000-299999/300000", data[200_000:])(conn)
				case r.Header.Get("Range") != "":
					t.Errorf("asked for %s once more", r.Header.Get("Range"))
				default:
					whole(conn)
				}
			})
			want := data
			if name == "whole, shorter" {
				want = []byte("\x00otherone")
			}
			var keep keeper
			path := filepath.Join(t.TempDir(), "image")
			res, err := New(testOptions()).Fetch(t.Context(), Request{URL: url, Path: path, Checkpoint: keep.save})
			wantFile(t, res, err, path, want)
			if tries.Load() != c.tries {
				t.Errorf("%d tries, want %d", tries.Load(), c.tries)
			}
		})
	}
}

// A source whose parts are always longer than it says ends with that reason.
func TestWrongLengthForGood(t *testing.T) {
	t.Parallel()
	url := serveRaw(t, func(_ int, r *http.Request, c net.Conn) {
		if r.Header.Get("Range") == "" {
			part("200 OK\r\nETag: \"v1\"\r\nContent-Length: 100", testData(50))(c)
			return
		}
		part("206 P\r\nETag: \"v1\"\r\nContent-Range: bytes 50-99/100", testData(500))(c)
	})
	opt := testOptions()
	opt.Retries = 1
	_, _, err := fetch(t, opt, url)
	wantReason(t, err, ReasonWrongLength)
}

// A source that is another one each time ends with that reason.
func TestChangedForGood(t *testing.T) {
	t.Parallel()
	url := serveRaw(t, func(_ int, r *http.Request, c net.Conn) {
		if r.Header.Get("Range") == "" {
			part("200 OK\r\nETag: \"v1\"\r\nContent-Length: 100", testData(50))(c)
			return
		}
		part("206 P\r\nETag: \"v2\"\r\nContent-Range: bytes 50-99/100", testData(50))(c)
	})
	opt := testOptions()
	opt.Retries = 1
	_, _, err := fetch(t, opt, url)
	wantReason(t, err, ReasonChanged)
}

// An expired link answers the second request with a page.
func TestPageInsteadOfTheRest(t *testing.T) {
	t.Parallel()
	data := testData(1000)
	url := serveRaw(t, func(n int, _ *http.Request, c net.Conn) {
		if n == 0 {
			part("200 OK\r\nETag: \"v1\"\r\nContent-Length: 1000", data[:500])(c)
			return
		}
		part("200 OK\r\nContent-Type: text/html", []byte("<html><body>Link <b>expired</b>"))(c)
	})
	_, _, err := fetch(t, testOptions(), url)
	if e := wantReason(t, err, ReasonHTML); !bytes.Contains([]byte(e.Text), []byte(`"Link expired"`)) {
		t.Error(e.Text)
	}
}

// The budget outlives the process: each new run has one try and no more.
func TestBudgetIsPartOfTheState(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	url := serveRaw(t, func(int, *http.Request, net.Conn) { tries.Add(1) })
	path := filepath.Join(t.TempDir(), "image")
	var keep keeper
	for run := range 3 {
		_, err := New(testOptions()).Fetch(t.Context(), Request{URL: url, Path: path, State: keep.state(t), Checkpoint: keep.save})
		wantReason(t, err, ReasonUnreachable)
		if want := int32(4 + run); tries.Load() != want {
			t.Errorf("run %d: %d tries, want %d", run, tries.Load(), want)
		}
	}
}

// Progress gives the budget back: many more cuts than Retries are survived.
func TestProgressRefillsTheBudget(t *testing.T) {
	t.Parallel()
	data := testData(12 << 20)
	var tries atomic.Int32
	h := cutAfter(refillBytes+300_000, content(data, "v1"))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { tries.Add(1); h(w, r) })
	opt := testOptions()
	opt.Retries = 1
	res, path, err := fetch(t, opt, s.URL)
	wantFile(t, res, err, path, data)
	if tries.Load() < 8 {
		t.Errorf("only %d tries", tries.Load())
	}
}

// Beginning again is no progress: a source without ranges that always cuts at
// the same place does not keep us for ever.
func TestBeginningAgainIsNoProgress(t *testing.T) {
	t.Parallel()
	data := testData(4 << 20)
	var tries atomic.Int32
	url := serveRaw(t, func(_ int, _ *http.Request, c net.Conn) {
		tries.Add(1)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(data))
		_, _ = c.Write(data[:3<<20])
	})
	var last int64
	_, err := New(testOptions()).Fetch(t.Context(), Request{URL: url, Path: filepath.Join(t.TempDir(), "image"),
		Progress: func(done, _ int64) {
			if done <= last {
				t.Errorf("progress fell from %d to %d", last, done)
			}
			last = done
		}})
	wantReason(t, err, ReasonTruncated)
	if tries.Load() != 4 {
		t.Errorf("%d tries, want 4", tries.Load())
	}
}

// Trailers are ignored, and so is what follows them.
func TestTrailers(t *testing.T) {
	t.Parallel()
	data := testData(1000)
	url := serveRaw(t, func(_ int, _ *http.Request, c net.Conn) {
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: ETag\r\n\r\n3e8\r\n%s\r\n0\r\nETag: \"x\"\r\nContent-Encoding: gzip\r\n\r\n", data)
		_, _ = io.WriteString(c, "garbage")
	})
	res, path, err := fetch(t, testOptions(), url)
	wantFile(t, res, err, path, data)
}
