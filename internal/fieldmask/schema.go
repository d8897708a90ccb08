package fieldmask

import "slices"

// Kind is the shape of a value.
type Kind uint8

// The kinds. Scalar is the zero value: a string, number or boolean.
const (
	Scalar Kind = iota
	Object      // the keys in Schema.Fields and no others
	List        // of Schema.Elem
	Free        // an object with keys nobody knows beforehand
)

// Schema is the shape of an answer. Any value may also be null. A nil Schema is
// a scalar. It must not change once a mask has been used with it.
type Schema struct {
	Kind   Kind
	Fields []Field // of an Object, in the order of the model
	Elem   *Schema // of a List
}

// Field is one key of an Object.
type Field struct {
	Name   string
	Schema *Schema
}

// kind is the kind of s, Scalar when s is nil.
func (s *Schema) kind() Kind {
	if s == nil {
		return Scalar
	}
	return s.Kind
}

// field finds the schema of a key; ok is false when the model has no such key.
func (s *Schema) field(name string) (*Schema, bool) {
	i := slices.IndexFunc(s.Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return nil, false
	}
	return s.Fields[i].Schema, true
}

// filter is a mask made ready for one schema.
type filter struct {
	schema *Schema
	top    *node
}

// node says what is left of an object, or of each object in a list.
type node struct {
	at   map[string]int // the place of a key in the output
	keys []string       // by place, encoded: `"name":`
	subs []*node        // by place; nil: the value is copied whole
	rest bool           // keys that are not in at follow, in the order of the data
}

// Check reports whether m fits the model, whatever the data: ErrInconsistent
// when it looks into a scalar or a list of scalars, else nil.
func (m *Mask) Check(s *Schema) error {
	if m == nil {
		return nil
	}
	_, err := m.compile(s)
	return err
}

// compile returns the filter of m for s, the one made before if s is the same.
func (m *Mask) compile(s *Schema) (*filter, error) {
	if f := m.last.Load(); f != nil && f.schema == s {
		return f, nil
	}
	top, err := compile(m.top, s)
	if err != nil {
		return nil, err
	}
	f := &filter{schema: s, top: top}
	m.last.Store(f)
	return f, nil
}

func compile(l *level, s *Schema) (*node, error) {
	for s.kind() == List {
		s = s.Elem
	}
	switch s.kind() {
	case Object:
		return compileObject(l, s)
	case Free:
		return compileFree(l), nil
	default:
		return nil, ErrInconsistent
	}
}

// compileObject keeps the named fields that the model has, in the order of the
// mask; where the mask has "*", the fields left over follow in the model's order.
func compileObject(l *level, s *Schema) (*node, error) {
	n := newNode()
	for i, name := range l.names {
		fs, ok := s.field(name)
		if !ok {
			continue
		}
		sub, err := compileSub(l.subs[i], fs)
		if err != nil {
			return nil, err
		}
		n.add(name, sub)
	}
	if _, ok := l.at["*"]; ok {
		for _, f := range s.Fields {
			if _, named := n.at[f.Name]; !named {
				n.add(f.Name, nil)
			}
		}
	}
	return n, nil
}

// compileSub compiles the mask of one field. An empty one takes nothing away,
// but still asks for something that could have fields.
func compileSub(l *level, s *Schema) (*node, error) {
	switch {
	case l == nil:
		return nil, nil
	case len(l.names) > 0:
		return compile(l, s)
	case s.kind() == Scalar:
		return nil, ErrInconsistent
	default:
		return nil, nil
	}
}

// compileFree keeps the named keys, whatever they hold.
func compileFree(l *level) *node {
	n := newNode()
	for i, name := range l.names {
		if name == "*" {
			n.rest = true
			continue
		}
		var sub *node
		if l.subs[i] != nil && len(l.subs[i].names) > 0 {
			sub = compileFree(l.subs[i])
		}
		n.add(name, sub)
	}
	return n
}

func newNode() *node { return &node{at: make(map[string]int)} }

func (n *node) add(name string, sub *node) {
	n.at[name] = len(n.keys)
	n.keys = append(n.keys, encodeKey(name))
	n.subs = append(n.subs, sub)
}
