package e2e

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
)

// relay is one address behind which a server may be killed and come back
// elsewhere. It can stop at a chosen request, before or after its answer.
type relay struct {
	listener net.Listener
	url      string
	hit      chan struct{} // has one when the chosen request came by

	mu    sync.Mutex
	to    string // where the server is; "" for nowhere
	what  []byte // how the chosen request begins; nil for none
	reply bool   // stop at its answer, else at itself
	conns map[net.Conn]bool
}

func newRelay(t testing.TB, url string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, url: "http://" + l.Addr().String(), hit: make(chan struct{}, 1), to: address(url), conns: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.cut()
		all.Wait()
	})
	return r
}

func address(url string) string { return strings.TrimPrefix(url, "http://") }

// stopAt chooses the next request that begins so. With reply set its answer is
// swallowed, else the answer is as fast as the server; either way hit tells.
func (r *relay) stopAt(what string, reply bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.what, r.reply = []byte(what), reply
}

// cut breaks all connections and refuses new ones until move.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = ""
	for c := range r.conns {
		_ = c.Close()
	}
}

// move lets connections through to a server.
func (r *relay) move(url string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = address(url)
}

// hold registers a connection, to be cut with all others; it reports where the
// server is.
func (r *relay) hold(c net.Conn) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = true
	return r.to
}

func (r *relay) drop(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *relay) serve(c net.Conn) {
	defer r.drop(c)
	to := r.hold(c)
	if to == "" {
		return
	}
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer r.drop(s)
	if r.hold(s) == "" {
		return
	}
	swallow := make(chan struct{}, 1)
	var both sync.WaitGroup
	both.Go(func() { r.requests(s, c, swallow) })
	both.Go(func() { r.answers(c, s, swallow) })
	both.Wait()
}

// requests passes on what c sends to s.
func (r *relay) requests(s, c net.Conn, swallow chan<- struct{}) {
	defer s.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if n > 0 {
			chosen, reply := r.chosen(b[:n])
			if chosen && reply {
				swallow <- struct{}{}
			}
			if _, err := s.Write(b[:n]); err != nil {
				return
			}
			if chosen && !reply {
				r.hit <- struct{}{}
			}
		}
		if err != nil {
			return
		}
	}
}

func (r *relay) chosen(b []byte) (chosen, reply bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.what == nil || !bytes.HasPrefix(b, r.what) {
		return false, false
	}
	r.what = nil
	return true, r.reply
}

// answers passes on what s sends to c, but not what is to be swallowed.
func (r *relay) answers(c, s net.Conn, swallow <-chan struct{}) {
	defer c.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := s.Read(b)
		if err != nil {
			return
		}
		select {
		case <-swallow:
			r.hit <- struct{}{}
			for err == nil { // until it is cut
				_, err = s.Read(b)
			}
			return
		default:
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}
