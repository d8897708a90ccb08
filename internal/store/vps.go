package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// The count of data volumes is one range of the index of a device's volumes.
const selectDevice = `SELECT d.id, d.client_id, d.facility_code, d.hostname, d.status, d.vcpu, d.memory_mb, d.max_volumes, d.ref,
	d.iso_id, d.iso_generation, d.boot_stage, d.boot_starts, d.boot_at, d.created_at,
	(SELECT count(*) FROM volume v WHERE v.device_id = d.id AND v.type = 'DATADISK')
	FROM device d `

func scanDevice(r scanner) (d vps.Device, err error) {
	var iso sql.NullString
	var booted sql.NullInt64
	var created int64
	err = r.Scan(&d.ID, &d.ClientID, &d.FacilityCode, &d.Hostname, &d.Status, &d.VCPU, &d.MemoryMB, &d.MaxVolumes, &d.Ref,
		&iso, &d.ISOGeneration, &d.Boot.Stage, &d.Boot.Starts, &booted, &created, &d.Volumes)
	d.ISOID, d.Boot.At, d.CreatedAt = iso.String, fromMicros(booted), at(created)
	return d, err
}

func deviceIn(ctx context.Context, q querier, id int64) (vps.Device, error) {
	d, err := scanDevice(q.row(ctx, selectDevice+`WHERE d.id = $1`, id))
	return d, missing(err, vps.ErrDeviceNotFound)
}

// Device returns a device.
func (t *Tx) Device(ctx context.Context, id int64) (vps.Device, error) {
	if err := t.ownerOf(ctx, `FROM device WHERE id = $1`, id); err != nil {
		return vps.Device{}, err
	}
	return deviceIn(ctx, t, id)
}

func (db *DB) device(ctx context.Context, s access.Scope, id int64) (vps.Device, error) {
	d, err := deviceIn(ctx, db.reader(), id)
	if err == nil && !s.Covers(d.ClientID) {
		return vps.Device{}, vps.ErrDeviceNotFound
	}
	return d, err
}

func (db *DB) facilityExists(ctx context.Context, code string) error {
	var n int
	err := db.reader().row(ctx, `SELECT 1 FROM facility WHERE code = $1`, code).Scan(&n)
	return missing(err, vps.ErrFacilityNotFound)
}

// VPS returns the store of the inventory.
func (db *DB) VPS() VPS { return VPS{db} }

// VPS keeps facilities and devices.
type VPS struct{ db *DB }

// List is in vps.Store.
func (s VPS) List(ctx context.Context, scope access.Scope, f vps.Filter) ([]vps.Device, error) {
	where, args := inScope(scope, "d.client_id", 1)
	if f.FacilityCode != nil {
		args = append(args, *f.FacilityCode)
		where += fmt.Sprintf(" AND d.facility_code = $%d", len(args))
	}
	args = append(args, f.After, limitOf(f.Limit))
	out, err := all(ctx, s.db.reader(), scanDevice,
		fmt.Sprintf(selectDevice+`WHERE %s AND d.id > $%d ORDER BY d.id LIMIT $%d`, where, len(args)-1, len(args)), args...)
	return out, translate(err)
}

// Device is in vps.Store.
func (s VPS) Device(ctx context.Context, scope access.Scope, id int64) (vps.Device, error) {
	return s.db.device(ctx, scope, id)
}

const facilityColumns = `id, code, title, city, state, country`

func scanFacility(r scanner) (f vps.Facility, err error) {
	return f, r.Scan(&f.ID, &f.Code, &f.Title, &f.City, &f.State, &f.Country)
}

// Facilities is in vps.Store.
func (s VPS) Facilities(ctx context.Context) ([]vps.Facility, error) {
	out, err := all(ctx, s.db.reader(), scanFacility, `SELECT `+facilityColumns+` FROM facility ORDER BY code`)
	return out, translate(err)
}

// Facility is in vps.Store.
func (s VPS) Facility(ctx context.Context, code string) (vps.Facility, error) {
	f, err := scanFacility(s.db.reader().row(ctx, `SELECT `+facilityColumns+` FROM facility WHERE code = $1`, code))
	return f, missing(err, vps.ErrFacilityNotFound)
}

// PutFacility is in vps.Store.
func (s VPS) PutFacility(ctx context.Context, f vps.Facility) (out vps.Facility, err error) {
	err = s.db.tx(ctx, func(t *Tx) error {
		if err := t.exclusive(ctx, "facility:"+f.Code); err != nil {
			return err
		}
		var had bool
		if err := t.row(ctx, `SELECT EXISTS (SELECT 1 FROM facility WHERE code = $1)`, f.Code).Scan(&had); err != nil {
			return err
		}
		out, err = scanFacility(t.row(ctx, `INSERT INTO facility (code, title, city, state, country) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (code) DO UPDATE SET title = excluded.title, city = excluded.city, state = excluded.state, country = excluded.country
			RETURNING `+facilityColumns, f.Code, f.Title, f.City, f.State, f.Country))
		if err != nil || had {
			return err
		}
		for _, p := range billing.DefaultPrices(f.Code) {
			if err := t.putPrice(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// ClaimStorage notes that the facility's disks are in the storage with the id,
// for good. vps.ErrOtherStorage if they are in another one.
func (s VPS) ClaimStorage(ctx context.Context, code, id string) error {
	return s.db.tx(ctx, func(t *Tx) error {
		var have string
		err := t.row(ctx, `UPDATE facility SET storage = coalesce(storage, $2) WHERE code = $1 RETURNING storage`, code, id).Scan(&have)
		switch {
		case err != nil:
			return missing(err, vps.ErrFacilityNotFound)
		case have != id:
			return vps.ErrOtherStorage
		}
		return nil
	})
}

// Tx is in vps.Store.
func (s VPS) Tx(ctx context.Context, fn func(vps.Tx) error) error {
	return s.db.tx(ctx, func(t *Tx) error { return fn(t) })
}

// View is in vps.Store.
func (s VPS) View(ctx context.Context, fn func(vps.Tx) error) error {
	return s.db.view(ctx, func(t *Tx) error { return fn(t) })
}

// Finish is in vps.Store.
func (s VPS) Finish(ctx context.Context, l task.Lease, o task.Outcome, fn func(vps.Tx) error) error {
	return s.db.finishWith(ctx, l, o, func(t *Tx) error { return fn(t) })
}

// AddDevice is in vps.Tx.
func (t *Tx) AddDevice(ctx context.Context, d vps.Device, rootID string, bytes int64) (vps.Device, error) {
	var client, facility bool
	if err := t.own(ctx, d.ClientID); err != nil {
		return d, err
	}
	err := t.row(ctx, `SELECT EXISTS (SELECT 1 FROM client WHERE id = $1), EXISTS (SELECT 1 FROM facility WHERE code = $2)`,
		d.ClientID, d.FacilityCode).Scan(&client, &facility)
	switch {
	case err != nil:
		return d, err
	case !client:
		return d, access.ErrNoSuchClient
	case !facility:
		return d, vps.ErrUnknownFacility
	}
	if d.ID == 0 {
		if d.ID, err = t.nextID(ctx, "device", 1000); err != nil {
			return d, err
		}
	}
	if d.Ref == "" {
		d.Ref = strconv.FormatInt(d.ID, 10)
	}
	_, err = t.exec(ctx, `INSERT INTO device (id, client_id, facility_code, hostname, status, vcpu, memory_mb, max_volumes, ref, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		d.ID, d.ClientID, d.FacilityCode, d.Hostname, d.Status, d.VCPU, d.MemoryMB, d.MaxVolumes, d.Ref, t.now.UnixMicro())
	if isUnique(err) {
		return d, vps.ErrDeviceExists
	}
	if err != nil || rootID == "" {
		return d, err
	}
	return d, t.PutVolume(ctx, volume.Volume{
		ID: rootID, ClientID: d.ClientID, FacilityCode: d.FacilityCode, Type: volume.Root, State: volume.Creating,
		Bytes: bytes, CreatedAt: t.now,
	})
}

// SetStatus is in vps.Tx.
func (t *Tx) SetStatus(ctx context.Context, id int64, s vps.Status) error {
	n, err := t.exec(ctx, `UPDATE device SET status = $2 WHERE id = $1`, id, s)
	return one(n, err, vps.ErrDeviceNotFound)
}

// ReleaseGuest is in vps.Tx.
func (t *Tx) ReleaseGuest(ctx context.Context, id int64) error {
	n, err := t.exec(ctx, `UPDATE device SET ref = $2 WHERE id = $1`, id, "none-"+strconv.FormatInt(id, 10))
	return one(n, err, vps.ErrDeviceNotFound)
}

// RemoveDevice is in vps.Tx.
func (t *Tx) RemoveDevice(ctx context.Context, id int64) error {
	if _, err := t.exec(ctx, `DELETE FROM volume WHERE device_id = $1 AND type = 'ROOT'`, id); err != nil {
		return err
	}
	n, err := t.exec(ctx, `DELETE FROM device WHERE id = $1`, id)
	return one(n, err, vps.ErrDeviceNotFound)
}

// ShowRoot is in vps.Tx.
func (t *Tx) ShowRoot(ctx context.Context, deviceID int64, rootID string) error {
	v, err := t.Volume(ctx, rootID)
	if err != nil {
		return err
	}
	v.State, v.CreatedAt = volume.Attached, t.now
	if err := t.PutVolume(ctx, v); err != nil {
		return err
	}
	return t.Attach(ctx, v, deviceID)
}
