package volume_test

import (
	"errors"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// job is one kind of task, with the driver calls it makes.
type job struct {
	name  string
	calls []string
	// setUp makes what the task needs; start asks for it.
	setUp func(t worldtest.TB, w *worldtest.World) (volumeID string)
	start func(w *worldtest.World, id string) (task.Task, error)
}

var jobs = []job{
	{
		"create",
		[]string{"EnsureVolume", "EnsureAttached"},
		func(worldtest.TB, *worldtest.World) string { return "" },
		func(w *worldtest.World, _ string) (task.Task, error) { return w.Volumes.Create(ctx, mine, 1001, 50) },
	},
	{
		"resize",
		[]string{"GrowVolume"},
		func(t worldtest.TB, w *worldtest.World) string { return made(t, w, 1001, 50) },
		func(w *worldtest.World, id string) (task.Task, error) {
			return w.Volumes.Resize(ctx, mine, id, 200, ptr(int64(1001)))
		},
	},
	{
		"resize detached",
		[]string{"GrowVolume"},
		func(t worldtest.TB, w *worldtest.World) string { return madeFree(t, w, 1001, 50) },
		func(w *worldtest.World, id string) (task.Task, error) {
			return w.Volumes.Resize(ctx, mine, id, 200, nil)
		},
	},
	{
		"delete",
		[]string{"EnsureDetached", "DeleteVolume"},
		func(t worldtest.TB, w *worldtest.World) string { return made(t, w, 1001, 50) },
		func(w *worldtest.World, id string) (task.Task, error) {
			return w.Volumes.Delete(ctx, mine, id, ptr(int64(1001)))
		},
	},
	{
		"delete detached",
		[]string{"DeleteVolume"},
		func(t worldtest.TB, w *worldtest.World) string { return madeFree(t, w, 1001, 50) },
		func(w *worldtest.World, id string) (task.Task, error) { return w.Volumes.Delete(ctx, mine, id, nil) },
	},
	{
		"attach",
		[]string{"EnsureAttached"},
		func(t worldtest.TB, w *worldtest.World) string { return madeFree(t, w, 1001, 50) },
		func(w *worldtest.World, id string) (task.Task, error) { return w.Volumes.Attach(ctx, mine, 1002, id) },
	},
	{
		"detach",
		[]string{"EnsureDetached"},
		func(t worldtest.TB, w *worldtest.World) string { return made(t, w, 1001, 50) },
		func(w *worldtest.World, id string) (task.Task, error) { return w.Volumes.Detach(ctx, mine, 1001, id) },
	},
}

// deny is a permanent refusal no code has a rule for.
var deny = &backend.Error{Reason: "denied", Text: "the host says no", Permanent: true}

var errCut = errors.New("connection reset")

// faults are what can befall a driver call.
var faults = []struct {
	name   string
	inject func(*fake.Rule)
	short  bool   // with a deadline that passes
	want   string // reason, "" for success, "any" for either
}{
	{"temporary, then well", func(r *fake.Rule) { r.Fail(errCut, 1) }, false, ""},
	{"away, then back", func(r *fake.Rule) { r.Fail(backend.ErrUnavailable, 1) }, false, ""},
	{"refused", func(r *fake.Rule) { r.Fail(deny, 1) }, false, "denied"},
	{"refused for good", func(r *fake.Rule) { r.Fail(deny, 0) }, false, "denied"},
	{"answer lost", func(r *fake.Rule) { r.Lose(errCut, 1) }, false, ""},
	{"answer lost, refusal heard", func(r *fake.Rule) { r.Lose(deny, 1) }, false, "any"},
	{"temporary until the deadline", func(r *fake.Rule) { r.Fail(errCut, 0) }, true, "deadline_exceeded"},
	{"every answer lost", func(r *fake.Rule) { r.Lose(errCut, 0) }, true, "any"},
	{"never answers", func(r *fake.Rule) { r.Block(nil) }, true, "deadline_exceeded"},
	{"acts and never answers", func(r *fake.Rule) { r.BlockAfter(nil) }, true, "any"},
}

// Whatever befalls any driver call of any task: the task ends, and rows,
// attachments, backend, services and charges agree.
func TestDriverFaults(t *testing.T) {
	t.Parallel()
	for _, j := range jobs {
		for _, call := range j.calls {
			for _, f := range faults {
				t.Run(j.name+"/"+call+"/"+f.name, func(t *testing.T) {
					t.Parallel()
					w := worldtest.New(t, worldtest.Options{})
					id := j.setUp(t, w)
					if f.short {
						w.Hurry(120 * time.Millisecond)
					}
					f.inject(w.Drivers["TPA1"].On(call))
					k, err := j.start(w, id)
					accepted(t, k, err)
					ended := w.Ended(k.ID)
					switch {
					case f.want == "any":
					case f.want == "" && ended.State != task.Done, f.want != "" && ended.State != task.Failed:
						t.Fatalf("ended %s: %s %s", ended.State, ended.Reason, ended.Error)
					case f.want == "denied" && ended.Reason != "denied":
						t.Fatalf("reason %q", ended.Reason)
					}
					settled(t, w, k.VolumeID, j.name, ended)
				})
			}
		}
	}
}

// settled checks what holds after a task, and that what is left of its volume
// can be deleted.
func settled(t *testing.T, w *worldtest.World, id, job string, ended task.Task) {
	t.Helper()
	w.Drivers["TPA1"].Reset()
	w.Hurry(0)
	if w.Count(`SELECT count(*) FROM volume WHERE id = ? AND state = 'discarded'`, id) == 1 {
		if n := w.Count(`SELECT count(*) FROM service WHERE volume_id = ?`, id); n != 0 {
			t.Fatal("a discarded volume is charged for")
		}
		sweep(t, w)
	}
	w.Check()
	v, err := w.Volumes.Get(ctx, mine, id)
	done := ended.State == task.Done
	switch exists := err == nil; {
	case job == "create" && exists != done:
		t.Fatalf("the create ended %s, the volume exists: %t", ended.State, exists)
	case (job == "delete" || job == "delete detached") && exists == done:
		t.Fatalf("the delete ended %s, the volume exists: %t", ended.State, exists)
	case (job == "resize" || job == "resize detached") && (v.SizeGiB() == 200) != done:
		t.Fatalf("the resize ended %s, the volume has %d GiB", ended.State, v.SizeGiB())
	case job == "attach" && (v.DeviceID == 1002) != done:
		t.Fatalf("the attach ended %s, the volume is on device %d", ended.State, v.DeviceID)
	case job == "detach" && (v.DeviceID == 0) != done:
		t.Fatalf("the detach ended %s, the volume is on device %d", ended.State, v.DeviceID)
	case !exists:
		return
	}
	deleteNow(t, w, id)
	w.Check()
}

// deleteNow deletes a volume wherever it is.
func deleteNow(t worldtest.TB, w *worldtest.World, id string) {
	t.Helper()
	v, err := w.Volumes.Get(ctx, everyone, id)
	if err != nil {
		t.Fatalf("read volume: %v", err)
	}
	var device *int64
	if v.DeviceID != 0 {
		device = &v.DeviceID
	}
	k, err := w.Volumes.Delete(ctx, everyone, id, device)
	w.Succeeds(accepted(t, k, err))
}

// sweep makes the periodic clean-up run now, by starting the engine anew, and
// waits until nothing is left for it.
func sweep(t worldtest.TB, w *worldtest.World) {
	t.Helper()
	w.Stop()
	for _, d := range w.Drivers {
		d.Reset()
	}
	w.Exec(`UPDATE task SET run_at = 0 WHERE kind = 'volume.sweep'`)
	w.Start()
	w.Until("the sweep", func() bool { return w.Count(`SELECT count(*) FROM volume WHERE state = 'discarded'`) == 0 })
}

// Killed ahead of any driver call or after it, the outcome is the same.
func TestKillBetweenSteps(t *testing.T) {
	t.Parallel()
	for _, j := range jobs {
		for _, call := range j.calls {
			for _, after := range []bool{false, true} {
				t.Run(j.name+"/"+call+"/"+map[bool]string{false: "before", true: "after"}[after], func(t *testing.T) {
					t.Parallel()
					w := worldtest.New(t, worldtest.Options{})
					id := j.setUp(t, w)
					var k task.Task
					w.KillAt("TPA1", call, after, func() {
						var err error
						k, err = j.start(w, id)
						accepted(t, k, err)
					})
					settled(t, w, k.VolumeID, j.name, w.Succeeds(k))
				})
			}
		}
	}
}

// Killed ahead of any of a task's writes, the outcome is the same.
func TestKillBeforeWrites(t *testing.T) {
	t.Parallel()
	for _, j := range jobs {
		t.Run(j.name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				w := worldtest.New(t, worldtest.Options{})
				id := j.setUp(t, w)
				var k task.Task
				killed := w.KillAtWrite(n, func() task.Task {
					var err error
					k, err = j.start(w, id)
					return accepted(t, k, err)
				})
				settled(t, w, k.VolumeID, j.name, w.Succeeds(k))
				if !killed {
					if n == 1 {
						t.Fatal("the task wrote nothing")
					}
					return
				}
			}
		})
	}
}

// Killed after the acceptance and before the first step.
func TestKillBeforeFirstStep(t *testing.T) {
	t.Parallel()
	for _, j := range jobs {
		t.Run(j.name, func(t *testing.T) {
			t.Parallel()
			w := worldtest.New(t, worldtest.Options{})
			id := j.setUp(t, w)
			w.Kill()
			k, err := j.start(w, id)
			accepted(t, k, err)
			w.Start()
			settled(t, w, k.VolumeID, j.name, w.Succeeds(k))
		})
	}
}

// Killed while a failed task is being undone.
func TestKillWhileUndoing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		job           int
		breaks, kills string
	}{
		{0, "EnsureAttached", "EnsureDetached"},
		{0, "EnsureAttached", "DeleteVolume"},
		{3, "DeleteVolume", "EnsureAttached"},
		{3, "DeleteVolume", "InspectVolume"},
		{5, "EnsureAttached", "EnsureDetached"},
		{6, "EnsureDetached", "EnsureAttached"},
	} {
		for _, after := range []bool{false, true} {
			j := jobs[c.job]
			t.Run(j.name+"/"+c.kills+"/"+map[bool]string{false: "before", true: "after"}[after], func(t *testing.T) {
				t.Parallel()
				w := worldtest.New(t, worldtest.Options{})
				id := j.setUp(t, w)
				var k task.Task
				w.Drivers["TPA1"].On(c.breaks).Fail(deny, 0)
				w.KillAt("TPA1", c.kills, after, func() {
					var err error
					k, err = j.start(w, id)
					accepted(t, k, err)
				})
				// KillAt has mended the driver too.
				settled(t, w, k.VolumeID, j.name, w.Ended(k.ID))
			})
		}
	}
}

// A create that cannot be undone leaves a disk that nobody sees or pays for,
// and that goes later, also out of a guest.
func TestDiscarded(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	d := w.Drivers["TPA1"]
	d.On("EnsureAttached").Lose(deny, 0)
	d.On("EnsureDetached").Fail(deny, 0)
	k, err := w.Volumes.Create(ctx, mine, 1001, 50)
	w.Fails(accepted(t, k, err), "denied")
	if _, err := w.Volumes.Get(ctx, everyone, k.VolumeID); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("a discarded volume is shown: %v", err)
	}
	for name, request := range map[string]func() (task.Task, error){
		"delete": func() (task.Task, error) { return w.Volumes.Delete(ctx, mine, k.VolumeID, nil) },
		"attach": func() (task.Task, error) { return w.Volumes.Attach(ctx, mine, 1001, k.VolumeID) },
	} {
		t.Log(name)
		refused(t, w, volume.ErrNotFound, request)
	}
	if list, err := w.Volumes.List(ctx, everyone, volume.Filter{FacilityCode: ptr("TPA1")}); err != nil || len(list) != 4 {
		t.Errorf("%d volumes are listed, %v", len(list), err)
	}
	w.Check() // mends the driver
	sweep(t, w)
	w.Check()
	all, err := d.InspectAll(ctx)
	if err != nil || len(all.Volumes) != 4 {
		t.Errorf("%d disks are left, %v", len(all.Volumes), err)
	}
}

// A guest that kept the disk of a failed detach or attach still has it, by
// its row too; once it lets go everything works again.
func TestGuestHolds(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	d, v := w.Drivers["TPA1"], w.Volumes
	id := made(t, w, 1001, 50)
	d.SetGuestHolds("1001", id, true)
	k, err := v.Detach(ctx, mine, 1001, id)
	w.Fails(accepted(t, k, err), "guest_did_not_release")
	k, err = v.Delete(ctx, mine, id, ptr(int64(1001)))
	w.Fails(accepted(t, k, err), "guest_did_not_release")
	w.Check()
	d.SetGuestHolds("1001", id, false)
	deleteNow(t, w, id)
	w.Check()

	id = madeFree(t, w, 1001, 50)
	d.On("EnsureAttached").After(func(fake.Call) error { d.SetGuestHolds("1002", id, true); return deny })
	k, err = v.Attach(ctx, mine, 1002, id)
	w.Succeeds(accepted(t, k, err)) // the guest has it, and keeps it
	w.Check()
	d.SetGuestHolds("1002", id, false)
	deleteNow(t, w, id)
	w.Check()
}

// Where the undoing fails too, nothing is guessed: it is done again.
func TestUndoFails(t *testing.T) {
	t.Parallel()
	undo := []string{"InspectVolume", "Inspect", "EnsureAttached", "EnsureDetached", "GrowVolume", "DeleteVolume"}
	for _, j := range jobs {
		for _, call := range j.calls {
			for _, broken := range undo {
				for name, refused := range map[string]error{"refused": deny, "cut": errCut} {
					t.Run(j.name+"/"+call+"/"+broken+" "+name, func(t *testing.T) {
						t.Parallel()
						w := worldtest.New(t, worldtest.Options{})
						id := j.setUp(t, w)
						w.Drivers["TPA1"].On(call).Lose(deny, 1)
						w.Drivers["TPA1"].On("Inspect").Fail(refused, 1)
						w.Drivers["TPA1"].On(broken).Fail(refused, 1)
						k, err := j.start(w, id)
						accepted(t, k, err)
						settled(t, w, k.VolumeID, j.name, w.Ended(k.ID))
					})
				}
			}
		}
	}
}

// A guest that got a disk without an answer, and could not be asked to give it
// back until the time was over, does not keep the volume from being used elsewhere or deleted.
func TestLeftInGuest(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(w *worldtest.World, id string) (task.Task, error){
		"attach elsewhere": func(w *worldtest.World, id string) (task.Task, error) {
			return w.Volumes.Attach(ctx, mine, 1001, id)
		},
		"delete": func(w *worldtest.World, id string) (task.Task, error) { return w.Volumes.Delete(ctx, mine, id, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := worldtest.New(t, worldtest.Options{})
			d := w.Drivers["TPA1"]
			id := madeFree(t, w, 1001, 50)
			d.On("EnsureAttached").Lose(deny, 0)
			d.On("EnsureDetached").Fail(errCut, 0)
			d.On("Inspect").Fail(errCut, 0)
			const deadline = 120 * time.Millisecond
			w.Hurry(deadline)
			begun := time.Now()
			k, err := w.Volumes.Attach(ctx, mine, 1002, id)
			ended := w.Ended(accepted(t, k, err).ID)
			// The second try may be denied just behind the deadline, and not ahead of it.
			late := ended.Reason == "deadline_exceeded" || ended.Reason == "denied" && time.Since(begun) >= deadline
			if ended.State != task.Failed || !late || ended.Error == "" {
				t.Fatalf("the task ended %s: %s: %s", ended.State, ended.Reason, ended.Error)
			}
			d.Reset()
			w.Hurry(0)
			k, err = next(w, id)
			w.Succeeds(accepted(t, k, err))
			w.Check()
		})
	}
}

// A stopped server gives its work back, and the attempt does not count.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	w.Drivers["TPA1"].On("EnsureVolume").Block(nil)
	k, err := w.Volumes.Create(ctx, mine, 1001, 50)
	accepted(t, k, err)
	if err := w.Drivers["TPA1"].WaitCalls(ctx, "EnsureVolume", 5); err != nil { // four ROOT disks and this one
		t.Fatal(err)
	}
	w.Stop()
	got, err := w.Tasks.Get(ctx, everyone, k.ID)
	if err != nil || got.State != task.Ready || got.Failures != 0 {
		t.Fatalf("after the drain: %+v, %v", got, err)
	}
	w.Drivers["TPA1"].Reset()
	w.Start()
	w.Succeeds(k)
	w.Check()
}
