package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

const selectISO = `SELECT i.id, i.client_id, i.facility_code, i.name, i.description, i.url, i.upload, i.checksum, i.bootable, i.state, i.before_state,
	i.done_bytes, i.size_bytes, i.sha256, i.label, i.bios, i.uefi, i.reason, i.error, i.task_id, i.created_at,
	(SELECT coalesce(string_agg(CAST(d.id AS TEXT), ' ' ORDER BY d.id), '') FROM device d WHERE d.iso_id = i.id)
	FROM iso i `

func scanISO(r scanner) (i iso.ISO, err error) {
	var sha sql.NullString
	var created int64
	var devices string
	err = r.Scan(&i.ID, &i.ClientID, &i.FacilityCode, &i.Name, &i.Description, &i.URL, &i.Upload, &i.Checksum, &i.Bootable, &i.State, &i.Before,
		&i.Done, &i.Size, &sha, &i.Label, &i.BIOS, &i.UEFI, &i.Reason, &i.Error, &i.TaskID, &created, &devices)
	if err != nil {
		return i, err
	}
	i.SHA256, i.CreatedAt = sha.String, at(created)
	for _, d := range strings.Fields(devices) {
		id, err := strconv.ParseInt(d, 10, 64)
		if err != nil {
			return i, err
		}
		i.DeviceIDs = append(i.DeviceIDs, id)
	}
	return i, nil
}

// ISO returns an ISO. iso.ErrNotFound.
func (t *Tx) ISO(ctx context.Context, id string) (iso.ISO, error) {
	if err := t.ownerOf(ctx, `FROM iso WHERE id = $1`, id); err != nil {
		return iso.ISO{}, err
	}
	i, err := scanISO(t.row(ctx, selectISO+`WHERE i.id = $1`, id))
	return i, missing(err, iso.ErrNotFound)
}

// PutISO writes all of i but where it is attached.
func (t *Tx) PutISO(ctx context.Context, i iso.ISO) error {
	_, err := t.exec(ctx, `INSERT INTO iso (id, client_id, facility_code, name, description, url, checksum, bootable, state, before_state,
			done_bytes, size_bytes, sha256, label, bios, uefi, reason, error, task_id, created_at, upload, upload_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
		ON CONFLICT (id) DO UPDATE SET state = excluded.state, before_state = excluded.before_state, done_bytes = excluded.done_bytes,
			size_bytes = excluded.size_bytes, sha256 = excluded.sha256, label = excluded.label, bios = excluded.bios, uefi = excluded.uefi,
			reason = excluded.reason, error = excluded.error`,
		i.ID, i.ClientID, i.FacilityCode, i.Name, i.Description, i.URL, i.Checksum, i.Bootable, i.State, i.Before,
		i.Done, i.Size, orNull(i.SHA256), i.Label, i.BIOS, i.UEFI, i.Reason, i.Error, i.TaskID, i.CreatedAt.UnixMicro(), i.Upload, t.now.UnixMicro())
	return err
}

// RemoveISO forgets an ISO.
func (t *Tx) RemoveISO(ctx context.Context, id string) error {
	n, err := t.exec(ctx, `DELETE FROM iso WHERE id = $1`, id)
	return one(n, err, iso.ErrNotFound)
}

// SetDrive is in iso.Tx.
func (t *Tx) SetDrive(ctx context.Context, d vps.Device, isoID string) error {
	n, err := t.exec(ctx, `UPDATE device SET iso_id = $3, iso_generation = iso_generation + 1, boot_stage = '', boot_starts = '', boot_at = NULL
		WHERE id = $1 AND iso_generation = $2`, d.ID, d.ISOGeneration, orNull(isoID))
	return one(n, err, iso.ErrStale)
}

// SetBoot is in iso.Tx.
func (t *Tx) SetBoot(ctx context.Context, d vps.Device, b vps.BootOnce) error {
	var reset any
	if !b.At.IsZero() {
		reset = b.At.UnixMicro()
	}
	n, err := t.exec(ctx, `UPDATE device SET boot_stage = $3, boot_starts = $4, boot_at = $5 WHERE id = $1 AND iso_generation = $2`,
		d.ID, d.ISOGeneration, b.Stage, b.Starts, reset)
	return one(n, err, iso.ErrStale)
}

// Content is in iso.Tx.
func (t *Tx) Content(ctx context.Context, facilityCode, sha256 string) (c iso.Content, err error) {
	// Of all clients: it is locked behind the client's own, always in that order.
	if err := t.exclusive(ctx, "content:"+facilityCode+":"+sha256); err != nil {
		return c, err
	}
	err = t.row(ctx, `SELECT state, bytes, remover FROM iso_content WHERE facility_code = $1 AND sha256 = $2`, facilityCode, sha256).
		Scan(&c.State, &c.Bytes, &c.Remover)
	if errors.Is(err, sql.ErrNoRows) {
		return iso.Content{}, nil
	}
	return c, err
}

// PutContent is in iso.Tx.
func (t *Tx) PutContent(ctx context.Context, facilityCode, sha256 string, c iso.Content) error {
	if c.State == iso.Absent {
		_, err := t.exec(ctx, `DELETE FROM iso_content WHERE facility_code = $1 AND sha256 = $2`, facilityCode, sha256)
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO iso_content (facility_code, sha256, bytes, state, remover) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (facility_code, sha256) DO UPDATE SET bytes = excluded.bytes, state = excluded.state, remover = excluded.remover`,
		facilityCode, sha256, c.Bytes, c.State, c.Remover)
	return err
}

// Sharers is in iso.Tx.
func (t *Tx) Sharers(ctx context.Context, facilityCode, sha256 string) (n int, err error) {
	err = t.row(ctx, `SELECT count(*) FROM iso WHERE sha256 = $2 AND facility_code = $1 AND state <> 'deleting'`, facilityCode, sha256).Scan(&n)
	return n, err
}

// HoldUpload is in iso.Tx.
func (t *Tx) HoldUpload(ctx context.Context, isoID, writer string, d time.Duration) (bool, error) {
	n, err := t.exec(ctx, `UPDATE iso SET upload_writer = CASE WHEN $4 > $3 THEN $2 ELSE '' END, upload_until = $4
		WHERE id = $1 AND (upload_writer IN ('', $2) OR upload_until < $3)`, isoID, writer, t.now.UnixMicro(), t.now.Add(d).UnixMicro())
	return n > 0, err
}

// Received is in iso.Tx.
func (t *Tx) Received(ctx context.Context, isoID string, done int64) error {
	n, err := t.exec(ctx, `UPDATE iso SET done_bytes = $2, upload_at = $3 WHERE id = $1`, isoID, done, t.now.UnixMicro())
	return one(n, err, iso.ErrNotFound)
}

// Idle is in iso.Tx.
func (t *Tx) Idle(ctx context.Context, isoID string) (time.Duration, error) {
	var last int64
	err := t.row(ctx, `SELECT upload_at FROM iso WHERE id = $1`, isoID).Scan(&last)
	return t.now.Sub(at(last)), missing(err, iso.ErrNotFound)
}

// isoTx speaks to the rules of ISOs.
type isoTx struct{ *Tx }

// Pending is in iso.Tx.
func (t isoTx) Pending(ctx context.Context, isoID string) ([]task.Task, error) {
	return t.pendingOf(ctx, "iso_id", isoID)
}

// ISOs returns the store of ISOs.
func (db *DB) ISOs() ISOs { return ISOs{db} }

// ISOs keeps ISOs.
type ISOs struct{ db *DB }

// List is in iso.Store.
func (s ISOs) List(ctx context.Context, scope access.Scope, facilityCode string) ([]iso.ISO, error) {
	where, args := inScope(scope, "i.client_id", 2)
	out, err := all(ctx, s.db.reader(), scanISO,
		selectISO+`WHERE i.facility_code = $1 AND `+where+` ORDER BY i.created_at DESC, i.id DESC`, append([]any{facilityCode}, args...)...)
	return out, translate(err)
}

// Get is in iso.Store.
func (s ISOs) Get(ctx context.Context, scope access.Scope, id string) (iso.ISO, error) {
	i, err := scanISO(s.db.reader().row(ctx, selectISO+`WHERE i.id = $1`, id))
	if err == nil && !scope.Covers(i.ClientID) {
		return iso.ISO{}, iso.ErrNotFound
	}
	return i, missing(err, iso.ErrNotFound)
}

// Facility is in iso.Store.
func (s ISOs) Facility(ctx context.Context, code string) error { return s.db.facilityExists(ctx, code) }

// Advance is in iso.Store.
func (s ISOs) Advance(ctx context.Context, l task.Lease, isoID string, done, size int64) error {
	return s.db.step(ctx, l, func(t *Tx) error {
		_, err := t.exec(ctx, `UPDATE iso SET done_bytes = $2, size_bytes = $3 WHERE id = $1`, isoID, done, size)
		return err
	})
}

// Booting is in iso.Store.
func (s ISOs) Booting(ctx context.Context, facilityCode string) ([]vps.Device, error) {
	out, err := all(ctx, s.db.reader(), scanDevice, selectDevice+`WHERE d.facility_code = $1 AND d.boot_stage <> '' ORDER BY d.id`, facilityCode)
	return out, translate(err)
}

// Unfinished returns the ISOs whose import has not ended.
func (s ISOs) Unfinished(ctx context.Context) ([]string, error) {
	out, err := all(ctx, s.db.reader(), func(r scanner) (id string, err error) { return id, r.Scan(&id) },
		`SELECT id FROM iso WHERE state IN ('queued', 'downloading', 'verifying') ORDER BY id`)
	return out, translate(err)
}

// Uploads returns the ISOs whose upload grows in the folder or waits there for
// its import.
func (s ISOs) Uploads(ctx context.Context, folder string) ([]string, error) {
	out, err := all(ctx, s.db.reader(), func(r scanner) (id string, err error) { return id, r.Scan(&id) },
		`SELECT id FROM iso WHERE upload = $1 AND upload <> '' AND state IN ('uploading', 'queued', 'verifying') ORDER BY id`, folder)
	return out, translate(err)
}

// FreeUploads lets others write what an earlier process of this node wrote: the
// one process that could have gone on is this one, just started.
func (s ISOs) FreeUploads(ctx context.Context, node string) error {
	return s.db.tx(ctx, func(t *Tx) error {
		_, err := t.exec(ctx, `UPDATE iso SET upload_writer = '' WHERE upload_writer > $1 AND upload_writer < $2 AND upload_writer <> ''`,
			node+"/", node+"0") // what comes behind a slash
		return err
	})
}

// Tx is in iso.Store.
func (s ISOs) Tx(ctx context.Context, fn func(iso.Tx) error) error {
	return s.db.tx(ctx, func(t *Tx) error { return fn(isoTx{t}) })
}

// View is in iso.Store.
func (s ISOs) View(ctx context.Context, fn func(iso.Tx) error) error {
	return s.db.view(ctx, func(t *Tx) error { return fn(isoTx{t}) })
}

// Step is in iso.Store.
func (s ISOs) Step(ctx context.Context, l task.Lease, fn func(iso.Tx) error) error {
	return s.db.step(ctx, l, func(t *Tx) error { return fn(isoTx{t}) })
}

// Finish is in iso.Store.
func (s ISOs) Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(iso.Tx) error) error {
	return s.db.finishWith(ctx, l, o, func(t *Tx) error { return fn(isoTx{t}) })
}
