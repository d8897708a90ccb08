package access

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/fault"
)

func TestPermissions(t *testing.T) {
	t.Parallel()
	all := []Permission{Read, Volumes, ISOs, Billing, Admin}
	for _, c := range []struct{ has, may []Permission }{
		{nil, nil},
		{[]Permission{Read}, []Permission{Read}},
		{[]Permission{Volumes}, []Permission{Read, Volumes}}, // read goes with every key
		{[]Permission{ISOs}, []Permission{Read, ISOs}},
		{[]Permission{Billing}, []Permission{Read, Billing}},
		{[]Permission{Admin}, []Permission{Read, Admin}},
		{Everything, []Permission{Read, Volumes, ISOs, Billing}},
		{all, all},
	} {
		id := Identity{Permissions: c.has}
		for _, p := range all {
			if got, want := id.May(p), slices.Contains(c.may, p); got != want {
				t.Errorf("a key with %v may %s: %t", c.has, p, got)
			}
		}
		if got, want := id.Operator(), slices.Contains(c.has, Admin); got != want {
			t.Errorf("a key with %v is an operator's: %t", c.has, got)
		}
	}
	for _, p := range all {
		if got, ok := ParsePermission(string(p)); !ok || got != p {
			t.Errorf("%s is no permission", p)
		}
	}
	for _, s := range []string{"", "Read", "READ", "write", "read ", "*"} {
		if _, ok := ParsePermission(s); ok {
			t.Errorf("%q is a permission", s)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	id := func(n int64) *int64 { return &n }
	parent := Identity{ClientID: 7, Permissions: Everything, Clients: []int64{7, 9}}
	child := Identity{ClientID: 9, Permissions: Everything, Clients: []int64{9}}
	operator := Identity{Permissions: []Permission{Admin}}
	for _, c := range []struct {
		name  string
		who   Identity
		named *int64
		scope string // of ActingFor; "" refused
		owner int64  // 0: refused
	}{
		{"parent for itself", parent, nil, "{false [7]}", 7},
		{"parent by its own id", parent, id(7), "{false [7]}", 7},
		{"parent for its child", parent, id(9), "{false [9]}", 9},
		{"parent for another", parent, id(8), "", 0},
		{"parent for nobody", parent, id(0), "", 0},
		{"child for itself", child, nil, "{false [9]}", 9},
		{"child for its parent", child, id(7), "", 0},
		{"operator for everyone", operator, nil, "{true []}", 0},
		{"operator for one", operator, id(8), "{false [8]}", 8},
	} {
		scope, err := c.who.ActingFor(c.named)
		if c.scope == "" && !errors.Is(err, ErrOtherClient) || c.scope != "" && (err != nil || fmt.Sprint(scope) != c.scope) {
			t.Errorf("%s: scope %v, %v, want %s", c.name, scope, err, c.scope)
		}
		owner, err := c.who.Owner(c.named)
		if c.owner != 0 && err != nil || c.owner == 0 && err == nil || owner != c.owner {
			t.Errorf("%s: owner %d, %v, want %d", c.name, owner, err, c.owner)
		}
	}
	if _, err := operator.Owner(nil); fault.ReasonOf(err) != "client_required" {
		t.Errorf("an operator without a client: %v", err)
	}
	if s := parent.Scope(); !s.Covers(7) || !s.Covers(9) || s.Covers(8) || s.Covers(0) {
		t.Errorf("a parent's scope: %v", s)
	}
	if s := operator.Scope(); !s.Covers(7) || !s.Covers(8) {
		t.Errorf("an operator's scope: %v", s)
	}
	if (Scope{}).Covers(0) || (Scope{}).Covers(7) {
		t.Error("the empty scope covers something")
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		token, prefix := NewToken()
		if len(token) != len("dbay_")+12+1+32 || !strings.HasPrefix(token, "dbay_"+prefix+"_") || token != strings.ToLower(token) {
			t.Fatalf("token %q, prefix %q", token, prefix)
		}
		if got, ok := prefixOf(token); !ok || got != prefix || Fingerprint(token) != prefix {
			t.Fatalf("prefix of %q: %q", token, got)
		}
		if seen[prefix] || seen[token] {
			t.Fatal("a token came twice")
		}
		seen[prefix], seen[token] = true, true
	}
	good, _ := NewToken()
	for name, s := range map[string]string{
		"empty": "", "cut": good[:len(good)-1], "longer": good + "a", "another mark": "xbay_" + good[5:], "upper mark": "DBAY_" + good[5:],
		"no second line": strings.Replace(good, "_", "-", 2), "space ahead": " " + good, "only the mark": "dbay_",
	} {
		if p, ok := prefixOf(s); ok || Fingerprint(s) != "" {
			t.Errorf("%s: prefix %q", name, p)
		}
	}
}

func TestAllowed(t *testing.T) {
	t.Parallel()
	list := func(s ...string) (out []netip.Prefix) {
		for _, p := range s {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for _, c := range []struct {
		list []netip.Prefix
		from string
		want bool
	}{
		{nil, "192.0.2.1", true},
		{nil, "2001:db8::1", true},
		{list("192.0.2.0/24"), "192.0.2.255", true},
		{list("192.0.2.0/24"), "192.0.3.0", false},
		{list("192.0.2.7/32"), "192.0.2.7", true},
		{list("192.0.2.7/32"), "192.0.2.8", false},
		{list("192.0.2.0/24"), "::ffff:192.0.2.9", true},
		{list("192.0.2.0/24"), "::192.0.2.9", false},
		{list("2001:db8::/32"), "2001:db8:1::1", true},
		{list("2001:db8::/32"), "2001:db9::1", false},
		{list("fe80::/10"), "fe80::1%eth0", true},
		{list("::/0"), "192.0.2.1", false},
		{list("0.0.0.0/0"), "2001:db8::1", false},
		{list("192.0.2.0/24", "2001:db8::/32"), "2001:db8::1", true},
	} {
		if got := allowed(c.list, netip.MustParseAddr(c.from)); got != c.want {
			t.Errorf("%s in %v: %t", c.from, c.list, got)
		}
	}
	if allowed(list("192.0.2.0/24"), netip.Addr{}) {
		t.Error("no address is in a list")
	}
}

func FuzzToken(f *testing.F) {
	good, _ := NewToken()
	for _, s := range []string{"", good, "dbay_", "dbay_" + strings.Repeat("_", 45), strings.Repeat("é", 25)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := prefixOf(s); ok != (p != "") || ok && !strings.HasPrefix(s, tokenPrefix+p+"_") {
			t.Fatalf("%q: %q, %t", s, p, ok)
		}
	})
}
