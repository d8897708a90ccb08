package cli

import (
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
	hint   string // what to try, for a person

	Code      int               `json:"code,omitempty"` // HTTP status, if the server answered
	Message   string            `json:"message"`
	Reason    string            `json:"reason,omitempty"`
	RequestID string            `json:"requestId,omitempty"`
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
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return failed(Interrupted, "interrupted", "Interrupted.")
	}
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return failed(Failed, "failed", "%s", sentence(err.Error()))
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
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(f) // nowhere left to report it
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
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
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
