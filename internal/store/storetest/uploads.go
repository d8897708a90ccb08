package storetest

import (
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
)

func testUploads(t *testing.T, w *world) {
	ctx, s := t.Context(), w.ISOs()
	const wait = 24 * time.Hour
	in := func(fn func(tx iso.Tx) error) { t.Helper(); check(t, s.Tx(ctx, fn)) }
	w.putISO(t, "a", func(i *iso.ISO) { i.State, i.Upload, i.Size = iso.Uploading, "here", 100 })
	w.putISO(t, "b", func(i *iso.ISO) { i.State, i.Upload = iso.Verifying, "there" })
	w.putISO(t, "c", func(i *iso.ISO) { i.State, i.Upload = iso.Queued, "here" })
	w.putISO(t, "d", func(i *iso.ISO) { i.Upload = "here" })
	w.putISO(t, "e", func(i *iso.ISO) { i.State = iso.Queued })
	equal(t, "uploads here", must(s.Uploads(ctx, "here"))(t), []string{"a", "c"})
	equal(t, "uploads there", must(s.Uploads(ctx, "there"))(t), []string{"b"})
	same(t, "the folder", must(s.Get(ctx, everyone, "a"))(t).Upload, "here")
	w.putISO(t, "a", func(i *iso.ISO) { i.State, i.Size = iso.Uploading, 100 })
	same(t, "the folder, for good", must(s.Get(ctx, everyone, "a"))(t).Upload, "here")

	hold := func(writer string, d time.Duration, want bool) {
		t.Helper()
		in(func(tx iso.Tx) error {
			got, err := tx.HoldUpload(ctx, "a", writer, d)
			same(t, writer+" writes", got, want)
			return err
		})
	}
	hold("n/1/x", time.Minute, true)
	hold("n/1/y", time.Minute, false)
	hold("n/1/y", 0, false)
	hold("n/1/x", time.Minute, true)
	hold("n/1/x", 0, true)
	hold("n/1/y", time.Minute, true) // at once
	w.clock.add(time.Minute + time.Millisecond)
	hold("m/1/z", time.Minute, true) // y is thought dead
	hold("n/1/y", time.Minute, false)
	check(t, s.FreeUploads(ctx, "n"))
	hold("n/1/y", time.Minute, false)
	check(t, s.FreeUploads(ctx, "m"))
	hold("n/1/y", time.Minute, true)
	in(func(tx iso.Tx) error {
		got, err := tx.HoldUpload(ctx, "nothing", "n/1/x", time.Minute)
		same(t, "an ISO that is not there is held", got, false)
		return err
	})

	idle := func(want time.Duration) {
		t.Helper()
		in(func(tx iso.Tx) error {
			got, err := tx.Idle(ctx, "a")
			same(t, "idle", got, want)
			return err
		})
	}
	idle(time.Minute + time.Millisecond)
	in(func(tx iso.Tx) error { return tx.Received(ctx, "a", 40) })
	idle(0)
	w.clock.add(time.Second)
	idle(time.Second)
	same(t, "received", must(s.Get(ctx, everyone, "a"))(t).Done, int64(40))
	is(t, s.Tx(ctx, func(tx iso.Tx) error { return tx.Received(ctx, "nothing", 1) }), iso.ErrNotFound)
	is(t, s.Tx(ctx, func(tx iso.Tx) error { return second(tx.Idle(ctx, "nothing")) }), iso.ErrNotFound)

	none := func() {
		t.Helper()
		same(t, "tasks that are due", len(must(w.Tasks().Claim(ctx, task.Quick, "n/1", time.Minute, 1))(t)), 0)
	}
	k := w.enqueue(t, task.New{Lane: task.ISOLane("a"), ClientID: 7, ISOID: "a", Delay: wait})
	none()
	in(func(tx iso.Tx) error { return tx.Hasten(ctx, k.ID) })
	_, l := w.claimOne(t, "n/1")
	in(func(tx iso.Tx) error { return tx.Hasten(ctx, k.ID) }) // it runs: nothing to do
	in(func(tx iso.Tx) error { return tx.Postpone(ctx, l, wait) })
	is(t, s.Tx(ctx, func(tx iso.Tx) error { return tx.Postpone(ctx, l, 0) }), task.ErrLeaseLost)
	none()
	w.clock.add(wait)
	got, l := w.claimOne(t, "n/1")
	same(t, "failures", got.Failures, 0)
	check(t, s.Finish(ctx, l, task.Success, func(iso.Tx) error { return nil }))
	in(func(tx iso.Tx) error { return tx.Hasten(ctx, k.ID) }) // it has ended
	none()
}
