package billing

import (
	"math/bits"
	"time"
)

// Anniversary is the moment n months after start, in UTC and to the
// microsecond, the finest step every database keeps. In a month without that
// day it is the last one: the 31st falls on the 30th, 29th or 28th, and on the
// 31st again after that, because each is counted from start.
func Anniversary(start time.Time, n int) time.Time {
	start = start.UTC().Truncate(time.Microsecond)
	y, m, d := start.Date()
	m += time.Month(n)
	d = min(d, time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day())
	return time.Date(y, m, d, start.Hour(), start.Minute(), start.Second(), start.Nanosecond(), time.UTC)
}

// Prorate is the share of diff for the span from..to within a period, rounded
// half up to the cent (a tie goes towards the larger number, also below zero).
// The span is cut to the period; an empty span or period gives 0. It is exact
// to the microsecond.
func Prorate(diff Cents, from, to, periodStart, periodEnd time.Time) Cents {
	start, end := periodStart.UnixMicro(), periodEnd.UnixMicro()
	lo, hi := max(from.UnixMicro(), start), min(to.UnixMicro(), end)
	if hi <= lo {
		return 0
	}
	span, total := uint64(hi-lo), uint64(end-start)

	amount := uint64(diff)
	if diff < 0 {
		amount = -amount
	}
	// span <= total, so the quotient is at most amount and always fits.
	high, low := bits.Mul64(amount, span)
	share, left := bits.Div64(high, low, total)
	other := total - left // left >= other: at least half a cent is left
	if diff < 0 {
		if left > other {
			share++
		}
		return Cents(-share)
	}
	if left >= other {
		share++
	}
	return Cents(share)
}

// wholeSeconds is the last moment at or before now that lies a whole number of
// seconds after start, and start itself when now is earlier. Months are whole
// seconds long, so what is left of one after it is too.
func wholeSeconds(start, now time.Time) time.Time {
	if now.Before(start) {
		return start
	}
	return start.Add(now.Sub(start).Truncate(time.Second))
}
