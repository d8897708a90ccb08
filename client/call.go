package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// CallOption changes one call.
type CallOption func(*call)

// WithFields asks for these fields of the answer only, as the header X-Fields
// has it: names, and "nics{ipAddress}" for fields of what is nested. All others
// are zero in the result. A wait needs taskId and result, for an ISO isoId, ready
// and reason too.
func WithFields(fields ...string) CallOption {
	return func(c *call) { c.fields = strings.Join(fields, ",") }
}

// WithIdempotencyKey sends this key with a change, instead of a random one.
// Sent again with the same key, within a day and with the same arguments, also by
// another process, the change is not made twice.
func WithIdempotencyKey(key string) CallOption {
	return func(c *call) { c.key = key }
}

// WithQuery adds a query parameter that the package has no name for.
func WithQuery(name, value string) CallOption {
	return func(c *call) { c.query.Set(name, value) }
}

// WithBody stores the answer's body as it came, of a success only, once the
// call has returned. A call that asks several times leaves the last one.
func WithBody(body *[]byte) CallOption {
	return func(c *call) { c.raw = body }
}

// WithoutRetries tries the call once.
func WithoutRetries() CallOption {
	return func(c *call) { c.once = true }
}

// call is one call of an operation, before it is sent.
type call struct {
	method string
	path   []string // segments, not escaped
	slash  bool     // at the end, as some published paths have it
	query  url.Values
	body   any           // nil: none
	wait   time.Duration // how much longer than usual a try may take

	fields string
	key    string
	raw    *[]byte
	once   bool
}

// reading, posting and so on begin a call. Segments are strings and ids.
func reading(path ...any) *call           { return newCall(http.MethodGet, nil, path) }
func posting(body any, path ...any) *call { return newCall(http.MethodPost, body, path) }
func putting(body any, path ...any) *call { return newCall(http.MethodPut, body, path) }
func deleting(path ...any) *call          { return newCall(http.MethodDelete, nil, path) }

func newCall(method string, body any, path []any) *call {
	c := &call{method: method, body: body, query: url.Values{}}
	for _, p := range path {
		switch p := p.(type) {
		case int64:
			c.path = append(c.path, strconv.FormatInt(p, 10))
		case int:
			c.path = append(c.path, strconv.Itoa(p))
		case string:
			c.path = append(c.path, p)
		}
	}
	return c
}

func (c *call) slashed() *call { c.slash = true; return c }

// text and number add a query parameter unless it is the zero value.
func (c *call) text(name, value string) *call {
	if value != "" {
		c.query.Set(name, value)
	}
	return c
}

func (c *call) number(name string, value int64) *call {
	if value != 0 {
		c.query.Set(name, strconv.FormatInt(value, 10))
	}
	return c
}

func (c *call) name() string { return c.method + " /" + strings.Join(c.path, "/") }

// request is a call as it goes out, the same for each of its tries.
type request struct {
	*call
	url   string
	bytes []byte
}

// prepare applies opts and encodes cl. A segment that is empty or made of dots
// would be another address, so it is refused.
func (c *Client) prepare(cl *call, opts []CallOption) (*request, error) {
	for _, o := range opts {
		o(cl)
	}
	r := &request{call: cl}
	var b strings.Builder
	b.WriteString(c.base)
	for _, p := range cl.path {
		if p == "" || p == "." || p == ".." {
			return nil, &Error{Op: cl.name(), Reason: ReasonBadCall, Message: "an id in the path is empty, or is dots"}
		}
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	if cl.slash {
		b.WriteByte('/')
	}
	if len(cl.query) > 0 {
		b.WriteString("?" + cl.query.Encode())
	}
	r.url = b.String()
	if cl.body != nil {
		data, err := json.Marshal(cl.body)
		if err != nil {
			return nil, &Error{Op: cl.name(), Reason: ReasonBadCall, Message: "the request cannot be written as JSON", cause: err}
		}
		r.bytes = data
	}
	switch {
	case cl.method == http.MethodGet || c.unkeyed && cl.key == "":
		cl.key = ""
	case cl.key == "":
		cl.key = rand.Text()
	case strings.ContainsFunc(cl.key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, &Error{Op: cl.name(), Reason: ReasonBadCall, Message: "the idempotency key is not visible ASCII"}
	}
	if strings.ContainsFunc(cl.fields, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, &Error{Op: cl.name(), Reason: ReasonBadCall, Message: "a field is not ASCII"}
	}
	return r, nil
}

// http makes the request of one try.
func (r *request) http(ctx context.Context, c *Client) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.bytes))
	if err != nil {
		return nil, err
	}
	h := req.Header
	h.Set("X-API-KEY", c.key())
	h.Set("Accept", "application/json")
	h.Set("User-Agent", c.agent)
	if r.bytes != nil {
		h.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		// As "Idempotency-Key" the standard library would take it for leave to
		// send the request again by itself. On the wire it is the same.
		h["idempotency-key"] = []string{r.key}
	}
	if r.fields != "" {
		h.Set("X-Fields", r.fields)
	}
	return req, nil
}

// do makes the call and decodes its answer.
func do[T any](ctx context.Context, c *Client, cl *call, opts []CallOption) (T, error) {
	var value T
	r, err := c.prepare(cl, opts)
	if err != nil {
		return value, err
	}
	a, err := c.send(ctx, r)
	if err != nil {
		return value, err
	}
	if value, err = decode[T](c, r, a); err != nil {
		return value, err
	}
	if r.raw != nil {
		*r.raw = a.body
	}
	return value, nil
}

// Do makes a call that the package has no name for: method is GET, POST, PUT or
// DELETE, path the segments below /api/v2, which need no escaping, and a last ""
// a slash at the end. body is sent as JSON unless nil; the answer is decoded into
// into unless nil. Tries, keys and errors are those of all other calls.
func (c *Client) Do(ctx context.Context, method string, path []string, body, into any, opts ...CallOption) error {
	cl := &call{method: method, path: path, query: url.Values{}, body: body}
	if n := len(path); n > 1 && path[n-1] == "" {
		cl.path, cl.slash = path[:n-1], true
	}
	r, err := c.prepare(cl, opts)
	if err != nil {
		return err
	}
	a, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	if into != nil {
		var raw json.RawMessage
		if raw, err = decode[json.RawMessage](c, r, a); err != nil {
			return err
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return c.badAnswer(r, a, "the answer cannot be read: "+err.Error())
		}
	}
	if r.raw != nil {
		*r.raw = a.body
	}
	return nil
}

// run makes a call that has no answer to speak of.
func run(ctx context.Context, c *Client, cl *call, opts []CallOption) error {
	r, err := c.prepare(cl, opts)
	if err != nil {
		return err
	}
	a, err := c.send(ctx, r)
	if err == nil && r.raw != nil {
		*r.raw = a.body
	}
	return err
}

// actFor is the client that an operation is for: the one its options name, or
// else the Client's own choice; 0 for none.
func (c *Client) actFor(id int64) int64 {
	if id != 0 {
		return id
	}
	return c.clientID
}
