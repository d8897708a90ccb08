// Package fault holds the errors a caller may see: a kind, a stable reason and
// a safe sentence. Any error that is not a fault is internal: its text goes to
// the log under the request id and never into an answer.
package fault

import (
	"errors"
	"fmt"
	"maps"
)

// Kind says what sort of refusal an error is. The transport turns a kind into
// a status code; no other package picks one.
type Kind uint8

// The kinds. Internal is the kind of every error that is not a fault.
const (
	Internal    Kind = iota
	NotFound         // no such object, or not the caller's
	Invalid          // the request is wrong whatever the state
	Conflict         // the request clashes with the present state
	Forbidden        // no key, a bad key, or a missing permission
	Exhausted        // over a rate limit
	Unavailable      // something needed is away; a repeat may help
)

// Reason is a stable, machine-readable code such as "size_not_sold". Reasons
// are part of the contract (docs/reference/reasons.md): they are added, never
// renamed.
type Reason string

// Error is a fault. It is immutable: With and Field return changed copies.
type Error struct {
	Kind   Kind
	Reason Reason
	// Text is the sentence a caller reads: no internal path, host or driver text.
	Text string
	// Fields has one sentence for each request field that is wrong. Only
	// Invalid faults have any.
	Fields map[string]string
	cause  error
}

// New returns a fault. The text takes fmt verbs when args are given.
func New(kind Kind, reason Reason, text string, args ...any) *Error {
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	return &Error{Kind: kind, Reason: reason, Text: text}
}

// Field returns an Invalid fault about one request field.
func Field(reason Reason, field, text string, args ...any) *Error {
	e := New(Invalid, reason, text, args...)
	e.Fields = map[string]string{field: e.Text}
	return e
}

// Together returns one fault for all the fields that the given ones are about,
// the fault itself if it is one, and nil if there is none.
func Together(faults ...*Error) error {
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return faults[0]
	}
	all := New(Invalid, "validation_failed", "Input payload validation failed")
	all.Fields = map[string]string{}
	for _, f := range faults {
		maps.Copy(all.Fields, f.Fields)
	}
	return all
}

// Error is the text with the cause behind it, for logs.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Text + ": " + e.cause.Error()
	}
	return e.Text
}

// Unwrap returns the cause given to Because.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is a fault of the same kind and reason, so that a
// sentinel matches its copies with another text.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Reason == e.Reason
}

// Textf returns a copy with another sentence.
func (e *Error) Textf(text string, args ...any) *Error {
	c := *e
	c.Text = fmt.Sprintf(text, args...)
	c.Fields = maps.Clone(e.Fields)
	for k := range c.Fields {
		c.Fields[k] = c.Text
	}
	return &c
}

// Because returns a copy that carries err for the log.
func (e *Error) Because(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// As returns the fault in err's chain, if there is one.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// KindOf returns the kind of err; Internal when err is not a fault.
func KindOf(err error) Kind {
	if e, ok := As(err); ok {
		return e.Kind
	}
	return Internal
}

// ReasonOf returns the reason of err, or "internal" when err is not a fault.
func ReasonOf(err error) Reason {
	if e, ok := As(err); ok {
		return e.Reason
	}
	return "internal"
}
