package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/task"
)

// List is in task.Lister.
func (s Tasks) List(ctx context.Context, scope access.Scope, f task.Filter) ([]task.Task, error) {
	where, args := inScope(scope, "client_id", 1)
	where += " AND client_id IS NOT NULL"
	if f.DeviceID != nil {
		args = append(args, *f.DeviceID)
		where += fmt.Sprintf(" AND device_id = $%d", len(args))
	}
	if !f.Since.IsZero() {
		args = append(args, f.Since.UnixMicro())
		where += fmt.Sprintf(" AND created_at >= $%d", len(args))
	}
	args = append(args, f.Limit)
	out, err := all(ctx, s.db.reader(), scanTask,
		fmt.Sprintf(`SELECT `+taskColumns+` FROM task WHERE %s ORDER BY seq DESC LIMIT $%d`, where, len(args)), args...)
	return out, translate(err)
}

// Get is in task.Lister.
func (s Tasks) Get(ctx context.Context, scope access.Scope, id string) (task.Task, error) {
	t, err := scanTask(s.db.reader().row(ctx, `SELECT `+taskColumns+` FROM task WHERE id = $1`, id))
	if err == nil && !scope.Covers(t.ClientID) { // the server's own work covers nobody but an operator
		return task.Task{}, task.ErrNotFound
	}
	return t, missing(err, task.ErrNotFound)
}

// Newest is in task.Lister.
func (s Tasks) Newest(ctx context.Context, scope access.Scope, deviceID int64) (task.Task, error) {
	t, err := scanTask(s.db.reader().row(ctx,
		`SELECT `+taskColumns+` FROM task WHERE device_id = $1 AND client_id IS NOT NULL ORDER BY seq DESC LIMIT 1`, deviceID))
	if err == nil && !scope.Covers(t.ClientID) {
		return task.Task{}, task.ErrNotFound
	}
	return t, missing(err, task.ErrNotFound)
}

// Count is in task.Lister.
func (s Tasks) Count(ctx context.Context) ([]task.Count, error) {
	out, err := all(ctx, s.db.reader(), func(r scanner) (c task.Count, err error) {
		var oldest sql.NullInt64
		err = r.Scan(&c.Queue, &c.State, &c.Tasks, &oldest)
		c.Oldest = fromMicros(oldest)
		return c, err
	}, `SELECT queue, state, count(*), min(created_at) FROM task WHERE state IN `+unfinished+` GROUP BY queue, state`)
	return out, translate(err)
}
