package fieldmask

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/go-faster/jx"
)

// Apply appends json to dst without what m leaves out, and returns the longer
// slice. Json is one encoded value of the shape s, or a list of them; it is
// neither changed nor kept, and must not overlap dst's free space. Values are
// copied byte for byte; a key that json lacks is not added. A value that is
// neither object nor list where s has one, null above all, stays as it is.
//
// The error is ErrInconsistent as from Check, or tells that json is no JSON,
// which is a fault of the server; dst comes back as it was.
func (m *Mask) Apply(dst []byte, s *Schema, json []byte) ([]byte, error) {
	if m == nil {
		return append(dst, json...), nil
	}
	f, err := m.compile(s)
	if err != nil {
		return dst, err
	}
	w := writers.Get().(*writer)
	defer w.free()
	d := jx.GetDecoder()
	defer jx.PutDecoder(d)
	d.ResetBytes(json)

	out, err := w.value(dst, d, f.top)
	if err == nil {
		err = atEnd(d)
	}
	if err != nil {
		return dst, fmt.Errorf("filter an answer: %w", err)
	}
	return out, nil
}

func atEnd(d *jx.Decoder) error {
	if err := d.Skip(); !errors.Is(err, io.EOF) {
		return errors.New("data after the value")
	}
	return nil
}

// writer filters one value. Its members are those of all objects that are open,
// the innermost last.
type writer struct{ members []member }

// member is one key of an object that stays. The slices point into the input.
type member struct {
	at    int    // place in the output
	key   []byte // decoded; only where the node has no key for it
	value []byte
}

var writers = sync.Pool{New: func() any { return new(writer) }}

// free gives w back without hold on the input, and not at all once it has grown
// far beyond the usual.
func (w *writer) free() {
	if cap(w.members) > 4<<10 {
		return
	}
	clear(w.members[:cap(w.members)])
	w.members = w.members[:0]
	writers.Put(w)
}

// value appends what n leaves of the value that d stands before.
func (w *writer) value(dst []byte, d *jx.Decoder, n *node) ([]byte, error) {
	switch d.Next() {
	case jx.Object:
		return w.object(dst, d, n)
	case jx.Array:
		return w.array(dst, d, n)
	default:
		raw, err := d.Raw()
		return append(dst, raw...), err
	}
}

func (w *writer) array(dst []byte, d *jx.Decoder, n *node) ([]byte, error) {
	it, err := d.ArrIter()
	if err != nil {
		return dst, err
	}
	dst = append(dst, '[')
	for first := true; it.Next(); first = false {
		if !first {
			dst = append(dst, ',')
		}
		if dst, err = w.value(dst, d, n); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), it.Err()
}

func (w *writer) object(dst []byte, d *jx.Decoder, n *node) ([]byte, error) {
	from := len(w.members)
	if err := w.collect(d, n); err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	first := true
	for i := from; i < len(w.members); i++ {
		m := w.members[i]
		if i+1 < len(w.members) && w.members[i+1].at == m.at {
			continue // a repeated key: its last value counts
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		var err error
		if dst, err = w.member(dst, m, n); err != nil {
			return dst, err
		}
	}
	clear(w.members[from:])
	w.members = w.members[:from]
	return append(dst, '}'), nil
}

// collect puts the members of the object that stay behind w.members, in the
// order of the output.
func (w *writer) collect(d *jx.Decoder, n *node) error {
	it, err := d.ObjIter()
	if err != nil {
		return err
	}
	from, sorted := len(w.members), true
	for rest := len(n.keys); it.Next(); {
		raw, err := d.Raw()
		if err != nil {
			return err
		}
		m := member{value: raw}
		at, named := n.at[string(it.Key())]
		switch {
		case named:
			m.at = at
		case n.rest:
			m.at, m.key = rest, it.Key()
			rest++
		default:
			continue
		}
		sorted = sorted && (len(w.members) == from || w.members[len(w.members)-1].at <= m.at)
		w.members = append(w.members, m)
	}
	if !sorted {
		slices.SortStableFunc(w.members[from:], func(a, b member) int { return a.at - b.at })
	}
	return it.Err()
}

// member appends one key with what n leaves of its value.
func (w *writer) member(dst []byte, m member, n *node) ([]byte, error) {
	if m.at >= len(n.keys) {
		return append(appendKey(dst, m.key), m.value...), nil
	}
	dst = append(dst, n.keys[m.at]...)
	sub := n.subs[m.at]
	if sub == nil || (m.value[0] != '{' && m.value[0] != '[') {
		return append(dst, m.value...), nil
	}
	d := jx.GetDecoder()
	defer jx.PutDecoder(d)
	d.ResetBytes(m.value)
	return w.value(dst, d, sub)
}

func encodeKey(name string) string { return string(appendKey(nil, []byte(name))) }

func appendKey(dst, key []byte) []byte {
	w := jx.Writer{Buf: dst}
	w.ByteStr(key)
	return append(w.Buf, ':')
}
