package httpapi

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/drivebay/drivebay/internal/fieldmask"
)

// maskSchema is the shape of an answer as masks see it. The contract's parser
// does not keep the order of properties, so "*" gives them by name, which is
// also the order in which the generated types are written.
func maskSchema(v *openapi3.Schema, depth int) (*fieldmask.Schema, error) {
	if depth > fieldmask.MaxDepth {
		return nil, errors.New("the answer has too many levels")
	}
	switch {
	case v.Type.Is("array"):
		elem, err := maskSchema(v.Items.Value, depth+1)
		return &fieldmask.Schema{Kind: fieldmask.List, Elem: elem}, err
	case v.Type.Is("object") && len(v.Properties) == 0:
		return &fieldmask.Schema{Kind: fieldmask.Free}, nil
	case v.Type.Is("object"):
		s := &fieldmask.Schema{Kind: fieldmask.Object}
		for _, name := range sortedNames(v.Properties) {
			f, err := maskSchema(v.Properties[name].Value, depth+1)
			if err != nil {
				return nil, err
			}
			s.Fields = append(s.Fields, fieldmask.Field{Name: name, Schema: f})
		}
		return s, nil
	default:
		return &fieldmask.Schema{}, nil
	}
}

// masked runs the handler and cuts its answer down to the mask of X-Fields. A
// wrong mask is refused before anything is changed; where nothing can be, the
// handler runs first and its own error counts more.
func (o *operation) masked(w http.ResponseWriter, r *http.Request) {
	lines := r.Header["X-Fields"]
	c, shape := callOf(r.Context()), o.answer
	if c.dry {
		shape = o.quote
	}
	if len(lines) == 0 || shape == nil {
		o.once(w, r)
		return
	}
	m, bad := fieldmask.Parse(fieldmask.Join(lines))
	if bad == nil {
		bad = m.Check(shape)
	}
	switch {
	case bad != nil && o.unsafe:
		o.s.fail(w, r, bad)
		return
	case bad == nil && m == nil:
		o.once(w, r)
		return
	}
	c.hasty = bad != nil
	a := newAnswer(w)
	defer a.free()
	o.once(a, r)
	a.send(o, r, m, shape, bad)
}

// answer holds an answer back until it can be filtered, or is stored.
type answer struct {
	http.ResponseWriter
	status int
	buf    bytes.Buffer
	out    []byte
}

var answers = sync.Pool{New: func() any { return new(answer) }}

func newAnswer(w http.ResponseWriter) *answer {
	a := answers.Get().(*answer)
	a.ResponseWriter, a.status = w, 0
	return a
}

func (a *answer) free() {
	a.ResponseWriter = nil
	a.buf.Reset()
	if a.buf.Cap() <= keptBuffer && cap(a.out) <= keptBuffer {
		answers.Put(a)
	}
}

func (a *answer) success() bool { return a.status >= 200 && a.status < 300 }

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write keeps p.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.buf.Write(p)
}

// send passes the answer on: filtered by m where it is a success, refused where
// the mask is bad. Errors are never filtered.
func (a *answer) send(o *operation, r *http.Request, m *fieldmask.Mask, shape *fieldmask.Schema, bad error) {
	w, h := a.ResponseWriter, a.Header()
	if a.status == 0 {
		return // nothing was answered
	}
	if a.success() && bad != nil {
		o.s.fail(w, r, bad)
		return
	}
	out := a.buf.Bytes()
	if a.success() {
		var err error
		if a.out, err = m.Apply(a.out[:0], shape, out); err != nil {
			o.s.fail(w, r, err)
			return
		}
		a.out = append(a.out, '\n')
		out = a.out
	}
	h["Content-Length"] = []string{strconv.Itoa(len(out))}
	w.WriteHeader(a.status)
	w.Write(out) // a peer that has gone needs no answer
}
