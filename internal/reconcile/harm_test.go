package reconcile_test

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/worldtest"
)

const gib = 1 << 30

// harms are ways to spoil a world behind everybody's back. do returns what the
// finding is about.
var harms = []struct {
	name   string
	class  reconcile.Class
	do     func(w *inhabited) string
	byHand bool // a repair changes nothing
	held   int  // in quarantine after the repair
	unseen bool // the world's own check does not look at it
}{
	{name: "disk of nobody", class: reconcile.OrphanDisk, held: 1, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].EnsureVolume(ctx, backend.VolumeSpec{ID: "stray", Bytes: 5 * gib}))
		return "stray"
	}},
	{name: "disk of nobody in a guest", class: reconcile.OrphanDisk, held: 1, do: func(w *inhabited) string {
		w.hidden(w.Drivers["LAX3"].EnsureVolume(ctx, backend.VolumeSpec{ID: "stray", Bytes: 5 * gib}))
		w.hidden(w.Drivers["LAX3"].EnsureAttached(ctx, "1003", "stray"))
		return "stray"
	}},
	{name: "row lost", class: reconcile.OrphanDisk, held: 1, do: func(w *inhabited) string {
		w.Exec(`UPDATE service SET status = 'cancelled', cancelled_at = ? WHERE volume_id = ?`, w.Clock.Now().UnixMicro(), w.off)
		w.Exec(`DELETE FROM volume WHERE id = ?`, w.off)
		return w.off
	}},
	{name: "disk lost", class: reconcile.MissingDisk, byHand: true, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].DeleteVolume(ctx, w.off))
		return w.off
	}},
	{name: "attached disk lost", class: reconcile.MissingDisk, byHand: true, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].EnsureDetached(ctx, "1001", w.on, backend.DetachOptions{}))
		w.hidden(w.Drivers["TPA1"].DeleteVolume(ctx, w.on))
		return w.on
	}},
	{name: "disk too small", class: reconcile.SizeMismatch, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].DeleteVolume(ctx, w.off))
		w.hidden(w.Drivers["TPA1"].EnsureVolume(ctx, backend.VolumeSpec{ID: w.off, Bytes: 7 * gib}))
		return w.off
	}},
	{name: "disk too large", class: reconcile.SizeMismatch, byHand: true, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].GrowVolume(ctx, w.on, 51*gib))
		return w.on
	}},
	{name: "taken off", class: reconcile.AttachWrong, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].EnsureDetached(ctx, "1001", w.on, backend.DetachOptions{}))
		return w.on
	}},
	{name: "put on", class: reconcile.AttachWrong, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].EnsureAttached(ctx, "2001", w.off))
		return w.off
	}},
	{name: "put on a guest that is no device's", class: reconcile.AttachWrong, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].EnsureVM(ctx, backend.VM{Ref: "stranger"}))
		w.hidden(w.Drivers["TPA1"].EnsureAttached(ctx, "stranger", w.off))
		return w.off
	}},
	{name: "moved", class: reconcile.AttachWrong, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].EnsureDetached(ctx, "1001", w.on, backend.DetachOptions{}))
		w.hidden(w.Drivers["TPA1"].EnsureAttached(ctx, "2001", w.on))
		return w.on
	}},
	{name: "attachment lost", class: reconcile.AttachWrong, do: func(w *inhabited) string {
		w.Exec(`UPDATE volume SET device_id = NULL WHERE id = ?`, w.on)
		return w.on
	}},
	{name: "state wrong", class: reconcile.AttachWrong, do: func(w *inhabited) string {
		w.Exec(`UPDATE volume SET state = 'detached' WHERE id = ?`, w.on)
		return w.on
	}},
	{name: "ejected", class: reconcile.MediaWrong, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].SetMedia(ctx, "1001", "", true))
		return "1001"
	}},
	{name: "inserted", class: reconcile.MediaWrong, do: func(w *inhabited) string {
		w.hidden(w.Drivers["TPA1"].SetMedia(ctx, "1002", w.key(), true))
		return "1002"
	}},
	{name: "drive forgotten", class: reconcile.MediaWrong, do: func(w *inhabited) string {
		w.Exec(`UPDATE device SET iso_id = NULL WHERE id = 1001`)
		return "1001"
	}},
	{name: "image of nobody", class: reconcile.OrphanISO, held: 1, do: func(w *inhabited) string {
		path := filepath.Join(filepath.Dir(w.Staging), "stray")
		w.hidden(os.WriteFile(path, []byte("stray"), 0o600))
		sum := strings.Repeat("7", 64)
		w.hidden(w.Drivers["TPA1"].ImportISO(ctx, backend.ISOSpec{Key: sum, Bytes: 5}, path))
		return sum
	}},
	{name: "content row lost", class: reconcile.OrphanISO, do: func(w *inhabited) string {
		w.Exec(`DELETE FROM iso_content`)
		return w.key()
	}},
	{name: "ISO row lost", class: reconcile.OrphanISO, held: 1, do: func(w *inhabited) string {
		sum := w.key()
		w.done(w.ISOs.Detach(ctx, everyone, 1001, false))
		w.Exec(`DELETE FROM iso WHERE id = ?`, w.disc)
		return sum
	}},
	{name: "image lost", class: reconcile.MissingISO, byHand: true, do: func(w *inhabited) string {
		w.done(w.ISOs.Detach(ctx, everyone, 1001, false))
		w.hidden(w.Drivers["TPA1"].DeleteISO(ctx, w.key()))
		return w.disc
	}},
	{name: "service ended", class: reconcile.Unbilled, do: func(w *inhabited) string {
		w.Exec(`UPDATE service SET status = 'cancelled', cancelled_at = ? WHERE volume_id = ?`, w.Clock.Now().UnixMicro(), w.on)
		return w.on
	}},
	{name: "service left", class: reconcile.Overbilled, do: func(w *inhabited) string {
		w.done(w.Volumes.Delete(ctx, everyone, w.off, nil))
		w.Exec(`UPDATE service SET status = 'active', cancelled_at = NULL WHERE volume_id = ?`, w.off)
		return w.off
	}},
	{name: "price", class: reconcile.PriceMismatch, byHand: true, do: func(w *inhabited) string {
		w.Exec(`UPDATE volume SET monthly_cents = 1 WHERE id = ?`, w.on)
		return w.on
	}},
	{name: "resizing for ever", class: reconcile.Stuck, do: func(w *inhabited) string {
		w.Exec(`UPDATE volume SET state = 'resizing' WHERE id = ?`, w.on)
		return w.on
	}},
	{name: "deleting for ever", class: reconcile.Stuck, do: func(w *inhabited) string {
		w.Exec(`UPDATE volume SET state = 'deleting' WHERE id = ?`, w.off)
		return w.off
	}},
	{name: "deleted without an end", class: reconcile.Stuck, do: func(w *inhabited) string {
		w.Exec(`UPDATE volume SET state = 'deleting' WHERE id = ?`, w.off)
		w.hidden(w.Drivers["TPA1"].DeleteVolume(ctx, w.off))
		return w.off
	}},
	{name: "created without an end", class: reconcile.Stuck, held: 1, do: func(w *inhabited) string {
		w.Exec(`INSERT INTO volume (id, client_id, facility_code, type, state, bytes, product_id, monthly_cents, created_at)
			VALUES ('new', ?, 'TPA1', 'DATADISK', 'creating', ?, 1, 1, 1)`, worldtest.Client, 50*gib)
		w.hidden(w.Drivers["TPA1"].EnsureVolume(ctx, backend.VolumeSpec{ID: "new", Bytes: 50 * gib}))
		return "new"
	}},
	{name: "created without a beginning", class: reconcile.Stuck, do: func(w *inhabited) string {
		w.Exec(`INSERT INTO volume (id, client_id, facility_code, type, state, bytes, product_id, monthly_cents, created_at)
			VALUES ('new', ?, 'TPA1', 'DATADISK', 'creating', ?, 1, 1, 1)`, worldtest.Client, 50*gib)
		return "new"
	}},
	{name: "live, and being created", class: reconcile.Stuck, do: func(w *inhabited) string {
		w.Exec(`UPDATE volume SET state = 'creating' WHERE id = ?`, w.on)
		return w.on
	}},
	{name: "ISO importing for ever", class: reconcile.Stuck, do: func(w *inhabited) string {
		w.done(w.ISOs.Detach(ctx, everyone, 1001, false))
		w.Exec(`UPDATE iso SET state = 'verifying' WHERE id = ?`, w.disc)
		return w.disc
	}},
	{name: "ISO deleting for ever", class: reconcile.Stuck, do: func(w *inhabited) string {
		w.done(w.ISOs.Detach(ctx, everyone, 1001, false))
		w.Exec(`UPDATE iso SET state = 'deleting', before_state = 'ready' WHERE id = ?`, w.disc)
		w.Exec(`UPDATE iso_content SET state = 'removing', remover = ?`, w.disc)
		return w.disc
	}},
	{name: "ISO deleted without an end", class: reconcile.Stuck, do: func(w *inhabited) string {
		w.done(w.ISOs.Detach(ctx, everyone, 1001, false))
		w.hidden(w.Drivers["TPA1"].DeleteISO(ctx, w.key()))
		w.Exec(`UPDATE iso SET state = 'deleting', before_state = 'ready' WHERE id = ?`, w.disc)
		w.Exec(`UPDATE iso_content SET state = 'removing', remover = ?`, w.disc)
		return w.disc
	}},
	{name: "image removing for ever", class: reconcile.Stuck, do: func(w *inhabited) string {
		w.Exec(`UPDATE iso_content SET state = 'removing', remover = 'nobody'`)
		return w.key()
	}},
	{name: "device creating for ever", class: reconcile.Stuck, unseen: true, do: func(w *inhabited) string {
		w.Exec(`UPDATE device SET status = 'Creating' WHERE id = 1002`)
		return "1002"
	}},
	{name: "storage away", class: reconcile.Unavailable, byHand: true, do: func(w *inhabited) string {
		w.Drivers["TPA1"].On("InspectAll").Fail(backend.ErrUnavailable, 0)
		return "TPA1"
	}, unseen: true},
}
