package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
)

// facts are what the standard library's tokens say about a body.
type facts struct{ repeats, deep bool }

func factsOf(raw []byte) (f facts) {
	type frame struct {
		object, key bool
		seen        map[string]bool
	}
	var open []frame
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	for {
		tok, err := dec.Token()
		if err != nil {
			return f
		}
		top := len(open) - 1
		if s, is := tok.(string); is && top >= 0 && open[top].object && open[top].key {
			f.repeats = f.repeats || open[top].seen[s]
			open[top].seen[s] = true
			open[top].key = false
			continue
		}
		if top >= 0 {
			open[top].key = true
		}
		switch tok {
		case json.Delim('{'):
			open = append(open, frame{object: true, key: true, seen: map[string]bool{}})
		case json.Delim('['):
			open = append(open, frame{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:top]
		}
		f.deep = f.deep || len(open) > maxDepth
	}
}

// asTheContractSees makes of a decoded body what is left of it by the rules:
// known members only, no null that may be left out, booleans as booleans.
func asTheContractSees(v map[string]any, s *openapi3.Schema) map[string]any {
	out := map[string]any{}
	for name, prop := range s.Properties {
		x, has := v[name]
		if !has || (x == nil && !slices.Contains(s.Required, name)) {
			continue
		}
		if prop.Value.Extensions["x-loose-boolean"] == true {
			switch w := x.(type) {
			case string:
				if strings.EqualFold(w, "true") || strings.EqualFold(w, "false") {
					x = strings.EqualFold(w, "true")
				}
			case float64:
				if w == 0 || w == 1 {
					x = w == 1
				}
			}
		}
		out[name] = x
	}
	return out
}

// oracle returns the fields that kin-openapi finds wrong.
func oracle(v any, s *openapi3.Schema) map[string]bool {
	wrong := map[string]bool{}
	var note func(error)
	note = func(err error) {
		switch e := err.(type) {
		case nil:
		case openapi3.MultiError:
			for _, x := range e {
				note(x)
			}
		case *openapi3.SchemaError:
			wrong[strings.Join(e.JSONPointer(), ".")] = true
		default:
			wrong["?"] = true
		}
	}
	note(s.VisitJSON(v, openapi3.MultiErrors()))
	for name, prop := range s.Properties { // a rule of our own
		word, ours := prop.Value.Extensions[unlessWord].(string)
		if m, ok := v.(map[string]any); ok && ours && m[name] == nil && m[word] == nil {
			wrong[name] = true
		}
	}
	return wrong
}

// stricter reports whether a field's text is about a rule kin-openapi does not
// have or keeps in another way.
func stricter(text string) bool {
	return strings.Contains(text, "U+0000") || strings.Contains(text, "is not a time") || strings.Contains(text, "'boolean'")
}

func FuzzBody(f *testing.F) {
	for _, in := range []string{
		``, `{}`, `[]`, `{"url":null,"upload":null}`, `{"upload":{"size":1}}`, `{"upload":{}}`, `{"size":50,"deviceId":1001}`, `{"size":5e1,"deviceId":1001.0,"x":{"y":[1,2,{"z":null}]}}`,
		`{"size":50,"deviceId":5,"DEVICEID":-1}`, `{"size":100,"\u017fize":7}`, `{"size":1,"size":2}`, `{"deviceId":null}`,
		`{"facilityCode":"TPA1","bootable":"True","name":"n","description":"","url":"http://x/a.iso","checksum":"md5:00000000000000000000000000000000"}`,
		`{"name":"k","permissions":["read","read"],"expiresAt":"2030-01-31T12:00:00,5Z"}`, `{"monthlyPrice":1e400}`, `{"monthlyPrice":5.255}`,
		`{"isoId":"\ud800"}`, `{"isoId":"a\u0000"}`, "{\"isoId\":\"\xff\"}", `{"title":"T","city":"c","country":"us","state":null}`,
		`{"clientId":7,"facilityCode":"TPA1","hostname":"a.b","rootGiB":-0,"maxVolumes":0.0}`, `{"size":1.0000000000000000000001,"deviceId":9e18}`,
	} {
		for i := range len(targets) {
			f.Add(byte(i), []byte(in))
		}
	}
	ops, doc := withBody(f)
	ids := slices.Sorted(maps.Keys(ops))
	schemas := map[string]*openapi3.Schema{}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			if op.RequestBody != nil {
				schemas[op.OperationID] = op.RequestBody.Value.Content.Get("application/json").Schema.Value
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, raw []byte) {
		id := ids[int(which)%len(ids)]
		checkBody(t, ops[id], schemas[id], raw)
	})
}

// checkBody holds what is said of a body against the standard library's decoder
// and against kin-openapi.
func checkBody(t *testing.T, o *operation, s *openapi3.Schema, raw []byte) {
	out, errs, err := read(o, raw)
	fact := factsOf(raw)
	switch {
	case errors.Is(err, errBodyJSON):
		if utf8.Valid(raw) && json.Valid(raw) {
			t.Errorf("called malformed: %q", raw)
		}
		return
	case errors.Is(err, errBodyRepeat), errors.Is(err, errBodyDeep), errors.Is(err, errBodyCase):
		if !errors.Is(err, errBodyCase) && !fact.repeats && !fact.deep {
			t.Errorf("%v: %q", err, raw)
		}
		return
	case err != nil:
		t.Fatalf("unknown error %v", err)
	case fact.repeats, fact.deep:
		t.Fatalf("passed over a repeated key or the depth: %q", raw)
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		if o.bodyRequired == (len(errs) == 0) && len(o.body.props) > 0 {
			t.Errorf("empty body: %v", errs)
		}
		return
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		var tooLarge *json.UnmarshalTypeError // a number beyond float64
		if !errors.As(err, &tooLarge) {
			t.Fatal(err)
		}
		return
	}
	m, isObject := v.(map[string]any)
	if !isObject {
		if errs[""] == "" {
			t.Errorf("no object, and accepted: %q", raw)
		}
		return
	}
	seen := asTheContractSees(m, s)
	wrong := oracle(seen, s)
	for field, text := range errs {
		if !wrong[field] && !stricter(text) {
			t.Errorf("only we refuse %s (%s): %q", field, text, raw)
		}
	}
	for field := range wrong {
		if errs[field] == "" && !coveredBy(errs, field) {
			t.Errorf("only kin-openapi refuses %q: %q", field, raw)
		}
	}
	if len(errs) == 0 {
		checkDecodes(t, o, seen, out)
	}
}

// coveredBy reports whether a list with too many items has been refused as a
// whole, so that an item of it was not looked at.
func coveredBy(errs fieldErrors, field string) bool {
	parent, _, below := strings.Cut(field, ".")
	return below && errs[parent] != ""
}

// checkDecodes holds that the generated type gets the values that were checked.
func checkDecodes(t *testing.T, o *operation, seen map[string]any, out string) {
	target := targets[o.id]()
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(target); err != nil {
		t.Fatalf("%s does not decode: %v", out, err)
	}
	var clean map[string]any
	if err := json.Unmarshal([]byte(out), &clean); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(clean, seen) {
		t.Errorf("wrote %v of %v", clean, seen)
	}
	encoded, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	var again map[string]any
	if err := json.Unmarshal(encoded, &again); err != nil {
		t.Fatal(err)
	}
	delete(again, "expiresAt") // the same time, spelled anew
	delete(seen, "expiresAt")
	if !reflect.DeepEqual(again, seen) {
		t.Errorf("the handler gets %v of %v", again, seen)
	}
}
