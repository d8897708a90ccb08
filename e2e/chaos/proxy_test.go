package chaos

import (
	"net"
	"strconv"
	"sync"
	"time"
)

// proxy stands between one node and the database.
type proxy struct {
	listener net.Listener
	to       string

	mu      sync.Mutex
	conns   map[net.Conn]bool // both ends of all connections
	refuse  bool              // new connections are reset
	delay   time.Duration     // of everything that is forwarded
	open    chan struct{}     // closed while bytes pass
	isHole  bool
	closing bool
}

func newProxy(port int) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, to: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), conns: map[net.Conn]bool{}, open: make(chan struct{})}
	close(p.open)
	go p.accept()
	return p, nil
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		go p.serve(c)
	}
}

func (p *proxy) serve(near net.Conn) {
	if !p.hold(near) {
		return
	}
	defer p.drop(near)
	if !p.passes(near) {
		return
	}
	far, err := net.Dial("tcp", p.to)
	if err != nil || !p.hold(far) {
		return
	}
	defer p.drop(far)
	done := make(chan struct{}, 2)
	for _, d := range []struct{ from, to net.Conn }{{near, far}, {far, near}} {
		go func() {
			p.pump(d.from, d.to)
			done <- struct{}{}
		}()
	}
	<-done // one way is closed: so is the other
}

func (p *proxy) pump(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.passes(from) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes waits until bytes may pass; false when the connection has been cut.
func (p *proxy) passes(c net.Conn) bool {
	for {
		p.mu.Lock()
		open, delay, held := p.open, p.delay, p.conns[c]
		p.mu.Unlock()
		if !held {
			return false
		}
		select {
		case <-open:
			if delay > 0 {
				time.Sleep(delay) // the network's, not a wait for anything
			}
			return true
		default:
			<-open
		}
	}
}

func (p *proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse || p.closing {
		reset(c)
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[c] {
		delete(p.conns, c)
		reset(c)
	}
}

// reset closes a connection as a machine does that knows nothing of it.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// cut resets every connection, and new ones for as long as refuse stays on.
func (p *proxy) cut(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
	for c := range p.conns {
		reset(c)
	}
	clear(p.conns)
}

// hole swallows everything, in both directions, until heal.
func (p *proxy) hole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isHole {
		p.isHole, p.open = true, make(chan struct{})
	}
}

// slow delays everything that is forwarded from now on.
func (p *proxy) slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// heal lets everything pass again. What a hole has swallowed arrives late.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.delay = false, 0
	if p.isHole {
		p.isHole = false
		close(p.open)
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.cut(true)
	p.heal()
}
