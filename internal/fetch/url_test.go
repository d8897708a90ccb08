package fetch

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/fault"
)

// forbidden are URLs that lead, or could be taken to lead, to an address that
// is not public. None of them may even be accepted.
var forbidden = []string{
	// Plain addresses of every special network.
	"http://127.0.0.1/", "http://127.255.255.254/", "http://127.0.0.1:8080/a.iso", "http://0.0.0.0/", "http://0.1.2.3/",
	"http://10.0.0.1/", "http://10.255.255.255/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.0.1/",
	"http://169.254.0.1/", "http://169.254.169.254/latest/meta-data/", "https://169.254.169.254/", "http://169.254.170.2/",
	"http://168.63.129.16/", "http://100.64.0.1/", "http://100.100.100.200/", "http://100.127.255.255/",
	"http://192.0.0.192/", "http://192.0.2.1/", "http://198.18.0.1/", "http://198.19.255.255/", "http://198.51.100.1/",
	"http://203.0.113.1/", "http://192.88.99.1/", "http://224.0.0.1/", "http://239.255.255.255/", "http://240.0.0.1/",
	"http://255.255.255.255/",
	// Other spellings of them.
	"http://2130706433/", "http://02130706433/", "http://017700000001/", "http://0x7f000001/", "http://0X7F000001/",
	"http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://0177.0.0.01/", "http://127.1/", "http://127.0.1/", "http://0/",
	"http://0x0/", "http://0x/", "http://10.1/", "http://0xa.0.0.1/", "http://012.0.0.1/", "http://3232235521/",
	"http://192.168.257/", "http://0xc0.0xa8.0x0.0x1/", "http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/",
	"http://169.254.43518/", "http://127.0.0.0x1/", "http://00000127.0.0.1/", "http://127.000.000.001/",
	// Odd spellings of public ones: programs differ on what they mean.
	"http://134744072/", "http://0x08080808/", "http://010.8.8.8/", "http://8.8.2056/",
	// Numbers that are no address at all.
	"http://256.1.1.1/", "http://1.2.3.4.5/", "http://4294967296/", "http://1.2.3.099/", "http://99999999999999999999/",
	// Trailing dots.
	"http://127.0.0.1./", "http://127.1./", "http://localhost./", "http://2130706433./", "http://169.254.169.254.:80/",
	// IPv6.
	"http://[::]/", "http://[::1]/", "http://[::1]:8080/", "http://[0:0:0:0:0:0:0:1]/", "http://[::127.0.0.1]/",
	"http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:10.0.0.1]/", "http://[::ffff:169.254.169.254]/",
	"http://[0:0:0:0:0:ffff:c0a8:0001]/", "http://[::ffff:0:127.0.0.1]/", "http://[64:ff9b::127.0.0.1]/",
	"http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b:1::1]/", "http://[2002:7f00:1::]/", "http://[2002:a9fe:a9fe::1]/",
	"http://[2001::1]/", "http://[2001:0:7f00:1::]/", "http://[2001:db8::1]/", "http://[3fff::1]/", "http://[100::1]/",
	"http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[2606:4700::1%25eth0]/",
	"http://[fec0::1]/", "http://[fc00::1]/", "http://[fd00::1]/", "http://[fd00:ec2::254]/", "http://[ff02::1]/",
	"http://[ff0e::1]/", "http://[5f00::1]/",
	// Names of this machine.
	"http://localhost/", "http://LOCALHOST/", "http://a.localhost/", "http://localhost:80/", "http://ip6-localhost/",
	"http://localhost.localdomain/", "http://localhost6/",
	// User names that look like hosts, and hosts that look like user names.
	"http://example.com@127.0.0.1/", "http://example.com:80@127.0.0.1/", "http://user:pass@169.254.169.254/",
	"http://example.com@@127.0.0.1/", "http://127.0.0.1\\@example.com/", "http://example.com\\@127.0.0.1/",
	"http://127.1:80#@example.com/", "http://127.0.0.1?@example.com/", "http://example.com%40@10.0.0.1/",
	// Other alphabets and escapes.
	"http://１２７.0.0.1/", "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://127.0.0.1%00.example.com/",
	"http://%31%32%37.0.0.1/", "http://lⓞcalhost/", "http://٣.٣.٣.٣/",
	// Other schemes.
	"file:///etc/passwd", "file://localhost/etc/passwd", "ftp://example.com/a.iso", "gopher://127.0.0.1:25/", "unix:///run/x",
}

func TestForbiddenURLs(t *testing.T) {
	t.Parallel()
	if len(forbidden) < 60 {
		t.Fatalf("only %d cases", len(forbidden))
	}
	f := New(Options{})
	for _, raw := range forbidden {
		e := wantReason(t, f.CheckURL(raw), ReasonURLNotAllowed)
		if !e.Permanent {
			t.Errorf("%s: a repeat cannot help", raw)
		}
		_, err := f.Fetch(t.Context(), Request{URL: raw, Path: filepath.Join(t.TempDir(), "never")})
		wantReason(t, err, ReasonURLNotAllowed)
	}
}

func TestRefusalNamesTheRule(t *testing.T) {
	t.Parallel()
	f := New(Options{})
	for raw, word := range map[string]string{
		"http://127.0.0.1/":            "loopback",
		"http://2130706433/":           "loopback",
		"http://10.1.2.3/":             "private",
		"http://[fd00::1]/":            "private",
		"http://100.64.1.1/":           "carrier",
		"http://169.254.169.254/":      "metadata",
		"http://[::ffff:169.254.1.1]/": "link-local",
		"http://[64:ff9b::1.2.3.4]/":   "NAT64",
		"http://[2002::1]/":            "6to4",
		"http://[2001::1]/":            "Teredo",
		"http://224.0.0.1/":            "multicast",
		"http://255.255.255.255/":      "broadcast",
		"http://0.0.0.0/":              "unspecified",
		"http://192.0.2.1/":            "reserved",
		"http://0x08080808/":           "unusual form",
		"ftp://example.com/":           "http and https",
	} {
		if err := f.CheckURL(raw); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v does not say %q", raw, err, word)
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	f := New(Options{})
	for raw, reason := range map[string]fault.Reason{
		"http://example.com/a.iso":                       "",
		"HTTPS://EXAMPLE.com:8443/a.iso?x=1":             "",
		"https://user:p%40ss@example.com/a.iso":          "",
		"http://example.com.":                            "",
		"http://8.8.8.8/":                                "",
		"http://[2606:4700:4700::1111]:81/":              "",
		"http://[::ffff:8.8.8.8]/":                       "",
		"http://xn--bcher-kva.example/":                  "",
		"http://1.2.3.example/":                          "",
		"http://mirror_1.example.com/a?redirect=http://": "",
		"":                                                 ReasonURLInvalid,
		"example.com/a.iso":                                ReasonURLInvalid,
		"//example.com/a.iso":                              ReasonURLInvalid,
		"http:/example.com":                                ReasonURLInvalid,
		"http:///a.iso":                                    ReasonURLInvalid,
		"http://:80/":                                      ReasonURLInvalid,
		"http://user@/":                                    ReasonURLInvalid,
		"http://example.com:0/":                            ReasonURLInvalid,
		"http://example.com:65536/":                        ReasonURLInvalid,
		"http://example.com:http/":                         ReasonURLInvalid,
		"http://exam ple.com/":                             ReasonURLInvalid,
		"http://example.com/a\r\nHost: x":                  ReasonURLInvalid,
		"http://example.com/\x00":                          ReasonURLInvalid,
		"http://example.com/\xff":                          ReasonURLInvalid,
		"http://example.com/%zz":                           ReasonURLInvalid,
		"http://a..example.com/":                           ReasonURLInvalid,
		"http://exa$mple.com/":                             ReasonURLInvalid,
		"http://[::1/":                                     ReasonURLInvalid,
		"http://[fe80:::1]/":                               ReasonURLInvalid,
		"http://[::1]x/":                                   ReasonURLInvalid,
		"http://" + strings.Repeat("a", 64) + ".com/":      ReasonURLInvalid,
		"http://" + strings.Repeat("a.", 130) + "com/":     ReasonURLInvalid,
		"http://example.com/" + strings.Repeat("a", 4096):  ReasonURLInvalid,
		"http://example.com/" + strings.Repeat("%41", 900): "",
	} {
		err := f.CheckURL(raw)
		if reason == "" {
			if err != nil {
				t.Errorf("%.80q: %v", raw, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%.80q is accepted", raw)
			continue
		}
		wantReason(t, err, reason)
	}
}

// Allow opens what it names; the addresses beside it stay closed.
func TestAllowIsExact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		allow          string
		open, stayShut []string
	}{
		{"10.1.2.0/24", []string{"10.1.2.0", "10.1.2.255", "[::ffff:10.1.2.3]"}, []string{"10.1.1.255", "10.1.3.0", "127.0.0.1", "0x0a010203", "localhost"}},
		{"127.0.0.1/32", []string{"127.0.0.1", "localhost", "a.localhost"}, []string{"127.0.0.2", "127.0.0.0", "[::1]", "127.1", "2130706433", "0.0.0.0"}},
		{"127.0.0.9/8", []string{"127.0.0.1", "127.255.255.255"}, []string{"126.0.0.0:0", "128.0.0.0:0", "[::1]"}},
		{"::1/128", []string{"[::1]", "localhost"}, []string{"127.0.0.1", "[::2]", "[::]"}},
		{"fd12::/16", []string{"[fd12::1]", "[fd12:ffff::]"}, []string{"[fd11:ffff::]", "[fd13::1]", "[fe80::1]", "[fd12::1%25eth0]"}},
		{"::ffff:192.168.7.0/120", []string{"192.168.7.1", "[::ffff:192.168.7.1]"}, []string{"192.168.8.1", "192.168.6.255"}},
		{"169.254.169.254/32", []string{"169.254.169.254"}, []string{"169.254.169.253", "169.254.169.255", "[fd00:ec2::254]"}},
		{"64:ff9b::a00:1/128", []string{"[64:ff9b::10.0.0.1]"}, []string{"10.0.0.1", "[64:ff9b::10.0.0.2]"}},
		{"168.63.129.16/32", []string{"168.63.129.16", "168.63.129.17"}, []string{"10.0.0.1"}},
	} {
		f := New(Options{Allow: []netip.Prefix{netip.MustParsePrefix(c.allow)}})
		for _, host := range c.open {
			if err := f.CheckURL("http://" + host + "/a.iso"); err != nil {
				t.Errorf("allow %s: %s: %v", c.allow, host, err)
			}
		}
		for _, host := range c.stayShut {
			if err := f.CheckURL("http://" + host + "/a.iso"); err == nil {
				t.Errorf("allow %s also opens %s", c.allow, host)
			}
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://u:p@example.com/a.iso":                        "https://example.com/a.iso",
		"https://u@example.com:8443/a.iso#frag":                "https://example.com:8443/a.iso",
		"https://h.example/a?version=3&token=abc":              "https://h.example/a?version=3&token=***",
		"https://h.example/a?X-Amz-Signature=a&X-Amz-Date=b&c": "https://h.example/a?X-Amz-Signature=***&X-Amz-Date=***&c",
		"https://h.example/a?%74oken=abc":                      "https://h.example/a?%74oken=***",
		"https://h.example/a?%zz=abc":                          "https://h.example/a?%zz=***",
		"https://h.example/a?sig=x;AccessKeyId=y;se=z":         "https://h.example/a?sig=***&AccessKeyId=***&se=z",
		"http://[::1":                 "(unreadable URL)",
		"not a url":                   "(unreadable URL)",
		"mailto:a@b":                  "(unreadable URL)",
		"https://h.example/\u202ea b": "https://h.example/%E2%80%AEa%20b",
	} {
		if got := Redact(raw); got != want {
			t.Errorf("Redact(%q) = %q, want %q", raw, got, want)
		}
	}
	if got := Redact("http://h.example/" + strings.Repeat("x", 5000)); len(got) > 310 {
		t.Errorf("%d characters", len(got))
	}
}

func FuzzURL(f *testing.F) {
	for _, raw := range forbidden {
		f.Add(raw)
	}
	for _, raw := range []string{"http://example.com/a.iso", "https://u:secretword@[2606:4700::1]:1/?token=secretword", "http://1.2.3.4\x00", "http://a@b@c/"} {
		f.Add(raw)
	}
	closed := New(Options{})
	f.Fuzz(func(t *testing.T, raw string) {
		if p := Redact(raw); len(p) > 4*310 || strings.ContainsAny(p, "\r\n\x00") {
			t.Errorf("Redact(%q) = %q", raw, p)
		}
		u, err := closed.parse(raw, maxURLBytes)
		if err != nil {
			if r := err.(*Error).Reason; r != ReasonURLInvalid && r != ReasonURLNotAllowed {
				t.Errorf("reason %s", r)
			}
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" {
			t.Errorf("%q: scheme %q", raw, u.Scheme)
		}
		// Whatever inet_aton would read as an address is public and usual.
		if a, ok := looseIPv4(strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))); ok {
			if closed.guard.SafeAddr(a) != nil || a.String() != u.Hostname() {
				t.Errorf("%q leads to %s", raw, a)
			}
		}
	})
}
