package fetch

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxURLBytes      = 4096 // of a request
	maxRedirectBytes = 8192 // of a Location: signed ones are long
	maxHostBytes     = 253  // RFC 1035
)

// CheckURL reports whether raw may be downloaded as far as it can be told from
// its text, and touches no network. The error is an *Error with url_invalid
// or url_not_allowed. A host written as an address must be public or in
// Options.Allow, and written the usual way; every other spelling of an
// address is refused, since programs read them differently. Names are judged
// by the address they lead to, when it is dialled.
func (f *Fetcher) CheckURL(raw string) error {
	_, err := f.parse(raw, maxURLBytes)
	return err
}

// parse is CheckURL with the parsed URL. The error is an *Error or nil.
func (f *Fetcher) parse(raw string, limit int) (*url.URL, error) {
	switch {
	case raw == "":
		return nil, permanent(ReasonURLInvalid, "the URL is empty")
	case len(raw) > limit:
		return nil, permanent(ReasonURLInvalid, "the URL is longer than %d bytes", limit)
	case !utf8.ValidString(raw) || strings.ContainsFunc(raw, unreadable):
		return nil, permanent(ReasonURLInvalid, "the URL contains spaces, control characters or bytes that are not text")
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, permanent(ReasonURLInvalid, "the URL must begin with http:// or https://")
	}
	if s := strings.ToLower(scheme); s != "http" && s != "https" {
		return nil, permanent(ReasonURLNotAllowed, "only http and https URLs can be downloaded")
	}
	if err := checkAuthority(rest); err != nil {
		return nil, err
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The cause would quote the URL with its credentials.
		return nil, permanent(ReasonURLInvalid, "the URL cannot be read")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, permanent(ReasonURLInvalid, "the port in the URL is not between 1 and 65535")
		}
	}
	if err := f.checkHost(u.Hostname()); err != nil {
		return nil, err
	}
	return u, nil
}

func unreadable(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }

// checkAuthority refuses what parsers disagree about, before one of them has
// the say. rest is the URL after "://".
func checkAuthority(rest string) error {
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	host := authority[strings.LastIndexByte(authority, '@')+1:]
	switch {
	case host == "" || strings.HasPrefix(host, ":"):
		return permanent(ReasonURLInvalid, "the URL names no host")
	case strings.Contains(authority, `\`):
		return permanent(ReasonURLNotAllowed, "the host part of the URL contains a backslash")
	case strings.Contains(host, "%"):
		return permanent(ReasonURLNotAllowed, "the host in the URL contains a percent sign (an escape or a zone)")
	case strings.ContainsFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }):
		return permanent(ReasonURLNotAllowed, "the host in the URL must be in ASCII; write an international name as xn--...")
	}
	return nil
}

// checkHost judges a host by its text. host is without port and brackets.
func (f *Fetcher) checkHost(host string) error {
	if strings.Contains(host, ":") {
		a, err := netip.ParseAddr(host)
		if err != nil || a.Zone() != "" {
			return permanent(ReasonURLNotAllowed, "the host in the URL is not a valid IPv6 address")
		}
		return f.checkAddr(host, a.Unmap())
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if numeric(name[strings.LastIndexByte(name, '.')+1:]) {
		return f.checkNumeric(host, name)
	}
	if len(name) > maxHostBytes {
		return permanent(ReasonURLInvalid, "the host name in the URL is longer than %d characters", maxHostBytes)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return permanent(ReasonURLInvalid, "the host in the URL is not a valid name")
		}
	}
	if isLocalName(name) && !f.loopback {
		return notPublic(name, netip.IPv6Loopback(), errors.New("local name"))
	}
	return nil
}

func (f *Fetcher) checkAddr(host string, a netip.Addr) error {
	if err := f.guard.SafeAddr(a); err != nil {
		return notPublic(host, a, err)
	}
	return nil
}

// checkNumeric judges a host whose last label is a number: no such name
// exists, so it is an address or nothing. Only the usual form goes on.
func (f *Fetcher) checkNumeric(host, name string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		return f.checkAddr(host, a)
	}
	if a, ok := looseIPv4(name); ok {
		if err := f.checkAddr(a.String(), a); err != nil {
			return err
		}
	}
	return permanent(ReasonURLNotAllowed,
		"the host in the URL is an address in an unusual form; write it as four decimal numbers without leading zeros")
}

// isLocalName reports whether name means this machine by convention.
func isLocalName(name string) bool {
	switch name {
	case "localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback",
		"localhost.localdomain", "localhost4.localdomain4", "localhost6.localdomain6":
		return true
	}
	return strings.HasSuffix(name, ".localhost")
}

// numeric reports whether inet_aton would take label for a number.
func numeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

// looseIPv4 reads an address the way inet_aton does: one to four numbers,
// decimal, octal or hex, the last one filling the bytes that are left.
func looseIPv4(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v uint64
	for i, p := range parts {
		if !numeric(p) {
			return netip.Addr{}, false
		}
		n, err := parseNumber(p)
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if err != nil || n >= 1<<bits {
			return netip.Addr{}, false
		}
		v = v<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

func parseNumber(s string) (uint64, error) {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return strconv.ParseUint("0"+hex, 16, 64)
	}
	if len(s) > 1 && s[0] == '0' {
		return strconv.ParseUint(s, 8, 64)
	}
	return strconv.ParseUint(s, 10, 64)
}

// secretWords mark the names of query values that are masked.
var secretWords = []string{"token", "sig", "secret", "passw", "pwd", "auth", "cred", "key", "policy", "session",
	"jwt", "hmac", "hash", "ticket", "x-amz-", "x-goog-", "x-ms-"}

// Redact returns raw for logs and messages: without user name, password and
// fragment, with the query values masked that look like secrets, and cut at
// 300 characters. What cannot be read as a URL is not repeated at all.
func Redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return "(unreadable URL)"
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	pairs := strings.FieldsFunc(u.RawQuery, func(r rune) bool { return r == '&' || r == ';' })
	for i, p := range pairs {
		name, _, _ := strings.Cut(p, "=")
		if isSecret(name) {
			pairs[i] = name + "=***"
		}
	}
	u.RawQuery = strings.Join(pairs, "&")
	return clean(u.String(), 300)
}

func isSecret(name string) bool {
	plain, err := url.QueryUnescape(name)
	if err != nil {
		return true
	}
	plain = strings.ToLower(plain)
	for _, w := range secretWords {
		if strings.Contains(plain, w) {
			return true
		}
	}
	return false
}

// clean makes outside text fit for one line of ours: printable characters,
// single spaces, at most limit of them.
func clean(s string, limit int) string {
	var b strings.Builder
	n, space := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) {
			space = n > 0
			continue
		}
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			continue
		}
		if n >= limit || (space && n+1 >= limit) {
			return b.String() + "..."
		}
		if space {
			b.WriteByte(' ')
			n, space = n+1, false
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}
