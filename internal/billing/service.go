package billing

import (
	"fmt"
	"time"
)

// MaxRenewals bounds the charges of one call of Renew: ten years.
const MaxRenewals = 120

// ServiceStatus tells whether a service is still charged.
type ServiceStatus string

// The two states of a service. A cancelled one never changes again.
const (
	Active    ServiceStatus = "active"
	Cancelled ServiceStatus = "cancelled"
)

// Service is what a client pays for one volume. Its size, price and product
// change together. Every moment is UTC, to the microsecond.
type Service struct {
	ID           int64 // given by the store
	ClientID     int64
	VolumeID     string
	FacilityCode string
	DeviceID     *int64 // the device at the opening; for information, nothing follows from it
	SizeGiB      int
	ProductID    int
	Monthly      Cents
	Status       ServiceStatus
	StartedAt    time.Time // when the volume came to be: the anchor of its anniversary
	PeriodStart  time.Time // the newest paid month, PeriodEnd not in it
	PeriodEnd    time.Time
	Periods      int // months paid so far; PeriodEnd is that anniversary of StartedAt
	CancelledAt  *time.Time
}

// ChargeKind tells what a charge is for.
type ChargeKind string

// The kinds of charges: the first month, a further one, and the price
// difference after a resize.
const (
	ChargeCreate ChargeKind = "create"
	ChargeRenew  ChargeKind = "renew"
	ChargeResize ChargeKind = "resize"
)

// Charge is one line of the ledger. It is written once and never changed.
type Charge struct {
	ID        int64 // given by the store
	ServiceID int64 // 0 from Open: the store has not numbered the service yet
	ClientID  int64
	VolumeID  string
	Kind      ChargeKind
	Amount    Cents     // negative when a resize led to a lower price
	From, To  time.Time // what the amount pays for, To not in it
	At        time.Time // when it was charged
	TaskID    string    // the task that caused it; "" for a renewal
	Text      string    // one sentence for the client
}

// Opening is what Open needs to know.
type Opening struct {
	ClientID int64
	VolumeID string
	DeviceID *int64
	Price    Price
	At       time.Time // when the volume came to be
	TaskID   string
}

// Open returns the service of a new volume and the charge for its first month.
// Both go into the transaction that makes the volume known.
func Open(o Opening) (Service, Charge) {
	s := Service{
		ClientID:     o.ClientID,
		VolumeID:     o.VolumeID,
		FacilityCode: o.Price.FacilityCode,
		DeviceID:     o.DeviceID,
		SizeGiB:      o.Price.SizeGiB,
		ProductID:    o.Price.ProductID,
		Monthly:      o.Price.Monthly,
		Status:       Active,
		StartedAt:    Anniversary(o.At, 0),
		PeriodStart:  Anniversary(o.At, 0),
		PeriodEnd:    Anniversary(o.At, 1),
		Periods:      1,
	}
	c := s.charge(ChargeCreate, o.At, s.Monthly, s.PeriodStart)
	c.TaskID = o.TaskID
	c.Text = fmt.Sprintf("Volume of %d GiB, first month.", s.SizeGiB)
	return s, c
}

// Due reports whether a month that is not paid has begun at now.
func (s Service) Due(now time.Time) bool {
	return s.Status == Active && !s.PeriodEnd.After(now)
}

// Renew charges every month that began at or before now and is not paid, each
// with its own charge, at most MaxRenewals of them: s is still Due after that
// many. Nothing to do: s as it is and no charges, so it may be repeated.
func (s Service) Renew(now time.Time) (Service, []Charge) {
	var out []Charge
	for s.Due(now) && len(out) < MaxRenewals {
		s.PeriodStart = Anniversary(s.StartedAt, s.Periods)
		s.PeriodEnd = Anniversary(s.StartedAt, s.Periods+1)
		s.Periods++
		c := s.charge(ChargeRenew, now, s.Monthly, s.PeriodStart)
		c.Text = fmt.Sprintf("Volume of %d GiB, month %d.", s.SizeGiB, s.Periods)
		out = append(out, c)
	}
	return s, out
}

// catchUp renews until nothing is due, however many months that takes: what
// comes next acts on the month that is running.
func (s Service) catchUp(now time.Time) (Service, []Charge) {
	s, out := s.Renew(now)
	for s.Due(now) {
		var more []Charge
		s, more = s.Renew(now)
		out = append(out, more...)
	}
	return s, out
}

// Resize renews what is due, then moves the service to the size, price and
// product of p, a price of its own facility, and charges the difference for the
// rest of the running month, the second that has begun included. A service that
// is what p says already is only renewed; a cancelled one stays as it is.
func (s Service) Resize(now time.Time, p Price, taskID string) (Service, []Charge) {
	if s.Status != Active {
		return s, nil
	}
	s, out := s.catchUp(now)
	if s.SizeGiB == p.SizeGiB && s.Monthly == p.Monthly && s.ProductID == p.ProductID {
		return s, out
	}
	from := wholeSeconds(s.PeriodStart, now)
	diff := Prorate(p.Monthly-s.Monthly, from, s.PeriodEnd, s.PeriodStart, s.PeriodEnd)
	c := s.charge(ChargeResize, now, diff, from)
	c.TaskID = taskID
	c.Text = fmt.Sprintf("Volume resized from %d to %d GiB, rest of the month.", s.SizeGiB, p.SizeGiB)
	s.SizeGiB, s.Monthly, s.ProductID = p.SizeGiB, p.Monthly, p.ProductID
	return s, append(out, c)
}

// Cancel renews what is due, then ends the service: nothing is charged for it
// any more, and the running month is not refunded. A cancelled service stays as
// it is.
func (s Service) Cancel(now time.Time) (Service, []Charge) {
	if s.Status != Active {
		return s, nil
	}
	s, out := s.catchUp(now)
	at := Anniversary(now, 0)
	s.Status, s.CancelledAt = Cancelled, &at
	return s, out
}

// Stop ends the service at once and charges nothing, not even a month that is
// due: it is for a service that has no volume, which should not have gone on.
func (s Service) Stop(now time.Time) Service {
	if s.Status == Active {
		at := Anniversary(now, 0)
		s.Status, s.CancelledAt = Cancelled, &at
	}
	return s
}

// charge is a charge of s from a moment to the end of the month it has paid.
func (s Service) charge(kind ChargeKind, now time.Time, amount Cents, from time.Time) Charge {
	return Charge{
		ServiceID: s.ID,
		ClientID:  s.ClientID,
		VolumeID:  s.VolumeID,
		Kind:      kind,
		Amount:    amount,
		From:      from,
		To:        s.PeriodEnd,
		At:        Anniversary(now, 0),
	}
}
