package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"syscall"

	"github.com/go-faster/jx"

	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/idempotency"
)

// statusOf is the one place where a kind of fault becomes a status code.
var statusOf = [...]int{
	fault.Internal:    http.StatusInternalServerError,
	fault.NotFound:    http.StatusNotFound,
	fault.Invalid:     http.StatusBadRequest,
	fault.Conflict:    http.StatusConflict,
	fault.Forbidden:   http.StatusForbidden,
	fault.Exhausted:   http.StatusTooManyRequests,
	fault.Unavailable: http.StatusServiceUnavailable,
}

// Faults of the transport itself.
var (
	errRoute    = fault.New(fault.NotFound, "route_not_found", "There is nothing at this address")
	errRate     = fault.New(fault.Exhausted, "rate_limited", "Your IP is rate limited.")
	errNotReady = fault.New(fault.Unavailable, "not_ready", "The server is not ready; please try again")
	errGone     = fault.New(fault.Unavailable, "request_cancelled", "The request was cancelled; please try again")
	errDeadline = fault.New(fault.Unavailable, "deadline_exceeded", "The request took too long; please try again")
	errQuery    = fault.New(fault.Invalid, "query_malformed", "The query string is not well-formed")

	errTusOffset = fault.New(fault.Invalid, "upload_offset_malformed", "The request needs one Upload-Offset, a number of bytes")

	errBodyRead   = fault.New(fault.Invalid, "body_unreadable", "The request body could not be read to its end")
	errBodyJSON   = fault.New(fault.Invalid, "body_malformed", "The request body is not valid JSON in UTF-8")
	errBodyDeep   = fault.New(fault.Invalid, "body_too_deep", "The request body has more than %d levels", maxDepth)
	errBodyRepeat = fault.New(fault.Invalid, "body_key_repeated", "The request body has a key twice in one object")
	errBodyCase   = fault.New(fault.Invalid, "body_key_case", "The request body has a key in another case than documented")

	// The refusals whose status no kind of fault has.
	errMethod   = &refusal{status: http.StatusMethodNotAllowed, reason: "method_not_allowed", text: "This address does not take this method"}
	errTooLarge = &refusal{status: http.StatusRequestEntityTooLarge, reason: "body_too_large", text: "The request body is larger than 1 MiB"}
	errTus      = &refusal{status: http.StatusPreconditionFailed, reason: "tus_version", text: "The request needs Tus-Resumable: 1.0.0"}
	errTusType  = &refusal{status: http.StatusUnsupportedMediaType, reason: "upload_content_type", text: "The bytes of an upload are sent as application/offset+octet-stream"}
	errReused   = &refusal{status: http.StatusUnprocessableEntity, reason: "idempotency_key_reused", text: "This Idempotency-Key belongs to another request; a new request needs a new key"}
)

// What a caller reads about a fault of ours.
var internalRefusal = refusal{status: http.StatusInternalServerError, reason: "internal", text: "internal error"}

// statusGone is what the log and the metrics say of a request that its client
// gave up. It is never sent.
const statusGone = 499

// retryAfter is when a repeat may help after 503, in seconds.
const retryAfter = "5"

// refusal is an answer that is not a success.
type refusal struct {
	status int
	reason fault.Reason
	text   string
	fields map[string]string // wrong fields, by name
}

// Error is the sentence the caller reads.
func (f *refusal) Error() string { return f.text }

// refusalOf decides what a caller is told about err.
func refusalOf(err error) *refusal {
	var f *refusal
	if errors.As(err, &f) {
		return f
	}
	e, ok := fault.As(err)
	if !ok && errors.Is(err, context.DeadlineExceeded) {
		e, ok = errDeadline, true
	}
	if !ok || e.Kind == fault.Internal || int(e.Kind) >= len(statusOf) {
		return &internalRefusal
	}
	f = &refusal{status: statusOf[e.Kind], reason: e.Reason, text: e.Text}
	if e.Kind == fault.Invalid {
		f.fields = e.Fields
	}
	return f
}

// fail answers err in the shape of the contract. Causes the caller must not
// read go to the log under the request id.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if k, ok := w.(*keyed); ok && errors.Is(err, idempotency.ErrTaken) {
		k.taken = true // once answers
		return
	}
	c := callOf(r.Context())
	if c.gone = c.gone || gone(c, r, err); c.gone {
		err = errGone // the client may be there still: a stopping server cancels too
	}
	f := refusalOf(err)
	if over := c.toll.due(); over != nil && f.status < http.StatusInternalServerError {
		err, f = over, refusalOf(over)
	}
	switch f.status {
	case http.StatusTooManyRequests:
		c.comeBack(err)
	case http.StatusInternalServerError:
		s.Log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("request", c.id), slog.Any("error", err))
	case http.StatusServiceUnavailable:
		if !c.gone {
			s.Log.LogAttrs(r.Context(), slog.LevelWarn, "request put off", slog.String("request", c.id), slog.Any("error", err))
		}
		w.Header().Set("Retry-After", retryAfter)
	}
	if c.status != 0 {
		return // the answer has begun
	}
	s.write(w, r, f)
}

// gone reports whether err is only that the client does not wait any more. A
// broken connection is the client's only once it is being written to.
func gone(c *call, r *http.Request, err error) bool {
	if c.status != 0 && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		return true
	}
	return errors.Is(r.Context().Err(), context.Canceled) && errors.Is(err, context.Canceled)
}

// write sends f.
func (s *server) write(w http.ResponseWriter, r *http.Request, f *refusal) {
	e := jx.GetWriter()
	defer jx.PutWriter(e)
	encodeRefusal(e, f, callOf(r.Context()).id)
	h := w.Header()
	h["Content-Type"] = typeJSON
	h["Content-Length"] = []string{strconv.Itoa(len(e.Buf))}
	delete(h, "Content-Encoding")
	w.WriteHeader(f.status)
	w.Write(e.Buf) // a peer that has gone needs no answer
}

// encodeRefusal writes one of the two shapes: with `errors` and, as published,
// without `code`, or with `code` and the sentence under both its names.
func encodeRefusal(e *jx.Writer, f *refusal, id string) {
	if f.fields != nil {
		e.RawStr(`{"errors":{`)
		for i, name := range slices.Sorted(maps.Keys(f.fields)) {
			if i > 0 {
				e.Comma()
			}
			e.Str(name)
			e.RawStr(":")
			e.Str(f.fields[name])
		}
		e.RawStr(`},"message":"Input payload validation failed"`)
	} else {
		e.RawStr(`{"code":`)
		e.Int(f.status)
		e.RawStr(`,"message":`)
		e.Str(f.text)
		e.RawStr(`,"description":`)
		e.Str(f.text)
	}
	e.RawStr(`,"reason":`)
	e.Str(string(f.reason))
	e.RawStr(`,"requestId":`)
	e.Str(id)
	e.RawStr("}\n")
}

// fieldErrors collects what is wrong with a request, by field.
type fieldErrors map[string]string

// add notes the first thing that is wrong with a field.
func (f *fieldErrors) add(field, text string) {
	if *f == nil {
		*f = fieldErrors{}
	}
	if _, ok := (*f)[field]; !ok {
		(*f)[field] = text
	}
}

// err is the refusal of all of them, nil if there are none.
func (f fieldErrors) err() error {
	if len(f) == 0 {
		return nil
	}
	e := fault.New(fault.Invalid, "validation_failed", "Input payload validation failed")
	e.Fields = f
	return e
}
