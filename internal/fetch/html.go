package fetch

import (
	"bytes"
	"html"
	"mime"
	"net/http"
	"strings"
)

// pageBytes is how much of a web page is read for its title.
const pageBytes = 32 << 10

// htmlPage reports whether a body that begins with head and is declared as
// contentType is a web page, and what it says. A page is what looks like one,
// or what is declared as one and is text; an image under a wrong type passes.
func htmlPage(head []byte, contentType string) (quote string, ok bool) {
	looks := strings.HasPrefix(http.DetectContentType(head), "text/html")
	kind, _, _ := mime.ParseMediaType(contentType)
	declared := kind == "text/html" || kind == "application/xhtml+xml"
	start := head[:min(len(head), 512)]
	if !looks && (!declared || bytes.IndexByte(start, 0) >= 0) {
		return "", false
	}
	return pageQuote(head[:min(len(head), pageBytes)]), true
}

// pageQuote is the page's title, else its first words.
func pageQuote(page []byte) string {
	text := strings.ToValidUTF8(string(page), "")
	if t := clean(html.UnescapeString(element(text, "title")), 80); t != "" {
		return t
	}
	return clean(html.UnescapeString(visible(text)), 80)
}

// element returns what is inside the first <name ...>, "" when there is none.
func element(text, name string) string {
	low := lowerASCII(text)
	start := strings.Index(low, "<"+name)
	if start < 0 {
		return ""
	}
	open := strings.IndexByte(low[start:], '>')
	if open < 0 {
		return ""
	}
	body := start + open + 1
	end := strings.Index(low[body:], "</"+name)
	if end < 0 {
		end = strings.IndexByte(low[body:], '<')
	}
	if end < 0 {
		return text[body:]
	}
	return text[body : body+end]
}

// visible drops tags, and scripts, styles and comments with their content.
func visible(text string) string {
	low := lowerASCII(text)
	var b strings.Builder
	for i := 0; i < len(text); {
		if text[i] != '<' {
			next := strings.IndexByte(text[i:], '<')
			if next < 0 {
				next = len(text) - i
			}
			b.WriteString(text[i : i+next])
			b.WriteByte(' ')
			i += next
			continue
		}
		end := ">"
		switch {
		case strings.HasPrefix(low[i:], "<!--"):
			end = "-->"
		case strings.HasPrefix(low[i:], "<script"):
			end = "</script>"
		case strings.HasPrefix(low[i:], "<style"):
			end = "</style>"
		}
		n := strings.Index(low[i:], end)
		if n < 0 {
			break
		}
		i += n + len(end)
	}
	return b.String()
}

// lowerASCII keeps every byte at its place, which strings.ToLower does not.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
