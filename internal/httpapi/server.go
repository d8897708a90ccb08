// Package httpapi is the HTTP side of the server: routes, decoding, keys, rate
// limit, status codes and field masks. It has no rules of its own and no SQL.
//
// A request passes, outside in: request id, log and metrics with the recovery
// from panics; the cap on the body; the path made tidy; the key; the rate
// limit; the router; and then what its operation in the contract asks for:
// permission, parameters, body, mask, idempotency key, handler.
package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/adopt"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/idempotency"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/node"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// base is where every operation of the contract lives.
const base = "/api/v2"

// The words of Deps.SizeUnit.
const (
	GiB   = "GiB"
	Bytes = "bytes"
)

// Deps is what the API works with.
type Deps struct {
	Volumes *volume.Service
	ISOs    *iso.Service
	VPS     *vps.Service
	Tasks   task.Lister
	Ledger  *billing.Ledger
	Access  *access.Service
	Nodes   node.Store
	// Idempotency keeps the keys that requests name themselves by; nil: such
	// keys are not read.
	Idempotency idempotency.Store
	// Adopt imports guests that were made elsewhere.
	Adopt *adopt.Service
	// Reconcile looks for what differs.
	Reconcile *reconcile.Service
	// Ready reports whether requests can be served; nil: always.
	Ready   func(context.Context) error
	Log     *slog.Logger // nil: nowhere
	Metrics *Metrics     // nil: none
	// RateLimit and RateLimitAnonymous are the requests a source address may
	// make in an hour with a valid key and without one; 0: any number.
	RateLimit          int
	RateLimitAnonymous int
	SizeUnit           string // of `size` in an answered volume: GiB (also "") or Bytes
	Now                func() time.Time
	Version            string
	// Stopping, when closed, ends the calls that wait: the server is about to
	// stop, and they would hold it up. nil: never.
	Stopping <-chan struct{}
}

// ops has the handlers: one method per operation of the contract, in op_*.go.
type ops struct {
	Deps
	waits *waits
}

// server is the transport around the handlers.
type server struct {
	Deps
	mux    *chi.Mux
	routes map[string]*operation // by method and pattern
	limit  *limiter
}

// New returns the handler of the whole API with its probes /healthz and
// /readyz. It fails when the contract has something the server cannot hold.
func New(d Deps) (http.Handler, error) {
	d, err := d.withDefaults()
	if err != nil {
		return nil, err
	}
	return newHandler(d, &ops{Deps: d, waits: newWaits()})
}

// NewProbes returns the handler of a server that has only /healthz and /readyz.
func NewProbes(d Deps) (http.Handler, error) {
	d, err := d.withDefaults()
	if err != nil {
		return nil, err
	}
	s := newServer(d)
	if d.Metrics != nil && d.Tasks != nil {
		d.Metrics.watch(d.Tasks)
	}
	none := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, errRoute) })
	return s.observe(s.probes(none)), nil
}

func (d Deps) withDefaults() (Deps, error) {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.SizeUnit == "" {
		d.SizeUnit = GiB
	}
	if d.SizeUnit != GiB && d.SizeUnit != Bytes {
		return d, fmt.Errorf("size unit %q is neither %s nor %s", d.SizeUnit, GiB, Bytes)
	}
	if d.RateLimit < 0 || d.RateLimitAnonymous < 0 {
		return d, fmt.Errorf("rate limits %d and %d must not be negative", d.RateLimit, d.RateLimitAnonymous)
	}
	return d, nil
}

func newServer(d Deps) *server {
	return &server{
		Deps: d, mux: chi.NewMux(), routes: map[string]*operation{},
		limit: newLimiter(d.RateLimit, d.RateLimitAnonymous, d.Now),
	}
}

// newHandler builds the transport around any handlers.
func newHandler(d Deps, handlers api.StrictServerInterface) (http.Handler, error) {
	doc, err := api.Spec()
	if err != nil {
		return nil, err
	}
	s := newServer(d)
	if err := s.register(doc, handlers); err != nil {
		return nil, err
	}
	if d.Metrics != nil && d.Tasks != nil {
		d.Metrics.watch(d.Tasks)
	}
	if d.Metrics != nil && d.Reconcile != nil {
		d.Metrics.watchFindings(d.Reconcile)
	}
	s.registerUpload()
	s.mux.NotFound(func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, errRoute) })
	s.mux.MethodNotAllowed(s.wrongMethod)

	h := s.limitRate(s.mux)
	h = s.authenticate(h)
	h = s.probes(h)
	h = cleanPath(h)
	h = capBody(h)
	return s.observe(h), nil
}

// register puts every operation of doc on the router.
func (s *server) register(doc *openapi3.T, handlers api.StrictServerInterface) error {
	err := s.walk(handlers, func(method, pattern string, h http.HandlerFunc) error {
		op, err := s.compile(doc, method, strings.TrimPrefix(pattern, base), h)
		if err != nil {
			return err
		}
		s.mux.Method(method, pattern, op)
		s.routes[method+" "+pattern] = op
		if method == http.MethodGet {
			s.mux.Method(http.MethodHead, pattern, op)
			s.routes[http.MethodHead+" "+pattern] = op
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = s.walk(again{ops: &ops{Deps: s.Deps}}, func(method, pattern string, h http.HandlerFunc) error {
		s.routes[method+" "+pattern].again = h
		return nil
	})
	if err != nil {
		return err
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if s.routes[method+" "+base+path] == nil {
				return fmt.Errorf("operation %s %s has no route", method, path)
			}
		}
	}
	return nil
}

// walk calls add with every route of the generated code and the handler behind
// it. It returns the first error.
func (s *server) walk(handlers api.StrictServerInterface, add func(method, pattern string, h http.HandlerFunc) error) error {
	strict := api.NewStrictHandlerWithOptions(handlers, nil, api.StrictHTTPServerOptions{
		// What was checked against the contract decodes; if not, the fault is ours.
		RequestErrorHandlerFunc:  s.fail,
		ResponseErrorHandlerFunc: s.fail,
	})
	reg := registrar{Router: s.mux, errs: new([]error), add: add}
	api.HandlerWithOptions(strict, api.ChiServerOptions{BaseURL: base, BaseRouter: reg, ErrorHandlerFunc: s.fail})
	if len(*reg.errs) > 0 {
		return (*reg.errs)[0]
	}
	return nil
}

// registrar hands the routes of the generated code to add, so that each is
// wrapped once and nothing needs to be looked up per request.
type registrar struct {
	chi.Router
	add  func(method, pattern string, h http.HandlerFunc) error
	errs *[]error
}

func (g registrar) note(method, pattern string, h http.HandlerFunc) {
	if err := g.add(method, pattern, h); err != nil {
		*g.errs = append(*g.errs, fmt.Errorf("operation %s %s: %w", method, pattern, err))
	}
}

func (g registrar) Group(fn func(chi.Router)) chi.Router      { fn(g); return g }
func (g registrar) Get(pattern string, h http.HandlerFunc)    { g.note(http.MethodGet, pattern, h) }
func (g registrar) Post(pattern string, h http.HandlerFunc)   { g.note(http.MethodPost, pattern, h) }
func (g registrar) Put(pattern string, h http.HandlerFunc)    { g.note(http.MethodPut, pattern, h) }
func (g registrar) Patch(pattern string, h http.HandlerFunc)  { g.note(http.MethodPatch, pattern, h) }
func (g registrar) Delete(pattern string, h http.HandlerFunc) { g.note(http.MethodDelete, pattern, h) }

// wrongMethod answers 405 with the methods the path takes, or 404 when none
// does. HEAD goes wherever GET goes.
func (s *server) wrongMethod(w http.ResponseWriter, r *http.Request) {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	var allow []string
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		rctx := chi.NewRouteContext()
		op := s.routes[m+" "+s.mux.Find(rctx, m, path)]
		if op != nil && op.fits(rctx, r.URL.RawPath != "") {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		s.fail(w, r, errRoute)
		return
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	s.fail(w, r, errMethod)
}
