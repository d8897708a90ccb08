package fieldmask

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzMask holds that no mask and no answer panics, that a mask which fits
// turns JSON into JSON as a plain filter of decoded values does, and that a
// second pass changes nothing.
func FuzzMask(f *testing.F) {
	for _, c := range cases {
		for _, mask := range c.masks {
			f.Add(mask, []byte(c.json))
		}
	}
	f.Fuzz(func(t *testing.T, mask string, in []byte) {
		m, err := Parse(mask)
		if err != nil || m == nil {
			return
		}
		for _, s := range []*Schema{model, list(model)} {
			fits := m.Check(s)
			out, err := m.Apply(nil, s, in)
			if fits != nil {
				if err != fits {
					t.Fatalf("Check says %v, Apply %v", fits, err)
				}
				continue
			}
			// Escaped halves of a pair and broken UTF-8 have no one reading.
			if !json.Valid(in) || !utf8.Valid(in) || bytes.Contains(in, []byte(`\u`)) {
				continue
			}
			if err != nil {
				t.Fatalf("Apply: %v", err)
			}
			want := reference(m.top, s, decode(t, in))
			if diff := cmp.Diff(want, decode(t, out)); diff != "" {
				t.Fatalf("%s\n%s", out, diff)
			}
			again, err := m.Apply(nil, s, out)
			if err != nil || !bytes.Equal(out, again) {
				t.Fatalf("twice: %s, %v\nonce: %s", again, err, out)
			}
		}
	})
}

func decode(t *testing.T, in []byte) any {
	d := json.NewDecoder(bytes.NewReader(in))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q is no JSON: %v", in, err)
	}
	return v
}

// reference filters a decoded value, straight from the rules.
func reference(l *level, s *Schema, v any) any {
	for s.kind() == List {
		s = s.Elem
	}
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = reference(l, s, v[i])
		}
		return v
	case map[string]any:
		out := make(map[string]any)
		_, star := l.at["*"]
		for k, val := range v {
			i, named := l.at[k]
			if k == "*" {
				named = false
			}
			fs, known := &Schema{Kind: Free}, true
			if s.kind() == Object {
				fs, known = s.field(k)
			}
			if !known || !named && !star {
				continue
			}
			if named && l.subs[i] != nil && len(l.subs[i].names) > 0 {
				val = reference(l.subs[i], fs, val)
			}
			out[k] = val
		}
		return out
	}
	return v
}
