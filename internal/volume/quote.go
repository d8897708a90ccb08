package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/task"
)

// Quote is what an order would come to if its task ended at once, after those
// already accepted for the volume.
type Quote struct {
	billing.Quote
	Kind         task.Kind
	VolumeID     string // "" for a new volume
	FacilityCode string
	DeviceID     int64 // that it is attached to by then; 0: to none
	// BeforeGiB and AfterGiB are the sizes; 0 where there is no volume.
	BeforeGiB, AfterGiB int
	// Online: a device that runs can go on running. nil: only another node can
	// tell, the one that serves the facility.
	Online *bool
}

// Quote says what Accept would come to now, and changes nothing. Its refusals
// are those of Accept. Prices are those Accept would keep; amounts for a part
// of a month are for Quote.At, and fall until the task ends.
func (s *Service) Quote(ctx context.Context, scope access.Scope, o Order) (Quote, error) {
	var q Quote
	err := s.Store.View(ctx, func(tx Tx) error {
		d, err := s.decide(ctx, tx, scope, o)
		if err != nil {
			return err
		}
		q, err = s.cost(ctx, tx, o, d)
		return err
	})
	if err != nil {
		return Quote{}, err
	}
	q.Online = s.online(q)
	return q, nil
}

// cost is the quote of a decision, by what the tasks themselves do to the
// service.
func (s *Service) cost(ctx context.Context, tx Tx, o Order, d decision) (Quote, error) {
	now := s.Now()
	q := Quote{Kind: o.Kind, VolumeID: d.v.ID, FacilityCode: d.v.FacilityCode, DeviceID: d.plan.DeviceID, BeforeGiB: d.plan.SizeGiB, AfterGiB: d.args.SizeGiB}
	if o.Kind == KindCreate {
		svc, first := d.v.open(d.plan.DeviceID, now, "")
		q.VolumeID, q.Quote = "", billing.QuoteOf(now, billing.Service{}, svc, first)
		return q, nil
	}
	before, charges, err := foretell(ctx, tx, d, now)
	if err != nil {
		return q, err
	}
	after, own := before, []billing.Charge(nil)
	if o.Kind == KindResize {
		after, own = before.Resize(now, d.args.price(d.v.FacilityCode), "")
	} else {
		after, own = before.Cancel(now)
	}
	q.Quote = billing.QuoteOf(now, before, after, append(charges, own...)...)
	return q, nil
}

// foretell is the service of a decision's volume as the tasks accepted before
// will leave it if they end now, and the months they renew on the way.
func foretell(ctx context.Context, tx Tx, d decision, now time.Time) (billing.Service, []billing.Charge, error) {
	svc, err := tx.Service(ctx, d.v.ID)
	switch {
	case errors.Is(err, billing.ErrNoService) && d.v.State == Creating:
	case errors.Is(err, billing.ErrNoService):
		return svc, nil, fmt.Errorf("volume %s has no service", d.v.ID) // a fault of ours, whoever asks
	case err != nil:
		return svc, nil, err
	}
	var renewals []billing.Charge
	for _, t := range d.pending {
		switch t.Kind {
		case KindCreate:
			svc, _ = d.v.open(t.DeviceID, now, "")
		case KindResize:
			a, err := argsOf(t)
			if err != nil {
				return svc, nil, err
			}
			var charges []billing.Charge
			svc, charges = svc.Resize(now, a.price(d.v.FacilityCode), "")
			renewals = append(renewals, slices.DeleteFunc(charges, func(c billing.Charge) bool { return c.Kind != billing.ChargeRenew })...)
		}
	}
	return svc, renewals, nil
}

// online is Quote.Online.
func (s *Service) online(q Quote) *bool {
	live := true
	if q.DeviceID != 0 {
		driver, err := s.Drivers.Driver(q.FacilityCode)
		if err != nil {
			return nil
		}
		live = driver.Info().Live
	}
	return &live
}
