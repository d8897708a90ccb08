package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/volume"
)

const selectQuota = `SELECT volumes, gib, isos, iso_bytes FROM client_quota WHERE client_id = $1`

func scanQuota(r scanner) (q access.Quota, err error) {
	var n [4]sql.NullInt64
	if err := r.Scan(&n[0], &n[1], &n[2], &n[3]); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return q, nil // no bound
		}
		return q, translate(err)
	}
	for i, to := range []**int64{&q.Volumes, &q.GiB, &q.ISOs, &q.ISOBytes} {
		if n[i].Valid {
			*to = &n[i].Int64
		}
	}
	return q, nil
}

// Quota is in access.QuotaTx.
func (t *Tx) Quota(ctx context.Context, clientID int64) (access.Quota, error) {
	if err := t.own(ctx, clientID); err != nil {
		return access.Quota{}, err
	}
	return scanQuota(t.row(ctx, selectQuota, clientID))
}

// Used is in access.QuotaTx.
func (t *Tx) Used(ctx context.Context, clientID int64) (access.Usage, error) {
	return used(ctx, t, clientID)
}

// used counts from the rows themselves, so that nothing can drift.
func used(ctx context.Context, q querier, clientID int64) (u access.Usage, err error) {
	var bytes int64
	err = q.row(ctx, `SELECT count(*), CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM volume
		WHERE client_id = $1 AND type = 'DATADISK' AND state <> 'discarded'`, clientID).Scan(&u.Volumes, &bytes)
	if err != nil {
		return u, translate(err)
	}
	growth, err := growth(ctx, q, clientID)
	if err != nil {
		return u, translate(err)
	}
	u.GiB = (bytes + growth) / volume.GiB
	err = q.row(ctx, `SELECT count(*), CAST(coalesce(sum(CASE
			WHEN state IN ('failed', 'deleting') AND sha256 IS NULL THEN 0
			WHEN size_bytes > done_bytes THEN size_bytes ELSE done_bytes END), 0) AS BIGINT)
		FROM iso WHERE client_id = $1`, clientID).Scan(&u.ISOs, &u.ISOBytes)
	return u, translate(err)
}

// growth is how many bytes the volumes of a client will be larger once the
// resizes accepted for them have run.
func growth(ctx context.Context, q querier, clientID int64) (int64, error) {
	type resize struct {
		volumeID, args string
		bytes          int64 // the volume's now
	}
	list, err := all(ctx, q, func(r scanner) (v resize, err error) { return v, r.Scan(&v.volumeID, &v.args, &v.bytes) },
		`SELECT v.id, t.args, v.bytes FROM task t JOIN volume v ON v.id = t.volume_id
		WHERE t.client_id = $1 AND t.kind = 'volume.resize' AND t.state IN `+unfinished+` ORDER BY t.seq`, clientID)
	if err != nil {
		return 0, err
	}
	grown := map[string]int64{} // by volume: several may wait, the largest counts
	for _, r := range list {
		var args struct {
			SizeGiB int64 `json:"size"`
		}
		if err := json.Unmarshal([]byte(r.args), &args); err != nil {
			return 0, fmt.Errorf("decode arguments of a resize of %s: %w", r.volumeID, err)
		}
		grown[r.volumeID] = max(grown[r.volumeID], args.SizeGiB*volume.GiB-r.bytes)
	}
	var sum int64
	for _, n := range grown {
		sum += n
	}
	return sum, nil
}

// Quota is in access.Store.
func (s Access) Quota(ctx context.Context, clientID int64) (access.Quota, error) {
	return scanQuota(s.db.reader().row(ctx, selectQuota, clientID))
}

// Usage is in access.Store.
func (s Access) Usage(ctx context.Context, clientID int64) (q access.Quota, u access.Usage, err error) {
	err = s.db.view(ctx, func(t *Tx) error {
		if q, err = scanQuota(t.row(ctx, selectQuota, clientID)); err != nil {
			return err
		}
		u, err = used(ctx, t, clientID)
		return err
	})
	return q, u, err
}

// PutQuota is in access.Store.
func (s Access) PutQuota(ctx context.Context, clientID int64, q access.Quota) error {
	return s.db.tx(ctx, func(t *Tx) error {
		if err := t.own(ctx, clientID); err != nil {
			return err
		}
		var id int64
		if err := t.row(ctx, `SELECT id FROM client WHERE id = $1`, clientID).Scan(&id); err != nil {
			return missing(err, access.ErrNoSuchClient)
		}
		if q.Unlimited() { // no row, so that nobody waits for it
			_, err := t.exec(ctx, `DELETE FROM client_quota WHERE client_id = $1`, clientID)
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO client_quota (client_id, volumes, gib, isos, iso_bytes) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (client_id) DO UPDATE SET volumes = excluded.volumes, gib = excluded.gib, isos = excluded.isos, iso_bytes = excluded.iso_bytes`,
			clientID, orNone(q.Volumes), orNone(q.GiB), orNone(q.ISOs), orNone(q.ISOBytes))
		return err
	})
}

// orNone stores nil as NULL.
func orNone(n *int64) any {
	if n == nil {
		return nil
	}
	return *n
}
