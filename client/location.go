package client

import (
	"context"
	"iter"

	"github.com/drivebay/drivebay/api"
)

// Location is a facility.
type Location = api.Location

// LocationService reads the facilities.
type LocationService struct{ c *Client }

// List returns the facilities, by code.
func (s LocationService) List(ctx context.Context, opts ...CallOption) ([]Location, error) {
	return do[[]Location](ctx, s.c, reading("inventory", "locations"), opts)
}

// All iterates over what List returns. It ends after an error.
func (s LocationService) All(ctx context.Context, opts ...CallOption) iter.Seq2[Location, error] {
	return each(func() ([]Location, error) { return s.List(ctx, opts...) })
}

// Limits are what a client may have at most; nil is unlimited.
type Limits = api.Quota

// QuotaUsage is what a client may have and has.
type QuotaUsage = api.QuotaUsage

// QuotaService reads quotas. Servers other than drivebay have none.
type QuotaService struct{ c *Client }

// Get reads a client's limits and what is used of them; 0 is the key's own
// client.
func (s QuotaService) Get(ctx context.Context, clientID int64, opts ...CallOption) (QuotaUsage, error) {
	return do[QuotaUsage](ctx, s.c, reading("quota").number("clientId", s.c.actFor(clientID)), opts)
}
