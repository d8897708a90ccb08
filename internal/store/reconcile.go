package store

import (
	"context"
	"fmt"
	"time"

	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// keepClosed is how long findings that are no more are kept.
const keepClosed = 30 * 24 * time.Hour

// Findings returns the store of the reconciler.
func (db *DB) Findings() Findings { return Findings{db} }

// Findings keeps findings and the quarantine.
type Findings struct{ db *DB }

const findingColumns = `id, class, facility_code, object_id, detail, first_seen, last_seen, looks, confirmed`

func scanFinding(r scanner) (f reconcile.Finding, err error) {
	var first, last int64
	err = r.Scan(&f.ID, &f.Class, &f.FacilityCode, &f.Object, &f.Detail, &first, &last, &f.Looks, &f.Confirmed)
	f.FirstSeen, f.LastSeen = at(first), at(last)
	return f, err
}

// Facilities is in reconcile.Store.
func (s Findings) Facilities(ctx context.Context) ([]string, error) {
	out, err := all(ctx, s.db.reader(), scanOne[string], `SELECT code FROM facility ORDER BY code`)
	return out, translate(err)
}

func scanOne[T any](r scanner) (v T, err error) { return v, r.Scan(&v) }

// Record is in reconcile.Store.
func (s Findings) Record(ctx context.Context, l reconcile.Look) (out []reconcile.Finding, err error) {
	// Mostly there is nothing and was nothing, and looking needs no writer.
	var open bool
	err = s.db.reader().row(ctx, `SELECT EXISTS (SELECT 1 FROM finding WHERE facility_code = $1 AND closed_at IS NULL)`, l.FacilityCode).Scan(&open)
	if err != nil || !open && len(l.Found) == 0 && len(l.Released) == 0 {
		return nil, translate(err)
	}
	err = s.db.tx(ctx, func(t *Tx) error {
		out = nil
		known, err := t.openFindings(ctx, l.FacilityCode)
		if err != nil {
			return err
		}
		for _, f := range l.Found {
			key := findingKey{f.Class, f.Object}
			f, err := t.see(ctx, f, known[key], l)
			if err != nil {
				return err
			}
			delete(known, key)
			out = append(out, f)
		}
		for _, f := range known {
			if l.Blind {
				continue
			}
			if _, err := t.exec(ctx, `UPDATE finding SET closed_at = $2 WHERE id = $1`, f.ID, l.At.UnixMicro()); err != nil {
				return err
			}
		}
		for _, id := range l.Released {
			if err := t.Release(ctx, id); err != nil {
				return err
			}
		}
		_, err = t.exec(ctx, `DELETE FROM finding WHERE closed_at IS NOT NULL AND closed_at < $1`, l.At.Add(-keepClosed).UnixMicro())
		return err
	})
	return out, err
}

type findingKey struct {
	class  reconcile.Class
	object string
}

func (t *Tx) openFindings(ctx context.Context, facilityCode string) (map[findingKey]reconcile.Finding, error) {
	list, err := all(ctx, t, scanFinding,
		`SELECT `+findingColumns+` FROM finding WHERE facility_code = $1 AND closed_at IS NULL ORDER BY class, object_id`, facilityCode)
	out := make(map[findingKey]reconcile.Finding, len(list))
	for _, f := range list {
		out[findingKey{f.Class, f.Object}] = f
	}
	return out, err
}

// see writes that f was seen. was is what is known of it, zero for nothing.
func (t *Tx) see(ctx context.Context, f, was reconcile.Finding, l reconcile.Look) (reconcile.Finding, error) {
	if was.ID == 0 {
		f.FirstSeen, f.LastSeen, f.Looks = l.At, l.At, 1
		err := t.row(ctx, `INSERT INTO finding (class, facility_code, object_id, detail, first_seen, last_seen, looks, confirmed)
			VALUES ($1, $2, $3, $4, $5, $5, 1, FALSE) RETURNING id`, f.Class, f.FacilityCode, f.Object, f.Detail, l.At.UnixMicro()).Scan(&f.ID)
		return f, err
	}
	f.ID, f.FirstSeen, f.LastSeen, f.Looks = was.ID, was.FirstSeen, l.At, was.Looks+1
	f.Confirmed = was.Confirmed || l.At.Sub(was.FirstSeen) >= l.Grace
	_, err := t.exec(ctx, `UPDATE finding SET detail = $2, last_seen = $3, looks = looks + 1, confirmed = $4 WHERE id = $1`,
		f.ID, f.Detail, l.At.UnixMicro(), f.Confirmed)
	return f, err
}

// Open is in reconcile.Store.
func (s Findings) Open(ctx context.Context, f reconcile.Filter) ([]reconcile.Finding, error) {
	where, args := `closed_at IS NULL AND id > $1`, []any{f.After}
	if f.Class != nil {
		args = append(args, *f.Class)
		where += fmt.Sprintf(" AND class = $%d", len(args))
	}
	if f.FacilityCode != nil {
		args = append(args, *f.FacilityCode)
		where += fmt.Sprintf(" AND facility_code = $%d", len(args))
	}
	args = append(args, f.Limit)
	out, err := all(ctx, s.db.reader(), scanFinding,
		fmt.Sprintf(`SELECT `+findingColumns+` FROM finding WHERE %s ORDER BY id LIMIT $%d`, where, len(args)), args...)
	return out, translate(err)
}

// Count is in reconcile.Store.
func (s Findings) Count(ctx context.Context) (map[reconcile.Class]int, error) {
	type count struct {
		class reconcile.Class
		n     int
	}
	list, err := all(ctx, s.db.reader(), func(r scanner) (c count, err error) { return c, r.Scan(&c.class, &c.n) },
		`SELECT class, count(*) FROM finding WHERE closed_at IS NULL AND confirmed = TRUE GROUP BY class`)
	out := make(map[reconcile.Class]int, len(list))
	for _, c := range list {
		out[c.class] = c.n
	}
	return out, translate(err)
}

const heldColumns = `id, facility_code, kind, object_id, bytes, first_seen, quarantined_at`

func scanHeld(r scanner) (h reconcile.Held, err error) {
	var first, since int64
	err = r.Scan(&h.ID, &h.FacilityCode, &h.Kind, &h.Object, &h.Bytes, &first, &since)
	h.FirstSeen, h.At = at(first), at(since)
	return h, err
}

// Held is in reconcile.Store.
func (s Findings) Held(ctx context.Context, facilityCode *string, after int64, limit int) ([]reconcile.Held, error) {
	where, args := `id > $1`, []any{after}
	if facilityCode != nil {
		where, args = where+` AND facility_code = $2`, append(args, *facilityCode)
	}
	args = append(args, limit)
	out, err := all(ctx, s.db.reader(), scanHeld,
		fmt.Sprintf(`SELECT `+heldColumns+` FROM quarantine WHERE %s ORDER BY id LIMIT $%d`, where, len(args)), args...)
	return out, translate(err)
}

// Unfinished is in reconcile.Store.
func (s Findings) Unfinished(ctx context.Context, taskIDs []string) (n int, err error) {
	for _, id := range taskIDs {
		var open bool
		err := s.db.reader().row(ctx, `SELECT EXISTS (SELECT 1 FROM task WHERE id = $1 AND state IN `+unfinished+`)`, id).Scan(&open)
		if err != nil {
			return 0, translate(err)
		}
		if open {
			n++
		}
	}
	return n, nil
}

// Hold is in reconcile.Tx.
func (t *Tx) Hold(ctx context.Context, h reconcile.Held) error {
	_, err := t.exec(ctx, `INSERT INTO quarantine (facility_code, kind, object_id, bytes, first_seen, quarantined_at)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (facility_code, kind, object_id) DO NOTHING`,
		h.FacilityCode, h.Kind, h.Object, h.Bytes, h.FirstSeen.UnixMicro(), h.At.UnixMicro())
	return err
}

// HeldByID is in reconcile.Tx.
func (t *Tx) HeldByID(ctx context.Context, id int64) (reconcile.Held, error) {
	h, err := scanHeld(t.row(ctx, `SELECT `+heldColumns+` FROM quarantine WHERE id = $1`, id))
	return h, missing(err, reconcile.ErrHeldNotFound)
}

// Release is in reconcile.Tx.
func (t *Tx) Release(ctx context.Context, id int64) error {
	_, err := t.exec(ctx, `DELETE FROM quarantine WHERE id = $1`, id)
	return err
}

// DeviceByRef is in reconcile.Tx.
func (t *Tx) DeviceByRef(ctx context.Context, facilityCode, ref string) (vps.Device, error) {
	d, err := scanDevice(t.row(ctx, selectDevice+`WHERE d.facility_code = $1 AND d.ref = $2`, facilityCode, ref))
	return d, missing(err, vps.ErrDeviceNotFound)
}

// ISOsWith is in reconcile.Tx.
func (t *Tx) ISOsWith(ctx context.Context, facilityCode, sha256 string) ([]string, error) {
	return all(ctx, t, scanOne[string], `SELECT id FROM iso WHERE sha256 = $2 AND facility_code = $1 ORDER BY id`, facilityCode, sha256)
}

// Services is in reconcile.Tx.
func (t *Tx) Services(ctx context.Context, volumeID string) ([]billing.Service, error) {
	return all(ctx, t, scanService, selectService+`WHERE volume_id = $1 AND status = 'active' ORDER BY id`, volumeID)
}

// PendingVolume is in reconcile.Tx.
func (t *Tx) PendingVolume(ctx context.Context, volumeID string) ([]task.Task, error) {
	return t.pendingOf(ctx, "volume_id", volumeID)
}

// PendingISO is in reconcile.Tx.
func (t *Tx) PendingISO(ctx context.Context, isoID string) ([]task.Task, error) {
	return t.pendingOf(ctx, "iso_id", isoID)
}

// Promote is in reconcile.Tx.
func (t *Tx) Promote(ctx context.Context, taskID string) error {
	var lane string
	if err := t.row(ctx, `SELECT lane FROM task WHERE id = $1`, taskID).Scan(&lane); err != nil {
		return missing(err, task.ErrNotFound)
	}
	_, err := t.exec(ctx, `DELETE FROM task_after WHERE seq = (SELECT seq FROM task WHERE id = $1)
		AND NOT EXISTS (SELECT 1 FROM task o WHERE o.seq = task_after.after_seq AND o.state IN `+unfinished+`)`, taskID)
	if err != nil {
		return err
	}
	if _, err := t.exec(ctx, `UPDATE task SET updated_at = $2 WHERE id = $1`, taskID, t.now.UnixMicro()); err != nil {
		return err
	}
	return t.promote(ctx, lane)
}

// Tx is in reconcile.Store.
func (s Findings) Tx(ctx context.Context, fn func(reconcile.Tx) error) error {
	return s.db.tx(ctx, func(t *Tx) error { return fn(t) })
}

// View is in reconcile.Store.
func (s Findings) View(ctx context.Context, fn func(reconcile.Tx) error) error {
	return s.db.view(ctx, func(t *Tx) error { return fn(t) })
}

// Step is in reconcile.Store.
func (s Findings) Step(ctx context.Context, l task.Lease, fn func(reconcile.Tx) error) error {
	return s.db.step(ctx, l, func(t *Tx) error { return fn(t) })
}

// Finish is in reconcile.Store.
func (s Findings) Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(reconcile.Tx) error) error {
	return s.db.finishWith(ctx, l, o, func(t *Tx) error { return fn(t) })
}
