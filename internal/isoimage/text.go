package isoimage

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxLabel = 128 // characters

// clean makes text from an image fit to show: printable characters only (so no
// control or direction marks), runs of space as one, at most limit characters.
func clean(s string, limit int) string {
	var b strings.Builder
	n, gap := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) || r == 0 {
			gap = true
			continue
		}
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			r = '_'
		}
		if gap && n > 0 {
			b.WriteByte(' ')
			n++
		}
		gap = false
		if n >= limit {
			break
		}
		b.WriteRune(r)
		n++
	}
	return strings.TrimSpace(b.String())
}
