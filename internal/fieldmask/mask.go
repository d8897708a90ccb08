// Package fieldmask reads the X-Fields mask of a request and filters an
// encoded JSON answer with it. It is pure: it knows no transport and gets the
// shape of the answer as a Schema.
//
// A mask names fields: `volumeId,size`, `nics{ip,vlan{id}}`, `*`. It can only
// take away what the answer has; it never adds a key.
package fieldmask

import (
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/drivebay/drivebay/internal/fault"
)

// The bounds of a mask, which comes from outside. The largest answer has a few
// dozen fields on three levels.
const (
	MaxLength = 8 << 10 // bytes of the header value
	MaxDepth  = 32      // levels of braces inside each other
)

// The two faults of a mask. Both are fault.Invalid. Every error of Parse
// matches ErrParse under errors.Is; its text tells what was wrong.
var (
	ErrParse        = fault.New(fault.Invalid, "mask_parse_error", "Mask parse error")
	ErrInconsistent = fault.New(fault.Invalid, "mask_inconsistent", "Mask error: Mask is inconsistent with model")
)

// The texts are part of the published contract, all but the last two, which
// belong to our own bounds.
var (
	errComma   = ErrParse.Textf("Mask parse error: Unexpected comma")
	errOpening = ErrParse.Textf("Mask parse error: Unexpected opening bracket")
	errClosing = ErrParse.Textf("Mask parse error: Unexpected closing bracket")
	errMissing = ErrParse.Textf("Mask parse error: Missing closing bracket")
	errLength  = ErrParse.Textf("Mask parse error: Longer than %d bytes", MaxLength)
	errDepth   = ErrParse.Textf("Mask parse error: More than %d levels of brackets", MaxDepth)
)

// Mask is a parsed mask. The nil Mask lets everything through. It may be used
// by several goroutines at once and must not be copied.
type Mask struct {
	top *level
	// last is the form compiled for the schema it was used with last, so that
	// Check and Apply of one request share it.
	last atomic.Pointer[filter]
}

// level is what stands between one pair of braces, in the order of first mention.
type level struct {
	names []string
	subs  []*level // by position in names; nil: the whole field
	at    map[string]int
}

// set makes name part of l with sub as its mask. The last mention counts, at
// the place of the first.
func (l *level) set(name string, sub *level) {
	i, ok := l.at[name]
	if ok {
		l.subs[i] = sub
		return
	}
	if l.at == nil {
		l.at = make(map[string]int)
	}
	l.at[name] = len(l.names)
	l.names = append(l.names, name)
	l.subs = append(l.subs, sub)
}

// Join makes one value of several header lines, as Parse wants it.
func Join(lines []string) string { return strings.Join(lines, ",") }

// Parse reads a header value. An empty or blank one is no mask: nil, nil. The
// error matches ErrParse.
func Parse(header string) (*Mask, error) {
	if len(header) > MaxLength {
		return nil, errLength
	}
	text := strings.TrimSpace(strings.ReplaceAll(header, "\n", ""))
	if text == "" {
		return nil, nil
	}
	// The outer braces are optional, and dropped before anything is counted:
	// "{nics{ip}" loses the brace of nics.
	if text[0] == '{' {
		if text[len(text)-1] != '}' {
			return nil, errMissing
		}
		text = text[1 : len(text)-1]
	}
	p := parser{now: &level{}}
	top := p.now
	if err := p.read(text); err != nil {
		return nil, err
	}
	return &Mask{top: top}, nil
}

// parser keeps the level being read, the levels around it, and the last token:
// "" before the first one.
type parser struct {
	now   *level
	outer []*level
	last  string
}

// read takes text token by token: braces, commas and names. Anything else only
// separates tokens.
func (p *parser) read(text string) error {
	for i := 0; i < len(text); {
		n := tokenLen(text[i:])
		if n == 0 {
			_, size := utf8.DecodeRuneInString(text[i:])
			i += size
			continue
		}
		if err := p.token(text[i : i+n]); err != nil {
			return err
		}
		i += n
	}
	if len(p.outer) > 0 {
		return errMissing
	}
	return nil
}

func (p *parser) token(tok string) error {
	switch tok {
	case "{":
		if p.last == "" || p.last == "{" || p.last == "}" || p.last == "," {
			return errOpening
		}
		if len(p.outer) == MaxDepth {
			return errDepth
		}
		sub := &level{}
		p.now.set(p.last, sub)
		p.outer = append(p.outer, p.now)
		p.now = sub
	case "}":
		if len(p.outer) == 0 {
			return errClosing
		}
		p.now = p.outer[len(p.outer)-1]
		p.outer = p.outer[:len(p.outer)-1]
	case ",":
		if p.last == "" || p.last == "{" || p.last == "," {
			return errComma
		}
	default:
		p.now.set(tok, nil)
	}
	p.last = tok
	return nil
}

// tokenLen is the length in bytes of the token at the start of s, 0 when there
// is none.
func tokenLen(s string) int {
	if s[0] == '{' || s[0] == '}' || s[0] == ',' {
		return 1
	}
	n := 0
	for n < len(s) {
		r, size := utf8.DecodeRuneInString(s[n:])
		if !inName(r) {
			break
		}
		n += size
	}
	return n
}

func inName(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	case r == '_', r == ':', r == '-', r == '*':
		return true
	}
	return r >= utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsNumber(r))
}
