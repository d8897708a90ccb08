package httpapi

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
)

// kind is what a value of a request must be.
type kind string

// The kinds, in the words of the contract.
const (
	integer kind = "integer"
	number  kind = "number"
	boolean kind = "boolean"
	text    kind = "string"
	list    kind = "array"
	object  kind = "object"
)

// shape is a schema of the contract made ready to check requests with.
type shape struct {
	kind  kind
	loose bool // a boolean that may be spelled as a string or as 1 and 0

	min, max float64 // of an integer or number

	minLen, maxLen int // of a text, in characters, or a list, in items
	pattern        *regexp.Regexp
	enum           []string
	time           bool

	unique bool
	elem   *shape

	props []property // of an object
}

// property is one member of an object. Its place is its bit in a mask of those seen.
type property struct {
	name     string
	required bool
	unless   int // the place of a member that this one is required without; -1: none
	shape    *shape
}

// unlessWord names a sibling that a member is required without.
const unlessWord = "x-required-unless"

// known are the keywords that are held, or that say nothing about a request. A
// schema with any other is refused at start, so that none is ever passed over.
var known = map[kind][]string{
	"":      {"type", "description", "example", "title", "x-additive", unlessWord},
	integer: {"format", "minimum", "maximum", "default"},
	number:  {"format", "minimum", "maximum", "default"},
	boolean: {"x-loose-boolean", "default"},
	text:    {"format", "minLength", "maxLength", "pattern", "enum", "default"},
	list:    {"minItems", "maxItems", "uniqueItems", "items"},
	object:  {"required", "properties"},
}

// Bounds of what a contract may ask for.
const (
	maxProps  = 64      // members of an object: one bit each
	maxUnique = 256     // items compared with each other
	exact     = 1 << 53 // integers a float64 holds exactly
)

// compileShape makes a schema ready. It fails on what it does not know.
func compileShape(ref *openapi3.SchemaRef) (*shape, error) {
	if ref == nil || ref.Value == nil {
		return nil, fmt.Errorf("a schema is missing")
	}
	v := ref.Value
	if v.Type == nil || len(*v.Type) != 1 {
		return nil, fmt.Errorf("a schema needs one type")
	}
	s := &shape{kind: kind((*v.Type)[0])}
	if err := checkKeywords(v, s.kind); err != nil {
		return nil, err
	}
	switch s.kind {
	case integer, number:
		return s, s.compileNumber(v)
	case boolean:
		s.loose = v.Extensions["x-loose-boolean"] == true
		return s, nil
	case text:
		return s, s.compileText(v)
	case list:
		return s, s.compileList(v)
	default:
		return s, s.compileObject(v)
	}
}

func checkKeywords(v *openapi3.Schema, k kind) error {
	own, ok := known[k]
	if !ok || k == "" {
		return fmt.Errorf("unknown type %q", k)
	}
	encoded, err := v.MarshalJSON()
	if err != nil {
		return err
	}
	var has map[string]json.RawMessage
	if err := json.Unmarshal(encoded, &has); err != nil {
		return err
	}
	for word := range has {
		if !slices.Contains(own, word) && !slices.Contains(known[""], word) {
			return fmt.Errorf("unknown keyword %q of a schema of type %s", word, k)
		}
	}
	return nil
}

func (s *shape) compileNumber(v *openapi3.Schema) error {
	if !slices.Contains([]string{"", "int32", "int64", "double"}, v.Format) {
		return fmt.Errorf("unknown format %q", v.Format)
	}
	if v.Min == nil || v.Max == nil || math.Abs(*v.Min) > exact || math.Abs(*v.Max) > exact {
		return fmt.Errorf("a number needs a minimum and a maximum within 2^53")
	}
	s.min, s.max = *v.Min, *v.Max
	return nil
}

func (s *shape) compileText(v *openapi3.Schema) error {
	s.time = v.Format == "date-time"
	if !s.time && v.Format != "" {
		return fmt.Errorf("unknown format %q", v.Format)
	}
	s.minLen, s.maxLen = int(v.MinLength), math.MaxInt
	if v.MaxLength != nil {
		s.maxLen = int(*v.MaxLength)
	}
	for _, e := range v.Enum {
		word, ok := e.(string)
		if !ok {
			return fmt.Errorf("enum value %v is no string", e)
		}
		s.enum = append(s.enum, word)
	}
	if v.Pattern == "" {
		return nil
	}
	var err error
	s.pattern, err = regexp.Compile(v.Pattern)
	return err
}

func (s *shape) compileList(v *openapi3.Schema) (err error) {
	if v.MaxItems == nil {
		return fmt.Errorf("a list needs maxItems")
	}
	s.minLen, s.maxLen, s.unique = int(v.MinItems), int(*v.MaxItems), v.UniqueItems
	if s.unique && s.maxLen > maxUnique {
		return fmt.Errorf("uniqueItems with more than %d items", maxUnique)
	}
	s.elem, err = compileShape(v.Items)
	return err
}

func (s *shape) compileObject(v *openapi3.Schema) error {
	if len(v.Properties) > maxProps {
		return fmt.Errorf("more than %d properties", maxProps)
	}
	for _, name := range sortedNames(v.Properties) {
		p, err := compileShape(v.Properties[name])
		if err != nil {
			return fmt.Errorf("property %s: %w", name, err)
		}
		s.props = append(s.props, property{name: name, required: slices.Contains(v.Required, name), unless: -1, shape: p})
	}
	for i := range s.props {
		word, ok := v.Properties[s.props[i].name].Value.Extensions[unlessWord]
		if !ok {
			continue
		}
		s.props[i].unless = slices.IndexFunc(s.props, func(p property) bool { return p.name == word })
		if s.props[i].unless < 0 {
			return fmt.Errorf("property %s is required unless there is %v, which is not described", s.props[i].name, word)
		}
	}
	for _, name := range v.Required {
		if v.Properties[name] == nil {
			return fmt.Errorf("required property %s is not described", name)
		}
	}
	return nil
}

func sortedNames(props openapi3.Schemas) []string {
	names := make([]string, 0, len(props))
	for name := range props {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkRange tells what is wrong with a number, whose spelling is raw; "" if
// nothing is.
func (s *shape) checkRange(n float64, raw string) string {
	switch {
	case n < s.min:
		return shown(raw) + " is less than the minimum of " + plain(s.min)
	case n > s.max:
		return shown(raw) + " is greater than the maximum of " + plain(s.max)
	default:
		return ""
	}
}

func plain(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// checkText tells what is wrong with a string; "" if nothing is.
func (s *shape) checkText(v string) string {
	n := utf8.RuneCountInString(v)
	switch {
	case strings.IndexByte(v, 0) >= 0:
		return quoted(v) + " has a character U+0000"
	case s.enum != nil && !slices.Contains(s.enum, v):
		return quoted(v) + " is not one of ['" + strings.Join(s.enum, "', '") + "']"
	case n < s.minLen && n == 0:
		return "'' is too short: it must not be empty"
	case n < s.minLen:
		return quoted(v) + " is too short: at least " + strconv.Itoa(s.minLen) + " characters"
	case n > s.maxLen:
		return quoted(v) + " is too long: at most " + strconv.Itoa(s.maxLen) + " characters"
	case s.pattern != nil && !s.pattern.MatchString(v):
		return quoted(v) + " does not match '" + s.pattern.String() + "'"
	case s.time && !isTime(v):
		return quoted(v) + " is not a time as in '2026-01-31T12:00:00Z'"
	default:
		return ""
	}
}

// timeForm is RFC 3339. The standard library takes more: a comma before the
// fraction, an hour of one digit, an offset of 99 hours.
var timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-][01]\d:[0-5]\d|[+-]2[0-3]:[0-5]\d)$`)

// isTime reports whether v is a time that can be read, and written again in UTC.
func isTime(v string) bool {
	var t time.Time
	if !timeForm.MatchString(v) || t.UnmarshalText([]byte(v)) != nil {
		return false
	}
	y := t.UTC().Year()
	return y >= 0 && y <= 9999
}

// quoted shows a string from outside in an answer, cut where it is long.
func quoted(v string) string { return "'" + shown(v) + "'" }

func shown(v string) string { return short(v, 80) }
