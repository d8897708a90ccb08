package iso_test

import (
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/event"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// guest is a guest in TPA1 as it is.
func guest(t worldtest.TB, w *worldtest.World, ref string) backend.VMView {
	t.Helper()
	v, err := w.Drivers["TPA1"].Inspect(ctx, ref)
	if err != nil {
		t.Fatalf("inspect guest: %v", err)
	}
	return v
}

func startsFromCD(t worldtest.TB, w *worldtest.World, ref string, want bool) {
	t.Helper()
	if got := guest(t, w, ref).CDFirst; got != want {
		t.Fatalf("the guest tries its CD first: %t, want %t", got, want)
	}
}

func power(t worldtest.TB, w *worldtest.World, a vps.Action) {
	t.Helper()
	k, err := w.VPS.Power(ctx, mine, 1001, a)
	w.Succeeds(accepted(t, k, err))
}

func attach(t worldtest.TB, w *worldtest.World, id string, once bool) task.Task {
	t.Helper()
	k, err := w.ISOs.Attach(ctx, mine, 1001, id, once)
	return w.Succeeds(accepted(t, k, err))
}

// attachOnce has an attach with bootOnce accepted.
func attachOnce(t worldtest.TB, w *worldtest.World, id string) task.Task {
	t.Helper()
	k, err := w.ISOs.Attach(ctx, mine, 1001, id, true)
	return accepted(t, k, err)
}

func detach(t worldtest.TB, w *worldtest.World) task.Task {
	t.Helper()
	k, err := w.ISOs.Detach(ctx, mine, 1001, false)
	return w.Succeeds(accepted(t, k, err))
}

// notBootable imports an ISO that nothing can start from.
func notBootable(t *testing.T, w *worldtest.World) iso.ISO {
	t.Helper()
	c := wanted(url)
	c.Bootable = false
	i := begun(t, w, worldtest.Client, c)
	w.Succeeds(importOf(i))
	return i
}

// lookOften makes the server look at the guests again and again.
func lookOften(w *worldtest.World) {
	w.Stop()
	w.ISOs.LookEvery = 5 * time.Millisecond
	w.Exec(`DELETE FROM task WHERE kind = 'iso.look'`)
	w.Start()
}

func TestBootOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	data := notBootable(t, w)
	if k := attach(t, w, data.ID, false); k.Message != "" {
		t.Errorf("an ISO that is not bootable: %q", k.Message)
	}
	startsFromCD(t, w, "1001", false)
	detach(t, w)

	boot := ready(t, w, worldtest.Client, "TPA1")
	if k := attach(t, w, boot.ID, false); !strings.Contains(k.Message, "cycle") {
		t.Errorf("with the guest running from its disks: %q", k.Message)
	}
	startsFromCD(t, w, "1001", true)
	power(t, w, vps.Cycle)
	power(t, w, vps.Reboot)
	if v := guest(t, w, "1001"); !v.CDFirst || v.ISOKey != boot.SHA256 {
		t.Errorf("without bootOnce the ISO stays: %+v", v)
	}
	detach(t, w)
	startsFromCD(t, w, "1001", false)

	power(t, w, vps.Shutdown)
	if k := attach(t, w, boot.ID, false); k.Message != "" {
		t.Errorf("with the guest off: %q", k.Message)
	}
	startsFromCD(t, w, "1001", true)
	if n := w.Count(`SELECT count(*) FROM task WHERE kind = 'iso.booted'`); n != 0 {
		t.Errorf("%d starts were noted", n)
	}
	w.Check()
}

func TestBootOnceRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	data := notBootable(t, w)
	refused(t, w, iso.ErrNotBootable, func() (task.Task, error) { return w.ISOs.Attach(ctx, mine, 1001, data.ID, true) })
}

// restarts are the ways a guest restarts by.
var restarts = map[string]func(t *testing.T, w *worldtest.World){
	"reset":      func(_ *testing.T, w *worldtest.World) { w.Drivers["TPA1"].ResetGuest("1001") },
	"cycle":      func(t *testing.T, w *worldtest.World) { power(t, w, vps.Cycle) },
	"off and on": func(t *testing.T, w *worldtest.World) { power(t, w, vps.Shutdown); power(t, w, vps.Boot) },
	"by somebody": func(_ *testing.T, w *worldtest.World) {
		d := w.Drivers["TPA1"]
		d.StopGuest("1001")
		d.StartGuest("1001")
	},
	"reset by driver": func(_ *testing.T, w *worldtest.World) { _ = w.Drivers["TPA1"].Power(ctx, "1001", backend.PowerReset) },
}

// An installer's life: the guest starts from it once, and when it restarts the
// ISO is out, even of a tray that is locked.
func TestBootOnce(t *testing.T) {
	t.Parallel()
	for name, restart := range restarts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			i := ready(t, w, worldtest.Client, "TPA1")
			attach(t, w, i.ID, true)
			heard(t, w)
			w.Drivers["TPA1"].ResetGuest("1001") // from its disks, as it was started
			power(t, w, vps.Cycle)
			booted(t, w, i, 1)
			w.Drivers["TPA1"].SetTrayLocked("1001", true)
			restart(t, w)
			ejected(t, w, i, 1)
			removed(t, w, i.ID)
		})
	}
}

// heard waits until the guests of TPA1 are heard of.
func heard(t *testing.T, w *worldtest.World) {
	t.Helper()
	testneed.Eventually(t, "somebody to listen", func() bool { return w.Drivers["TPA1"].Watched() > 0 })
}

// booted waits until the n-th start of guest 1001 from the ISO has been noted.
// The ISO is in the drive then, and the disks are first.
func booted(t *testing.T, w *worldtest.World, i iso.ISO, n int) {
	t.Helper()
	w.Until("the start to be noted", func() bool {
		return w.Count(`SELECT count(*) FROM task WHERE kind = 'iso.booted' AND state = 'done' AND message <> ''`) == n
	})
	if v := guest(t, w, "1001"); v.CDFirst || v.ISOKey != i.SHA256 {
		t.Fatalf("after the start from the ISO: %+v", v)
	}
	if k := w.Count(`SELECT count(*) FROM task WHERE kind = 'iso.detach'`); k != n-1 {
		t.Fatalf("%d detaches by then", k)
	}
}

// ejected waits until the ISO has been ejected for the n-th time, by a task that
// its client sees.
func ejected(t *testing.T, w *worldtest.World, i iso.ISO, n int) {
	t.Helper()
	w.Until("the ISO to be ejected", func() bool {
		return w.Count(`SELECT count(*) FROM task WHERE kind = 'iso.detach' AND state = 'done'`) == n
	})
	if v := guest(t, w, "1001"); v.CDFirst || v.ISOKey != "" {
		t.Fatalf("after the restart: %+v", v)
	}
	if got := read(t, w, i.ID); len(got.DeviceIDs) != 0 {
		t.Fatalf("the ISO is attached to %v", got.DeviceIDs)
	}
	w.Quiet()
	list, err := w.Tasks.List(ctx, mine, task.Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[task.Kind]int{}
	for _, k := range list {
		seen[k.Kind]++
		if k.Kind == iso.KindDetach && !strings.Contains(string(k.Args), `"bootOnce":true`) {
			t.Errorf("what the detach was for: %s", k.Args)
		}
	}
	if seen[iso.KindBooted] != n || seen[iso.KindDetach] != n {
		t.Errorf("its client sees %v", seen)
	}
	events, err := w.VPS.Events(ctx, mine, 1001, 100)
	if err != nil {
		t.Fatal(err)
	}
	ends := 0
	for _, e := range events {
		if e.Type == "ISO.DETACH" && e.State == event.Completed && e.Level == event.Info {
			ends++
		}
	}
	if ends != n {
		t.Errorf("%d detaches among the events", ends)
	}
	w.Check()
}

// A guest that runs with its CD first starts from the ISO by a reset too. Every
// server hears of it, and only one counts it.
func TestBootOnceByReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	i := ready(t, w, worldtest.Client, "TPA1")
	attach(t, w, i.ID, false)
	power(t, w, vps.Cycle)
	k := detach(t, w)
	w.Exec(`DELETE FROM event WHERE task_id = ?`, k.ID) // ejected counts those of the server
	w.Exec(`DELETE FROM task WHERE id = ?`, k.ID)
	if k := attach(t, w, i.ID, true); k.Message != "" {
		t.Errorf("with the CD first already: %q", k.Message)
	}
	heard(t, w)
	d := w.Drivers["TPA1"]
	d.ResetGuest("1001")
	d.ResetGuest("1001") // at the same time, to the clock
	booted(t, w, i, 1)
	w.Clock.Add(time.Minute)
	d.ResetGuest("1001")
	ejected(t, w, i, 1)
}

// News that was lost only delays: the guests are looked at now and then.
func TestBootOnceWithoutNews(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	i := ready(t, w, worldtest.Client, "TPA1")
	lookOften(w)
	d := w.Drivers["TPA1"]
	restart := func() { // while no server is there
		w.Kill()
		d.StopGuest("1001")
		d.StartGuest("1001")
		w.Start()
	}
	attach(t, w, i.ID, true)
	restart()
	booted(t, w, i, 1)
	restart()
	ejected(t, w, i, 1)
}

// A client that detaches earlier is not disturbed, nor is what it attaches next.
func TestBootOnceDetached(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	d := w.Drivers["TPA1"]
	a, b := ready(t, w, worldtest.Client, "TPA1"), ready(t, w, worldtest.Client, "TPA1")
	attach(t, w, a.ID, true)
	heard(t, w)
	power(t, w, vps.Cycle)
	booted(t, w, a, 1)
	detach(t, w)
	attach(t, w, b.ID, false)
	power(t, w, vps.Cycle)
	d.ResetGuest("1001")
	d.Lose()
	power(t, w, vps.Cycle)
	w.Quiet()
	if v := guest(t, w, "1001"); !v.CDFirst || v.ISOKey == "" {
		t.Errorf("the second ISO: %+v", v)
	}
	if n := w.Count(`SELECT count(*) FROM task WHERE kind IN ('iso.booted', 'iso.detach')`); n != 2 {
		t.Errorf("%d tasks", n)
	}
	w.Check()
}

// An eject that fails is asked for again.
func TestBootOnceEjectFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	i := ready(t, w, worldtest.Client, "TPA1")
	lookOften(w)
	attach(t, w, i.ID, true)
	heard(t, w)
	power(t, w, vps.Cycle)
	booted(t, w, i, 1)
	w.Drivers["TPA1"].On("SetMedia").Fail(deny, 1)
	w.Drivers["TPA1"].ResetGuest("1001")
	w.Until("the second eject", func() bool {
		return w.Count(`SELECT count(*) FROM task WHERE kind = 'iso.detach' AND state = 'done'`) == 1
	})
	if n := w.Count(`SELECT count(*) FROM task WHERE kind = 'iso.detach' AND reason = 'denied'`); n != 1 {
		t.Errorf("%d ejects have failed", n)
	}
	w.Quiet()
	w.Check()
}

// However often the server is killed on the way, the guest starts from the ISO
// once.
func TestKillDuringBootOnce(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Inspect", "SetMedia", "SetBoot"} {
		for _, after := range []bool{false, true} {
			t.Run(method+map[bool]string{false: " before", true: " after"}[after], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, worldtest.Options{})
				i := ready(t, w, worldtest.Client, "TPA1")
				var k task.Task
				w.KillAt("TPA1", method, after, func() { k = attachOnce(t, w, i.ID) })
				w.Succeeds(k)
				onceMore(t, w, i)
			})
		}
	}
	for n := 1; n <= 2; n++ {
		t.Run(map[int]string{1: "ahead of the note", 2: "ahead of the end"}[n], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldtest.Options{})
			i := ready(t, w, worldtest.Client, "TPA1")
			var k task.Task
			if !w.KillAtWrite(n, func() task.Task { k = attachOnce(t, w, i.ID); return k }) {
				t.Fatalf("the attach has fewer than %d writes", n)
			}
			w.Succeeds(k)
			onceMore(t, w, i)
		})
	}
}

func onceMore(t *testing.T, w *worldtest.World, i iso.ISO) {
	t.Helper()
	heard(t, w)
	power(t, w, vps.Cycle)
	booted(t, w, i, 1)
	power(t, w, vps.Cycle)
	ejected(t, w, i, 1)
}

// A guest that starts from the ISO while its attach is repeated has started from
// it, although the end of the attach comes later.
func TestBootOnceDuringAttach(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	d := w.Drivers["TPA1"]
	i := ready(t, w, worldtest.Client, "TPA1")
	var k task.Task
	d.On("SetBoot").After(func(fake.Call) error {
		d.StopGuest("1001")
		d.StartGuest("1001")
		return nil
	})
	w.KillAt("TPA1", "SetBoot", true, func() { k = attachOnce(t, w, i.ID) })
	w.Succeeds(k)
	heard(t, w)
	d.Lose() // an occasion to look
	booted(t, w, i, 1)
	power(t, w, vps.Cycle)
	ejected(t, w, i, 1)
}

func TestBootOnceUnsupported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	i := ready(t, w, worldtest.Client, "TPA1")
	w.Drivers["TPA1"].On("SetBoot").Fail(backend.ErrUnsupported, 0)
	w.Fails(attachOnce(t, w, i.ID), string(fault.Reason("not_supported")))
	if v := guest(t, w, "1001"); v.ISOKey != "" || v.CDFirst {
		t.Errorf("the guest afterwards: %+v", v)
	}
	w.Check()
}
