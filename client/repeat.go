package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
)

// Whether a server keeps the promise of the header Idempotency-Key. One of the
// published API does not know it, and would make a change twice.
const (
	keysUnknown int32 = iota
	keysKept
	keysIgnored
)

// again is a try of r after the failure last, nil for the first one. A change
// that may have been made is sent again only to a server that is known to keep
// keys.
func (c *Client) again(ctx context.Context, r *request, last *Error) (answer, *Error) {
	if last == nil || harmless(r, last) {
		return c.try(ctx, r)
	}
	if failure := c.findKeys(ctx); failure != nil {
		failure.Op = r.name()
		return answer{}, failure
	}
	if c.keys.Load() == keysIgnored {
		last.doubt(c, r) // what its 503 means we do not know
		return answer{}, last
	}
	return c.try(ctx, r)
}

// findKeys finds out whether the server keeps keys, unless that is known. It
// asks for something that only drivebay has; whatever drivebay answers, its
// quota or why not, has fields that the published API has not.
func (c *Client) findKeys(ctx context.Context) *Error {
	if c.keys.Load() != keysUnknown {
		return nil
	}
	r, err := c.prepare(reading("quota"), nil)
	if err != nil {
		return err.(*Error)
	}
	a, failure := c.try(ctx, r)
	var got struct {
		Limits    json.RawMessage `json:"limits"`
		Used      json.RawMessage `json:"used"`
		Reason    string          `json:"reason"`
		RequestID string          `json:"requestId"`
	}
	_ = json.Unmarshal(a.body, &got) // what is no JSON has none of them
	switch {
	case got.Limits != nil && got.Used != nil, got.Reason != "" && got.RequestID != "":
		c.keys.Store(keysKept)
	case failure != nil && c.mayRepeat(r, failure):
		return failure
	default:
		c.keys.Store(keysIgnored)
	}
	return nil
}

// doubt marks e as not telling whether the change r was made.
func (e *Error) doubt(c *Client, r *request) {
	if r.method == http.MethodGet {
		return
	}
	e.Uncertain, e.IdempotencyKey = true, r.key
	if c.keys.Load() == keysIgnored {
		e.IdempotencyKey = ""
	}
}

// unsent reports whether e is of a try that was never sent.
func (e *Error) unsent() bool { return e.Status == 0 && e.cause != nil && neverLeft(e.cause) }

// settles reports whether e is an answer that a change made by an earlier try of
// the same call would not have got: a repeat is answered as the first was.
func (e *Error) settles() bool {
	kind := kindOf(e.Status)
	return kind == ErrInvalid || kind == ErrNotFound || kind == ErrConflict && e.Reason != "idempotency_secret_withheld"
}

// mayRepeat reports whether to try r again after e can help and may be safe.
func (c *Client) mayRepeat(r *request, e *Error) bool {
	if e.Status == 0 {
		if e.cause == nil || hopeless(e.cause) {
			return false
		}
	} else if kindOf(e.Status) != ErrUnavailable && e.Status != http.StatusTooManyRequests {
		return false
	}
	return harmless(r, e) || r.key != "" && c.keys.Load() != keysIgnored
}

// harmless reports whether r can be sent again after e to any server.
func harmless(r *request, e *Error) bool {
	if r.method == http.MethodGet {
		return true
	}
	return !e.Uncertain && (e.unsent() || r.key != "" && e.Status == http.StatusTooManyRequests)
}

// neverLeft reports whether err came up before there was a connection.
func neverLeft(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") || hopeless(err)
}

// hopeless reports whether err stays however often it is tried: a certificate
// that is wrong, or a server that speaks something else.
func hopeless(err error) bool {
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &cert) || errors.As(err, &record)
}
