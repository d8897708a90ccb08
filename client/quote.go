package client

import (
	"context"
	"errors"
	"net/http"

	"github.com/drivebay/drivebay/api"
)

// Quote is what a change of a volume would do and cost, all in the installation's
// currency and in GiB.
type Quote = api.Quote

// ReasonNoQuotes is a quote asked of a server that gives none. Nothing was changed.
const ReasonNoQuotes = "no_quotes"

// Quotes reports whether the server gives quotes. One that does not know them
// would carry out what it is asked for, so it is asked with an order that nobody
// can carry out: one that knows quotes complains about more.
func (s VolumeService) Quotes(ctx context.Context) (bool, error) {
	if s.c.quotes.Load() {
		return true, nil
	}
	cl := posting(struct{}{}, "vps", "volume").text("dryRun", "unknown")
	err := run(ctx, s.c, cl, []CallOption{WithoutRetries()})
	var e *Error
	switch {
	case err == nil || !errors.As(err, &e):
		return false, err
	case e.Status == 0 || errors.Is(err, ErrForbidden) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRateLimited):
		e.Uncertain, e.IdempotencyKey = false, ""
		return false, err
	}
	_, knows := e.Fields["dryRun"]
	knows = knows && e.Status == http.StatusBadRequest
	s.c.quotes.Store(knows)
	return knows, nil
}

// QuoteCreate is what Create would do and cost. It is refused as Create would be.
func (s VolumeService) QuoteCreate(ctx context.Context, o VolumeCreate, opts ...CallOption) (Quote, error) {
	return s.quote(ctx, s.create(o), opts)
}

// QuoteResize is what Resize would do and cost. It is refused as Resize would be.
func (s VolumeService) QuoteResize(ctx context.Context, id string, o VolumeResize, opts ...CallOption) (Quote, error) {
	return s.quote(ctx, s.resize(id, o), opts)
}

// QuoteDelete is what Delete would do and cost. It is refused as Delete would be.
func (s VolumeService) QuoteDelete(ctx context.Context, id string, o VolumeDelete, opts ...CallOption) (Quote, error) {
	return s.quote(ctx, s.delete(id, o), opts)
}

func (s VolumeService) quote(ctx context.Context, cl *call, opts []CallOption) (Quote, error) {
	switch knows, err := s.Quotes(ctx); {
	case err != nil:
		return Quote{}, err
	case !knows:
		return Quote{}, &Error{Op: cl.name(), Reason: ReasonNoQuotes, Message: "the server gives no quotes; nothing was changed"}
	}
	got, err := do[struct {
		Quote
		TaskID looseText `json:"taskId"`
	}](ctx, s.c, cl.text("dryRun", "true"), append([]CallOption{WithoutRetries()}, opts...))
	if err == nil && got.TaskID != "" { // several servers behind one address, and this one is older
		err = &Error{Op: cl.name(), Reason: ReasonNoQuotes, Message: "the server made the change instead of a quote: task " + string(got.TaskID)}
	}
	return got.Quote, err
}
