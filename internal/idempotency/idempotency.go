// Package idempotency lets a client send a request again without it being done
// again: what a key is, what makes two requests the same, and what is kept of
// one. docs/design/idempotency.md says how the parts work together.
package idempotency

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"time"

	"github.com/drivebay/drivebay/internal/fault"
)

// Header is the request header that carries a key.
const Header = "Idempotency-Key"

// Retention is how long a key is kept, from the moment its request was
// accepted. After that the key is free again.
const Retention = 24 * time.Hour

// maxKey is the longest key, in bytes.
const maxKey = 255

// Refusals.
var (
	// ErrKeyForm: the header is there more than once or holds no key.
	ErrKeyForm = fault.Field("idempotency_key_malformed", Header,
		"an Idempotency-Key is one header of 1 to 255 visible ASCII characters, with or without double quotes around it")
	// ErrTaken: another request with the key has been accepted, so nothing of
	// this one was done. Stores return it; callers see it only where the other
	// cannot be found either, which a repeat settles.
	ErrTaken = fault.New(fault.Unavailable, "idempotency_in_progress", "Another request with this Idempotency-Key is under way; please try again")
)

// ParseKey reads the values of the header. It returns "" if there are none;
// ErrKeyForm. The quotes that the header's draft asks for are not part of the
// key, so that clients with and without them mean the same.
func ParseKey(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		var ok bool
		if key, ok = unquote(key[1 : len(key)-1]); !ok {
			return "", ErrKeyForm
		}
	} else if len(key) > 0 && key[0] == '"' {
		return "", ErrKeyForm
	}
	if len(values) > 1 || key == "" || len(key) > maxKey {
		return "", ErrKeyForm
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return "", ErrKeyForm
		}
	}
	return key, nil
}

// unquote undoes the escapes of a structured field's string (RFC 8941, 3.3.3):
// a backslash stands before a quote or a backslash, and nowhere else.
func unquote(s string) (string, bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '"' {
			return "", false
		}
		if s[i] == '\\' {
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
		}
		out = append(out, s[i])
	}
	return string(out), true
}

// Fingerprint is what tells requests apart: two with the same are the same. The
// body is JSON that has been checked, or empty; neither white space nor the
// order of members counts, since some clients shuffle them from one try to the
// next.
func Fingerprint(method, path, query string, body []byte) [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(method), []byte(path), []byte(query), ordered(body)} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // so that no part runs into the next
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// ordered is the JSON value with its members by name; what is no JSON stays.
func ordered(body []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // numbers stay as they are written
	var v any
	if err := d.Decode(&v); err != nil {
		return body
	}
	if _, err := d.Token(); err != io.EOF {
		return body
	}
	out, err := json.Marshal(v)
	if err != nil {
		return body
	}
	return out
}

// Request is one try of a request with a key, on its way through the server.
type Request struct {
	// ID tells this try from others with the same key.
	ID string
	// Scope is the client whose key it is; 0 for operators. The same key in
	// another scope is another key.
	Scope       int64
	Key         string
	Fingerprint [sha256.Size]byte
}

// Same reports whether r and the request that k was kept of are the same.
func (r *Request) Same(k Kept) bool { return bytes.Equal(r.Fingerprint[:], k.Fingerprint) }

// Kept is what is known of the request that was accepted under a key. Where it
// is known its effect is durable, since both were written together.
type Kept struct {
	ID          string // that of its Request
	Fingerprint []byte
	// Result is the id of what the request made: its task, or the client or
	// key; "" if it made none of these.
	Result string
	At     time.Time
	// Answer is what was answered; nil until that is stored.
	Answer *Answer
}

// Answer is a success as it was sent, before any field mask.
type Answer struct {
	Status      int
	ContentType string // "" with an empty body
	Body        []byte
}

// Store keeps keys. The transaction that has the effect of a request with a
// key (From) claims the key too, or fails with ErrTaken.
type Store interface {
	// Find returns what is kept under the request's key, nil if there is
	// nothing or it is older than Retention.
	Find(ctx context.Context, r *Request) (*Kept, error)
	// Settle stores the answer of the request with the id, unless it has one,
	// and returns the one that it has now.
	Settle(ctx context.Context, r *Request, id string, a Answer) (Answer, error)
	// Purge forgets at most limit keys that are older than Retention and
	// returns how many it found.
	Purge(ctx context.Context, limit int) (int, error)
}

type contextKey struct{}

// With returns a context in which r is carried out.
func With(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, contextKey{}, r)
}

// From returns the request that is carried out in ctx; nil for one without a
// key, and for the server's own work.
func From(ctx context.Context) *Request {
	r, _ := ctx.Value(contextKey{}).(*Request)
	return r
}
