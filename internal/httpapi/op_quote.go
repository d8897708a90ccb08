package httpapi

import (
	"context"
	"net/url"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/volume"
)

// dryRun is the parameter that makes a request change nothing.
const dryRun = "dryRun"

var errMost = fault.Field("price_malformed", "maxMonthlyPrice", "a price has at most two decimals and is not negative")

// isDry reports whether a query that was checked asks for a dry run.
func isDry(query string) bool {
	if query == "" {
		return false
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return false
	}
	dry, _ := looseBool(q.Get(dryRun))
	return dry
}

// quote answers a dry run. Where it is refused, so would the order be.
func (o *ops) quote(ctx context.Context, order volume.Order) (api.QuotedJSONResponse, error) {
	q, err := o.Volumes.Quote(ctx, caller(ctx).Scope(), order)
	if err != nil {
		return api.QuotedJSONResponse{}, err
	}
	return api.QuotedJSONResponse(toQuote(q)), nil
}

func toQuote(q volume.Quote) api.Quote {
	out := api.Quote{
		At:                 inUTC(q.At),
		Action:             api.QuoteAction(q.Kind),
		VolumeID:           orNull(q.VolumeID),
		DeviceID:           orNull(q.DeviceID),
		FacilityCode:       q.FacilityCode,
		SizeBefore:         q.BeforeGiB,
		SizeAfter:          q.AfterGiB,
		Online:             q.Online,
		MonthlyPriceBefore: q.Before.Units(),
		MonthlyPriceAfter:  q.After.Units(),
		ChargedNow:         q.Charged.Units(),
		RenewalsDue:        q.Due.Units(),
		PaidUntil:          inUTC(q.PaidUntil),
		NextRenewalAt:      inUTCOrNull(q.RenewsAt),
	}
	if out.NextRenewalAt != nil {
		next := q.After.Units()
		out.NextRenewalAmount = &next
	}
	return out
}

// parseMost reads the price that a request allows; nil: any. errMost.
func parseMost(units *float64) (*billing.Cents, error) {
	if units == nil {
		return nil, nil
	}
	most, err := parsePrice(*units)
	if err != nil {
		return nil, errMost
	}
	return &most, nil
}
