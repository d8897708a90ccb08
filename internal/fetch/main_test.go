package fetch

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/fault"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback opens the address test servers listen on, and no other.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

// testOptions reach 127.0.0.1 and never wait between tries.
func testOptions() Options {
	return Options{
		Allow: loopback, Retries: 3, CheckpointEvery: 256 << 10, StallTimeout: 20 * time.Second,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

// testData returns n bytes that look like no known format.
func testData(n int) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(b)
	b[0] = 0
	return b
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// serve starts a test server for h.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// serveRaw starts a server that hands the n-th request (from 0) and its
// connection to h, and closes the connection when h returns.
func serveRaw(t *testing.T, h func(n int, r *http.Request, c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					h(n, r, c)
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return "http://" + ln.Addr().String() + "/image.iso"
}

// waitGone returns once the other side has closed the connection.
func waitGone(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// content serves data with ranges and a strong ETag made from version.
func content(data []byte, version string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+version+`"`)
		http.ServeContent(w, r, "image.iso", time.Time{}, bytes.NewReader(data))
	}
}

// cutAfter lets n bytes of the body pass and then breaks the connection.
func cutAfter(n int, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h(&cutter{ResponseWriter: w, left: n}, r)
	}
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) < c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// keeper keeps the last State the way a database would, as JSON.
type keeper struct {
	mu   sync.Mutex
	last []byte
	n    int
}

func (k *keeper) save(s State) error {
	b, err := json.Marshal(s)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.n = b, k.n+1
	return err
}

func (k *keeper) state(t *testing.T) *State {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil {
		return nil
	}
	s := new(State)
	if err := json.Unmarshal(k.last, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// fetch runs one download into a new folder.
func fetch(t *testing.T, opt Options, url string) (Result, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	res, err := New(opt).Fetch(t.Context(), Request{URL: url, Path: path})
	return res, path, err
}

// wantFile checks a finished download against the data it should hold.
func wantFile(t *testing.T, res Result, err error, path string, data []byte) {
	t.Helper()
	if err != nil {
		t.Fatalf("fetch: %v", err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("file has %d bytes with digest %s, want %d with %s", len(got), sha(got), len(data), sha(data))
	}
	if res.SHA256 != sha(data) || res.Bytes != int64(len(data)) {
		t.Errorf("result %d bytes %s, want %d bytes %s", res.Bytes, res.SHA256, len(data), sha(data))
	}
}

// wantReason checks the error, "" for any reason, and that its sentence is one
// and safe.
func wantReason(t *testing.T, err error, reason fault.Reason) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v (%T), want reason %s", err, err, reason)
	}
	if reason != "" && e.Reason != reason {
		t.Fatalf("reason %s (%v), want %s", e.Reason, e, reason)
	}
	if e.Text == "" || strings.ContainsAny(e.Text, "\r\n\x00") || len(e.Text) > 500 {
		t.Errorf("not a sentence: %q", e.Text)
	}
	return e
}

// fakeDNS answers every A and AAAA query with what answer returns for the
// lookup's number (the A query counts) and the name.
func fakeDNS(answer func(n int, name string) []netip.Addr) *net.Resolver {
	var mu sync.Mutex
	seen := map[string]int{}
	reply := func(q []byte) []byte {
		name, end := dnsName(q, 12)
		kind := int(q[end])<<8 | int(q[end+1])
		mu.Lock()
		n := seen[fmt.Sprint(name, kind)]
		seen[fmt.Sprint(name, kind)]++
		mu.Unlock()
		return dnsReply(q[:end+4], kind, answer(n, name))
	}
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			for {
				var size [2]byte
				if _, err := io.ReadFull(server, size[:]); err != nil {
					return
				}
				q := make([]byte, int(size[0])<<8|int(size[1]))
				if _, err := io.ReadFull(server, q); err != nil {
					return
				}
				r := reply(q)
				if _, err := server.Write(append([]byte{byte(len(r) >> 8), byte(len(r))}, r...)); err != nil {
					return
				}
			}
		}()
		return client, nil
	}}
}

func dnsName(q []byte, at int) (string, int) {
	var labels []string
	for q[at] != 0 {
		n := int(q[at])
		labels = append(labels, string(q[at+1:at+1+n]))
		at += 1 + n
	}
	return strings.Join(labels, "."), at + 1
}

func dnsReply(query []byte, kind int, addrs []netip.Addr) []byte {
	r := bytes.Clone(query)
	r[2], r[3] = 0x81, 0x80 // an answer, no error
	copy(r[4:12], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	if addrs == nil {
		r[3] |= 3 // no such name
	}
	for _, a := range addrs {
		if a.Is4() != (kind == 1) {
			continue
		}
		raw := a.AsSlice()
		r = append(r, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(raw)))
		r = append(r, raw...)
		r[7]++
	}
	return r
}
