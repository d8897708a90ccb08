package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// Kinds of errors, for errors.Is.
var (
	// ErrNotFound is a thing that does not exist, or belongs to another client.
	ErrNotFound = errors.New("not found")
	// ErrConflict is a change that the present state does not allow.
	ErrConflict = errors.New("conflict")
	// ErrForbidden is a key that is wrong or lacks the permission.
	ErrForbidden = errors.New("forbidden")
	// ErrInvalid is a request that is wrong whatever the state.
	ErrInvalid = errors.New("invalid")
	// ErrRateLimited is a request too many; [Error.RetryAfter] says when to come back.
	ErrRateLimited = errors.New("rate limited")
	// ErrUnavailable is a server that cannot be reached or cannot serve at the moment.
	ErrUnavailable = errors.New("unavailable")
	// ErrBadAnswer is an answer that is not of this API.
	ErrBadAnswer = errors.New("bad answer")
	// ErrTaskFailed is any [*TaskError].
	ErrTaskFailed = errors.New("task failed")
)

// Reasons of the package itself. All others come from the server; its
// documentation lists them.
const (
	ReasonUnreachable = "unreachable" // no answer came
	ReasonBadAnswer   = "bad_answer"  // what came is not of this API
	ReasonBadCall     = "bad_call"    // nothing was sent
	ReasonInterrupted = "interrupted" // the context ended
)

// Error is why a call did not succeed.
type Error struct {
	// Op is the method and path, such as "GET /vps/volume/42".
	Op string
	// Status is the HTTP status; 0 where no answer came.
	Status int
	// Reason is a stable code for programs, such as "size_not_sold"; "" where
	// the server gives none.
	Reason string
	// Message is one sentence for a person, on one line.
	Message string
	// Fields has a sentence for each wrong field, by its name.
	Fields map[string]string
	// RequestID finds the request in the server's log.
	RequestID string
	// RetryAfter is how long the server asks to be left alone; 0 for no wish.
	RetryAfter time.Duration
	// Uncertain is true where the change may have been made although no answer
	// tells.
	Uncertain bool
	// IdempotencyKey is the key of an uncertain change. The same call with
	// [WithIdempotencyKey] and this key makes it once. It is "" where the server
	// cannot tell a repeat: look before you repeat.
	IdempotencyKey string
	// Tries is how often it was tried.
	Tries int

	cause error
}

// Error tells everything on one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + ": " + e.Message)
	var notes []string
	if e.Status != 0 {
		notes = append(notes, fmt.Sprintf("status %d", e.Status))
	}
	if e.Reason != "" {
		notes = append(notes, e.Reason)
	}
	if e.RequestID != "" {
		notes = append(notes, "request "+e.RequestID)
	}
	if e.Tries > 1 {
		notes = append(notes, fmt.Sprintf("%d tries", e.Tries))
	}
	if len(notes) > 0 {
		b.WriteString(" (" + strings.Join(notes, ", ") + ")")
	}
	for _, name := range sortedKeys(e.Fields) {
		b.WriteString("; " + name + ": " + e.Fields[name])
	}
	if e.Uncertain {
		b.WriteString("; the change may have been made")
	}
	return b.String()
}

// Unwrap returns what kept an answer from coming, such as context.DeadlineExceeded.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is the kind of e.
func (e *Error) Is(target error) bool {
	kind := kindOf(e.Status)
	switch e.Reason {
	case ReasonUnreachable:
		kind = ErrUnavailable
	case ReasonBadAnswer:
		return target == ErrBadAnswer || target == kind && kind != nil
	case ReasonBadCall:
		kind = ErrInvalid
	}
	return kind != nil && target == kind
}

func kindOf(status int) error {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return ErrNotFound
	case http.StatusConflict:
		return ErrConflict
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrForbidden
	case http.StatusTooManyRequests:
		return ErrRateLimited
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return ErrUnavailable
	}
	if status/100 == 4 {
		return ErrInvalid
	}
	return nil
}

// TaskError is a task that was accepted and failed.
type TaskError struct {
	Task Task
	// Reason is a stable code, such as "storage_full"; "" where the server gives none.
	Reason string
	// Message is one sentence for a person, on one line.
	Message string
}

func (e *TaskError) Error() string {
	text := "task " + oneLine(e.Task.ID) + " failed"
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text
}

// Is reports whether target is ErrTaskFailed.
func (e *TaskError) Is(target error) bool { return target == ErrTaskFailed }

const maxLine = 300 // runes

// oneLine makes a line of a server's text that is short and steers no terminal.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar
	}), " ")
	if runes := []rune(s); len(runes) > maxLine {
		return string(runes[:maxLine]) + "..."
	}
	return s
}
