package chaos

import (
	"time"

	"github.com/drivebay/drivebay/internal/billing"
)

// paid is a service with one of its charges.
type paid struct {
	service, size, product, monthly     int64
	volume, facility, status            string
	started, end, cancelled             int64
	kind, task                          string
	amount, from, to, at, periods, line int64
}

// services checks that every data volume that exists has one open service with
// its size, price and product, that nothing else has one, and that each service
// was charged what the ends of its tasks make it cost.
func (k *checker) services() {
	k.t.Helper()
	byService := map[int64][]paid{}
	for _, p := range all(k.t, k.db, func(p *paid) []any {
		return []any{&p.service, &p.size, &p.product, &p.monthly, &p.volume, &p.facility, &p.status, &p.started, &p.end, &p.cancelled, &p.periods,
			&p.line, &p.kind, &p.task, &p.amount, &p.from, &p.to, &p.at}
	}, `SELECT s.id, s.size_gib, s.product_id, s.monthly_cents, s.volume_id, s.facility_code, s.status, s.started_at, s.period_end,
			coalesce(s.cancelled_at, 0), s.periods, c.id, c.kind, c.task_id, c.amount_cents, c.from_at, c.to_at, c.at
		FROM service s JOIN charge c ON c.service_id = s.id ORDER BY s.id, c.id`) {
		byService[p.service] = append(byService[p.service], p)
	}
	k.none("service that was never charged", `SELECT id::text FROM service WHERE id NOT IN (SELECT service_id FROM charge)`)
	changes := map[string][]row{} // what succeeded, by volume
	for _, t := range k.tasks {
		if t.state == "done" && (t.kind == "volume.create" || t.kind == "volume.resize" || t.kind == "volume.delete") {
			changes[t.volume] = append(changes[t.volume], t)
		}
	}
	billed, open := map[string]int{}, map[string]bool{}
	for _, lines := range byService {
		s := lines[0]
		billed[s.volume]++
		open[s.volume] = open[s.volume] || s.status == "active"
		k.ledger(lines, changes[s.volume])
		if v := k.volumes[s.volume]; s.status == "active" && (!v.exists() || v.bytes != s.size<<30 || v.product != s.product || v.monthly != s.monthly || v.facility != s.facility) {
			k.fail("volume %s is %+v, its service %+v", s.volume, v, s)
		}
	}
	for volume := range changes {
		if billed[volume] != 1 {
			k.fail("volume %s came to be and has %d services", volume, billed[volume])
		}
	}
	for volume := range billed {
		if changes[volume] == nil {
			k.fail("volume %s never came to be and has a service", volume)
		}
	}
	for id, v := range k.volumes {
		if v.exists() && v.kind == "DATADISK" && !open[id] {
			k.fail("volume %s has no open service", id)
		}
	}
}

// ledger plays the tasks of a volume through the rules of billing, at the times
// of their charges, and compares.
func (k *checker) ledger(lines []paid, changes []row) {
	s := lines[0]
	var svc billing.Service
	for _, t := range changes {
		price := billing.Price{FacilityCode: t.facility, SizeGiB: int(t.size), Monthly: billing.Cents(t.monthly), ProductID: 1000 + int(t.size)}
		if t.kind == "volume.delete" {
			if s.status != "cancelled" || s.cancelled == 0 {
				k.fail("volume %s is gone and its service %s", s.volume, s.status)
			}
			svc, _ = svc.Cancel(time.UnixMicro(s.cancelled))
			continue
		}
		if len(lines) == 0 {
			k.fail("task %s (%s) of volume %s was not charged", t.id, t.kind, t.volume)
			return
		}
		p, at := lines[0], time.UnixMicro(lines[0].at)
		lines = lines[1:]
		var want billing.Charge
		if t.kind == "volume.create" {
			svc, want = billing.Open(billing.Opening{Price: price, At: at, TaskID: t.id})
		} else {
			var more []billing.Charge
			if svc, more = svc.Resize(at, price, t.id); len(more) != 1 {
				k.fail("task %s of volume %s makes %d charges", t.id, t.volume, len(more))
				return
			}
			want = more[0]
		}
		if p.kind != string(want.Kind) || p.task != t.id || p.amount != int64(want.Amount) || p.from != want.From.UnixMicro() || p.to != want.To.UnixMicro() {
			k.fail("task %s of volume %s was charged %+v, want %+v", t.id, t.volume, p, want)
		}
	}
	if len(lines) > 0 {
		k.fail("volume %s was charged for nothing: %+v", s.volume, lines)
	}
	if s.status != string(svc.Status) || s.size != int64(svc.SizeGiB) || s.monthly != int64(svc.Monthly) || s.product != int64(svc.ProductID) ||
		s.end != svc.PeriodEnd.UnixMicro() || s.periods != int64(svc.Periods) {
		k.fail("the service of volume %s is %+v, by its tasks %+v", s.volume, s, svc)
	}
}
