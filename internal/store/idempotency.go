package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/drivebay/drivebay/internal/idempotency"
)

// claimKey writes the key of the request that ctx carries out, if it has one,
// before anything else of the transaction: the row and the effect come true
// together. A key that another request has taken is idempotency.ErrTaken. It
// comes before the rules, which may refuse a repeat for what the first try did.
//
// Of two at once the second waits for the first, in the writer's queue or at
// the primary key, and then finds its row, or finds it gone.
func claimKey(ctx context.Context, t *Tx) error {
	r := idempotency.From(ctx)
	if r == nil {
		return nil
	}
	n, err := t.exec(ctx, `INSERT INTO idempotency_key (scope, key, request_id, fingerprint, result, created_at)
		VALUES ($1, $2, $3, $4, '', $5)
		ON CONFLICT (scope, key) DO UPDATE SET request_id = excluded.request_id, fingerprint = excluded.fingerprint,
			result = excluded.result, status = NULL, content_type = NULL, body = NULL, created_at = excluded.created_at
		WHERE idempotency_key.created_at <= $6`,
		r.Scope, r.Key, r.ID, r.Fingerprint[:], t.now.UnixMicro(), t.now.Add(-idempotency.Retention).UnixMicro())
	if err != nil {
		return err
	}
	t.claim = r
	if n == 1 {
		return nil
	}
	// Its own, of an earlier transaction of the same request?
	var holder string
	err = t.row(ctx, `SELECT request_id FROM idempotency_key WHERE scope = $1 AND key = $2`, r.Scope, r.Key).Scan(&holder)
	if err != nil {
		return err
	}
	if holder != r.ID {
		return idempotency.ErrTaken
	}
	return nil
}

// made notes the id of what the request with a key has made. The first counts.
func (t *Tx) made(ctx context.Context, id string) error {
	if t.claim == nil {
		return nil
	}
	_, err := t.exec(ctx, `UPDATE idempotency_key SET result = $3 WHERE scope = $1 AND key = $2 AND result = ''`,
		t.claim.Scope, t.claim.Key, id)
	return err
}

// Idempotency returns the store of keys that requests name themselves by.
func (db *DB) Idempotency() Idempotency { return Idempotency{db} }

// Idempotency keeps keys that requests name themselves by.
type Idempotency struct{ db *DB }

// Find is in idempotency.Store.
func (s Idempotency) Find(ctx context.Context, r *idempotency.Request) (*idempotency.Kept, error) {
	var k idempotency.Kept
	var status sql.NullInt64
	var contentType sql.NullString
	var body []byte
	var created int64
	err := s.db.reader().row(ctx, `SELECT request_id, fingerprint, result, status, content_type, body, created_at
		FROM idempotency_key WHERE scope = $1 AND key = $2 AND created_at > $3`,
		r.Scope, r.Key, s.db.now().Add(-idempotency.Retention).UnixMicro()).
		Scan(&k.ID, &k.Fingerprint, &k.Result, &status, &contentType, &body, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, translate(err)
	}
	k.At = at(created)
	if status.Valid {
		k.Answer = &idempotency.Answer{Status: int(status.Int64), ContentType: contentType.String, Body: body}
	}
	return &k, nil
}

// Settle is in idempotency.Store.
func (s Idempotency) Settle(ctx context.Context, r *idempotency.Request, id string, a idempotency.Answer) (idempotency.Answer, error) {
	out := a
	err := s.db.tx(ctx, func(t *Tx) error {
		n, err := t.exec(ctx, `UPDATE idempotency_key SET status = $4, content_type = $5, body = $6
			WHERE scope = $1 AND key = $2 AND request_id = $3 AND status IS NULL`, r.Scope, r.Key, id, int64(a.Status), a.ContentType, a.Body)
		if err != nil || n == 1 {
			return err
		}
		err = t.row(ctx, `SELECT status, content_type, body FROM idempotency_key
			WHERE scope = $1 AND key = $2 AND request_id = $3 AND status IS NOT NULL`, r.Scope, r.Key, id).
			Scan(&out.Status, &out.ContentType, &out.Body)
		return missing(err, nil) // purged meanwhile: a is as good
	})
	return out, err
}

// Purge is in idempotency.Store.
func (s Idempotency) Purge(ctx context.Context, limit int) (int, error) {
	old := s.db.now().Add(-idempotency.Retention).UnixMicro()
	var some bool // mostly not, and looking needs no writer
	err := s.db.reader().row(ctx, `SELECT EXISTS (SELECT 1 FROM idempotency_key WHERE created_at <= $1)`, old).Scan(&some)
	if err != nil || !some {
		return 0, translate(err)
	}
	var n int64
	err = s.db.tx(ctx, func(t *Tx) (err error) {
		// The age is asked twice, since a key may be taken anew in between.
		n, err = t.exec(ctx, `DELETE FROM idempotency_key WHERE created_at <= $1 AND (scope, key) IN
			(SELECT scope, key FROM idempotency_key WHERE created_at <= $1 ORDER BY created_at, scope, key LIMIT $2)`, old, limit)
		return err
	})
	return int(n), err
}
