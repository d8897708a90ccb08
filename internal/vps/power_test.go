package vps_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

func power(t *testing.T, w *worldtest.World, a vps.Action) task.Task {
	t.Helper()
	k, err := w.VPS.Power(ctx, mine, 1001, a)
	if err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	return k
}

// guest is guest 1001 as it is; its device says the same of its power.
func guest(t *testing.T, w *worldtest.World) backend.VMView {
	t.Helper()
	v, err := w.Drivers["TPA1"].Inspect(ctx, "1001")
	if err != nil {
		t.Fatal(err)
	}
	d, err := w.VPS.Get(ctx, mine, 1001)
	if want := map[bool]vps.Status{true: vps.Running, false: vps.Stopped}[v.Running]; err != nil || d.Status != want {
		t.Fatalf("the device is %s, its guest runs: %t, %v", d.Status, v.Running, err)
	}
	return v
}

// The actions lead to the same state from both, and a process ends where the
// action says so.
func TestPower(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	for _, c := range []struct {
		action       vps.Action
		running, new bool // afterwards; and in another process
	}{
		{vps.Boot, true, false}, // it runs already
		{vps.Reboot, true, true},
		{vps.Cycle, true, true},
		{vps.Shutdown, false, true},
		{vps.Shutdown, false, false},
		{vps.Reboot, true, true},
		{vps.Shutdown, false, true},
		{vps.Cycle, true, true},
		{vps.Shutdown, false, true},
		{vps.Boot, true, true},
		{vps.Boot, true, false},
	} {
		before := guest(t, w)
		k := w.Succeeds(power(t, w, c.action))
		if now := guest(t, w); now.Running != c.running || (now.Starts != before.Starts) != c.new {
			t.Errorf("%s: from %+v to %+v", c.action, before, now)
		}
		if k.Kind != vps.KindPower || k.DeviceID != 1001 || !strings.Contains(string(k.Args), `"power":"`+string(c.action)+`"`) {
			t.Errorf("the task of %s: %+v", c.action, k)
		}
	}
	w.Check()
}

func TestPowerRefusals(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	w.Exec(`UPDATE device SET status = 'Failed' WHERE id = 1002`)
	for name, c := range map[string]struct {
		scope  access.Scope
		device int64
		action vps.Action
		want   *fault.Error
	}{
		"no such device":           {everyone, 4711, vps.Boot, vps.ErrDeviceNotFound},
		"another client's":         {mine, 2001, vps.Boot, vps.ErrDeviceNotFound},
		"a child's":                {mine, 3001, vps.Boot, vps.ErrDeviceNotFound},
		"one that was never made":  {everyone, 1002, vps.Boot, vps.ErrDeviceNotFound},
		"no action":                {mine, 1001, "", vps.ErrAction},
		"no action there is":       {mine, 1001, "explode", vps.ErrAction},
		"nothing, to another's":    {mine, 2001, "", vps.ErrDeviceNotFound},
		"an action in other cases": {mine, 1001, "Boot", vps.ErrAction},
	} {
		if _, err := w.VPS.Power(ctx, c.scope, c.device, c.action); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := w.Count(`SELECT count(*) FROM task WHERE kind = 'device.power'`); n != 0 {
		t.Errorf("refused requests left %d tasks", n)
	}
}

// A guest that ignores a shutdown goes on, and the task tells the way out.
func TestPowerIgnored(t *testing.T) {
	t.Parallel()
	for _, action := range []vps.Action{vps.Shutdown, vps.Reboot} {
		t.Run(string(action), func(t *testing.T) {
			t.Parallel()
			w := worldtest.New(t, worldtest.Options{})
			w.VPS.Patience = 50 * time.Millisecond
			d := w.Drivers["TPA1"]
			before := guest(t, w)
			d.SetDeaf("1001", true)
			k := w.Fails(power(t, w, action), "guest_did_not_shut_down")
			if !strings.Contains(k.Error, "cycle") {
				t.Errorf("the sentence does not tell the way out: %s", k.Error)
			}
			if now := guest(t, w); now.Starts != before.Starts {
				t.Errorf("from %+v to %+v", before, now)
			}
			w.Succeeds(power(t, w, vps.Cycle))
			if now := guest(t, w); !now.Running || now.Starts == before.Starts {
				t.Errorf("after the cycle: %+v", now)
			}
			w.Check()
		})
	}
}

// A guest may take its time, and go at the last moment.
func TestPowerTakesTime(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	d := w.Drivers["TPA1"]
	d.SetDeaf("1001", true)
	k := power(t, w, vps.Shutdown)
	if err := d.WaitCalls(ctx, "Power", 1); err != nil {
		t.Fatal(err)
	}
	d.StopGuest("1001")
	w.Succeeds(k)
	guest(t, w)

	w.Succeeds(power(t, w, vps.Boot))
	w.VPS.Patience = 20 * time.Millisecond
	d.On("Inspect").Before(func(fake.Call) error { d.StopGuest("1001"); return nil })
	w.Succeeds(power(t, w, vps.Shutdown))
	d.Reset()
	guest(t, w)
	w.Check()
}

// However often it is tried, the guest is taken down once.
func TestPowerFaults(t *testing.T) {
	t.Parallel()
	cut := errors.New("connection reset")
	for name, f := range map[string]struct {
		inject func(*fake.Rule)
		want   string // reason, "any" for either
		short  bool
	}{
		"temporary, then well":         {func(r *fake.Rule) { r.Fail(cut, 1) }, "", false},
		"refused":                      {func(r *fake.Rule) { r.Fail(deny, 0) }, "denied", false},
		"answer lost":                  {func(r *fake.Rule) { r.Lose(cut, 1) }, "", false},
		"answer lost, refusal heard":   {func(r *fake.Rule) { r.Lose(deny, 1) }, "denied", false},
		"temporary until the deadline": {func(r *fake.Rule) { r.Fail(cut, 0) }, "deadline_exceeded", true},
		"never answers":                {func(r *fake.Rule) { r.Block(nil) }, "any", true},
	} {
		for _, action := range []vps.Action{vps.Boot, vps.Shutdown, vps.Reboot, vps.Cycle} {
			t.Run(string(action)+"/"+name, func(t *testing.T) {
				t.Parallel()
				w := worldtest.New(t, worldtest.Options{})
				if f.short {
					w.Hurry(120 * time.Millisecond)
				}
				before := guest(t, w)
				f.inject(w.Drivers["TPA1"].On("Power"))
				k := w.Ended(power(t, w, action).ID)
				w.Drivers["TPA1"].Reset()
				if f.want != "any" && string(k.Reason) != f.want {
					t.Fatalf("ended %s: %s %s", k.State, k.Reason, k.Error)
				}
				now := guest(t, w)
				if restarts := action == vps.Reboot || action == vps.Cycle; k.State == task.Done && restarts && (!now.Running || now.Starts == before.Starts) {
					t.Errorf("from %+v to %+v", before, now)
				}
				w.Check()
			})
		}
	}
}

func TestKillDuringPower(t *testing.T) {
	t.Parallel()
	for _, action := range []vps.Action{vps.Boot, vps.Shutdown, vps.Reboot, vps.Cycle} {
		for n := 1; n <= 2; n++ {
			t.Run(string(action)+map[int]string{1: ", first write", 2: ", second write"}[n], func(t *testing.T) {
				t.Parallel()
				w := worldtest.New(t, worldtest.Options{})
				var k task.Task
				w.KillAtWrite(n, func() task.Task { k = power(t, w, action); return k })
				powerSettled(t, w, k, action)
			})
		}
		for _, after := range []bool{false, true} {
			t.Run(string(action)+map[bool]string{false: " before", true: " after"}[after], func(t *testing.T) {
				t.Parallel()
				w := worldtest.New(t, worldtest.Options{})
				var k task.Task
				w.KillAt("TPA1", "Power", after, func() { k = power(t, w, action) })
				powerSettled(t, w, k, action)
			})
		}
	}
}

// powerSettled checks that the guest was started as often as the action says,
// whatever came between.
func powerSettled(t *testing.T, w *worldtest.World, k task.Task, action vps.Action) {
	t.Helper()
	w.Succeeds(k)
	want := map[vps.Action]int{vps.Boot: 1, vps.Shutdown: 1, vps.Reboot: 2, vps.Cycle: 2}[action]
	if got := w.Drivers["TPA1"].Starts("1001"); got != want {
		t.Errorf("the guest was started %d times, want %d", got, want)
	}
	if v := guest(t, w); v.Running != (action != vps.Shutdown) {
		t.Errorf("after %s: %+v", action, v)
	}
	w.Check()
}
