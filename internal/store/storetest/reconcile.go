package storetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// eq is same where what is compared speaks for itself.
func eq[T comparable](t testing.TB, got, want T) {
	t.Helper()
	same(t, "got", got, want)
}

// look records what a look at TPA1 found, by class and object.
func (w *world) look(t testing.TB, change func(*reconcile.Look), found ...string) []reconcile.Finding {
	t.Helper()
	l := reconcile.Look{FacilityCode: tpa, At: w.clock.Now(), Grace: time.Minute}
	for _, f := range found {
		class, object, _ := strings.Cut(f, " ")
		l.Found = append(l.Found, reconcile.Finding{Class: reconcile.Class(class), FacilityCode: tpa, Object: object, Detail: "It differs."})
	}
	if change != nil {
		change(&l)
	}
	return must(w.Findings().Record(context.Background(), l))(t)
}

func testFindings(t *testing.T, w *world) {
	ctx, s := context.Background(), w.Findings()
	eq(t, len(w.look(t, nil)), 0)
	begun := w.clock.Now().Truncate(time.Microsecond).UTC()
	got := w.look(t, nil, "orphan_disk a", "orphan_disk b")
	eq(t, len(got), 2)
	eq(t, got[0].ID > 0 && got[0].ID != got[1].ID && got[0].Looks == 1 && !got[0].Confirmed, true)
	w.clock.add(time.Minute - time.Microsecond)
	eq(t, w.look(t, nil, "orphan_disk a", "orphan_disk b")[0].Confirmed, false)
	w.clock.add(time.Microsecond)
	got = w.look(t, nil, "orphan_disk a", "missing_disk a")
	eq(t, got[0].Confirmed && got[0].Looks == 3 && got[0].FirstSeen.Equal(begun), true)

	open := must(s.Open(ctx, reconcile.Filter{Limit: 10}))(t)
	eq(t, len(open), 2)
	eq(t, open[0].Class == reconcile.OrphanDisk && open[0].Object == "a" && open[0].FirstSeen.Equal(begun) && open[0].Confirmed && open[0].Looks == 3, true)
	eq(t, len(must(s.Open(ctx, reconcile.Filter{Limit: 1, After: open[0].ID}))(t)), 1)
	class, none := reconcile.MissingDisk, lax
	eq(t, len(must(s.Open(ctx, reconcile.Filter{Limit: 9, Class: &class}))(t)), 1)
	eq(t, len(must(s.Open(ctx, reconcile.Filter{Limit: 9, Class: &class, FacilityCode: &none}))(t)), 0)
	count := must(s.Count(ctx))(t)
	eq(t, len(count) == 1 && count[reconcile.OrphanDisk] == 1, true)

	// One that does not let itself be looked at keeps what was found.
	w.look(t, func(l *reconcile.Look) { l.Blind = true }, "backend_unavailable TPA1")
	eq(t, len(must(s.Open(ctx, reconcile.Filter{Limit: 9}))(t)), 3)
	w.look(t, nil, "orphan_disk b")
	open = must(s.Open(ctx, reconcile.Filter{Limit: 9}))(t)
	eq(t, len(open) == 1 && open[0].Object == "b" && open[0].Looks == 1, true)
	w.look(t, nil)
	eq(t, len(must(s.Open(ctx, reconcile.Filter{Limit: 9}))(t)), 0)
	w.clock.add(40 * 24 * time.Hour)
	w.look(t, nil, "orphan_disk c")
}

func testQuarantine(t *testing.T, w *world) {
	ctx, s := context.Background(), w.Findings()
	now := w.clock.Now().Truncate(time.Microsecond).UTC()
	hold := func(kind reconcile.HeldKind, facility, object string) {
		t.Helper()
		check(t, s.Tx(ctx, func(tx reconcile.Tx) error {
			return tx.Hold(ctx, reconcile.Held{FacilityCode: facility, Kind: kind, Object: object, Bytes: 5, FirstSeen: now, At: now.Add(time.Minute)})
		}))
	}
	for range 2 { // once is enough
		hold(reconcile.HeldDisk, tpa, "a")
	}
	hold(reconcile.HeldISO, tpa, "a")
	hold(reconcile.HeldDisk, lax, "a")
	place := tpa
	eq(t, len(must(s.Held(ctx, nil, 0, 10))(t)), 3)
	list := must(s.Held(ctx, &place, 0, 10))(t)
	eq(t, len(list), 2)
	eq(t, list[0], reconcile.Held{ID: list[0].ID, FacilityCode: tpa, Kind: reconcile.HeldDisk, Object: "a", Bytes: 5, FirstSeen: now, At: now.Add(time.Minute)})
	eq(t, len(must(s.Held(ctx, &place, list[0].ID, 10))(t)), 1)
	rows := must(s.Rows(ctx, tpa, -1))(t)
	eq(t, len(rows.Held), 2)
	check(t, s.View(ctx, func(tx reconcile.Tx) error {
		eq(t, must(tx.HeldByID(ctx, list[0].ID))(t), list[0])
		is(t, second(tx.HeldByID(ctx, 4711)), reconcile.ErrHeldNotFound)
		return nil
	}))
	w.look(t, func(l *reconcile.Look) { l.Released = []int64{list[0].ID} })
	eq(t, len(must(s.Held(ctx, &place, 0, 10))(t)), 1)
}

func testRows(t *testing.T, w *world) {
	ctx, s := context.Background(), w.Findings()
	eq(t, strings.Join(must(s.Facilities(ctx))(t), " "), "LAX3 TPA1")
	before := must(s.Rows(ctx, tpa, -1))(t)
	eq(t, len(before.Volumes), 3) // the ROOT volumes
	eq(t, len(before.Devices), 3)
	eq(t, before.Volumes[0], reconcile.Volume{ID: "root-1001", ClientID: 7, Type: volume.Root, State: volume.Attached, Bytes: 25 * volume.GiB, DeviceID: dev1})
	eq(t, before.Devices[0], reconcile.Device{ID: dev1, Ref: "1001", Status: vps.Running})
	eq(t, len(before.Work), 0)

	sum := strings.Repeat("a", 64)
	var k task.Task
	check(t, s.Tx(ctx, func(tx reconcile.Tx) (err error) {
		check(t, tx.PutISO(ctx, iso.ISO{ID: "i1", ClientID: 7, FacilityCode: tpa, State: iso.Ready, SHA256: sum, Size: 9, CreatedAt: w.clock.Now()}))
		check(t, tx.PutContent(ctx, tpa, sum, iso.Content{State: iso.Present, Bytes: 9}))
		eq(t, strings.Join(must(tx.ISOsWith(ctx, tpa, sum))(t), " "), "i1")
		eq(t, len(must(tx.ISOsWith(ctx, lax, sum))(t)), 0)
		d := must(tx.DeviceByRef(ctx, tpa, "1002"))(t)
		eq(t, d.ID, dev2)
		is(t, second(tx.DeviceByRef(ctx, lax, "1002")), vps.ErrDeviceNotFound)
		eq(t, len(must(tx.Services(ctx, "root-1001"))(t)), 0)
		k, err = tx.Enqueue(ctx, task.New{Kind: "x", Lane: "l", Queue: task.Quick, ClientID: 7, DeviceID: dev1, VolumeID: "v", ISOID: "i1"})
		check(t, err)
		eq(t, len(must(tx.PendingVolume(ctx, "v"))(t)), 1)
		eq(t, len(must(tx.PendingISO(ctx, "i1"))(t)), 1)
		return nil
	}))
	rows := must(s.Rows(ctx, tpa, before.LastSeq))(t)
	eq(t, rows.LastSeq, k.Seq)
	eq(t, len(rows.Work), 2) // unfinished, and newer than before
	eq(t, rows.Work[0], reconcile.Work{VolumeID: "v", DeviceID: dev1, ISOID: "i1"})
	eq(t, rows.ISOs[0], reconcile.ISO{ID: "i1", State: iso.Ready, SHA256: sum, Bytes: 9})
	eq(t, rows.Contents[0], reconcile.Content{SHA256: sum, State: iso.Present, Bytes: 9})
	eq(t, must(s.Unfinished(ctx, []string{k.ID, "nothing"}))(t), 1)
	eq(t, len(must(s.Rows(ctx, lax, -1))(t).ISOs), 0)
}

func testStuckTasks(t *testing.T, w *world) {
	ctx, s, tasks := context.Background(), w.Findings(), w.Tasks()
	var first, next task.Task
	check(t, s.Tx(ctx, func(tx reconcile.Tx) (err error) {
		first = must(tx.Enqueue(ctx, task.New{Kind: "x", Lane: "l", Queue: task.Quick, ClientID: 7}))(t)
		next = must(tx.Enqueue(ctx, task.New{Kind: "y", Lane: "l", Queue: task.Quick, ClientID: 7}))(t)
		return nil
	}))
	list := must(s.Stuck(ctx))(t).Tasks
	eq(t, len(list), 2)
	eq(t, list[0].State == task.Ready && list[0].ID == first.ID && list[0].Since.Equal(first.RunAt), true)
	eq(t, list[1].State == task.Waiting && !list[1].Free, true)
	claimed := must(tasks.Claim(ctx, task.Quick, "n/1", time.Minute, 1))(t)
	list = must(s.Stuck(ctx))(t).Tasks
	eq(t, list[0].State == task.Running && list[0].Since.Sub(w.clock.Now()) > 50*time.Second, true)
	check(t, tasks.Finish(ctx, task.Lease{TaskID: first.ID, Owner: "n/1", Attempt: claimed[0].Attempt}, task.Success))
	check(t, w.data.Exec(t, `UPDATE task SET state = 'waiting' WHERE id = '`+next.ID+`'`))
	list = must(s.Stuck(ctx))(t).Tasks
	eq(t, len(list) == 1 && list[0].Free && list[0].ID == next.ID, true)
	w.clock.add(time.Hour)
	check(t, s.Tx(ctx, func(tx reconcile.Tx) error { return tx.Promote(ctx, next.ID) }))
	list = must(s.Stuck(ctx))(t).Tasks
	eq(t, list[0].State == task.Ready && w.clock.Now().Sub(list[0].Since) < time.Second, true)
	is(t, s.Tx(ctx, func(tx reconcile.Tx) error { return tx.Promote(ctx, "nothing") }), task.ErrNotFound)
}
