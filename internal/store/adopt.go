package store

import (
	"context"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/adopt"
	"github.com/drivebay/drivebay/internal/volume"
)

// Adoptions returns the store of what takes guests over.
func (db *DB) Adoptions() Adoptions { return Adoptions{db} }

// Adoptions keeps what becomes of guests that were there before.
type Adoptions struct{ db *DB }

// Client is in adopt.Store.
func (s Adoptions) Client(ctx context.Context, id int64) error {
	var n int
	err := s.db.reader().row(ctx, `SELECT 1 FROM client WHERE id = $1`, id).Scan(&n)
	return missing(err, access.ErrNoSuchClient)
}

// Facility is in adopt.Store.
func (s Adoptions) Facility(ctx context.Context, code string) error {
	return s.db.facilityExists(ctx, code)
}

// Tx is in adopt.Store.
func (s Adoptions) Tx(ctx context.Context, clientID int64, fn func(adopt.Tx) error) error {
	return s.db.tx(ctx, func(t *Tx) error {
		if err := t.own(ctx, clientID); err != nil {
			return err
		}
		return fn(t)
	})
}

// View is in adopt.Store.
func (s Adoptions) View(ctx context.Context, fn func(adopt.Tx) error) error {
	return s.db.view(ctx, func(t *Tx) error { return fn(t) })
}

// VolumeOf is in adopt.Tx. It locks nothing: the volume may be any client's.
func (t *Tx) VolumeOf(ctx context.Context, facilityCode, source, id string) (volume.Volume, error) {
	v, err := scanVolume(t.row(ctx, selectVolume+`FROM volume v WHERE v.id = $3 OR v.facility_code = $1 AND v.source = $2
		ORDER BY CASE WHEN v.id = $3 THEN 0 ELSE 1 END LIMIT 1`, facilityCode, source, id))
	return v, missing(err, volume.ErrNotFound)
}

// SetSource is in adopt.Tx.
func (t *Tx) SetSource(ctx context.Context, id, source string) error {
	n, err := t.exec(ctx, `UPDATE volume SET source = $2 WHERE id = $1`, id, source)
	if isUnique(err) {
		return adopt.ErrDiskTaken
	}
	return one(n, err, volume.ErrNotFound)
}

// Adopted are the facility's volumes, in any state, whose disk has a name of its
// own on its host: the volume's id by that name.
func (s Volumes) Adopted(ctx context.Context, facilityCode string) (map[string]string, error) {
	type named struct{ source, id string }
	list, err := all(ctx, s.db.reader(), func(r scanner) (n named, err error) {
		return n, r.Scan(&n.source, &n.id)
	}, `SELECT source, id FROM volume WHERE facility_code = $1 AND source IS NOT NULL`, facilityCode)
	if err != nil {
		return nil, translate(err)
	}
	ids := make(map[string]string, len(list))
	for _, n := range list {
		ids[n.source] = n.id
	}
	return ids, nil
}
