package reconcile_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// TestGrace holds that a difference is confirmed only by two looks in a row
// that are the grace time apart, and that one in between without it begins anew.
func TestGrace(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	w.Reconcile.Grace = 2 * time.Minute
	look := func() []reconcile.Finding {
		t.Helper()
		found, err := w.Reconcile.Pass(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	eject := func() { w.hidden(w.Drivers["TPA1"].SetMedia(ctx, "1001", "", true)) }
	eject()
	for _, c := range []struct {
		wait      time.Duration
		mend      bool
		confirmed bool
		looks     int
	}{
		{looks: 1}, {wait: time.Minute, looks: 2}, {wait: 59 * time.Second, looks: 3}, {wait: time.Second, looks: 4, confirmed: true},
		{wait: time.Hour, looks: 5, confirmed: true}, {mend: true}, {wait: time.Minute, looks: 1}, {wait: 2 * time.Minute, looks: 2, confirmed: true},
	} {
		w.Clock.Add(c.wait)
		if c.mend {
			w.hidden(w.Drivers["TPA1"].SetMedia(ctx, "1001", w.key(), true))
			if found := look(); len(found) > 0 {
				t.Errorf("mended and still found: %+v", found)
			}
			eject()
			continue
		}
		found := look()
		if len(found) != 1 || found[0].Looks != c.looks || found[0].Confirmed != c.confirmed {
			t.Fatalf("found %+v, want %+v", found, c)
		}
	}
	if n, err := w.Reconcile.Count(ctx); err != nil || n[reconcile.MediaWrong] != 1 || len(n) != 1 {
		t.Errorf("counted %v, %v", n, err)
	}
}

// TestPeriodic holds that a periodic look that may repair
// waits for the second one.
func TestPeriodic(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	w.Stop()
	w.Reconcile.Every, w.Reconcile.Repair, w.Reconcile.Grace = time.Millisecond, true, 0
	w.hidden(w.Drivers["TPA1"].SetMedia(ctx, "1001", "", true))
	w.Start()
	w.Until("the periodic look to repair", func() bool {
		return w.Count(`SELECT count(*) FROM task WHERE kind = 'device.repair' AND state = 'done'`) > 0
	})
	w.Until("the finding to be closed", func() bool { return w.Count(`SELECT count(*) FROM finding WHERE closed_at IS NULL`) == 0 })
	w.Quiet()
	w.Check()
}

// TestPeriodicOnlyReports is the default.
func TestPeriodicOnlyReports(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	w.Stop()
	w.Reconcile.Every = time.Millisecond
	w.hidden(w.Drivers["TPA1"].SetMedia(ctx, "1001", "", true))
	w.Start()
	w.Until("the finding to be confirmed", func() bool { return w.Count(`SELECT count(*) FROM finding WHERE confirmed AND looks > 3`) == 1 })
	if n := w.Count(`SELECT count(*) FROM task WHERE kind = 'device.repair'`); n > 0 {
		t.Errorf("%d repairs that nobody asked for", n)
	}
}

// TestUnavailable holds that a facility that does not answer keeps its findings
// and adds one, and that the other facility is looked at all the same.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	w.hidden(w.Drivers["TPA1"].SetMedia(ctx, "1001", "", true))
	w.doctor(false)
	w.hidden(w.Drivers["LAX3"].EnsureVolume(ctx, backend.VolumeSpec{ID: "stray", Bytes: 1}))
	w.hidden(w.Drivers["TPA1"].EnsureVolume(ctx, backend.VolumeSpec{ID: "unseen", Bytes: 1}))
	w.Drivers["TPA1"].On("InspectAll").Fail(errors.New("connection refused"), 0)
	if got := words(w.doctor(true)); got != "media_mismatch 1001, backend_unavailable TPA1" {
		t.Errorf("found %q", got)
	}
	w.Drivers["TPA1"].Reset()
	if got := words(w.doctor(true)); got != "" {
		t.Errorf("after it answers: %q", got)
	}
	if n := w.Count(`SELECT count(*) FROM quarantine`); n != 2 {
		t.Errorf("%d in quarantine", n)
	}
}

// TestRepairWaitsItsTurn holds that a repair runs behind what is accepted for
// the device, and does what is right by then.
func TestRepairWaitsItsTurn(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	w.hidden(w.Drivers["TPA1"].SetMedia(ctx, "1001", "", true))
	found := w.doctor(false)
	hold := make(chan struct{})
	w.Drivers["TPA1"].On("EnsureDetached").For(w.on).Block(hold)
	first, err := w.Volumes.Detach(ctx, everyone, 1001, w.on)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Drivers["TPA1"].WaitCalls(ctx, "EnsureDetached", 1); err != nil {
		t.Fatal(err)
	}
	if n, ids := w.Reconcile.RepairAll(ctx, found); n != 1 || len(ids) != 1 {
		t.Fatalf("%d repairs, %v", n, ids)
	}
	last, err := w.ISOs.Detach(ctx, everyone, 1001, false)
	if err != nil {
		t.Fatal(err)
	}
	close(hold)
	w.Succeeds(first)
	w.Succeeds(last)
	w.Check() // which looks at the order of the lane too
	if got := w.doctor(false); len(got) > 0 {
		t.Errorf("found %+v", got)
	}
}

// TestRepairKilled kills the engine at every write of a repair.
func TestRepairKilled(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 6; n++ {
		w := inhabit(t)
		w.hidden(w.Drivers["TPA1"].EnsureDetached(ctx, "1001", w.on, backend.DetachOptions{}))
		w.hidden(w.Drivers["TPA1"].EnsureVolume(ctx, backend.VolumeSpec{ID: "stray", Bytes: 1}))
		w.Exec(`UPDATE service SET status = 'cancelled', cancelled_at = ? WHERE volume_id = ?`, w.Clock.Now().UnixMicro(), w.off)
		w.KillAtWrite(n, func() task.Task {
			k, err := w.Reconcile.Start(ctx, reconcile.Request{Repair: true})
			if err != nil {
				t.Fatal(err)
			}
			return k
		})
		if got := w.doctor(true); len(got) > 0 {
			t.Errorf("killed at write %d: %+v", n, got)
		}
		w.Quiet()
		w.Check()
	}
}

// TestTrayLocked holds that a repair does not force a guest.
func TestTrayLocked(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	w.Exec(`UPDATE device SET iso_id = NULL WHERE id = 1001`)
	w.Drivers["TPA1"].SetTrayLocked("1001", true)
	if got := words(w.doctor(true)); got != "media_mismatch 1001" {
		t.Errorf("found %q", got)
	}
	if got := w.Count(`SELECT count(*) FROM task WHERE kind = 'device.repair' AND reason = 'tray_locked'`); got != 1 {
		t.Errorf("%d repairs failed for the tray", got)
	}
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	refused := func(id int64, want error) {
		t.Helper()
		if _, err := w.Reconcile.Discard(ctx, id); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	lax := w.Drivers["LAX3"]
	w.hidden(lax.EnsureVolume(ctx, backend.VolumeSpec{ID: "stray", Bytes: 1}))
	w.hidden(lax.EnsureVolume(ctx, backend.VolumeSpec{ID: "used", Bytes: 1}))
	w.hidden(lax.EnsureAttached(ctx, "1003", "used"))
	w.doctor(true)
	list, err := w.Reconcile.Held(ctx, new("LAX3"), 0, 10)
	if err != nil || len(list) != 2 || list[0].Object != "stray" || list[0].Bytes != 1 || list[0].Kind != reconcile.HeldDisk {
		t.Fatalf("in quarantine: %+v, %v", list, err)
	}
	refused(4711, reconcile.ErrHeldNotFound)
	refused(list[0].ID, reconcile.ErrHeldTooShort)
	w.Clock.Add(7*24*time.Hour - time.Second)
	refused(list[0].ID, reconcile.ErrHeldTooShort)
	w.Clock.Add(time.Second)
	w.Fails(w.accepted(w.Reconcile.Discard(ctx, list[1].ID)), "disk_in_use")
	w.done(w.Reconcile.Discard(ctx, list[0].ID))
	refused(list[0].ID, reconcile.ErrHeldNotFound)
	w.hidden(lax.EnsureDetached(ctx, "1003", "used", backend.DetachOptions{}))
	w.done(w.Reconcile.Discard(ctx, list[1].ID))
	w.Check()
	if got := words(w.doctor(false)); got != "" {
		t.Errorf("found %q", got)
	}
	if all, err := lax.InspectAll(ctx); err != nil || len(all.Volumes) != 1 {
		t.Errorf("left on the storage: %+v, %v", all.Volumes, err)
	}
	// What went away by itself is forgotten.
	w.hidden(lax.EnsureVolume(ctx, backend.VolumeSpec{ID: "stray", Bytes: 1}))
	w.doctor(true)
	w.hidden(lax.DeleteVolume(ctx, "stray"))
	w.doctor(false)
	if n := w.Count(`SELECT count(*) FROM quarantine`); n > 0 {
		t.Errorf("%d in quarantine", n)
	}
}

// TestQuarantinedImage holds that an import takes an image out of quarantine,
// and that one is deleted for good only when no import has it.
func TestQuarantinedImage(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	lose := func() int64 {
		t.Helper()
		w.done(w.ISOs.Detach(ctx, everyone, 1001, false))
		w.Exec(`DELETE FROM iso WHERE id = ?`, w.disc)
		w.doctor(true)
		list, err := w.Reconcile.Held(ctx, nil, 0, 10)
		if err != nil || len(list) != 1 || list[0].Kind != reconcile.HeldISO {
			t.Fatalf("in quarantine: %+v, %v", list, err)
		}
		w.Clock.Add(8 * 24 * time.Hour)
		return list[0].ID
	}
	id := lose()
	w.disc = w.imported()
	if _, err := w.Reconcile.Discard(ctx, id); !errors.Is(err, reconcile.ErrHeldInUse) {
		t.Errorf("an image that an ISO has: %v", err)
	}
	w.doctor(false)
	if _, err := w.Reconcile.Discard(ctx, id); !errors.Is(err, reconcile.ErrHeldNotFound) {
		t.Errorf("an image that was released: %v", err)
	}
	w.done(w.ISOs.Attach(ctx, everyone, 1001, w.disc, false))
	id = lose()
	w.Drivers["TPA1"].On("DeleteISO").Fail(backend.ErrInvalid, 1)
	w.Fails(w.accepted(w.Reconcile.Discard(ctx, id)), "backend_invalid")
	k := w.accepted(w.Reconcile.Discard(ctx, id))
	if _, err := w.Reconcile.Discard(ctx, id); err == nil {
		t.Error("deleted twice")
	}
	w.Succeeds(k)
	w.Check()
	w.imported()
	w.Check()
}

func (w *inhabited) accepted(k task.Task, err error) task.Task {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("refused: %v", err)
	}
	return k
}

func TestRequests(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	if _, err := w.Reconcile.Start(ctx, reconcile.Request{FacilityCode: "MARS1"}); !errors.Is(err, vps.ErrUnknownFacility) {
		t.Errorf("a run in no facility: %v", err)
	}
	if _, err := w.Reconcile.Findings(ctx, reconcile.Filter{FacilityCode: new("MARS1"), Limit: 1}); !errors.Is(err, vps.ErrFacilityNotFound) {
		t.Errorf("findings of no facility: %v", err)
	}
	if _, err := w.Reconcile.Held(ctx, new("MARS1"), 0, 1); fault.ReasonOf(err) != "facility_not_found" {
		t.Errorf("the quarantine of no facility: %v", err)
	}
	w.hidden(w.Drivers["LAX3"].EnsureVolume(ctx, backend.VolumeSpec{ID: "stray", Bytes: 1}))
	k := w.done(w.Reconcile.Start(ctx, reconcile.Request{FacilityCode: "TPA1"}))
	if !strings.Contains(k.Message, "findings: 0") {
		t.Errorf("a run elsewhere says %q", k.Message)
	}
	w.doctor(false)
	list, err := w.Reconcile.Findings(ctx, reconcile.Filter{Class: new(reconcile.MissingDisk), Limit: 10})
	if err != nil || len(list) > 0 {
		t.Errorf("of another class: %+v, %v", list, err)
	}
	list, err = w.Reconcile.Findings(ctx, reconcile.Filter{Class: new(reconcile.OrphanDisk), FacilityCode: new("LAX3"), Limit: 10})
	if err != nil || words(list) != "orphan_disk stray" {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestStuckTask holds that a task that waits for nothing is found and let run.
func TestStuckTask(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	past := time.Now().Add(-time.Hour).UnixMicro()
	w.Exec(`INSERT INTO task (id, kind, lane, queue, state, client_id, volume_id, facility_code, args, run_at, created_at, updated_at)
		VALUES ('lost', 'volume.delete', 'volume:none', 'quick', 'waiting', ?, 'none', 'TPA1', '{}', ?, ?, ?)`, worldtest.Client, past, past, past)
	if got := words(w.doctor(false)); got != "stuck_transient lost" {
		t.Errorf("found %q", got)
	}
	if got := words(w.doctor(true)); got != "" {
		t.Errorf("after the repair %q", got)
	}
	if k := w.Ended("lost"); k.Reason != "precondition_failed" {
		t.Errorf("the task ended %s: %s", k.State, k.Reason)
	}
}

// TestWithinALook holds that what comes and goes between the reading of the
// rows and that of the storage, or between that and the rows again, is not taken
// for a difference.
func TestWithinALook(t *testing.T) {
	t.Parallel()
	w := inhabit(t)
	w.Source.Put("http://mirror.example/b.iso", worldtest.Image("B", true))
	var volumeID, isoID string
	w.Drivers["TPA1"].On("InspectAll").Before(func(fake.Call) error {
		volumeID = w.done(w.Volumes.Create(ctx, everyone, 2001, 50)).VolumeID
		i, err := w.ISOs.Create(ctx, worldtest.Client, iso.Create{FacilityCode: "TPA1", Name: "b", URL: "http://mirror.example/b.iso"})
		if err != nil {
			t.Error(err)
		}
		w.Succeeds(task.Task{ID: i.TaskID})
		isoID = i.ID
		w.done(w.Volumes.Detach(ctx, everyone, 1001, w.on))
		return nil
	}).After(func(fake.Call) error {
		w.done(w.Volumes.Delete(ctx, everyone, volumeID, new(int64(2001))))
		w.done(w.ISOs.Delete(ctx, everyone, isoID, nil))
		w.done(w.Volumes.Attach(ctx, everyone, 1001, w.on))
		return nil
	})
	for range 3 {
		if found, err := w.Reconcile.Pass(ctx); err != nil || len(found) > 0 {
			t.Fatalf("found %+v, %v", found, err)
		}
	}
	w.Check()
}
