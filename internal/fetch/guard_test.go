package fetch

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// privateAddrs are addresses a name may be made to lead to.
var privateAddrs = []string{
	"127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "168.63.129.16", "100.64.0.1",
	"192.0.0.1", "198.18.0.1", "224.0.0.251", "240.0.0.1", "255.255.255.255", "0.0.0.0",
	"::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "fe80::1", "fd00:ec2::254",
	"fc00::1", "ff02::1", "2001:db8::1",
}

func needIPv6(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	ln.Close()
}

func TestNameThatLeadsInside(t *testing.T) {
	t.Parallel()
	for _, addr := range privateAddrs {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			a := netip.MustParseAddr(addr)
			if a.Unmap().Is6() {
				needIPv6(t)
			}
			var lookups atomic.Int32
			opt := testOptions()
			opt.Allow = nil
			opt.Resolver = fakeDNS(func(int, string) []netip.Addr { lookups.Add(1); return []netip.Addr{a} })
			_, _, err := fetch(t, opt, "http://files.test/a.iso")
			e := wantReason(t, err, ReasonURLNotAllowed)
			if strings.Contains(e.Text, addr) {
				t.Errorf("the sentence gives the address away: %s", e.Text)
			}
			if !e.Permanent || lookups.Load() > 2 {
				t.Errorf("repeated: permanent %v, %d lookups", e.Permanent, lookups.Load())
			}
		})
	}
}

// A name with a refused and a dead address is refused: the rule is what the
// caller has to hear, not the network error.
func TestRefusalOutweighsNetworkError(t *testing.T) {
	t.Parallel()
	opt := testOptions()
	opt.Resolver = fakeDNS(func(int, string) []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.1")}
	})
	_, _, err := fetch(t, opt, "http://files.test:1/a.iso")
	wantReason(t, err, ReasonURLNotAllowed)
}

// The name leads to an open address first, and inside once we are trusted.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	data := testData(1 << 20)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		cutAfter(100_000, content(data, "v1"))(w, r)
	})
	opt := testOptions()
	opt.Resolver = fakeDNS(func(n int, _ string) []netip.Addr {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + n)})}
	})
	port := s.Listener.Addr().(*net.TCPAddr).Port
	_, _, err := fetch(t, opt, fmt.Sprintf("http://files.test:%d/a.iso", port))
	wantReason(t, err, ReasonURLNotAllowed)
	if requests.Load() != 1 {
		t.Errorf("%d requests, want the first one only", requests.Load())
	}
}

// Only 127.0.0.77 is open, so that every forbidden URL stays forbidden.
func TestRedirectInside(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.77:0")
	if err != nil {
		t.Skipf("only one loopback address on this system: %v", err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(http.StatusFound)
	}))
	s.Listener.Close()
	s.Listener = ln
	s.Start()
	t.Cleanup(s.Close)
	opt := testOptions()
	opt.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.77/32")}
	opt.Resolver = fakeDNS(func(int, string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("10.0.0.5")} })
	for _, to := range append([]string{"http://inside.test/", "//10.0.0.1/", "//localhost/"}, forbidden...) {
		_, _, err := fetch(t, opt, s.URL+"?to="+url.QueryEscape(to))
		var e *Error
		if !errors.As(err, &e) || e.Reason != ReasonURLNotAllowed || !e.Permanent {
			t.Errorf("redirect to %s: %v", to, err)
		}
	}
}

func TestRedirectChainIsCheckedOnEveryHop(t *testing.T) {
	t.Parallel()
	var hops atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if hops.Add(1) < 4 {
			http.Redirect(w, r, "/next", http.StatusTemporaryRedirect)
			return
		}
		http.Redirect(w, r, "http://169.254.169.254/latest/", http.StatusMovedPermanently)
	})
	_, _, err := fetch(t, testOptions(), s.URL)
	e := wantReason(t, err, ReasonURLNotAllowed)
	if hops.Load() != 4 || !strings.Contains(e.Text, "metadata") {
		t.Errorf("%d hops, %s", hops.Load(), e.Text)
	}
}

func TestDialledAddressNotAllowedBesideAllowed(t *testing.T) {
	t.Parallel()
	opt := testOptions()
	opt.Resolver = fakeDNS(func(int, string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.2")} })
	_, _, err := fetch(t, opt, "http://files.test/a.iso")
	wantReason(t, err, ReasonURLNotAllowed)
}
