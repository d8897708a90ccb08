package idempotency

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestParseKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []string
		want   string // "!" for ErrKeyForm
	}{
		{nil, ""},
		{[]string{"a"}, "a"},
		{[]string{`"a"`}, "a"},
		{[]string{"8e03978e-40d5-43dd-bc93-6894a57f9324"}, "8e03978e-40d5-43dd-bc93-6894a57f9324"},
		{[]string{`"8e03978e-40d5-43dd-bc93-6894a57f9324"`}, "8e03978e-40d5-43dd-bc93-6894a57f9324"},
		{[]string{`!#$%&'()*+,-./:;<=>?@[\]^_{|}~`}, `!#$%&'()*+,-./:;<=>?@[\]^_{|}~`},
		{[]string{`a"b`}, `a"b`},
		{[]string{`a"`}, `a"`},
		{[]string{`"a\"b\\c"`}, `a"b\c`},
		{[]string{strings.Repeat("k", 255)}, strings.Repeat("k", 255)},
		{[]string{`"` + strings.Repeat("k", 255) + `"`}, strings.Repeat("k", 255)},

		{[]string{""}, "!"},
		{[]string{`""`}, "!"},
		{[]string{`"`}, "!"},
		{[]string{`"a`}, "!"},
		{[]string{`"a"b"`}, "!"},
		{[]string{`"a\"`}, "!"},
		{[]string{`"a\b"`}, "!"},
		{[]string{`"a";p=1`}, "!"},
		{[]string{"a b"}, "!"},
		{[]string{`"a b"`}, "!"},
		{[]string{"a\tb"}, "!"},
		{[]string{"a\x7f"}, "!"},
		{[]string{"schlüssel"}, "!"},
		{[]string{strings.Repeat("k", 256)}, "!"},
		{[]string{"a", "a"}, "!"},
		{[]string{"a", "b"}, "!"},
		{[]string{"", ""}, "!"},
	} {
		got, err := ParseKey(c.values)
		switch {
		case c.want == "!" && (!errors.Is(err, ErrKeyForm) || got != ""):
			t.Errorf("%q: %q, %v, want ErrKeyForm", c.values, got, err)
		case c.want != "!" && (err != nil || got != c.want):
			t.Errorf("%q: %q, %v, want %q", c.values, got, err, c.want)
		}
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	of := func(parts ...string) [32]byte {
		return Fingerprint(parts[0], parts[1], parts[2], []byte(parts[3]))
	}
	base := of("POST", "/a", "q=1", `{"size":50,"list":[{"x":1,"y":2},3]}`)
	for _, body := range []string{
		`{"list":[{"y":2,"x":1},3],"size":50}`,
		" { \"size\" : 50,\n\"list\": [ {\"x\":1, \"y\":2}, 3 ] } ",
		`{"\u0073ize":50,"list":[{"x":1,"y":2},3]}`,
	} {
		if of("POST", "/a", "q=1", body) != base {
			t.Errorf("%s is another request", body)
		}
	}
	seen := map[[32]byte]string{base: "base"}
	for _, parts := range [][]string{
		{"PUT", "/a", "q=1", `{"size":50,"list":[{"x":1,"y":2},3]}`},
		{"POST", "/b", "q=1", `{"size":50,"list":[{"x":1,"y":2},3]}`},
		{"POST", "/a", "q=2", `{"size":50,"list":[{"x":1,"y":2},3]}`},
		{"POST", "/a", "q=1", `{"size":51,"list":[{"x":1,"y":2},3]}`},
		{"POST", "/a", "q=1", `{"size":50,"list":[3,{"x":1,"y":2}]}`},
		{"POST", "/a", "q=1", `{"size":9007199254740993}`},
		{"POST", "/a", "q=1", `{"size":9007199254740992}`},
		{"POST", "/a", "q=1", `{}`},
		{"POST", "/a", "q=1", ``},
		{"POST", "/a", "", `q=1`},
		{"POST", "/aq=1", "", ``},
		{"POST", "/a", "q=1", `{} {}`},
	} {
		f := of(parts...)
		if other, had := seen[f]; had {
			t.Errorf("%v and %s are the same", parts, other)
		}
		seen[f] = strings.Join(parts, " ")
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	if From(context.Background()) != nil {
		t.Error("a request out of nothing")
	}
	r := &Request{ID: "a", Fingerprint: Fingerprint("POST", "/", "", nil)}
	if got := From(With(context.Background(), r)); got != r {
		t.Errorf("got %v", got)
	}
	other := Request{Fingerprint: Fingerprint("PUT", "/", "", nil)}
	if k := (Kept{Fingerprint: r.Fingerprint[:]}); !r.Same(k) || other.Same(k) {
		t.Error("requests are told apart wrongly")
	}
}
