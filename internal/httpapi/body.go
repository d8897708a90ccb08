package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-faster/jx"
)

// maxDepth is how many objects and lists of a body may be inside each other.
const maxDepth = 64

// body reads a request body, checks it and writes it anew: only members the
// contract has, each once and under its own name, integers as digits, booleans
// as booleans, and no null. What was checked is thus all that the generated
// decoder sees. It then is the body that the decoder reads.
type body struct {
	bytes.Reader
	raw  bytes.Buffer
	dec  *jx.Decoder
	out  *jx.Writer
	errs *fieldErrors
	dry  bool // the operation has a dry run, which is asked for in the query
}

var bodies = sync.Pool{New: func() any { return &body{dec: jx.DecodeBytes(nil), out: &jx.Writer{}} }}

// Close is there for io.ReadCloser.
func (b *body) Close() error { return nil }

// free gives b back, unless it has grown far beyond the usual.
func (b *body) free() {
	if b.raw.Cap() > 64<<10 || cap(b.out.Buf) > 64<<10 {
		return
	}
	b.Reset(nil)
	b.dec.ResetBytes(nil)
	b.errs = nil
	bodies.Put(b)
}

// read takes the body of r, whatever its content type says, and checks it
// against o. Wrong fields go to errs. The error is one of the faults about
// bodies, or errTooLarge.
func (b *body) read(o *operation, r *http.Request, errs *fieldErrors) error {
	b.raw.Reset()
	if r.ContentLength > maxBody {
		return errTooLarge
	}
	if r.Body != nil {
		if _, err := b.raw.ReadFrom(r.Body); err != nil {
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				return errTooLarge
			}
			return errBodyRead.Because(err)
		}
	}
	return b.check(o, b.raw.Bytes(), errs)
}

// check does the work of read on the bytes of a body.
func (b *body) check(o *operation, raw []byte, errs *fieldErrors) error {
	b.out.Reset()
	b.errs, b.dry = errs, o.quote != nil
	if len(bytes.TrimLeft(raw, " \t\r\n")) == 0 {
		if !o.bodyRequired {
			b.Reset(nil)
			return nil
		}
		if !slices.ContainsFunc(o.body.props, func(p property) bool { return p.required }) {
			return errBodyJSON // as {} it would be a request, and not the one that was sent
		}
		raw = []byte("{}") // so that each field is named that is missing
	}
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return errBodyJSON
	}
	b.dec.ResetBytes(raw)
	if err := b.value(o.body, "", 1); err != nil {
		return err
	}
	b.Reset(b.out.Buf)
	return nil
}

// value checks the next value and writes it anew. What is wrong with it goes to
// errs under its path. The error ends the reading of the whole body.
func (b *body) value(s *shape, path string, depth int) error {
	switch t := b.dec.Next(); {
	case t == jx.Object && s.kind == object:
		return b.object(s, path, depth)
	case t == jx.Array && s.kind == list:
		return b.list(s, path, depth)
	case t == jx.Number && s.kind == integer:
		return b.integer(s, path)
	case t == jx.Number && s.kind == number:
		return b.number(s, path)
	case t == jx.String && s.kind == text:
		return b.text(s, path)
	case t == jx.Bool && s.kind == boolean:
		v, err := b.dec.Bool()
		b.out.Bool(v)
		return malformed(err)
	case s.loose && (t == jx.String || t == jx.Number):
		return b.looseBool(path)
	default:
		return b.wrongType(s.kind, path, depth)
	}
}

// malformed turns an error of the decoder, which cannot happen after the whole
// was found valid, into a fault.
func malformed(err error) error {
	if err != nil {
		return errBodyJSON.Because(err)
	}
	return nil
}

func (b *body) object(s *shape, path string, depth int) error {
	if depth > maxDepth {
		return errBodyDeep
	}
	it, err := b.dec.ObjIter()
	if err != nil {
		return malformed(err)
	}
	var seen, given uint64 // given: with a value, which null is not
	var others keys
	b.out.ObjStart()
	start := len(b.out.Buf)
	for it.Next() {
		i, err := s.find(it.Key())
		if err != nil {
			return err
		}
		if i < 0 {
			if b.dry && depth == 1 && strings.EqualFold(string(it.Key()), dryRun) {
				b.errs.add(dryRun, "belongs in the query string") // ignored, it would be done
			}
			if !others.add(it.Key()) {
				return errBodyRepeat.Textf("The request body has the key %s twice in one object", quoted(string(it.Key())))
			}
			if err := b.skip(depth + 1); err != nil {
				return err
			}
			continue
		}
		if seen&(1<<i) != 0 {
			return errBodyRepeat.Textf("The request body has the key '%s' twice in one object", s.props[i].name)
		}
		seen |= 1 << i
		if b.dec.Next() != jx.Null {
			given |= 1 << i
		}
		if err := b.member(&s.props[i], path, start, depth); err != nil {
			return err
		}
	}
	if err := it.Err(); err != nil {
		return malformed(err)
	}
	b.out.ObjEnd()
	for i := range s.props {
		p := &s.props[i]
		missing := p.required && seen&(1<<i) == 0
		if missing || p.unless >= 0 && given&(1<<i|1<<p.unless) == 0 {
			b.errs.add(join(path, p.name), "'"+p.name+"' is a required property")
		}
	}
	return nil
}

// find returns the place of a key, -1 if the object has no such member. A key
// that a decoder blind to case would take for a member is refused.
func (s *shape) find(key []byte) (int, error) {
	for i := range s.props {
		if string(key) == s.props[i].name {
			return i, nil
		}
	}
	for i := range s.props {
		if strings.EqualFold(string(key), s.props[i].name) {
			return 0, errBodyCase.Textf("The request body has the key %s, which must be written '%s'",
				quoted(string(key)), s.props[i].name)
		}
	}
	return -1, nil
}

// member checks the value of a member and writes both, unless it is null and
// may be left out.
func (b *body) member(p *property, path string, start, depth int) error {
	if b.dec.Next() == jx.Null && !p.required {
		return malformed(b.dec.Null())
	}
	if len(b.out.Buf) > start {
		b.out.Comma()
	}
	b.out.FieldStart(p.name)
	return b.value(p.shape, join(path, p.name), depth+1)
}

func (b *body) list(s *shape, path string, depth int) error {
	if depth > maxDepth {
		return errBodyDeep
	}
	it, err := b.dec.ArrIter()
	if err != nil {
		return malformed(err)
	}
	b.out.ArrStart()
	var items []string // as written, where they must differ
	n := 0
	for it.Next() {
		n++
		if n > s.maxLen { // the answer is known, but keys still count
			if err := b.skip(depth + 1); err != nil {
				return err
			}
			continue
		}
		if n > 1 {
			b.out.Comma()
		}
		from := len(b.out.Buf)
		if err := b.value(s.elem, join(path, strconv.Itoa(n-1)), depth+1); err != nil {
			return err
		}
		if s.unique && len(b.out.Buf) > from { // a wrong item writes nothing
			items = append(items, string(b.out.Buf[from:]))
		}
	}
	b.out.ArrEnd()
	switch {
	case n < s.minLen:
		b.errs.add(path, "has too few items: at least "+strconv.Itoa(s.minLen))
	case n > s.maxLen:
		b.errs.add(path, "has too many items: at most "+strconv.Itoa(s.maxLen))
	case repeats(items):
		b.errs.add(path, "has non-unique elements")
	}
	return malformed(it.Err())
}

func repeats(items []string) bool {
	for i := range items {
		for j := range i {
			if items[i] == items[j] {
				return true
			}
		}
	}
	return false
}

// integer takes any number without a fraction, such as 50.0 and 5e1.
func (b *body) integer(s *shape, path string) error {
	num, err := b.dec.Num()
	if err != nil {
		return malformed(err)
	}
	raw := string(num)
	n, err := strconv.ParseInt(raw, 10, 64)
	f := float64(n)
	if err != nil {
		if f, err = strconv.ParseFloat(raw, 64); err == nil && f != math.Trunc(f) {
			b.errs.add(path, shown(raw)+" is not of type 'integer'")
			return nil
		}
		n = int64(min(max(f, -exact), exact)) // outside of every range anyway
	}
	if text := s.checkRange(f, raw); text != "" {
		b.errs.add(path, text)
		return nil
	}
	b.out.Int64(n)
	return nil
}

func (b *body) number(s *shape, path string) error {
	num, err := b.dec.Num()
	if err != nil {
		return malformed(err)
	}
	raw := string(num)
	f, _ := strconv.ParseFloat(raw, 64) // too large is infinite, which is out of range
	if text := s.checkRange(f, raw); text != "" {
		b.errs.add(path, text)
		return nil
	}
	b.out.Raw(num)
	return nil
}

func (b *body) text(s *shape, path string) error {
	v, err := b.dec.Str()
	if err != nil {
		return malformed(err)
	}
	if text := s.checkText(v); text != "" {
		b.errs.add(path, text)
		return nil
	}
	b.out.Str(v)
	return nil
}

// looseBool takes the spellings of a boolean that are none in JSON.
func (b *body) looseBool(path string) error {
	if b.dec.Next() == jx.Number {
		num, err := b.dec.Num()
		if v := string(num); v == "1" || v == "0" {
			b.out.Bool(v == "1")
		} else {
			b.errs.add(path, shown(v)+" is not of type 'boolean'")
		}
		return malformed(err)
	}
	word, err := b.dec.Str()
	if v, ok := looseBool(word); ok && len(word) > 1 {
		b.out.Bool(v)
	} else {
		b.errs.add(path, quoted(word)+" is not of type 'boolean'")
	}
	return malformed(err)
}

// wrongType reports a value of another type, and still reads it to its end.
func (b *body) wrongType(want kind, path string, depth int) error {
	var got string
	switch b.dec.Next() {
	case jx.Null:
		got = "None"
	case jx.Bool:
		v, err := b.dec.Bool()
		if err != nil {
			return malformed(err)
		}
		b.errs.add(path, map[bool]string{true: "True", false: "False"}[v]+" is not of type '"+string(want)+"'")
		return nil
	case jx.String:
		v, err := b.dec.Str()
		if err != nil {
			return malformed(err)
		}
		b.errs.add(path, quoted(v)+" is not of type '"+string(want)+"'")
		return nil
	case jx.Number:
		v, err := b.dec.Num()
		if err != nil {
			return malformed(err)
		}
		b.errs.add(path, shown(string(v))+" is not of type '"+string(want)+"'")
		return nil
	case jx.Array:
		got = "[...]"
	default:
		got = "{...}"
	}
	b.errs.add(path, got+" is not of type '"+string(want)+"'")
	return b.skip(depth)
}

// skip passes over a value nobody asked for. Its keys must be unique all the same.
func (b *body) skip(depth int) error {
	switch b.dec.Next() {
	case jx.Object:
		if depth > maxDepth {
			return errBodyDeep
		}
		it, err := b.dec.ObjIter()
		if err != nil {
			return malformed(err)
		}
		var seen keys
		for it.Next() {
			if !seen.add(it.Key()) {
				return errBodyRepeat.Textf("The request body has the key %s twice in one object", quoted(string(it.Key())))
			}
			if err := b.skip(depth + 1); err != nil {
				return err
			}
		}
		return malformed(it.Err())
	case jx.Array:
		if depth > maxDepth {
			return errBodyDeep
		}
		it, err := b.dec.ArrIter()
		if err != nil {
			return malformed(err)
		}
		for it.Next() {
			if err := b.skip(depth + 1); err != nil {
				return err
			}
		}
		return malformed(it.Err())
	default:
		return malformed(b.dec.Skip())
	}
}

// keys is a set of keys: a short list that becomes a map when it gets long.
type keys struct {
	few  []string
	many map[string]struct{}
}

// add reports whether key is new.
func (k *keys) add(key []byte) bool {
	if k.many != nil {
		if _, ok := k.many[string(key)]; ok {
			return false
		}
		k.many[string(key)] = struct{}{}
		return true
	}
	for _, f := range k.few {
		if f == string(key) {
			return false
		}
	}
	k.few = append(k.few, string(key))
	if len(k.few) > 16 {
		k.many = make(map[string]struct{}, 64)
		for _, f := range k.few {
			k.many[f] = struct{}{}
		}
	}
	return true
}

// join makes the dotted path of a member or item.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

var _ io.ReadCloser = (*body)(nil)
