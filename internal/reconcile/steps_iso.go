package reconcile

import (
	"context"
	"errors"

	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
)

// stored is the length of an image on the storage, 0 if it is not there. A
// driver has no smaller question, and this one is asked only of what is stuck.
func (m mending) stored(ctx context.Context, key string) (int64, error) {
	view, err := m.driver.InspectAll(ctx)
	for _, i := range view.ISOs {
		if i.Key == key {
			return i.Bytes, nil
		}
	}
	return 0, err
}

// iso brings an ISO to rest. An import nobody works on has failed. A delete
// nobody works on is completed if it had removed the image, and else undone.
func (m mending) iso(ctx context.Context) error {
	bytes, err := m.stored(ctx, m.args.SHA256)
	if err != nil {
		return err
	}
	return m.end(ctx, func(tx Tx) error {
		i, err := tx.ISO(ctx, m.args.ISOID)
		switch {
		case errors.Is(err, iso.ErrNotFound):
			return nil
		case err != nil:
			return err
		case i.SHA256 != m.args.SHA256:
			return task.ErrPrecondition
		}
		switch i.State {
		case iso.Ready, iso.Failed:
			return nil
		case iso.Deleting:
			return undelete(ctx, tx, i, bytes)
		default:
			return abandon(ctx, tx, i)
		}
	})
}

func abandon(ctx context.Context, tx Tx, i iso.ISO) error {
	i.State, i.Reason, i.Error = iso.Failed, ErrAbandoned.Reason, ErrAbandoned.Text
	return tx.PutISO(ctx, i)
}

// undelete ends a delete. bytes is the length of the image on the storage.
func undelete(ctx context.Context, tx Tx, i iso.ISO, bytes int64) error {
	c, err := tx.Content(ctx, i.FacilityCode, i.SHA256)
	if err != nil {
		return err
	}
	mine := c.State == iso.Removing && c.Remover == i.ID
	if mine && bytes == 0 && len(i.DeviceIDs) == 0 {
		if err := tx.PutContent(ctx, i.FacilityCode, i.SHA256, iso.Content{}); err != nil {
			return err
		}
		return tx.RemoveISO(ctx, i.ID)
	}
	if mine {
		c.State, c.Remover = iso.Present, ""
		if err := tx.PutContent(ctx, i.FacilityCode, i.SHA256, c); err != nil {
			return err
		}
	}
	switch i.Before {
	case iso.Ready:
		if bytes == i.Size && c.State == iso.Present {
			i.State = iso.Ready
			return tx.PutISO(ctx, i)
		}
	case iso.Failed:
		i.State = iso.Failed
		return tx.PutISO(ctx, i)
	}
	return abandon(ctx, tx, i)
}

// content brings the row of an image to rest whose removal nobody works on: it
// is there, or it is not and then no row says so.
func (m mending) content(ctx context.Context) error {
	bytes, err := m.stored(ctx, m.args.SHA256)
	if err != nil {
		return err
	}
	return m.end(ctx, func(tx Tx) error {
		c, err := tx.Content(ctx, m.args.FacilityCode, m.args.SHA256)
		if err != nil || c.State != iso.Removing {
			return err
		}
		if bytes == 0 {
			return tx.PutContent(ctx, m.args.FacilityCode, m.args.SHA256, iso.Content{})
		}
		return tx.PutContent(ctx, m.args.FacilityCode, m.args.SHA256, iso.Content{State: iso.Present, Bytes: bytes})
	})
}
