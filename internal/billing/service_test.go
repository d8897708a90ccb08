package billing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// line is what the tests compare of a charge.
type line struct {
	Kind     ChargeKind
	Amount   Cents
	From, To string
}

func lines(charges ...Charge) []line {
	out := []line{}
	for _, c := range charges {
		out = append(out, line{c.Kind, c.Amount, c.From.Format(time.RFC3339Nano), c.To.Format(time.RFC3339Nano)})
	}
	return out
}

func price(sizeGiB int, monthly Cents) Price {
	return Price{FacilityCode: "TPA1", SizeGiB: sizeGiB, Monthly: monthly, ProductID: 1000 + sizeGiB}
}

// open makes a service of 50 GiB for 5.00 a month with the number 3.
func open(start string) Service {
	s, _ := Open(Opening{ClientID: 7, VolumeID: "v1", Price: price(50, 500), At: at(start), TaskID: "t1"})
	s.ID = 3
	return s
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	device := int64(1001)
	s, c := Open(Opening{ClientID: 7, VolumeID: "v1", DeviceID: &device, Price: price(50, 500),
		At: at("2026-01-31T12:00:00.123456789+01:00"), TaskID: "t1"})
	start, end := at("2026-01-31T11:00:00.123456Z"), at("2026-02-28T11:00:00.123456Z")
	same(t, s, Service{ClientID: 7, VolumeID: "v1", FacilityCode: "TPA1", DeviceID: &device, SizeGiB: 50, ProductID: 1050,
		Monthly: 500, Status: Active, StartedAt: start, PeriodStart: start, PeriodEnd: end, Periods: 1})
	same(t, c, Charge{ClientID: 7, VolumeID: "v1", Kind: ChargeCreate, Amount: 500, From: start, To: end, At: start,
		TaskID: "t1", Text: "Volume of 50 GiB, first month."})
}

func TestRenew(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, now string
		want      []line
	}{
		{"just before", "2026-02-28T07:59:59.999999Z", []line{}},
		{"on the moment", "2026-02-28T08:00:00Z", []line{
			{ChargeRenew, 500, "2026-02-28T08:00:00Z", "2026-03-31T08:00:00Z"}}},
		{"late by months", "2026-05-02T00:00:00Z", []line{
			{ChargeRenew, 500, "2026-02-28T08:00:00Z", "2026-03-31T08:00:00Z"},
			{ChargeRenew, 500, "2026-03-31T08:00:00Z", "2026-04-30T08:00:00Z"},
			{ChargeRenew, 500, "2026-04-30T08:00:00Z", "2026-05-31T08:00:00Z"}}},
		{"clock set back", "2025-01-01T00:00:00Z", []line{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, charges := open("2026-01-31T08:00:00Z").Renew(at(c.now))
			same(t, lines(charges...), c.want)
			same(t, s.Periods, 1+len(c.want))
			for _, ch := range charges {
				if ch.ServiceID != 3 || ch.ClientID != 7 || ch.VolumeID != "v1" || ch.TaskID != "" || !ch.At.Equal(at(c.now)) || ch.Text == "" {
					t.Errorf("charge %+v", ch)
				}
			}
			again, more := s.Renew(at(c.now))
			same(t, again, s)
			same(t, len(more), 0)
		})
	}
}

func TestRenewIsBounded(t *testing.T) {
	t.Parallel()
	now := at("2046-01-31T08:00:00Z") // 240 months later: 240 are due
	s := open("2026-01-31T08:00:00Z")
	total := 0
	for range 2 {
		if !s.Due(now) {
			t.Fatalf("not due after %d months", total)
		}
		var charges []Charge
		s, charges = s.Renew(now)
		same(t, len(charges), MaxRenewals)
		total += len(charges)
	}
	if s.Due(now) || s.Periods != 241 {
		t.Errorf("due %v after %d months", s.Due(now), s.Periods)
	}

	// What ends or changes the service leaves no month behind, however late.
	_, charges := open("2026-01-31T08:00:00Z").Cancel(now)
	same(t, len(charges), 240)
	_, charges = open("2026-01-31T08:00:00Z").Resize(now, price(100, 1000), "t2")
	same(t, len(charges), 241)
}

func TestResize(t *testing.T) {
	t.Parallel()
	const start, end = "2026-04-01T00:00:00.5Z", "2026-05-01T00:00:00.5Z"
	for _, c := range []struct {
		name, now string
		price     Price
		want      []line
	}{
		{"half way", "2026-04-16T00:00:00.5Z", price(100, 1000), []line{
			{ChargeResize, 250, "2026-04-16T00:00:00.5Z", end}}},
		{"a second that has begun counts", "2026-04-16T00:00:01.499999Z", price(100, 1000), []line{
			{ChargeResize, 250, "2026-04-16T00:00:00.5Z", end}}},
		{"at once", start, price(500, 5000), []line{{ChargeResize, 4500, start, end}}},
		{"last moment", "2026-05-01T00:00:00.499999Z", price(500, 5000), []line{
			{ChargeResize, 0, "2026-04-30T23:59:59.5Z", end}}},
		{"on the anniversary: renewed at the old price, then the whole difference", end, price(100, 1000), []line{
			{ChargeRenew, 500, end, "2026-06-01T00:00:00.5Z"},
			{ChargeResize, 500, end, "2026-06-01T00:00:00.5Z"}}},
		{"to a lower price", "2026-04-16T00:00:00.5Z", price(100, 100), []line{
			{ChargeResize, -200, "2026-04-16T00:00:00.5Z", end}}},
		{"clock set back", "2026-03-01T00:00:00Z", price(100, 1000), []line{{ChargeResize, 500, start, end}}},
		{"to what it is", "2026-04-16T00:00:00Z", price(50, 500), []line{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			before := open(start)
			s, charges := before.Resize(at(c.now), c.price, "t2")
			same(t, lines(charges...), c.want)
			for _, ch := range charges {
				if want := map[ChargeKind]string{ChargeResize: "t2"}[ch.Kind]; ch.TaskID != want || ch.Text == "" {
					t.Errorf("charge %+v", ch)
				}
			}
			want := before
			want.SizeGiB, want.Monthly, want.ProductID = c.price.SizeGiB, c.price.Monthly, c.price.ProductID
			want.Periods, want.PeriodStart, want.PeriodEnd = s.Periods, s.PeriodStart, s.PeriodEnd
			same(t, s, want)

			next, charges := s.Renew(s.PeriodEnd)
			same(t, lines(charges...), []line{{ChargeRenew, c.price.Monthly,
				next.PeriodStart.Format(time.RFC3339Nano), next.PeriodEnd.Format(time.RFC3339Nano)}})
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s, charges := open("2026-01-31T08:00:00Z").Cancel(at("2026-03-01T00:00:00.0000009Z"))
	same(t, lines(charges...), []line{{ChargeRenew, 500, "2026-02-28T08:00:00Z", "2026-03-31T08:00:00Z"}})
	if s.Status != Cancelled || s.CancelledAt == nil || !s.CancelledAt.Equal(at("2026-03-01T00:00:00Z")) {
		t.Fatalf("service %+v", s)
	}

	later := at("2027-01-01T00:00:00Z")
	for name, act := range map[string]func() (Service, []Charge){
		"renew":  func() (Service, []Charge) { return s.Renew(later) },
		"resize": func() (Service, []Charge) { return s.Resize(later, price(100, 1000), "t3") },
		"cancel": func() (Service, []Charge) { return s.Cancel(later) },
	} {
		after, charges := act()
		if diff := cmp.Diff(s, after); diff != "" || len(charges) != 0 || s.Due(later) {
			t.Errorf("%s of a cancelled service: %v %s", name, charges, diff)
		}
	}
}
