package billing

import (
	"context"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/fault"
)

// What the ledger refuses.
var (
	ErrNoService     = fault.New(fault.NotFound, "service_not_found", "Service not found")
	ErrPriceNotFound = fault.New(fault.NotFound, "price_not_found", "Price not found")
)

// ServiceFilter narrows a list of services.
type ServiceFilter struct {
	Status *ServiceStatus // nil: any
	Limit  int
}

// ChargeFilter narrows a list of charges.
type ChargeFilter struct {
	ClientID *int64
	VolumeID *string
	Before   int64 // ids below this one; 0: from the newest
	Limit    int
}

// Store keeps prices, services and charges.
type Store interface {
	// Services returns services, newest first.
	Services(ctx context.Context, s access.Scope, f ServiceFilter) ([]Service, error)
	// ServiceByID returns one service of the scope. ErrNoService.
	ServiceByID(ctx context.Context, s access.Scope, id int64) (Service, error)
	// Charges returns charges, newest first.
	Charges(ctx context.Context, f ChargeFilter) ([]Charge, error)
	// Prices returns the price lists, by facility and size; of one facility if
	// facilityCode is set.
	Prices(ctx context.Context, facilityCode *string) ([]Price, error)
	// PutPrice adds or changes the price of a size.
	// fault facility_not_found.
	PutPrice(ctx context.Context, p Price) error
	// DeletePrice takes a size off the list. ErrPriceNotFound.
	DeletePrice(ctx context.Context, facilityCode string, sizeGiB int) error
	// RenewDue calls renew for up to max services whose paid month has ended,
	// in one transaction, and keeps what it returns. It reports how many.
	RenewDue(ctx context.Context, now time.Time, max int, renew func(Service) (Service, []Charge)) (int, error)
}

// Ledger answers requests about prices, services and charges.
type Ledger struct {
	Store Store
	Now   func() time.Time
}

// renewBatch bounds the services renewed in one transaction.
const renewBatch = 200

// RenewAll charges every month that has begun by now and is not paid. It may
// be repeated at any time: a month is paid once.
func (l *Ledger) RenewAll(ctx context.Context) (renewed int, err error) {
	for ctx.Err() == nil {
		now := l.Now()
		n, err := l.Store.RenewDue(ctx, now, renewBatch, func(s Service) (Service, []Charge) { return s.Renew(now) })
		renewed += n
		if err != nil || n == 0 {
			return renewed, err
		}
	}
	return renewed, ctx.Err()
}

// Services returns the services of a scope, newest first.
func (l *Ledger) Services(ctx context.Context, s access.Scope, f ServiceFilter) ([]Service, error) {
	return l.Store.Services(ctx, s, f)
}

// Service returns one service. ErrNoService.
func (l *Ledger) Service(ctx context.Context, s access.Scope, id int64) (Service, error) {
	return l.Store.ServiceByID(ctx, s, id)
}

// Charges returns the ledger, newest first.
func (l *Ledger) Charges(ctx context.Context, f ChargeFilter) ([]Charge, error) {
	return l.Store.Charges(ctx, f)
}

// Prices returns the price lists; of one facility if facilityCode is set.
func (l *Ledger) Prices(ctx context.Context, facilityCode *string) ([]Price, error) {
	return l.Store.Prices(ctx, facilityCode)
}

// PutPrice adds or changes the price of a size for what is bought from now on.
// Running services keep their price until they are resized.
func (l *Ledger) PutPrice(ctx context.Context, p Price) (Price, error) {
	if p.ProductID == 0 {
		p.ProductID = 1000 + p.SizeGiB
	}
	return p, l.Store.PutPrice(ctx, p)
}

// DeletePrice takes a size off the list. ErrPriceNotFound.
func (l *Ledger) DeletePrice(ctx context.Context, facilityCode string, sizeGiB int) error {
	return l.Store.DeletePrice(ctx, facilityCode, sizeGiB)
}
