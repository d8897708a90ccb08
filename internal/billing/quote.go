package billing

import "time"

// Quote is what a change to a service costs at a moment. It is made from what
// Open, Resize and Cancel return, so it has no arithmetic of its own.
type Quote struct {
	At            time.Time // UTC, to the microsecond
	Before, After Cents     // for a month; 0 while there is no service
	Charged       Cents     // by the change itself, at once
	// Due is for months that had begun and were not paid: the change books them
	// first, and without it the next renewal does.
	Due       Cents
	PaidUntil time.Time
	// RenewsAt is when After is charged next; zero: never.
	RenewsAt time.Time
}

// QuoteOf is the quote of a change that made after of before, the zero Service
// for a new one, with these charges.
func QuoteOf(at time.Time, before, after Service, charges ...Charge) Quote {
	q := Quote{At: Anniversary(at, 0), Before: before.Monthly, PaidUntil: after.PeriodEnd}
	if after.Status == Active {
		q.After, q.RenewsAt = after.Monthly, after.PeriodEnd
	}
	for _, c := range charges {
		if c.Kind == ChargeRenew {
			q.Due += c.Amount
		} else {
			q.Charged += c.Amount
		}
	}
	return q
}
