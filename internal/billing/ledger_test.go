package billing

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestLedger holds, for random histories, that the ledger of a service is the
// integral of its price over the months paid, each charge rounded once. The
// model below shares no arithmetic with the package.
func TestLedger(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := drawStart(t)
		cents := rapid.Int64Range(0, 10_000_000)
		first := cents.Draw(t, "first price")
		s, c := Open(Opening{VolumeID: "v", Price: price(1, Cents(first)), At: now})
		ledger := []Charge{c}
		model := &history{start: now, steps: []step{{now, first}}}

		for i, n := 0, rapid.IntRange(4, 20).Draw(t, "steps"); i < n && s.Status == Active; i++ {
			now = drawLater(t, now, s.PeriodEnd)
			var charges []Charge
			switch rapid.SampledFrom([]string{"resize", "resize", "resize", "renew", "renew", "delete"}).Draw(t, "step") {
			case "resize":
				p := cents.Draw(t, "price")
				s, charges = s.Resize(now, price(i+2, Cents(p)), "t")
				model.resize(now, p)
			case "renew":
				s, charges = s.Renew(now)
			case "delete":
				s, charges = s.Cancel(now)
			}
			ledger = append(ledger, charges...)
			model.until = now
			if _, more := s.Renew(now); len(more) > 0 {
				t.Fatalf("%d months left behind", len(more))
			}
		}
		// Whatever time brings, a deleted volume costs no more.
		if s.Status == Cancelled {
			_, more := s.Renew(now.AddDate(3, 0, 0))
			ledger = append(ledger, more...)
		}
		model.compare(t, s, ledger)
	})
}

func drawStart(t *rapid.T) time.Time {
	day := rapid.IntRange(1, 31).Draw(t, "day")
	month := rapid.IntRange(0, 60).Draw(t, "month")
	inDay := rapid.Int64Range(0, 86_400_000_000-1).Draw(t, "microsecond")
	return time.Date(2023, time.Month(1+month), day, 0, 0, 0, 0, time.UTC).Add(time.Duration(inDay) * time.Microsecond)
}

// drawLater is a moment not before now, often close to the month's end.
func drawLater(t *rapid.T, now, monthEnd time.Time) time.Time {
	near := monthEnd.Add(time.Duration(rapid.Int64Range(-2, 2).Draw(t, "near")) * rapid.SampledFrom([]time.Duration{
		time.Microsecond, time.Second, time.Hour}).Draw(t, "unit"))
	if rapid.Bool().Draw(t, "at the month's end") && !near.Before(now) {
		return near
	}
	return now.Add(time.Duration(rapid.Int64Range(0, 100*86_400_000_000).Draw(t, "wait")) * time.Microsecond)
}

// step is a price that holds from a moment on.
type step struct {
	from  time.Time
	cents int64
}

// history is what happened to a service, without any reckoning.
type history struct {
	start, until time.Time
	steps        []step
}

// resize notes a new price from the second of the running month on that has
// begun.
func (h *history) resize(now time.Time, cents int64) {
	k := 0
	for !monthStart(h.start, k+1).After(now) {
		k++
	}
	from := monthStart(h.start, k)
	micros := now.Sub(from).Microseconds()
	h.steps = append(h.steps, step{from.Add(time.Duration(micros-micros%1_000_000) * time.Microsecond), cents})
}

// monthStart looks for the day by trial: the first that the calendar takes.
func monthStart(start time.Time, n int) time.Time {
	for day := start.Day(); ; day-- {
		t := time.Date(start.Year(), start.Month()+time.Month(n), day, start.Hour(), start.Minute(), start.Second(), start.Nanosecond(), time.UTC)
		if t.Day() == day {
			return t
		}
	}
}

// integral is the price over the month from..to in cents, as if only the first
// n steps had happened. The last price holds to the end.
func (h *history) integral(from, to time.Time, n int) *big.Rat {
	sum, length := new(big.Rat), to.Sub(from).Microseconds()
	for i, s := range h.steps[:n] {
		lo, hi := s.from, to
		if i+1 < n && h.steps[i+1].from.Before(hi) {
			hi = h.steps[i+1].from
		}
		if lo.Before(from) {
			lo = from
		}
		if hi.After(lo) {
			part := big.NewRat(hi.Sub(lo).Microseconds(), length)
			sum.Add(sum, part.Mul(part, big.NewRat(s.cents, 1)))
		}
	}
	return sum
}

// halfUp is the largest whole number not above r + 1/2.
func halfUp(r *big.Rat) int64 {
	r = new(big.Rat).Add(r, big.NewRat(1, 2))
	return new(big.Int).Div(r.Num(), r.Denom()).Int64()
}

// compare walks the months paid. In each, the first charge is the integral with
// the price at its start, and every resize adds what it changes of the integral.
func (h *history) compare(t *rapid.T, s Service, ledger []Charge) {
	if h.until.Before(h.start) {
		h.until = h.start
	}
	months, next, step := 0, 0, 1
	for from := h.start; !from.After(h.until); from = monthStart(h.start, months) {
		months++
		to := monthStart(h.start, months)
		exact := h.integral(from, to, step)
		h.expect(t, ledger, next, from, to, exact)
		next++
		for ; step < len(h.steps) && h.steps[step].from.Before(to); step++ {
			with := h.integral(from, to, step+1)
			h.expect(t, ledger, next, h.steps[step].from, to, new(big.Rat).Sub(with, exact))
			exact = with
			next++
		}
		if whole := h.integral(from, to, len(h.steps)); whole.Cmp(exact) != 0 {
			t.Fatalf("model: month from %v is %v, its charges %v", from, whole, exact)
		}
	}
	if next != len(ledger) || s.Periods != months {
		t.Fatalf("%d charges for %d months, want %d for %d", len(ledger), s.Periods, next, months)
	}
	if !s.PeriodStart.Equal(monthStart(h.start, months-1)) || !s.PeriodEnd.Equal(monthStart(h.start, months)) {
		t.Fatalf("paid from %v to %v", s.PeriodStart, s.PeriodEnd)
	}
}

func (h *history) expect(t *rapid.T, ledger []Charge, i int, from, to time.Time, exact *big.Rat) {
	if i >= len(ledger) {
		t.Fatalf("charge %d from %v is missing", i, from)
	}
	c := ledger[i]
	if int64(c.Amount) != halfUp(exact) || !c.From.Equal(from) || !c.To.Equal(to) {
		t.Fatalf("charge %d: %d from %v to %v, want %s from %v to %v", i, c.Amount, c.From, c.To, exact.FloatString(6), from, to)
	}
}
