package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/node"
)

// Nodes returns the store of nodes.
func (db *DB) Nodes() Nodes { return Nodes{db} }

// Nodes keeps nodes.
type Nodes struct{ db *DB }

// forgotten is how long a node that is gone stays in the list.
const forgotten = 7 * 24 * time.Hour

// Join is in node.Store.
func (s Nodes) Join(ctx context.Context, n node.Node, lease time.Duration) error {
	return s.db.tx(ctx, func(t *Tx) error {
		if err := t.exclusive(ctx, "node:"+n.Name); err != nil {
			return err
		}
		now := t.now.UnixMicro()
		if _, err := t.exec(ctx, `DELETE FROM node WHERE seen_at < $1`, now-forgotten.Microseconds()); err != nil {
			return err
		}
		var instance string
		var seen int64
		err := t.row(ctx, `SELECT instance, seen_at FROM node WHERE name = $1`, n.Name).Scan(&instance, &seen)
		switch {
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return err
		case err == nil && instance != n.Instance && seen > now-lease.Microseconds():
			return node.ErrNameTaken
		}
		_, err = t.exec(ctx, `INSERT INTO node (name, instance, boot, role, facilities, version, url, started_at, seen_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
			ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, boot = excluded.boot, role = excluded.role,
				facilities = excluded.facilities, version = excluded.version, url = excluded.url,
				started_at = excluded.started_at, seen_at = excluded.seen_at`,
			n.Name, n.Instance, n.Boot, n.Role, strings.Join(n.Facilities, " "), n.Version, n.URL, now)
		return err
	})
}

// Beat is in node.Store.
func (s Nodes) Beat(ctx context.Context, name, boot string) error {
	return s.db.tx(ctx, func(t *Tx) error {
		n, err := t.exec(ctx, `UPDATE node SET seen_at = $3 WHERE name = $1 AND boot = $2`, name, boot, t.now.UnixMicro())
		return one(n, err, node.ErrReplaced)
	})
}

// Leave is in node.Store.
func (s Nodes) Leave(ctx context.Context, name, boot string) error {
	return s.db.tx(ctx, func(t *Tx) error {
		_, err := t.exec(ctx, `DELETE FROM node WHERE name = $1 AND boot = $2`, name, boot)
		return err
	})
}

// List is in node.Store.
func (s Nodes) List(ctx context.Context, lease time.Duration) ([]node.Node, error) {
	alive := s.db.now().Add(-lease)
	out, err := all(ctx, s.db.reader(), func(r scanner) (n node.Node, err error) {
		var facilities string
		var started, seen int64
		err = r.Scan(&n.Name, &n.Instance, &n.Boot, &n.Role, &facilities, &n.Version, &n.URL, &started, &seen, &n.Tasks)
		n.Facilities, n.StartedAt, n.SeenAt = strings.Fields(facilities), at(started), at(seen)
		n.Alive = n.SeenAt.After(alive)
		return n, err
	}, `SELECT n.name, n.instance, n.boot, n.role, n.facilities, n.version, n.url, n.started_at, n.seen_at,
			(SELECT count(*) FROM task t WHERE t.state = 'running' AND t.owner = n.name || '/' || n.boot)
		FROM node n ORDER BY n.name`)
	return out, translate(err)
}
