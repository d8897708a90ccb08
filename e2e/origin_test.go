package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// origin is a loopback web server that ISOs are imported from.
type origin struct {
	*httptest.Server
	mux *http.ServeMux

	mu     sync.Mutex
	open   chan struct{} // closes when braked downloads may go on
	ranges []string      // the Range headers of all requests, "" for none
}

// newOrigin starts one. Its brake is off.
func newOrigin(t testing.TB) *origin {
	o := &origin{mux: http.NewServeMux(), open: make(chan struct{})}
	close(o.open)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.ranges = append(o.ranges, r.Header.Get("Range"))
		o.mu.Unlock()
		o.mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		o.release()
		o.CloseClientConnections()
		o.Close()
	})
	return o
}

// allow is the flag by which a server may import from an origin.
const allow = "--fetch-allow=127.0.0.1/32"

// brake makes braked downloads stop half-way until release.
func (o *origin) brake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.open:
		o.open = make(chan struct{})
	default:
	}
}

func (o *origin) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.open:
	default:
		close(o.open)
	}
}

// seen returns the Range headers of the requests so far.
func (o *origin) seen() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.ranges...)
}

// serve offers an image and returns its URL.
func (o *origin) serve(path string, i image) string {
	o.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { i.serve(w, r) })
	return o.URL + path
}

// serveBraked offers an image whose download stops after so many bytes of an
// answer while the brake is on.
func (o *origin) serveBraked(path string, i image, after int64) string {
	o.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		open := o.open
		o.mu.Unlock()
		i.serve(&braked{ResponseWriter: w, left: after, open: open, gone: r.Context().Done()}, r)
	})
	return o.URL + path
}

// serve answers with the image, or the range of it that was asked for.
func (i image) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", i.etag())
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, strings.TrimPrefix(r.URL.Path, "/"), time.Time{}, i.reader())
}

// braked is an answer that stops after left bytes until open closes, or the
// other side has gone.
type braked struct {
	http.ResponseWriter
	left int64
	open <-chan struct{}
	gone <-chan struct{}
}

func (b *braked) Write(p []byte) (int, error) {
	select {
	case <-b.open:
		return b.ResponseWriter.Write(p)
	default:
	}
	n := int(min(int64(len(p)), b.left))
	b.left -= int64(n)
	if n == len(p) {
		return b.ResponseWriter.Write(p)
	}
	if _, err := b.ResponseWriter.Write(p[:n]); err != nil {
		return 0, err
	}
	if err := http.NewResponseController(b.ResponseWriter).Flush(); err != nil {
		return n, err
	}
	select {
	case <-b.open:
	case <-b.gone:
	}
	m, err := b.ResponseWriter.Write(p[n:])
	return n + m, err
}
