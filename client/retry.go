package client

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"time"
)

// RetryPolicy says how often a call is tried and how long the pauses are. The
// context of the call bounds it further: no pause is begun that would outlast it.
type RetryPolicy struct {
	// MaxTries counts the first one too. 1 or less: no try but the first.
	MaxTries int
	// First is the pause after the first try; each next one is twice as long. A
	// random part of up to a half is taken off.
	First time.Duration
	// Longest bounds a pause. Where the server asks for a longer one, in
	// Retry-After or X-RateLimit-Reset, the call ends with its error.
	Longest time.Duration
}

// DefaultRetry is the policy of a Client that was given no other: 7 tries
// within some 30 s.
func DefaultRetry() RetryPolicy {
	return RetryPolicy{MaxTries: 7, First: 500 * time.Millisecond, Longest: 30 * time.Second}
}

// pause is how long to wait after the given number of tries, at least as long
// as the server asked. It reports false where the policy ends.
func (p RetryPolicy) pause(tries int, asked time.Duration) (time.Duration, bool) {
	if tries >= p.MaxTries || asked > p.Longest {
		return 0, false
	}
	return max(p.backoff(tries), asked), true
}

func (p RetryPolicy) backoff(tries int) time.Duration {
	d := p.First
	for i := 1; i < tries && d < p.Longest; i++ {
		d *= 2
	}
	if d = min(d, p.Longest); d > 1 {
		d -= rand.N(d / 2)
	}
	return d
}

// first is the first pause, also of a policy that has none.
func (p RetryPolicy) first() time.Duration {
	if p.First <= 0 {
		return DefaultRetry().First
	}
	return p.First
}

// send tries r until it succeeds, fails for good, or the policy or ctx ends it.
func (c *Client) send(ctx context.Context, r *request) (answer, error) {
	var last *Error // of the try before
	doubt := false  // a try may have made the change
	for tries := 1; ; tries++ {
		start := time.Now()
		a, failure := c.again(ctx, r, last)
		c.note(ctx, r, a, failure, tries, time.Since(start))
		if failure == nil {
			return a, nil
		}
		failure.Tries = tries
		if doubt = failure.Uncertain || doubt && !failure.settles(); doubt {
			failure.doubt(c, r)
		}
		if ctx.Err() != nil {
			return a, interrupted(ctx, r.name(), failure)
		}
		if r.once || !c.mayRepeat(r, failure) {
			return a, failure
		}
		d, ok := c.retry.pause(tries, failure.RetryAfter)
		if end, bounded := ctx.Deadline(); !ok || bounded && time.Until(end) <= d {
			return a, failure
		}
		c.log.LogAttrs(ctx, slog.LevelWarn, "trying again", slog.String("op", r.name()), slog.Duration("in", d), slog.String("after", failure.Message))
		if sleep(ctx, d) != nil {
			return a, interrupted(ctx, r.name(), failure)
		}
		last = failure
	}
}

func (c *Client) note(ctx context.Context, r *request, a answer, failure *Error, tries int, took time.Duration) {
	attrs := []slog.Attr{slog.String("op", r.name()), slog.Int("try", tries), slog.Duration("took", took)}
	if a.status != 0 {
		attrs = append(attrs, slog.Int("status", a.status))
	}
	if failure != nil {
		attrs = append(attrs, slog.String("reason", failure.Reason), slog.String("error", failure.Message), slog.String("request", failure.RequestID))
	}
	c.log.LogAttrs(ctx, slog.LevelDebug, "call", attrs...)
}

// try sends r once and reads the whole answer.
func (c *Client) try(ctx context.Context, r *request) (answer, *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout+r.wait)
	defer cancel()
	req, err := r.http(ctx, c)
	if err != nil {
		return answer{}, &Error{Op: r.name(), Reason: ReasonBadCall, Message: c.scrub(err.Error()), cause: err}
	}
	rsp, err := c.http.Do(req)
	if err != nil {
		return answer{}, c.unreachable(r, err)
	}
	defer rsp.Body.Close()
	a := answer{status: rsp.StatusCode, header: rsp.Header}
	if a.body, err = io.ReadAll(io.LimitReader(rsp.Body, maxAnswer+1)); err != nil {
		return a, c.unreachable(r, err)
	}
	switch {
	case len(a.body) > maxAnswer:
		return a, c.badAnswer(r, a, "the answer is longer than 16 MiB")
	case !a.ok():
		return a, c.refusal(r, a)
	}
	return a, nil
}

// unreachable is a try that got no whole answer.
func (c *Client) unreachable(r *request, err error) *Error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the address is the caller's own
	}
	text := err.Error()
	if errors.Is(err, context.DeadlineExceeded) { // ours, or the HTTP client's: not the caller's
		err = errSlow
		text = err.Error()
	}
	e := &Error{Op: r.name(), Reason: ReasonUnreachable, Message: c.scrub(text), cause: err}
	if !neverLeft(err) {
		e.doubt(c, r)
	}
	return e
}

var errSlow = errors.New("no whole answer came in time")

// interrupted is a call whose context ended, after the failure of a try.
func interrupted(ctx context.Context, op string, failure *Error) *Error {
	e := &Error{
		Op: op, Status: failure.Status, Reason: ReasonInterrupted, Message: ctx.Err().Error(), RequestID: failure.RequestID,
		Uncertain: failure.Uncertain, IdempotencyKey: failure.IdempotencyKey, Tries: failure.Tries, cause: ctx.Err(),
	}
	if failure.cause != errSlow && !errors.Is(failure.cause, ctx.Err()) {
		e.Message += "; before that, " + failure.Message
	}
	return e
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
