package compat

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"testing"

	swagger "github.com/hivelocity/hivelocity-client-go/client"
)

// reply is what a call of the generated client came to.
type reply[T any] struct {
	value  T
	status int // 0: no answer
	err    error
}

// answer takes the three results of a generated call.
func answer[T any](value T, r *http.Response, err error) reply[T] {
	a := reply[T]{value: value, err: err}
	if r != nil {
		a.status = r.StatusCode
	}
	return a
}

// ok returns the decoded answer of a call that must succeed.
func (a reply[T]) ok(t *testing.T, status int) T {
	t.Helper()
	if a.err != nil {
		t.Fatalf("status %d: %v: %s", a.status, a.err, bodyOf(a.err))
	}
	if a.status != status {
		t.Errorf("status %d, want %d", a.status, status)
	}
	return a.value
}

// refusal is every error body there is.
type refusal struct {
	Code        int               `json:"code"`
	Message     string            `json:"message"`
	Description string            `json:"description"`
	Reason      string            `json:"reason"`
	RequestID   string            `json:"requestId"`
	Errors      map[string]string `json:"errors"`
}

// refused checks the shape of a refusal that is not about a field, and returns
// it.
func (a reply[T]) refused(t *testing.T, status int, reason string) refusal {
	t.Helper()
	got := a.refusal(t, status)
	if got.Code != status || got.Reason != reason || got.Errors != nil {
		t.Errorf("the answer is %+v, want code %d and reason %s", got, status, reason)
	}
	if got.Message == "" || got.Description != got.Message || got.RequestID == "" {
		t.Errorf("the answer lacks a part: %+v", got)
	}
	return got
}

// invalid checks that exactly these fields are named as wrong.
func (a reply[T]) invalid(t *testing.T, fields ...string) {
	t.Helper()
	got := a.refusal(t, http.StatusBadRequest)
	if named := slices.Sorted(maps.Keys(got.Errors)); !slices.Equal(named, slices.Sorted(slices.Values(fields))) {
		t.Errorf("wrong fields: %v, want %v", got.Errors, fields)
	}
	if got.Code != 0 || got.Message != "Input payload validation failed" {
		t.Errorf("the answer is %+v", got)
	}
}

// refusal decodes the body that the client keeps of an error.
func (a reply[T]) refusal(t *testing.T, status int) (got refusal) {
	t.Helper()
	if a.err == nil || a.status != status {
		t.Fatalf("status %d (error %v, body %s), want %d", a.status, a.err, bodyOf(a.err), status)
	}
	if err := json.Unmarshal(bodyOf(a.err), &got); err != nil {
		t.Fatalf("the error's body %q: %v", bodyOf(a.err), err)
	}
	return got
}

// bodyOf is the raw body that the client keeps of a refusal.
func bodyOf(err error) []byte {
	var e swagger.GenericSwaggerError
	if errors.As(err, &e) {
		return e.Body()
	}
	return nil
}
