package fetch

import (
	"strings"
	"testing"
)

func TestHTMLPage(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("word ", 100)
	for _, c := range []struct{ body, kind, want string }{
		{"<!doctype html><html><head><title>Sign in</title>", "", "Sign in"},
		{"<HTML><TITLE>Ünïcode &eacute;\t\n x</TITLE>", "", "Ünïcode é x"},
		{"<html><title></title><body><h1>Gone</h1><p>fishing</p>", "", "Gone fishing"},
		{"<html><style>b{}</style><script>var a = '<b>'</script><!-- <p>no</p> -->Yes", "", "Yes"},
		{"<html><title>open", "", "open"},
		{"<html><title", "", ""},
		{"<html><script>never closed", "", ""},
		{"<html>" + long, "", strings.TrimSpace(long[:79]) + "..."},
		{"expired", "text/html;charset=latin1", "expired"},
		{"caf\xe9", "application/xhtml+xml", "caf"},
	} {
		got, ok := htmlPage([]byte(c.body), c.kind)
		if !ok || got != c.want {
			t.Errorf("%.40q: %q %v, want %q", c.body, got, ok, c.want)
		}
	}
	iso := make([]byte, 4096)
	copy(iso[600:], "<html>")
	for _, c := range []struct{ body, kind string }{
		{string(iso), "text/html"}, {string(iso), ""}, {"plain words", "text/plain"}, {"\x7fELF<html>", "text/htmlx"}, {"", ""},
	} {
		if quote, ok := htmlPage([]byte(c.body), c.kind); ok {
			t.Errorf("%.20q as %s is taken for a page: %q", c.body, c.kind, quote)
		}
	}
}
