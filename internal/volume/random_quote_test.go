package volume_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// deal is an order that was accepted, with what its dry run had said.
type deal struct {
	id    string // the volume
	order volume.Order
	quote volume.Quote
	task  task.Task
}

// market is a history of one client in which everything is tried before it is
// done. Its engine runs in settle alone, so the clock stands from each quote to
// the end of its task.
type market struct {
	t       *rapid.T
	w       *worldtest.World
	ids     []string // volumes that can be named, ROOT ones and another client's too
	open    []deal
	monthly map[string]billing.Cents // by volume, what was last agreed
	known   map[string]volume.Quote  // by volume, the quote of the last change that was done
}

func newMarket(t *rapid.T) *market {
	m := &market{t: t, w: worldtest.New(t, worldtest.Options{}), monthly: map[string]billing.Cents{}, known: map[string]volume.Quote{}}
	m.w.Clock.Add(time.Duration(rapid.Int64Range(0, 4*365*24*3600).Draw(t, "start")) * time.Second)
	m.ids = []string{"nothing", made(t, m.w, 2001, 50)}
	root, err := m.w.Volumes.List(ctx, mine, volume.Filter{DeviceID: ptr(int64(1001))})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	m.ids = append(m.ids, root[0].ID)
	m.w.Stop()
	return m
}

// volume is mostly one of the client's own.
func (m *market) volume(t *rapid.T) string {
	if own := m.ids[3:]; len(own) > 0 && rapid.IntRange(0, 9).Draw(t, "own") > 0 {
		return rapid.SampledFrom(own).Draw(t, "volume")
	}
	return rapid.SampledFrom(m.ids).Draw(t, "volume")
}

// order is one that is often right: it names the device that the volume will
// be on.
func (m *market) order(t *rapid.T) volume.Order {
	o := volume.Order{
		Kind:    rapid.SampledFrom([]task.Kind{volume.KindCreate, volume.KindResize, volume.KindResize, volume.KindDelete}).Draw(t, "kind"),
		SizeGiB: rapid.SampledFrom([]int{50, 75, 100, 200, 500}).Draw(t, "size"),
	}
	switch rapid.IntRange(0, 4).Draw(t, "guard") {
	case 0:
		o.MaxMonthly = ptr(billing.Cents(rapid.Int64Range(0, 6000).Draw(t, "most")))
	case 1:
		o.MaxMonthly = ptr(billing.Cents(5000))
	}
	device := rapid.SampledFrom(append([]int64{2001, 4711}, append(devices, devices...)...)).Draw(t, "device")
	o.DeviceID = &device
	if o.Kind == volume.KindCreate {
		return o
	}
	o.VolumeID = m.volume(t)
	if rapid.IntRange(0, 4).Draw(t, "right") > 0 {
		for _, d := range append([]*int64{nil}, &devices[0], &devices[1], &devices[2]) {
			if _, err := m.w.Volumes.Quote(ctx, mine, volume.Order{Kind: volume.KindDelete, VolumeID: o.VolumeID, DeviceID: d}); err == nil {
				o.DeviceID = d
			}
		}
	}
	return o
}

func (m *market) ask(t *rapid.T) {
	o := m.order(t)
	q, k, err := tried(t, m.w, mine, o)
	if err != nil {
		return
	}
	if o.Kind == volume.KindCreate {
		m.ids = append(m.ids, k.VolumeID)
	}
	if have := m.monthly[k.VolumeID]; q.Before != have {
		t.Fatalf("%+v: a month costs %s before, by the quote %s", o, have, q.Before)
	}
	if o.MaxMonthly != nil && q.After > *o.MaxMonthly {
		t.Fatalf("%+v was accepted for %s a month", o, q.After)
	}
	m.monthly[k.VolumeID] = q.After
	m.open = append(m.open, deal{k.VolumeID, o, q, k})
}

// move changes what later orders are decided against.
func (m *market) move(t *rapid.T) {
	id, at := m.volume(t), rapid.SampledFrom(devices).Draw(t, "device")
	if _, err := m.w.Volumes.Detach(ctx, mine, at, id); err != nil {
		_, _ = m.w.Volumes.Attach(ctx, mine, at, id) // refused or not, both are in order
	}
}

// price changes what a size costs from now on, or takes it off sale.
func (m *market) price(t *rapid.T) {
	p := billing.Price{
		FacilityCode: rapid.SampledFrom(worldtest.Facilities).Draw(t, "facility"), SizeGiB: rapid.SampledFrom([]int{50, 100, 200, 500}).Draw(t, "size"),
		Monthly: billing.Cents(rapid.Int64Range(0, 6000).Draw(t, "monthly")),
	}
	var err error
	if rapid.IntRange(0, 5).Draw(t, "off") == 0 {
		err = m.w.Ledger.DeletePrice(ctx, p.FacilityCode, p.SizeGiB)
	} else {
		_, err = m.w.Ledger.PutPrice(ctx, p)
	}
	if err != nil && fault.ReasonOf(err) != billing.ErrPriceNotFound.Reason {
		t.Fatalf("change price: %v", err)
	}
}

func (m *market) quota(t *rapid.T) {
	var q access.Quota
	if rapid.Bool().Draw(t, "bounded") {
		q = access.Quota{Volumes: ptr(rapid.Int64Range(0, 6).Draw(t, "volumes")), GiB: ptr(rapid.Int64Range(0, 1500).Draw(t, "gib"))}
	}
	setQuota(t, m.w, q)
}

// settle lets all tasks run and compares what was charged with what was said.
func (m *market) settle(t *rapid.T) {
	last := m.w.Count(`SELECT coalesce(max(id), 0) FROM charge`)
	m.w.Start()
	m.w.Quiet()
	m.w.Stop()
	done := map[string]volume.Quote{}
	for _, d := range m.open {
		m.w.Succeeds(d.task)
		m.charged(t, d, last)
		done[d.id] = d.quote
	}
	m.open = nil
	for id, q := range done {
		m.left(t, id, q)
		m.known[id] = q
		if q.Kind == volume.KindDelete {
			delete(m.known, id)
		}
	}
}

// charged compares a deal with the lines of the ledger after the last one.
func (m *market) charged(t *rapid.T, d deal, last int) {
	t.Helper()
	q, now := d.quote, m.w.Clock.Now()
	if !q.At.Equal(billing.Anniversary(now, 0)) {
		t.Fatalf("%+v: the quote is for %s, the clock says %s", d.order, q.At, now)
	}
	n := m.w.Count(`SELECT count(*) FROM charge WHERE task_id = ?`, d.task.ID)
	got := billing.Cents(m.w.Count(`SELECT coalesce(sum(amount_cents), 0) FROM charge WHERE task_id = ?`, d.task.ID))
	if want := map[bool]int{true: 0, false: 1}[d.order.Kind == volume.KindDelete]; n != want || got != q.Charged {
		t.Fatalf("%+v: charged %s in %d lines, by the quote %s", d.order, got, n, q.Charged)
	}
	if n == 1 && m.w.Count(`SELECT count(*) FROM charge WHERE task_id = ? AND at = ? AND to_at = ?`, d.task.ID, q.At.UnixMicro(), q.PaidUntil.UnixMicro()) != 1 {
		t.Fatalf("%+v: the charge is not of %s until %s", d.order, q.At, q.PaidUntil)
	}
	if due := billing.Cents(m.w.Count(`SELECT coalesce(sum(amount_cents), 0) FROM charge WHERE volume_id = ? AND kind = 'renew' AND id > ?`, d.id, last)); due != q.Due {
		t.Fatalf("%+v: renewals of %s, by the quote %s", d.order, due, q.Due)
	}
}

// left compares a volume with the quote of the last change to it.
func (m *market) left(t *rapid.T, id string, q volume.Quote) {
	t.Helper()
	if n := m.w.Count(`SELECT count(*) FROM service WHERE volume_id = ? AND period_end = ? AND status = ? AND (status = 'cancelled' OR monthly_cents = ?)`,
		id, q.PaidUntil.UnixMicro(), map[bool]string{true: "cancelled", false: "active"}[q.RenewsAt.IsZero()], int64(q.After)); n != 1 {
		t.Fatalf("the service of %s is not as %+v says", id, q)
	}
	v, err := m.w.Volumes.Get(ctx, mine, id)
	switch {
	case q.Kind == volume.KindDelete && q.AfterGiB == 0 && fault.ReasonOf(err) == volume.ErrNotFound.Reason:
	case err != nil || v.SizeGiB() != q.AfterGiB || v.Monthly != q.After || q.BeforeGiB >= q.AfterGiB:
		t.Fatalf("volume %+v, %v, by its quote %+v", v, err, q)
	}
}

// jump moves the clock, and renews what is due, or not.
func (m *market) jump(t *rapid.T) {
	m.settle(t)
	m.w.Clock.Add(time.Duration(rapid.Int64Range(1, 70*24*3600*1e6).Draw(t, "microseconds")) * time.Microsecond)
	if rapid.Bool().Draw(t, "renew") {
		m.renew(t)
	}
}

func (m *market) renew(t *rapid.T) {
	t.Helper()
	if _, err := m.w.Ledger.RenewAll(ctx); err != nil {
		t.Fatalf("renew: %v", err)
	}
}

// renewal waits for the moment that a quote has foretold.
func (m *market) renewal(t *rapid.T) {
	m.settle(t)
	m.renew(t)
	for _, id := range slices.Sorted(maps.Keys(m.known)) {
		q := m.known[id]
		left := q.RenewsAt.Sub(m.w.Clock.Now())
		if left <= 0 {
			continue
		}
		renewals := func() int {
			m.renew(t)
			return m.w.Count(`SELECT count(*) FROM charge WHERE volume_id = ? AND kind = 'renew' AND from_at = ? AND amount_cents = ?`, id, q.RenewsAt.UnixMicro(), int64(q.After))
		}
		m.w.Clock.Add(left - time.Microsecond)
		early := renewals()
		m.w.Clock.Add(time.Microsecond)
		if due := renewals(); early != 0 || due != 1 {
			t.Fatalf("%d renewals before %s and %d at it, want one of %s then", early, q.RenewsAt, due, q.After)
		}
		return
	}
	t.Skip("no volume")
}

// Whatever the state, the month and the price list: a dry run changes nothing,
// is refused as the real call is, and says to the cent what that charges.
func TestRandomQuotes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newMarket(t)
		t.Repeat(map[string]func(*rapid.T){
			"ask": m.ask, "ask more": m.ask, "ask again": m.ask, "move": m.move, "price": m.price, "quota": m.quota,
			"settle": m.settle, "jump": m.jump, "renewal": m.renewal,
		})
		m.settle(t)
		m.w.Check()
	})
}
