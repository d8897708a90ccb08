package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/access"
)

// Access returns the store of clients and keys.
func (db *DB) Access() Access { return Access{db} }

// Access keeps clients and keys.
type Access struct{ db *DB }

const selectKey = `SELECT id, client_id, name, prefix, hash, permissions, allowed, created_at, expires_at, revoked_at, last_used_at FROM api_key `

func scanKey(r scanner) (k access.Key, err error) {
	var client, expires, revoked, used sql.NullInt64
	var permissions, allowed string
	var created int64
	err = r.Scan(&k.ID, &client, &k.Name, &k.Prefix, &k.Hash, &permissions, &allowed, &created, &expires, &revoked, &used)
	if err != nil {
		return k, err
	}
	k.ClientID, k.CreatedAt = client.Int64, at(created)
	k.ExpiresAt, k.RevokedAt, k.LastUsedAt = fromMicros(expires), fromMicros(revoked), fromMicros(used)
	for _, p := range strings.Fields(permissions) {
		k.Permissions = append(k.Permissions, access.Permission(p))
	}
	for _, a := range strings.Fields(allowed) {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return k, fmt.Errorf("address list of key %d: %w", k.ID, err)
		}
		k.Allowed = append(k.Allowed, p)
	}
	return k, nil
}

// KeyByPrefix is in access.Store.
func (s Access) KeyByPrefix(ctx context.Context, prefix string) (access.Key, error) {
	k, err := scanKey(s.db.reader().row(ctx, selectKey+`WHERE prefix = $1`, prefix))
	return k, missing(err, access.ErrKeyNotFound)
}

// Family is in access.Store.
func (s Access) Family(ctx context.Context, clientID int64) ([]int64, error) {
	out, err := all(ctx, s.db.reader(), func(r scanner) (id int64, err error) { return id, r.Scan(&id) },
		`WITH RECURSIVE family (id, depth) AS (
			SELECT id, 0 FROM client WHERE id = $1
			UNION SELECT c.id, f.depth + 1 FROM client c JOIN family f ON c.parent_id = f.id WHERE f.depth < 16
		) SELECT id FROM family ORDER BY depth, id`, clientID)
	return out, translate(err)
}

// Keys is in access.Store.
func (s Access) Keys(ctx context.Context, clientID *int64, limit int) ([]access.Key, error) {
	where, args := "TRUE", []any{limit}
	if clientID != nil {
		where, args = "client_id = $2", append(args, *clientID)
	}
	out, err := all(ctx, s.db.reader(), scanKey, selectKey+`WHERE `+where+` ORDER BY id DESC LIMIT $1`, args...)
	return out, translate(err)
}

// AddKey is in access.Store.
func (s Access) AddKey(ctx context.Context, k access.Key) (access.Key, error) {
	permissions := make([]string, len(k.Permissions))
	for i, p := range k.Permissions {
		permissions[i] = string(p)
	}
	addresses := make([]string, len(k.Allowed))
	for i, a := range k.Allowed {
		addresses[i] = a.String()
	}
	err := s.db.tx(ctx, func(t *Tx) error {
		if k.ClientID != 0 {
			if _, err := clientIn(ctx, t, k.ClientID); err != nil {
				return err
			}
		}
		return t.row(ctx, `INSERT INTO api_key (client_id, name, prefix, hash, permissions, allowed, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id`,
			orNull(k.ClientID), k.Name, k.Prefix, k.Hash, strings.Join(permissions, " "), strings.Join(addresses, " "),
			k.CreatedAt.UnixMicro(), micros(k.ExpiresAt)).Scan(&k.ID)
	})
	return k, err
}

// RevokeKey is in access.Store.
func (s Access) RevokeKey(ctx context.Context, id int64) error {
	return s.db.tx(ctx, func(t *Tx) error {
		n, err := t.exec(ctx, `UPDATE api_key SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1`, id, t.now.UnixMicro())
		return one(n, err, access.ErrKeyNotFound)
	})
}

// Operators is in access.Store.
func (s Access) Operators(ctx context.Context) (n int, err error) {
	err = s.db.reader().row(ctx, `SELECT count(*) FROM api_key
		WHERE client_id IS NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)`, s.db.now().UnixMicro()).Scan(&n)
	return n, translate(err)
}

// Touch is in access.Store.
func (s Access) Touch(ctx context.Context, used map[int64]time.Time) error {
	return s.db.tx(ctx, func(t *Tx) error {
		for _, id := range slices.Sorted(maps.Keys(used)) { // in one order on all nodes
			if _, err := t.exec(ctx, `UPDATE api_key SET last_used_at = $2 WHERE id = $1`, id, used[id].UnixMicro()); err != nil {
				return err
			}
		}
		return nil
	})
}

const selectClient = `SELECT id, name, parent_id, created_at FROM client `

func scanClient(r scanner) (c access.Client, err error) {
	var parent sql.NullInt64
	var created int64
	err = r.Scan(&c.ID, &c.Name, &parent, &created)
	c.ParentID, c.CreatedAt = parent.Int64, at(created)
	return c, err
}

func clientIn(ctx context.Context, q querier, id int64) (access.Client, error) {
	c, err := scanClient(q.row(ctx, selectClient+`WHERE id = $1`, id))
	return c, missing(err, access.ErrNoSuchClient)
}

// Clients is in access.Store.
func (s Access) Clients(ctx context.Context, after int64, limit int) ([]access.Client, error) {
	out, err := all(ctx, s.db.reader(), scanClient, selectClient+`WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
	return out, translate(err)
}

// Client is in access.Store.
func (s Access) Client(ctx context.Context, id int64) (access.Client, error) {
	return clientIn(ctx, s.db.reader(), id)
}

// AddClient is in access.Store.
func (s Access) AddClient(ctx context.Context, c access.Client) (access.Client, error) {
	err := s.db.tx(ctx, func(t *Tx) error {
		if c.ParentID != 0 {
			if _, err := clientIn(ctx, t, c.ParentID); err != nil {
				return err
			}
		}
		id := c.ID
		if id == 0 {
			var err error
			if id, err = t.nextID(ctx, "client", 0); err != nil {
				return err
			}
		}
		return t.row(ctx, `INSERT INTO client (id, name, parent_id, created_at) VALUES ($1, $2, $3, $4) RETURNING id`,
			id, c.Name, orNull(c.ParentID), c.CreatedAt.UnixMicro()).Scan(&c.ID)
	})
	return c, err
}
