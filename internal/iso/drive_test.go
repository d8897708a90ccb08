package iso_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

func TestDriveRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	in, spare := ready(t, w, worldtest.Client, "TPA1"), ready(t, w, worldtest.Client, "TPA1")
	away, foreign := ready(t, w, worldtest.Client, "LAX3"), ready(t, w, worldtest.Other, "TPA1")
	childs := ready(t, w, worldtest.Child, "TPA1")
	broken := begun(t, w, worldtest.Client, wanted("http://mirror.example/none.iso"))
	w.Fails(importOf(broken), "source_status")
	k, err := w.ISOs.Attach(ctx, mine, 1001, in.ID, false)
	w.Succeeds(accepted(t, k, err))
	const nobody = "0190a000-0000-7000-8000-000000000000"
	attach := func(s access.Scope, device int64, id string) func() (task.Task, error) {
		return func() (task.Task, error) { return w.ISOs.Attach(ctx, s, device, id, false) }
	}
	detach := func(device int64) func() (task.Task, error) {
		return func() (task.Task, error) { return w.ISOs.Detach(ctx, mine, device, false) }
	}
	remove := func(id string, facility *string) func() (task.Task, error) {
		return func() (task.Task, error) { return w.ISOs.Delete(ctx, mine, id, facility) }
	}
	for _, c := range []struct {
		name    string
		want    *fault.Error
		request func() (task.Task, error)
	}{
		{"attach no ISO", iso.ErrNotFound, attach(mine, 1002, nobody)},
		{"attach another's", iso.ErrNotFound, attach(mine, 1002, foreign.ID)},
		{"attach a child's to an own device", iso.ErrNotFound, attach(family, 1002, childs.ID)},
		{"attach one client's to another's as operator", iso.ErrNotFound, attach(everyone, 2001, in.ID)},
		{"attach to no device", vps.ErrDeviceNotFound, attach(mine, 4711, spare.ID)},
		{"attach to another's device", vps.ErrDeviceNotFound, attach(mine, 2001, spare.ID)},
		{"attach the same again", iso.ErrDriveTaken, attach(mine, 1001, in.ID)},
		{"attach another one", iso.ErrDriveTaken, attach(mine, 1001, spare.ID)},
		{"attach in another facility", iso.ErrOtherPlace, attach(mine, 1002, away.ID)},
		{"attach a failed one", iso.ErrNotReady, attach(mine, 1002, broken.ID)},
		{"detach with none", iso.ErrNoneAttached, detach(1002)},
		{"detach from no device", vps.ErrDeviceNotFound, detach(4711)},
		{"detach from another's device", vps.ErrDeviceNotFound, detach(2001)},
		{"delete in a drive", iso.ErrAttached, remove(in.ID, nil)},
		{"delete no ISO", iso.ErrNotFound, remove(nobody, nil)},
		{"delete another's", iso.ErrNotFound, remove(foreign.ID, nil)},
		{"delete in another facility", iso.ErrNotFound, remove(spare.ID, ptr("LAX3"))},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, w, c.want, c.request) })
	}
	if _, err := w.ISOs.Delete(ctx, mine, in.ID, nil); err == nil || !strings.Contains(err.Error(), "device 1001") {
		t.Errorf("the refusal does not name the device: %v", err)
	}
	w.Check()
}

func TestReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	own, away, foreign := ready(t, w, worldtest.Client, "TPA1"), ready(t, w, worldtest.Client, "LAX3"), ready(t, w, worldtest.Other, "TPA1")
	childs := ready(t, w, worldtest.Child, "TPA1")
	for name, c := range map[string]struct {
		s    access.Scope
		id   string
		at   *string
		want *fault.Error
	}{
		"own":                      {mine, own.ID, nil, nil},
		"own, in its facility":     {mine, own.ID, ptr("TPA1"), nil},
		"own, in another facility": {mine, own.ID, ptr("LAX3"), iso.ErrNotFound},
		"another's":                {mine, foreign.ID, nil, iso.ErrNotFound},
		"a child's, for it":        {family, childs.ID, nil, nil},
		"a child's":                {mine, childs.ID, nil, iso.ErrNotFound},
		"no such":                  {everyone, "none", nil, iso.ErrNotFound},
	} {
		_, err := w.ISOs.Get(ctx, c.s, c.id, c.at)
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if list, err := w.ISOs.List(ctx, mine, "LAX3"); err != nil || len(list) != 1 || list[0].ID != away.ID {
		t.Errorf("in LAX3: %+v, %v", list, err)
	}
	if list, err := w.ISOs.List(ctx, everyone, "TPA1"); err != nil || len(list) != 3 || list[0].ID != childs.ID {
		t.Errorf("everyone's in TPA1, newest first: %+v, %v", list, err)
	}
	if _, err := w.ISOs.List(ctx, mine, "XXX9"); !errors.Is(err, vps.ErrFacilityNotFound) {
		t.Errorf("in no facility: %v", err)
	}
	// One content for all three in TPA1, one more in LAX3.
	if n := len(stored(t, w, "TPA1")) + len(stored(t, w, "LAX3")); n != 2 {
		t.Errorf("%d images are stored", n)
	}
	w.Check()
}

// One ISO goes into any number of drives.
func TestOneInManyDrives(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	i := ready(t, w, worldtest.Client, "TPA1")
	for _, device := range []int64{1001, 1002} {
		k, err := w.ISOs.Attach(ctx, mine, device, i.ID, false)
		w.Succeeds(accepted(t, k, err))
	}
	if got := read(t, w, i.ID); len(got.DeviceIDs) != 2 {
		t.Errorf("in %v", got.DeviceIDs)
	}
	refused(t, w, iso.ErrAttached, func() (task.Task, error) { return w.ISOs.Delete(ctx, mine, i.ID, nil) })
	w.Check()
	for _, device := range []int64{1001, 1002} {
		k, err := w.ISOs.Detach(ctx, mine, device, false)
		w.Succeeds(accepted(t, k, err))
	}
	removed(t, w, i.ID)
	w.Check()
}

// What is in the drive is decided by the tasks accepted before.
func TestQueuedDriveWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	a, b := ready(t, w, worldtest.Client, "TPA1"), ready(t, w, worldtest.Client, "TPA1")
	gate := make(chan struct{})
	w.Drivers["TPA1"].On("SetMedia").Block(gate)
	var all []task.Task
	next := func(k task.Task, err error) {
		t.Helper()
		all = append(all, accepted(t, k, err))
	}
	next(w.ISOs.Attach(ctx, mine, 1001, a.ID, false))
	refused(t, w, iso.ErrDriveTaken, func() (task.Task, error) { return w.ISOs.Attach(ctx, mine, 1001, b.ID, false) })
	refused(t, w, iso.ErrAttached, func() (task.Task, error) { return w.ISOs.Delete(ctx, mine, a.ID, nil) })
	next(w.ISOs.Detach(ctx, mine, 1001, false))
	refused(t, w, iso.ErrNoneAttached, func() (task.Task, error) { return w.ISOs.Detach(ctx, mine, 1001, false) })
	next(w.ISOs.Attach(ctx, mine, 1001, b.ID, false))
	next(w.ISOs.Delete(ctx, mine, a.ID, nil)) // behind its detach
	refused(t, w, iso.ErrDeleting, func() (task.Task, error) { return w.ISOs.Attach(ctx, mine, 1002, a.ID, false) })
	if k, err := w.Tasks.Get(ctx, mine, all[3].ID); err != nil || k.State != task.Waiting {
		t.Errorf("the delete is %s, %v", k.State, err)
	}
	close(gate)
	for _, k := range all {
		w.Succeeds(k)
	}
	if got := read(t, w, b.ID); len(got.DeviceIDs) != 1 || got.DeviceIDs[0] != 1001 {
		t.Errorf("at last in %v", got.DeviceIDs)
	}
	w.Check()
}

// A guest that locks its tray keeps the medium, by the row too, and what was
// accepted on the strength of the eject is not done.
func TestTrayLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	d := w.Drivers["TPA1"]
	a, b := ready(t, w, worldtest.Client, "TPA1"), ready(t, w, worldtest.Client, "TPA1")
	k, err := w.ISOs.Attach(ctx, mine, 1001, a.ID, false)
	w.Succeeds(accepted(t, k, err))
	d.SetTrayLocked("1001", true)
	gate := make(chan struct{})
	d.On("SetMedia").Block(gate)
	out, err := w.ISOs.Detach(ctx, mine, 1001, false)
	accepted(t, out, err)
	in, err := w.ISOs.Attach(ctx, mine, 1001, b.ID, false)
	accepted(t, in, err)
	gone, err := w.ISOs.Delete(ctx, mine, a.ID, nil)
	accepted(t, gone, err)
	close(gate)
	w.Fails(out, "tray_locked")
	w.Fails(in, "precondition_failed")
	w.Fails(gone, "precondition_failed")
	if got := read(t, w, a.ID); !got.Ready() || len(got.DeviceIDs) != 1 {
		t.Errorf("the ISO in the locked tray: %+v", got)
	}
	w.Check()
	d.SetTrayLocked("1001", false)
	k, err = w.ISOs.Detach(ctx, mine, 1001, false)
	w.Succeeds(accepted(t, k, err))
	removed(t, w, a.ID)
	w.Check()
}

// work is one kind of task on a drive.
type work struct {
	name  string
	setUp func(t worldtest.TB, w *worldtest.World, id string)
	start func(w *worldtest.World, id string) (task.Task, error)
}

var works = []work{
	{
		"attach", func(worldtest.TB, *worldtest.World, string) {},
		func(w *worldtest.World, id string) (task.Task, error) {
			return w.ISOs.Attach(ctx, mine, 1001, id, false)
		},
	},
	{
		"detach", func(t worldtest.TB, w *worldtest.World, id string) {
			k, err := w.ISOs.Attach(ctx, mine, 1001, id, false)
			w.Succeeds(accepted(t, k, err))
		},
		func(w *worldtest.World, _ string) (task.Task, error) { return w.ISOs.Detach(ctx, mine, 1001, false) },
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
	{"refused", func(r *fake.Rule) { r.Fail(deny, 1) }, false, "denied"},
	{"refused for good", func(r *fake.Rule) { r.Fail(deny, 0) }, false, "denied"},
	{"answer lost", func(r *fake.Rule) { r.Lose(errCut, 1) }, false, ""},
	{"answer lost, refusal heard", func(r *fake.Rule) { r.Lose(deny, 1) }, false, "any"},
	{"temporary until the deadline", func(r *fake.Rule) { r.Fail(errCut, 0) }, true, "deadline_exceeded"},
	{"every answer lost", func(r *fake.Rule) { r.Lose(errCut, 0) }, true, "any"},
	{"never answers", func(r *fake.Rule) { r.Block(nil) }, true, "deadline_exceeded"},
	{"acts and never answers", func(r *fake.Rule) { r.BlockAfter(nil) }, true, "any"},
}

// Whatever befalls the driver, the drive has what its row says.
func TestDriveFaults(t *testing.T) {
	t.Parallel()
	for _, j := range works {
		for _, f := range faults {
			t.Run(j.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, worldtest.Options{})
				i := ready(t, w, worldtest.Client, "TPA1")
				j.setUp(t, w, i.ID)
				if f.short {
					w.Hurry(120 * time.Millisecond)
				}
				f.inject(w.Drivers["TPA1"].On("SetMedia"))
				k, err := j.start(w, i.ID)
				ended := w.Ended(accepted(t, k, err).ID)
				if f.want != "any" && string(ended.Reason) != f.want {
					t.Fatalf("ended %s: %s %s", ended.State, ended.Reason, ended.Error)
				}
				driveSettled(t, w, i.ID, j.name, ended)
			})
		}
	}
}

// driveSettled checks what holds after work on drive 1001, and that the ISO
// can be ejected and deleted.
func driveSettled(t *testing.T, w *worldtest.World, id, work string, ended task.Task) {
	t.Helper()
	w.Check() // mends the driver
	w.Hurry(0)
	in := len(read(t, w, id).DeviceIDs) == 1
	if in != ((work == "attach") == (ended.State == task.Done)) {
		t.Fatalf("the %s ended %s, the ISO is in the drive: %t", work, ended.State, in)
	}
	if in {
		k, err := w.ISOs.Detach(ctx, mine, 1001, false)
		w.Succeeds(accepted(t, k, err))
	}
	removed(t, w, id)
	w.Check()
}

func TestKillDuringDriveWork(t *testing.T) {
	t.Parallel()
	for _, j := range works {
		for _, after := range []bool{false, true} {
			t.Run(j.name+map[bool]string{false: " before", true: " after"}[after], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, worldtest.Options{})
				i := ready(t, w, worldtest.Client, "TPA1")
				j.setUp(t, w, i.ID)
				var k task.Task
				w.KillAt("TPA1", "SetMedia", after, func() {
					var err error
					k, err = j.start(w, i.ID)
					accepted(t, k, err)
				})
				driveSettled(t, w, i.ID, j.name, w.Succeeds(k))
			})
		}
	}
}
