package store

import (
	"context"
	"database/sql"

	"github.com/drivebay/drivebay/internal/reconcile"
)

// What the reconciler reads of a facility. These statements walk all of it, a
// few times an hour.

// Rows is in reconcile.Store.
func (s Findings) Rows(ctx context.Context, facilityCode string, since int64) (rows reconcile.Rows, err error) {
	rows = reconcile.Rows{Facility: facilityCode}
	err = s.db.view(ctx, func(t *Tx) (err error) {
		rows.At = t.now
		if err = t.work(ctx, since, &rows); err != nil {
			return err
		}
		if rows.Volumes, err = all(ctx, t, scanVolumeRow, `SELECT v.id, v.client_id, v.type, v.state, v.bytes, v.product_id, v.monthly_cents, v.device_id
			FROM volume v WHERE v.facility_code = $1 ORDER BY v.id`, facilityCode); err != nil {
			return err
		}
		if rows.Devices, err = all(ctx, t, scanDeviceRow,
			`SELECT id, ref, status, iso_id FROM device WHERE facility_code = $1 ORDER BY id`, facilityCode); err != nil {
			return err
		}
		if rows.ISOs, err = all(ctx, t, scanISORow,
			`SELECT id, state, sha256, size_bytes FROM iso WHERE facility_code = $1 ORDER BY id`, facilityCode); err != nil {
			return err
		}
		if rows.Contents, err = all(ctx, t, scanContentRow,
			`SELECT sha256, state, bytes FROM iso_content WHERE facility_code = $1 ORDER BY sha256`, facilityCode); err != nil {
			return err
		}
		// A service goes with its volume, and by itself where there is none.
		if rows.Services, err = all(ctx, t, scanBilled, `SELECT s.id, s.client_id, s.volume_id, s.facility_code, s.size_gib, s.product_id, s.monthly_cents
			FROM service s LEFT JOIN volume v ON v.id = s.volume_id
			WHERE s.status = 'active' AND coalesce(v.facility_code, s.facility_code) = $1 ORDER BY s.volume_id, s.id`, facilityCode); err != nil {
			return err
		}
		rows.Held, err = all(ctx, t, scanHeld, `SELECT `+heldColumns+` FROM quarantine WHERE facility_code = $1 ORDER BY id`, facilityCode)
		return err
	})
	return rows, err
}

// work reads what tasks are about.
func (t *Tx) work(ctx context.Context, since int64, rows *reconcile.Rows) (err error) {
	if err = t.row(ctx, `SELECT coalesce(max(seq), 0) FROM task`).Scan(&rows.LastSeq); err != nil {
		return err
	}
	const columns = `SELECT volume_id, device_id, iso_id FROM task `
	if rows.Work, err = all(ctx, t, scanWork, columns+`WHERE state IN `+unfinished+` ORDER BY lane, seq`); err != nil || since < 0 {
		return err
	}
	newer, err := all(ctx, t, scanWork, columns+`WHERE seq > $1 ORDER BY seq`, since)
	rows.Work = append(rows.Work, newer...)
	return err
}

func scanWork(r scanner) (w reconcile.Work, err error) {
	return w, r.Scan((*text)(&w.VolumeID), (*number)(&w.DeviceID), (*text)(&w.ISOID))
}

func scanVolumeRow(r scanner) (v reconcile.Volume, err error) {
	var product number
	err = r.Scan((*text)(&v.ID), (*number)(&v.ClientID), (*text)(&v.Type), (*text)(&v.State), (*number)(&v.Bytes), &product,
		(*number)(&v.Monthly), (*number)(&v.DeviceID))
	v.ProductID = int(product)
	return v, err
}

func scanDeviceRow(r scanner) (d reconcile.Device, err error) {
	return d, r.Scan((*number)(&d.ID), (*text)(&d.Ref), (*text)(&d.Status), (*text)(&d.ISOID))
}

func scanISORow(r scanner) (i reconcile.ISO, err error) {
	return i, r.Scan((*text)(&i.ID), (*text)(&i.State), (*text)(&i.SHA256), (*number)(&i.Bytes))
}

func scanContentRow(r scanner) (c reconcile.Content, err error) {
	return c, r.Scan((*text)(&c.SHA256), (*text)(&c.State), (*number)(&c.Bytes))
}

func scanBilled(r scanner) (s reconcile.Billed, err error) {
	var size, product number
	err = r.Scan((*number)(&s.ID), (*number)(&s.ClientID), (*text)(&s.VolumeID), (*text)(&s.FacilityCode), &size, &product, (*number)(&s.Monthly))
	s.SizeGiB, s.ProductID = int(size), int(product)
	return s, err
}

// Stuck is in reconcile.Store.
func (s Findings) Stuck(ctx context.Context) (rows reconcile.Rows, err error) {
	err = s.db.view(ctx, func(t *Tx) error {
		rows.At = t.now
		rows.Tasks, err = all(ctx, t, func(r scanner) (k reconcile.Task, err error) {
			var since sql.NullInt64
			err = r.Scan(&k.ID, &k.Kind, &k.Queue, &k.State, &since, &k.Free)
			k.Since = fromMicros(since)
			return k, err
		}, `SELECT id, kind, queue, state,
				CASE WHEN state = 'running' THEN lease_until WHEN state = 'ready' AND run_at > updated_at THEN run_at ELSE updated_at END,
				state = 'waiting' AND seq = (SELECT min(o.seq) FROM task o WHERE o.lane = task.lane AND o.state IN `+unfinished+`)
					AND NOT EXISTS (SELECT 1 FROM task_after a JOIN task b ON b.seq = a.after_seq WHERE a.seq = task.seq AND b.state IN `+unfinished+`)
			FROM task WHERE state IN `+unfinished+` ORDER BY lane, seq`)
		return err
	})
	return rows, err
}
