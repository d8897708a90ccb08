package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

func (w *world) putISO(t testing.TB, id string, with func(*iso.ISO)) iso.ISO {
	t.Helper()
	i := iso.ISO{
		ID: id, ClientID: 7, FacilityCode: tpa, Name: unicode, Description: "d", URL: "https://u:p@example.net/x.iso?q=%20", Bootable: true,
		State: iso.Ready, TaskID: "t-" + id, CreatedAt: w.clock.Now().Truncate(time.Microsecond), DeviceIDs: []int64{},
	}
	if with != nil {
		with(&i)
	}
	check(t, w.ISOs().Tx(t.Context(), func(tx iso.Tx) error { return tx.PutISO(t.Context(), i) }))
	return i
}

func testISOs(t *testing.T, w *world) {
	ctx, s := t.Context(), w.ISOs()
	full := w.putISO(t, "a", func(i *iso.ISO) {
		i.Checksum, i.State, i.Before, i.Done, i.Size, i.SHA256 = "sha256:00", iso.Deleting, iso.Failed, 5, 1<<40, "abc"
		i.Label, i.BIOS, i.UEFI, i.Reason, i.Error = unicode, true, false, "url_not_allowed", "A sentence."
	})
	equal(t, "ISO", must(s.Get(ctx, only(7), "a"))(t), full)
	is(t, second(s.Get(ctx, only(8), "a")), iso.ErrNotFound)
	is(t, second(s.Get(ctx, everyone, "nothing")), iso.ErrNotFound)

	full.State, full.Before, full.UEFI, full.SHA256 = iso.Ready, "", true, ""
	check(t, s.Tx(ctx, func(tx iso.Tx) error { return tx.PutISO(ctx, full) }))
	var inside iso.ISO
	check(t, s.View(ctx, func(tx iso.Tx) (err error) {
		inside, err = tx.ISO(ctx, "a")
		return err
	}))
	equal(t, "changed ISO", inside, full)

	w.clock.add(time.Second)
	w.putISO(t, "b", func(i *iso.ISO) { i.ClientID, i.State = 9, iso.Queued })
	w.clock.add(time.Second)
	w.putISO(t, "c", func(i *iso.ISO) { i.FacilityCode, i.State = lax, iso.Verifying })
	for _, c := range []struct {
		scope access.Scope
		code  string
		want  string
	}{
		{only(7), tpa, "a "}, {only(7, 9), tpa, "b a "}, {everyone, tpa, "b a "}, {everyone, lax, "c "},
		{only(8), tpa, ""}, {access.Scope{}, tpa, ""}, {everyone, "nowhere", ""},
	} {
		got := ""
		for _, i := range must(s.List(ctx, c.scope, c.code))(t) {
			got += i.ID + " "
		}
		same(t, fmt.Sprintf("list of %+v in %s", c.scope, c.code), got, c.want)
	}
	equal(t, "unfinished", must(s.Unfinished(ctx))(t), []string{"b", "c"})

	w.enqueue(t, task.New{Lane: task.ISOLane("b"), ClientID: 9, ISOID: "b"})
	k, l := w.claimOne(t, "n/b")
	check(t, s.Advance(ctx, l, "b", 10, 20))
	got := must(s.Get(ctx, everyone, "b"))(t)
	same(t, "received", got.Done, int64(10))
	same(t, "announced", got.Size, int64(20))
	check(t, s.Tx(ctx, func(tx iso.Tx) error { return tx.Cancel(ctx, k.ID) }))
	same(t, "cancel mark", w.task(t, k.ID).Cancel, true)

	check(t, s.Finish(ctx, l, task.Success, func(tx iso.Tx) error { return tx.RemoveISO(ctx, "b") }))
	is(t, second(s.Get(ctx, everyone, "b")), iso.ErrNotFound)
	is(t, s.Tx(ctx, func(tx iso.Tx) error { return tx.RemoveISO(ctx, "b") }), iso.ErrNotFound)
	is(t, s.Advance(ctx, l, "b", 11, 20), task.ErrLeaseLost)
	check(t, s.Tx(ctx, func(tx iso.Tx) error { return tx.Cancel(ctx, k.ID) }))
	is(t, s.Tx(ctx, func(tx iso.Tx) error { return second(tx.Device(ctx, 4711)) }), vps.ErrDeviceNotFound)
}

func testContent(t *testing.T, w *world) {
	ctx := t.Context()
	read := func(code, sha string) (c iso.Content, n int) {
		check(t, w.ISOs().View(ctx, func(tx iso.Tx) (err error) {
			if c, err = tx.Content(ctx, code, sha); err != nil {
				return err
			}
			n, err = tx.Sharers(ctx, code, sha)
			return err
		}))
		return c, n
	}
	put := func(code, sha string, c iso.Content) {
		check(t, w.ISOs().Tx(ctx, func(tx iso.Tx) error { return tx.PutContent(ctx, code, sha, c) }))
	}
	c, n := read(tpa, "s1")
	same(t, "nothing yet", c, iso.Content{})
	same(t, "sharers of nothing", n, 0)
	put(tpa, "s1", iso.Content{State: iso.Present, Bytes: 9})
	put(lax, "s1", iso.Content{State: iso.Present, Bytes: 9})
	put(tpa, "s1", iso.Content{State: iso.Removing, Bytes: 10, Remover: "r"})
	w.putISO(t, "a", func(i *iso.ISO) { i.SHA256 = "s1" })
	w.putISO(t, "b", func(i *iso.ISO) { i.SHA256, i.ClientID = "s1", 8 })
	w.putISO(t, "c", func(i *iso.ISO) { i.SHA256, i.State = "s1", iso.Deleting })
	w.putISO(t, "d", func(i *iso.ISO) { i.SHA256, i.FacilityCode = "s1", lax })
	c, n = read(tpa, "s1")
	same(t, "content", c, iso.Content{State: iso.Removing, Bytes: 10, Remover: "r"})
	same(t, "sharers", n, 2)
	put(tpa, "s1", iso.Content{})
	put(tpa, "s2", iso.Content{}) // forgetting what is not there is fine
	c, _ = read(tpa, "s1")
	same(t, "forgotten", c, iso.Content{})
	c, n = read(lax, "s1")
	same(t, "the other facility's", c.State, iso.Present)
	same(t, "its sharers", n, 1)
}
