package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"

	"github.com/drivebay/drivebay/internal/idempotency"
)

// param is a parameter in the path or the query of an operation.
type param struct {
	name     string
	required bool
	shape    *shape
}

// compileParams sorts the parameters of an operation into those of its path and
// those of its query.
func compileParams(all ...openapi3.Parameters) (path, query []param, err error) {
	for _, params := range all {
		for _, ref := range params {
			v := ref.Value
			if v.In == openapi3.ParameterInHeader && v.Name == idempotency.Header {
				continue // once reads it
			}
			s, err := compileShape(v.Schema)
			if err != nil {
				return nil, nil, fmt.Errorf("parameter %s: %w", v.Name, err)
			}
			if s.kind == list || s.kind == object || s.kind == number || s.loose {
				return nil, nil, fmt.Errorf("parameter %s: a parameter of type %s is not known", v.Name, s.kind)
			}
			p := param{name: v.Name, required: v.Required, shape: s}
			switch v.In {
			case openapi3.ParameterInPath:
				path = append(path, p)
			case openapi3.ParameterInQuery:
				query = append(query, p)
			default:
				return nil, nil, fmt.Errorf("parameter %s in %s is not known", v.Name, v.In)
			}
		}
	}
	return path, query, nil
}

// fits reports whether the ids in the path have the form the contract gives
// them. With any other, the path is no route. A text with a pattern is the name
// of something to be made, and left to checkNames.
func (o *operation) fits(rctx *chi.Context, escaped bool) bool {
	for i := range o.path {
		p := &o.path[i]
		v, ok := pathValue(rctx, p.name, escaped)
		if !ok {
			return false
		}
		if p.shape.pattern == nil && p.check(v) != "" {
			return false
		}
	}
	return true
}

// checkNames checks what fits has left.
func (o *operation) checkNames(rctx *chi.Context, escaped bool, errs *fieldErrors) {
	for i := range o.path {
		p := &o.path[i]
		if p.shape.pattern == nil {
			continue
		}
		v, _ := pathValue(rctx, p.name, escaped)
		if text := p.check(v); text != "" {
			errs.add(p.name, text)
		}
	}
}

// pathValue returns a segment as the generated code will see it.
func pathValue(rctx *chi.Context, name string, escaped bool) (string, bool) {
	v := rctx.URLParam(name)
	if escaped {
		var err error
		if v, err = url.PathUnescape(v); err != nil {
			return "", false
		}
	}
	return v, utf8.ValidString(v)
}

// checkQuery checks the parameters of the query and leaves r with a query that
// the generated code reads in the same way. Parameters the contract does not
// have are ignored; one that is given twice is refused, since nothing says
// which is meant. The error is errQuery.
func (o *operation) checkQuery(r *http.Request, errs *fieldErrors) error {
	if len(o.query) == 0 {
		return nil
	}
	var q url.Values
	if r.URL.RawQuery != "" {
		var err error
		if q, err = url.ParseQuery(r.URL.RawQuery); err != nil {
			return errQuery
		}
	}
	o.checkDryRun(q, errs)
	respelled := false
	for i := range o.query {
		p := &o.query[i]
		values := q[p.name]
		switch {
		case len(values) > 1:
			errs.add(p.name, "given more than once in the query string")
		case len(values) == 1 && !utf8.ValidString(values[0]):
			errs.add(p.name, "is not UTF-8")
		case len(values) == 1:
			if text := p.check(values[0]); text != "" {
				errs.add(p.name, text)
			} else if p.shape.kind == boolean {
				b, _ := looseBool(values[0])
				values[0] = strconv.FormatBool(b)
				respelled = true
			}
		case p.required:
			errs.add(p.name, "Missing required parameter in the query string")
		}
	}
	if respelled {
		u := *r.URL
		u.RawQuery = q.Encode()
		r.URL = &u
	}
	return nil
}

// checkDryRun refuses a parameter that was meant to be dryRun: unlike others the
// contract does not have, it must not be ignored, since what was to be tried
// would be done.
func (o *operation) checkDryRun(q url.Values, errs *fieldErrors) {
	if o.quote == nil {
		return
	}
	for name := range q {
		if name != dryRun && strings.EqualFold(name, dryRun) {
			errs.add(dryRun, "must be written '"+dryRun+"'")
		}
	}
}

// check tells what is wrong with a value, in the words of the published
// framework; "" if nothing is.
func (p *param) check(v string) string {
	switch p.shape.kind {
	case integer:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil && !tooManyDigits(err) {
			return "invalid literal for int() with base 10: " + quoted(v)
		}
		return p.shape.checkRange(float64(n), v)
	case boolean:
		if _, ok := looseBool(v); !ok {
			return "Invalid literal for boolean(): " + quoted(v)
		}
		return ""
	default:
		return p.shape.checkText(v)
	}
}

// tooManyDigits reports whether err of strconv is about an integer that is one
// but has no place in 64 bits; the value is then the nearest that has.
func tooManyDigits(err error) bool {
	e, ok := err.(*strconv.NumError)
	return ok && e.Err == strconv.ErrRange
}

// looseBool reads true and false in any case, 1 and 0.
func looseBool(v string) (value, ok bool) {
	switch {
	case v == "1", strings.EqualFold(v, "true"):
		return true, true
	case v == "0", strings.EqualFold(v, "false"):
		return false, true
	default:
		return false, false
	}
}
