package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/vps"
)

func scanPrice(r scanner) (p billing.Price, err error) {
	return p, r.Scan(&p.FacilityCode, &p.SizeGiB, &p.Monthly, &p.ProductID)
}

const selectPrice = `SELECT facility_code, size_gib, monthly_cents, product_id FROM price `

func pricesIn(ctx context.Context, q querier, facilityCode string) ([]billing.Price, error) {
	out, err := all(ctx, q, scanPrice, selectPrice+`WHERE facility_code = $1 ORDER BY size_gib`, facilityCode)
	return out, translate(err)
}

// Prices is in volume.Tx.
func (t *Tx) Prices(ctx context.Context, facilityCode string) ([]billing.Price, error) {
	return pricesIn(ctx, t, facilityCode)
}

func (t *Tx) putPrice(ctx context.Context, p billing.Price) error {
	_, err := t.exec(ctx, `INSERT INTO price (facility_code, size_gib, monthly_cents, product_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (facility_code, size_gib) DO UPDATE SET monthly_cents = excluded.monthly_cents, product_id = excluded.product_id`,
		p.FacilityCode, p.SizeGiB, p.Monthly, p.ProductID)
	return err
}

const selectService = `SELECT id, client_id, volume_id, facility_code, device_id, size_gib, product_id, monthly_cents, status,
	started_at, period_start, period_end, periods, cancelled_at FROM service `

func scanService(r scanner) (s billing.Service, err error) {
	var started, start, end int64
	var device, cancelled sql.NullInt64
	err = r.Scan(&s.ID, &s.ClientID, &s.VolumeID, &s.FacilityCode, &device, &s.SizeGiB, &s.ProductID, &s.Monthly, &s.Status,
		&started, &start, &end, &s.Periods, &cancelled)
	s.StartedAt, s.PeriodStart, s.PeriodEnd = at(started), at(start), at(end)
	if device.Valid {
		s.DeviceID = &device.Int64
	}
	if cancelled.Valid {
		c := at(cancelled.Int64)
		s.CancelledAt = &c
	}
	return s, err
}

// Service returns the open service of a volume. billing.ErrNoService.
func (t *Tx) Service(ctx context.Context, volumeID string) (billing.Service, error) {
	s, err := scanService(t.row(ctx, selectService+`WHERE volume_id = $1 AND status = 'active'`+t.lock(), volumeID))
	return s, missing(err, billing.ErrNoService)
}

// PutService is in volume.Tx.
func (t *Tx) PutService(ctx context.Context, s billing.Service) (billing.Service, error) {
	var device, cancelled any
	if s.DeviceID != nil {
		device = *s.DeviceID
	}
	if s.CancelledAt != nil {
		cancelled = s.CancelledAt.UnixMicro()
	}
	if s.ID != 0 {
		n, err := t.exec(ctx, `UPDATE service SET size_gib = $2, product_id = $3, monthly_cents = $4, status = $5, period_start = $6, period_end = $7,
			periods = $8, cancelled_at = $9 WHERE id = $1`,
			s.ID, s.SizeGiB, s.ProductID, s.Monthly, s.Status, s.PeriodStart.UnixMicro(), s.PeriodEnd.UnixMicro(), s.Periods, cancelled)
		return s, one(n, err, billing.ErrNoService)
	}
	err := t.row(ctx, `INSERT INTO service (client_id, volume_id, facility_code, device_id, size_gib, product_id, monthly_cents, status,
			started_at, period_start, period_end, periods, cancelled_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id`,
		s.ClientID, s.VolumeID, s.FacilityCode, device, s.SizeGiB, s.ProductID, s.Monthly, s.Status,
		s.StartedAt.UnixMicro(), s.PeriodStart.UnixMicro(), s.PeriodEnd.UnixMicro(), s.Periods, cancelled).Scan(&s.ID)
	return s, err
}

// AddCharges is in volume.Tx.
func (t *Tx) AddCharges(ctx context.Context, charges ...billing.Charge) error {
	for _, c := range charges {
		_, err := t.exec(ctx, `INSERT INTO charge (service_id, client_id, volume_id, kind, amount_cents, from_at, to_at, at, task_id, text)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			c.ServiceID, c.ClientID, c.VolumeID, c.Kind, c.Amount, c.From.UnixMicro(), c.To.UnixMicro(), c.At.UnixMicro(), c.TaskID, c.Text)
		if err != nil {
			return err
		}
	}
	return nil
}

// Billing returns the store of prices, services and charges.
func (db *DB) Billing() Billing { return Billing{db} }

// Billing keeps prices, services and charges.
type Billing struct{ db *DB }

// Services is in billing.Store.
func (s Billing) Services(ctx context.Context, scope access.Scope, f billing.ServiceFilter) ([]billing.Service, error) {
	where, args := inScope(scope, "client_id", 1)
	if f.Status != nil {
		args = append(args, *f.Status)
		where += fmt.Sprintf(" AND status = $%d", len(args))
	}
	args = append(args, limitOf(f.Limit))
	out, err := all(ctx, s.db.reader(), scanService, fmt.Sprintf(selectService+`WHERE %s ORDER BY id DESC LIMIT $%d`, where, len(args)), args...)
	return out, translate(err)
}

// ServiceByID is in billing.Store.
func (s Billing) ServiceByID(ctx context.Context, scope access.Scope, id int64) (billing.Service, error) {
	svc, err := scanService(s.db.reader().row(ctx, selectService+`WHERE id = $1`, id))
	if err == nil && !scope.Covers(svc.ClientID) {
		return billing.Service{}, billing.ErrNoService
	}
	return svc, missing(err, billing.ErrNoService)
}

// Charges is in billing.Store.
func (s Billing) Charges(ctx context.Context, f billing.ChargeFilter) ([]billing.Charge, error) {
	where, args := "TRUE", []any{}
	and := func(condition string, arg any) {
		args = append(args, arg)
		where += fmt.Sprintf(" AND "+condition, len(args))
	}
	if f.ClientID != nil {
		and("client_id = $%d", *f.ClientID)
	}
	if f.VolumeID != nil {
		and("volume_id = $%d", *f.VolumeID)
	}
	if f.Before > 0 {
		and("id < $%d", f.Before)
	}
	args = append(args, f.Limit)
	out, err := all(ctx, s.db.reader(), func(r scanner) (c billing.Charge, err error) {
		var from, to, when int64
		err = r.Scan(&c.ID, &c.ServiceID, &c.ClientID, &c.VolumeID, &c.Kind, &c.Amount, &from, &to, &when, &c.TaskID, &c.Text)
		c.From, c.To, c.At = at(from), at(to), at(when)
		return c, err
	}, fmt.Sprintf(`SELECT id, service_id, client_id, volume_id, kind, amount_cents, from_at, to_at, at, task_id, text
		FROM charge WHERE %s ORDER BY id DESC LIMIT $%d`, where, len(args)), args...)
	return out, translate(err)
}

// Prices is in billing.Store.
func (s Billing) Prices(ctx context.Context, facilityCode *string) ([]billing.Price, error) {
	if facilityCode != nil {
		return pricesIn(ctx, s.db.reader(), *facilityCode)
	}
	out, err := all(ctx, s.db.reader(), scanPrice, selectPrice+`ORDER BY facility_code, size_gib`)
	return out, translate(err)
}

// PutPrice is in billing.Store.
func (s Billing) PutPrice(ctx context.Context, p billing.Price) error {
	return s.db.tx(ctx, func(t *Tx) error {
		var n int
		if err := t.row(ctx, `SELECT 1 FROM facility WHERE code = $1`, p.FacilityCode).Scan(&n); err != nil {
			return missing(err, vps.ErrFacilityNotFound)
		}
		return t.putPrice(ctx, p)
	})
}

// DeletePrice is in billing.Store.
func (s Billing) DeletePrice(ctx context.Context, facilityCode string, sizeGiB int) error {
	return s.db.tx(ctx, func(t *Tx) error {
		n, err := t.exec(ctx, `DELETE FROM price WHERE facility_code = $1 AND size_gib = $2`, facilityCode, sizeGiB)
		return one(n, err, billing.ErrPriceNotFound)
	})
}

// RenewDue is in billing.Store.
func (s Billing) RenewDue(ctx context.Context, now time.Time, limit int, renew func(billing.Service) (billing.Service, []billing.Charge)) (n int, err error) {
	// Mostly nothing is due, and looking needs no writer.
	var due int
	err = s.db.reader().row(ctx, `SELECT 1 FROM service WHERE status = 'active' AND period_end <= $1 LIMIT 1`, now.UnixMicro()).Scan(&due)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, translate(err)
	}
	err = s.db.tx(ctx, func(t *Tx) error {
		services, err := all(ctx, t, scanService, selectService+`WHERE status = 'active' AND period_end <= $1 ORDER BY period_end, id LIMIT $2`+t.skipLocked(), now.UnixMicro(), limit)
		if err != nil {
			return err
		}
		for _, svc := range services {
			svc, charges := renew(svc)
			if _, err := t.PutService(ctx, svc); err != nil {
				return err
			}
			for i := range charges {
				charges[i].ServiceID = svc.ID
			}
			if err := t.AddCharges(ctx, charges...); err != nil {
				return err
			}
		}
		n = len(services)
		return nil
	})
	return n, err
}
