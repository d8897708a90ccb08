package store

import (
	"context"

	"github.com/drivebay/drivebay/internal/event"
)

// Emit adds an event to the record, at the time of the transaction.
func (t *Tx) Emit(ctx context.Context, e event.Event) error {
	_, err := t.exec(ctx, `INSERT INTO event (id, at, client_id, device_id, volume_id, iso_id, task_id, type, level, state, text)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		newID(), t.now.UnixMicro(), e.ClientID, orNull(e.DeviceID), orNull(e.VolumeID), orNull(e.ISOID), orNull(e.TaskID),
		e.Type, e.Level, e.State, e.Text)
	return err
}

// Events is in vps.Store.
func (s VPS) Events(ctx context.Context, deviceID int64, limit int) ([]event.Event, error) {
	out, err := all(ctx, s.db.reader(), func(r scanner) (e event.Event, err error) {
		var when int64
		err = r.Scan(&e.Seq, &e.ID, &when, &e.ClientID, &e.DeviceID, &e.TaskID, &e.Type, &e.Level, &e.State, &e.Text)
		e.At = at(when)
		return e, err
	}, `SELECT seq, id, at, client_id, device_id, coalesce(task_id, ''), type, level, state, text
		FROM event WHERE device_id = $1 ORDER BY seq DESC LIMIT $2`, deviceID, limit)
	return out, translate(err)
}
