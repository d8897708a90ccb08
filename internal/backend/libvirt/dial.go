package libvirt

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	lv "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

// dialLimit is how long a host may take to answer at all.
const dialLimit = 10 * time.Second

// dialerOf understands a host's URI: qemu:///system and qemu+unix with socket=,
// qemu+tls with pkipath= and no_verify=1, qemu+ssh with keyfile=, known_hosts=,
// socket= and no_verify=1.
func dialerOf(u *url.URL) (socket.Dialer, error) {
	q := u.Query()
	noVerify := q.Get("no_verify") == "1"
	switch u.Scheme {
	case "qemu", "qemu+unix":
		if u.Host != "" {
			return nil, errors.New("a host by name needs qemu+tls or qemu+ssh")
		}
		o := []dialers.LocalOption{dialers.WithLocalTimeout(dialLimit)}
		if path := q.Get("socket"); path != "" {
			o = append(o, dialers.WithSocket(path))
		}
		return dialers.NewLocal(o...), nil
	case "qemu+tls":
		o := []dialers.TLSOption{}
		if port := u.Port(); port != "" {
			o = append(o, dialers.UseTLSPort(port))
		}
		if path := q.Get("pkipath"); path != "" {
			o = append(o, dialers.UsePKIPath(path))
		}
		if noVerify {
			o = append(o, dialers.WithInsecureNoVerify())
		}
		return named(u, dialers.NewTLS(u.Hostname(), o...))
	case "qemu+ssh":
		return named(u, newSSH(u, noVerify))
	}
	return nil, fmt.Errorf("scheme %q: want qemu+unix, qemu+tls or qemu+ssh", u.Scheme)
}

func named(u *url.URL, d socket.Dialer) (socket.Dialer, error) {
	if u.Hostname() == "" {
		return nil, errors.New("no host is named")
	}
	return d, nil
}

// checkURI says what is wrong with a host's URI.
func checkURI(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	_, err = dialerOf(u)
	return u, err
}

// keeping hands out the one connection it was made with.
type keeping struct{ w *wire }

func (k keeping) Dial() (net.Conn, error) { return k.w, nil }

// open makes one connection to a host and returns once libvirt has accepted it.
func open(u *url.URL, limit time.Duration) (*lv.Libvirt, *wire, error) {
	dialer, err := dialerOf(u)
	if err != nil {
		return nil, nil, err
	}
	type made struct {
		l   *lv.Libvirt
		w   *wire
		err error
	}
	var (
		done = make(chan made, 1)
		mu   sync.Mutex
		late bool
		w    *wire
	)
	go func() {
		raw, err := dialer.Dial()
		if err != nil {
			done <- made{err: err}
			return
		}
		mu.Lock()
		w = newWire(raw)
		if late {
			_ = w.Close()
		}
		mu.Unlock()
		l := lv.NewWithDialer(keeping{w})
		if err := l.ConnectToURI(lv.RemoteURI(u)); err != nil {
			_ = w.Close()
			done <- made{err: err}
			return
		}
		done <- made{l: l, w: w}
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case m := <-done:
		return m.l, m.w, m.err
	case <-t.C:
		mu.Lock()
		defer mu.Unlock()
		late = true
		if w != nil {
			_ = w.Close()
		}
		return nil, nil, fmt.Errorf("no answer within %s", limit)
	}
}
