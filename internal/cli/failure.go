package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/drivebay/drivebay/client"
)

// Exit statuses. One that is not listed means failure.
const (
	Done        = 0
	Failed      = 1
	Usage       = 2
	NotFound    = 3
	Refused     = 4 // wrong input, no permission, or over the limit
	Conflict    = 5
	TaskFailed  = 6
	TimedOut    = 8 // still running at --timeout
	Interrupted = 130
)

// failure is why a command did not do what it should. With --output json it is
// printed in the shape of the API's errors.
type failure struct {
	status int
	hint   string        // what to try, for a person
	call   *client.Error // what the server's API said, if it was asked

	Code      int               `json:"code,omitempty"` // HTTP status, if the server answered
	Message   string            `json:"message"`
	Reason    string            `json:"reason,omitempty"`
	RequestID string            `json:"requestId,omitempty"`
	TaskID    string            `json:"taskId,omitempty"` // of a task that goes on, or failed
	Errors    map[string]string `json:"errors,omitempty"`
}

func (f *failure) Error() string { return f.Message }

func failed(status int, reason, format string, args ...any) *failure {
	return &failure{status: status, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// misuse is an error of usage that only shows once a command runs.
func misuse(format string, args ...any) *failure { return failed(Usage, "usage", format, args...) }

// asFailure makes a failure of any error. When the caller's ctx has ended, that
// is what happened, whatever error it came out as.
func asFailure(ctx context.Context, err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var call *client.Error
	isCall := errors.As(err, &call)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		f := failed(Interrupted, "interrupted", "Interrupted.")
		f.call = call
		return f
	}
	if isCall {
		return refusal(call)
	}
	var t *client.TaskError
	if errors.As(err, &t) {
		return taskFailure(t)
	}
	return failed(Failed, "failed", "%s", sentence(err.Error()))
}

// refusal is a call that did not succeed.
func refusal(e *client.Error) *failure {
	f := &failure{status: statusOf(e.Status), Code: e.Status, Message: e.Message, Reason: e.Reason, RequestID: e.RequestID, Errors: e.Fields, call: e}
	switch {
	case e.Reason == client.ReasonBadCall:
		f.status, f.Message = Usage, sentence(e.Message)
	case e.Reason == client.ReasonNoQuotes:
		f.Message = sentence(e.Message)
	case e.Reason == client.ReasonUnreachable:
		f.Message = "The server does not answer: " + strings.TrimSuffix(e.Message, ".") + "."
	case e.Reason == client.ReasonBadAnswer:
		f.status, f.Message = Failed, "The server's answer is not what the API promises: "+e.Message+"."
		f.hint = "Is the address right?"
	case e.Status == http.StatusTooManyRequests && e.RetryAfter > 0:
		f.hint = fmt.Sprintf("Try again in %s.", e.RetryAfter)
	}
	return f
}

// doubt tells how to go on after a change that may have been made. keyed is
// whether the command has the flag --idempotency-key.
func (f *failure) doubt(keyed bool) {
	if f.call == nil || !f.call.Uncertain {
		return
	}
	f.hint = "The change may have been made all the same; look before you repeat it."
	if key := f.call.IdempotencyKey; keyed && key != "" {
		f.hint = "The change may have been made all the same. On a drivebay server the same command with\n--idempotency-key " + key + " makes it once only."
	}
}

// statusOf is the exit status for an HTTP status that is no success.
func statusOf(code int) int {
	switch {
	case code == http.StatusNotFound:
		return NotFound
	case code == http.StatusConflict:
		return Conflict
	case code >= 400 && code < 500:
		return Refused
	}
	return Failed
}

// print writes f as one sentence and what belongs to it, or as JSON.
func (f *failure) print(w io.Writer, format string) {
	if format == formatJSON {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(f) // text alone: it cannot fail
		_, _ = io.WriteString(w, escape(b.String()))
		return
	}
	var b strings.Builder
	b.WriteString("Error: " + clean(f.Message))
	if f.Reason != "" && f.Reason != "usage" && f.Reason != "failed" && f.Reason != "interrupted" {
		b.WriteString(" (" + clean(f.Reason) + ")")
	}
	b.WriteByte('\n')
	for _, field := range slices.Sorted(maps.Keys(f.Errors)) {
		fmt.Fprintf(&b, "  %s: %s\n", clean(field), clean(f.Errors[field]))
	}
	if f.RequestID != "" && f.status == Failed {
		fmt.Fprintf(&b, "Request %s in the server's log has more.\n", clean(f.RequestID))
	}
	if f.hint != "" {
		b.WriteString(f.hint + "\n")
	}
	_, _ = io.WriteString(w, b.String())
}

// clean takes out what could steer a terminal; a line stays one line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
}

// steers reports whether a terminal may do more with r than show it.
func steers(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// sentence gives an error's text a capital letter and a full stop.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return "Something went wrong."
	}
	if r := s[0]; 'a' <= r && r <= 'z' && !strings.HasPrefix(s, "drivebay ") {
		s = string(r-'a'+'A') + s[1:]
	}
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}
