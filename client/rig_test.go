package client_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/client"
)

const secret = "dbk_0123456789abcdefghijklmnop"

// trip answers a request without a network.
type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newClient is a Client whose every try is answered by f.
func newClient(t testing.TB, f trip, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New("https://cloud.example.com", secret, append([]client.Option{client.WithHTTPClient(&http.Client{Transport: f})}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// respond is an answer. header is a list of names and values.
func respond(status int, kind, body string, header ...string) *http.Response {
	r := &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// reply is an answer in JSON.
func reply(status int, body string, header ...string) *http.Response {
	return respond(status, "application/json", body, header...)
}

// keeper answers as f does, and tells that the server keeps idempotency keys.
func keeper(f trip) trip {
	return func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/api/v2/quota" {
			return reply(200, `{"clientId":7,"limits":{},"used":{}}`), nil
		}
		return f(r)
	}
}

// keyOf is the Idempotency-Key of a request that was not yet written.
func keyOf(r *http.Request) string {
	for name, v := range r.Header {
		if http.CanonicalHeaderKey(name) == "Idempotency-Key" && len(v) == 1 {
			return v[0]
		}
	}
	return ""
}
