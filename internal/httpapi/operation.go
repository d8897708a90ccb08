package httpapi

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/fieldmask"
)

// operation is one operation of the contract: what it asks of a request, and
// the generated handler behind it.
type operation struct {
	id           string
	permission   access.Permission
	path, query  []param
	body         *shape // nil: no body is read
	bodyRequired bool
	answer       *fieldmask.Schema // nil: no JSON is answered
	quote        *fieldmask.Schema // what a dry run answers; nil: there is none
	unsafe       bool              // it changes something
	secret       bool              // its answer is not kept
	next         http.HandlerFunc
	again        http.HandlerFunc // answers what was accepted before; see once
	s            *server
}

// compile finds the operation in the contract and makes it ready.
func (s *server) compile(doc *openapi3.T, method, path string, next http.HandlerFunc) (*operation, error) {
	item := doc.Paths.Value(path)
	if item == nil || item.GetOperation(method) == nil {
		return nil, errors.New("not in the contract")
	}
	def := item.GetOperation(method)
	o := &operation{id: def.OperationID, next: next, s: s, unsafe: method != http.MethodGet, secret: def.Extensions["x-secret-answer"] == true}
	word, _ := def.Extensions["x-permission"].(string)
	var ok bool
	if o.permission, ok = access.ParsePermission(word); !ok {
		return nil, fmt.Errorf("x-permission %q is no permission", word)
	}
	var err error
	if o.path, o.query, err = compileParams(item.Parameters, def.Parameters); err != nil {
		return nil, err
	}
	if err := o.compileBody(def.RequestBody); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if o.answer, o.quote, err = compileAnswers(def.Responses); err != nil {
		return nil, err
	}
	if dry := slices.ContainsFunc(o.query, func(p param) bool { return p.name == dryRun }); dry != (o.quote != nil) {
		return nil, fmt.Errorf("it has the parameter %s: %v, an answer to it: %v", dryRun, dry, o.quote != nil)
	}
	return o, nil
}

func (o *operation) compileBody(ref *openapi3.RequestBodyRef) (err error) {
	if ref == nil {
		return nil
	}
	mt := ref.Value.Content.Get("application/json")
	if mt == nil {
		return errors.New("it is no JSON")
	}
	o.bodyRequired = ref.Value.Required
	if o.body, err = compileShape(mt.Schema); err == nil && o.body.kind != object {
		err = errors.New("it is no object")
	}
	return err
}

// compileAnswers returns the shape of the success answer, nil if it has no
// JSON, and that of a dry run: an operation that has one answers it 200, and
// itself with the status above.
func compileAnswers(responses *openapi3.Responses) (answer, quote *fieldmask.Schema, err error) {
	shapes := map[int]*fieldmask.Schema{}
	for code, ref := range responses.Map() {
		status, err := strconv.Atoi(code)
		if err != nil || status < 200 || status > 299 {
			continue
		}
		shapes[status] = nil
		if mt := ref.Value.Content.Get("application/json"); mt != nil {
			if shapes[status], err = maskSchema(mt.Schema.Value, 0); err != nil {
				return nil, nil, err
			}
		}
	}
	switch statuses := slices.Sorted(maps.Keys(shapes)); {
	case len(statuses) == 1:
		return shapes[statuses[0]], nil, nil
	case len(statuses) == 2 && statuses[0] == http.StatusOK && shapes[http.StatusOK] != nil:
		return shapes[statuses[1]], shapes[http.StatusOK], nil
	default:
		return nil, nil, fmt.Errorf("it has the success answers %v", statuses)
	}
}

// ServeHTTP checks the request in the order in which refusals count: the
// address, the caller, the request, the mask, the key it names itself by.
func (o *operation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := callOf(r.Context())
	rctx, escaped := chi.RouteContext(r.Context()), r.URL.RawPath != ""
	if !o.fits(rctx, escaped) {
		o.s.fail(w, r, errRoute)
		return
	}
	c.op = o
	if err := c.may(o.permission); err != nil {
		o.s.fail(w, r, err)
		return
	}
	var errs fieldErrors
	o.checkNames(rctx, escaped, &errs)
	if err := o.checkQuery(r, &errs); err != nil {
		o.s.fail(w, r, err)
		return
	}
	c.dry = o.quote != nil && isDry(r.URL.RawQuery)
	if o.body != nil {
		b := bodies.Get().(*body)
		defer b.free()
		if err := b.read(o, r, &errs); err != nil {
			o.s.fail(w, r, err)
			return
		}
		r.Body = b
	}
	if err := errs.err(); err != nil {
		o.s.fail(w, r, err)
		return
	}
	o.masked(w, r)
	if c.status == 0 {
		o.s.fail(w, r, errSilent)
	}
}

// errSilent is a fault of a handler, which must not look like a success.
var errSilent = errors.New("the handler answered nothing")
