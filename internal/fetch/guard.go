package fetch

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"

	"code.dny.dev/ssrf"
)

// moreDenied are public addresses that mean something private: Azure answers
// guests about themselves on this one.
var moreDenied = []netip.Prefix{netip.MustParsePrefix("168.63.129.16/32")}

// newGuard returns the check of dialled addresses. loopback tells whether
// allow opens any loopback address.
func newGuard(allow []netip.Prefix) (guard *ssrf.Guardian, loopback bool) {
	var v4, v6 []netip.Prefix
	for _, p := range allow {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		if p = p.Masked(); p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
		loopback = loopback || p.Overlaps(netip.MustParsePrefix("127.0.0.0/8")) || p.Contains(netip.IPv6Loopback())
	}
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...),
		ssrf.WithDeniedV4Prefixes(moreDenied...)), loopback
}

// kinds names the networks that are refused, most specific first.
var kinds = []struct {
	prefix netip.Prefix
	name   string
}{
	{netip.MustParsePrefix("0.0.0.0/32"), "the unspecified address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("169.254.169.254/32"), "a cloud metadata address"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud metadata address"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private address"},
	{netip.MustParsePrefix("172.16.0.0/12"), "a private address"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private address"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a shared carrier address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("::/128"), "the unspecified address"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("64:ff9b::/96"), "a NAT64 address"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a NAT64 address"},
	{netip.MustParsePrefix("2002::/16"), "a 6to4 address"},
	{netip.MustParsePrefix("2001::/32"), "a Teredo address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("fc00::/7"), "a private address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
}

// kindOf names the network of a refused address in words.
func kindOf(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	for _, k := range kinds {
		if k.prefix.Contains(a) {
			return k.name
		}
	}
	return "a reserved address"
}

// notPublic is the refusal of host because of the address a. The address
// itself stays out of the sentence: what a name inside leads to is not for the
// one who asks.
func notPublic(host string, a netip.Addr, cause error) *Error {
	return permanent(ReasonURLNotAllowed,
		"the host %s is or leads to %s; downloads reach public addresses only", host, kindOf(a)).because(cause)
}

func (f *Fetcher) newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // a proxy would dial for us, past the guard
		DialContext:            f.dial,
		DialTLSContext:         f.dialTLS,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		ResponseHeaderTimeout:  f.opt.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ReadBufferSize:         64 << 10,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
}

// dial connects to address. The guard sees each address after resolution, at
// the moment of connecting, so there is no gap in which a name can change. A
// refusal outweighs the network errors of the name's other addresses.
func (f *Fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex // addresses of both families are dialled side by side
	var refused *Error
	d := net.Dialer{
		Timeout:  f.opt.DialTimeout,
		Resolver: f.opt.Resolver,
		Control: func(network, address string, c syscall.RawConn) error {
			err := f.guard.Safe(network, address, c)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				ap, _ := netip.ParseAddrPort(address)
				refused = notPublic(host, ap.Addr(), err)
			}
			return err
		},
	}
	conn, err := d.DialContext(ctx, network, address)
	if err == nil {
		return conn, nil
	}
	mu.Lock()
	defer mu.Unlock()
	if refused != nil {
		return nil, refused
	}
	return nil, err
}

// dialTLS does the handshake here, so that what goes wrong in it can be told
// from what goes wrong in the network.
func (f *Fetcher) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := f.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{ServerName: host, RootCAs: f.opt.RootCAs, MinVersion: tls.VersionTLS12})
	ctx, cancel := context.WithTimeout(ctx, f.opt.DialTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		if isNetwork(err) || ctx.Err() != nil {
			return nil, err
		}
		return nil, &handshakeError{err}
	}
	return conn, nil
}
