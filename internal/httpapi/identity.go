package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/drivebay/drivebay/internal/access"
)

// call is one request on its way: who makes it, and what is answered. It is the
// response writer that everything inside writes to.
type call struct {
	http.ResponseWriter
	id    string // request id
	start time.Time
	from  netip.Addr // the peer's; invalid if it has none
	op    *operation // nil until routed
	probe bool
	gone  bool          // the client gave up
	sent  io.ReadCloser // the body without the cap; nil for none
	hasty bool          // it must not wait: its answer is known to be a refusal
	dry   bool          // nothing is to be changed; see isDry

	toll   *toll         // nil unless it may wait
	waited time.Duration // for something to happen, with nothing to do

	identity access.Identity
	refused  error  // why there is no identity
	key      string // public prefix of the key sent

	status int   // 0 until the header is written
	size   int64 // bytes of the body
	limits [3]string
}

type callKey struct{}

// callOf returns the call of a request that came through observe.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// caller returns who makes the request. Handlers run only for callers whose key
// is valid and has the operation's permission.
func caller(ctx context.Context) access.Identity {
	if c := callOf(ctx); c != nil {
		return c.identity
	}
	return access.Identity{}
}

// may reports why the caller may not use what needs p, nil if it may.
func (c *call) may(p access.Permission) error {
	switch {
	case c.refused != nil:
		return c.refused
	case !c.identity.May(p):
		return access.ErrPermission
	}
	return nil
}

// WriteHeader notes the status; informational ones are passed through.
func (c *call) WriteHeader(status int) {
	if c.status == 0 && status >= 200 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write counts what is written.
func (c *call) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(p)
	c.size += int64(n)
	return n, err
}

// comeBack tells when a request refused with err may be repeated, in seconds:
// when the count starts anew, or soon where only places to wait are taken.
func (c *call) comeBack(err error) {
	switch {
	case errors.Is(err, errRate) && c.limits[2] != "":
		c.Header()["Retry-After"] = c.limits[2:3:3]
	case errors.Is(err, errWaits):
		c.Header()["Retry-After"] = []string{"1"}
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (c *call) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// peer is the address at the other end of the connection. Headers that claim
// another one are not believed.
func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
