package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

func testPrices(t *testing.T, w *world) {
	ctx, s := t.Context(), w.Billing()
	list := func(code *string) string {
		out := ""
		for _, p := range must(s.Prices(ctx, code))(t) {
			out += fmt.Sprintf("%s:%d=%d/%d ", p.FacilityCode, p.SizeGiB, p.Monthly, p.ProductID)
		}
		return out
	}
	same(t, "default list", list(new(lax)), "LAX3:50=500/1050 LAX3:100=1000/1100 LAX3:200=2000/1200 LAX3:500=5000/1500 ")
	check(t, s.PutPrice(ctx, billing.Price{FacilityCode: tpa, SizeGiB: 75, Monthly: 0, ProductID: 1075}))
	check(t, s.PutPrice(ctx, billing.Price{FacilityCode: tpa, SizeGiB: 50, Monthly: 499, ProductID: 9}))
	check(t, s.DeletePrice(ctx, tpa, 500))
	want := "TPA1:50=499/9 TPA1:75=0/1075 TPA1:100=1000/1100 TPA1:200=2000/1200 "
	same(t, "changed list", list(new(tpa)), want)
	same(t, "all lists", list(nil), list(new(lax))+want)
	is(t, s.DeletePrice(ctx, tpa, 500), billing.ErrPriceNotFound)
	is(t, s.PutPrice(ctx, billing.Price{FacilityCode: "nowhere", SizeGiB: 1}), vps.ErrFacilityNotFound)
	if s.PutPrice(ctx, billing.Price{FacilityCode: tpa, SizeGiB: 1, Monthly: -1}) == nil {
		t.Error("a negative price was taken")
	}
	same(t, "list of nowhere", list(new("nowhere")), "")
	same(t, "list as volumes see it", len(must(w.Volumes().Prices(ctx, tpa))(t)), 4)
	same(t, "list inside a transaction", len(look(t, w, func(tx volume.Tx) ([]billing.Price, error) { return tx.Prices(ctx, tpa) })), 4)
}

// put writes a service and returns it as it is stored.
func (w *world) put(t testing.TB, s billing.Service) (out billing.Service, err error) {
	err = w.Volumes().Tx(t.Context(), func(tx volume.Tx) error {
		out, err = tx.PutService(t.Context(), s)
		return err
	})
	return out, err
}

func testServices(t *testing.T, w *world) {
	ctx, s := t.Context(), w.Billing()
	now := w.clock.Now().Truncate(time.Microsecond)
	open := func(v volume.Volume) billing.Service { return must(w.put(t, service(v, now)))(t) }
	v := w.vol(t, "v1")
	a := open(v)
	equal(t, "service", must(s.ServiceByID(ctx, only(7), a.ID))(t), a)
	equal(t, "open service", look(t, w, func(tx volume.Tx) (billing.Service, error) { return tx.Service(ctx, "v1") }), a)
	if _, err := w.put(t, service(v, now)); err == nil {
		t.Fatal("two open services for one volume")
	}

	a.SizeGiB, a.Monthly, a.ProductID, a.Status, a.CancelledAt = 100, 1000, 1100, billing.Cancelled, new(now.Add(time.Hour))
	a = must(w.put(t, a))(t)
	equal(t, "cancelled service", must(s.ServiceByID(ctx, everyone, a.ID))(t), a)
	is(t, w.Volumes().View(ctx, func(tx volume.Tx) error { return second(tx.Service(ctx, "v1")) }), billing.ErrNoService)
	b := open(v) // the next one may open once the first is closed
	c := service(w.vol(t, "v2", func(v *volume.Volume) { v.ClientID = 8 }), now)
	c.DeviceID = new(other)
	c = must(w.put(t, c))(t)
	equal(t, "service of a device", must(s.ServiceByID(ctx, only(8), c.ID))(t), c)

	is(t, second(s.ServiceByID(ctx, only(8), a.ID)), billing.ErrNoService)
	is(t, second(s.ServiceByID(ctx, everyone, 4711)), billing.ErrNoService)
	ids := func(sc access.Scope, f billing.ServiceFilter) string {
		var out []int64
		for _, x := range must(s.Services(ctx, sc, f))(t) {
			out = append(out, x.ID)
		}
		return fmt.Sprint(out)
	}
	for _, q := range []struct {
		scope access.Scope
		f     billing.ServiceFilter
		want  []int64
	}{
		{everyone, billing.ServiceFilter{}, []int64{c.ID, b.ID, a.ID}},
		{only(7), billing.ServiceFilter{Status: new(billing.Active)}, []int64{b.ID}},
		{only(7, 8), billing.ServiceFilter{Limit: 2}, []int64{c.ID, b.ID}},
		{everyone, billing.ServiceFilter{Status: new(billing.Cancelled)}, []int64{a.ID}},
		{only(9), billing.ServiceFilter{}, nil},
		{access.Scope{}, billing.ServiceFilter{}, nil},
	} {
		same(t, fmt.Sprintf("services of %+v %+v", q.scope, q.f), ids(q.scope, q.f), fmt.Sprint(q.want))
	}
}

func (w *world) charge(t testing.TB, c ...billing.Charge) error {
	return w.Volumes().Tx(t.Context(), func(tx volume.Tx) error { return tx.AddCharges(t.Context(), c...) })
}

func testLedger(t *testing.T, w *world) {
	ctx := t.Context()
	now := w.clock.Now().Truncate(time.Microsecond)
	s := must(w.put(t, service(w.vol(t, "v1"), now)))(t)
	line := func(kind billing.ChargeKind, amount billing.Cents, from time.Time) billing.Charge {
		return billing.Charge{
			ServiceID: s.ID, ClientID: 7, VolumeID: "v1", Kind: kind, Amount: amount, From: from, To: s.PeriodEnd, At: now, TaskID: "t", Text: unicode,
		}
	}
	first := line(billing.ChargeCreate, 500, now)
	check(t, w.charge(t, first, line(billing.ChargeResize, -5, now), line(billing.ChargeResize, 7, now)))
	check(t, w.charge(t))
	for _, again := range []billing.ChargeKind{billing.ChargeCreate, billing.ChargeRenew} {
		if w.charge(t, line(billing.ChargeResize, 1, now), line(again, 500, now)) == nil {
			t.Errorf("%s: one month was charged twice", again)
		}
	}
	check(t, w.charge(t, line(billing.ChargeRenew, 500, s.PeriodEnd)))
	if w.charge(t, billing.Charge{ServiceID: 4711, ClientID: 7, From: now, To: now, At: now}) == nil {
		t.Error("a charge for no service")
	}

	read := func(f billing.ChargeFilter) []billing.Charge { return must(w.Billing().Charges(ctx, f))(t) }
	got := read(billing.ChargeFilter{Limit: 10})
	same(t, "lines: a refused transaction left none", len(got), 4)
	first.ID = got[3].ID
	equal(t, "first line", got[3], first)
	same(t, "credit", got[2].Amount, billing.Cents(-5))
	equal(t, "older than the second", read(billing.ChargeFilter{Before: got[2].ID, Limit: 10}), got[3:])
	equal(t, "newest", read(billing.ChargeFilter{Limit: 1}), got[:1])
	seven, eight, v1 := int64(7), int64(8), "v1"
	equal(t, "by client and volume", read(billing.ChargeFilter{ClientID: &seven, VolumeID: &v1, Limit: 10}), got)
	same(t, "another client's", len(read(billing.ChargeFilter{ClientID: &eight, Limit: 10})), 0)

	for _, statement := range []string{
		"UPDATE charge SET amount_cents = 0", "DELETE FROM charge", fmt.Sprintf("UPDATE charge SET text = '' WHERE id = %d", first.ID),
	} {
		if w.data.Exec(t, statement) == nil {
			t.Errorf("the ledger let through: %s", statement)
		}
	}
	equal(t, "ledger afterwards", read(billing.ChargeFilter{Limit: 10}), got)
}

func testRenewDue(t *testing.T, w *world) {
	ctx := t.Context()
	now := w.clock.Now().Truncate(time.Microsecond)
	for i := range 5 {
		s := service(w.vol(t, fmt.Sprintf("v%d", i)), now.Add(time.Duration(i)*time.Hour))
		if i == 4 {
			s.Status, s.CancelledAt = billing.Cancelled, &now
		}
		must(w.put(t, s))(t)
	}
	renew := func(at time.Time, limit int) int {
		return must(w.Billing().RenewDue(ctx, at, limit, func(s billing.Service) (billing.Service, []billing.Charge) { return s.Renew(at) }))(t)
	}
	due := billing.Anniversary(now, 1)
	same(t, "before the anniversary", renew(due.Add(-time.Microsecond), 10), 0)
	same(t, "on it", renew(due, 10), 1)
	same(t, "on it again", renew(due, 10), 0)
	same(t, "later, two at a time", renew(due.Add(24*time.Hour), 2), 2)
	same(t, "the rest", renew(due.Add(24*time.Hour), 2), 1)
	same(t, "no more", renew(due.Add(24*time.Hour), 2), 0)
	charges := must(w.Billing().Charges(ctx, billing.ChargeFilter{Limit: 10}))(t)
	same(t, "charges", len(charges), 4)
	for _, c := range charges {
		same(t, "amount", c.Amount, billing.Cents(500))
		if c.ServiceID == 0 || c.Kind != billing.ChargeRenew {
			t.Errorf("charge %+v", c)
		}
	}
	_, err := w.Billing().RenewDue(ctx, due.AddDate(0, 2, 0), 10, func(s billing.Service) (billing.Service, []billing.Charge) {
		s, c := s.Renew(due.AddDate(0, 2, 0))
		return s, append(c, c...)
	})
	if err == nil {
		t.Error("a month was charged twice")
	}
	same(t, "charges after a refused renewal", len(must(w.Billing().Charges(ctx, billing.ChargeFilter{Limit: 10}))(t)), 4)
}
