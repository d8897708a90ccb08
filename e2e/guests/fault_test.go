package guests

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/libvirttest"
	"github.com/drivebay/drivebay/internal/testneed"
)

// faultTime is how long each kind of kill goes on, however many rounds are asked
// for; the round that is under way is finished.
const faultTime = 40 * time.Second

// TestLibvirtdKilled kills libvirtd at random moments of everything a tenant
// asks for.
func TestLibvirtdKilled(t *testing.T) {
	f := newFaults(t)
	f.rounds(func() {
		f.d.Kill(t)
		f.d.Restart(t)
	})
}

// TestServerKilled kills the server likewise.
func TestServerKilled(t *testing.T) {
	f := newFaults(t)
	f.rounds(func() {
		f.kill()
		f.start()
	})
}

// faults is a site with one guest, whose daemon may be killed.
type faults struct {
	*site
	t      testing.TB
	g      *libvirttest.Guest
	device int64
	iso    string
	kills  int
	hits   int // kills while a task was under way
}

func newFaults(t *testing.T) *faults {
	t.Helper()
	need(t)
	d := libvirttest.Start(t)
	f := &faults{t: t, g: d.NewGuest(t, libvirttest.GuestOptions{Root: libvirttest.BootDisk(t, "from-disk")})}
	f.site = newSite(t, d, d.NewPool(t, ""), d.NewPool(t, ""))
	f.device = f.site.device(f.g)
	f.iso = f.readyISO(libvirttest.BootISO(t, "DISC", "from-cd"), true).ISOID
	f.g.WaitSerial("started from-disk")
	return f
}

// rounds takes volumes and the ISO through their lives, with a kill in each
// step.
func (f *faults) rounds(kill func()) {
	f.t.Helper()
	begun, round := time.Now(), 0
	for ; round < testneed.Rounds(3, 100) && time.Since(begun) < faultTime; round++ {
		id := metaOf(f.t, f.step("create", kill, func() api.Task { return f.create(f.device, 50) })).VolumeID
		f.step("resize", kill, func() api.Task { return f.resize(id, f.device, 100) })
		f.step("insert", kill, func() api.Task { return f.insert(f.device, f.iso, false) })
		f.step("detach", kill, func() api.Task { return f.detach(f.device, id) })
		f.step("attach", kill, func() api.Task { return f.attach(f.device, id) })
		f.step("eject", kill, func() api.Task { return f.eject(f.device, true) })
		f.step("delete", kill, func() api.Task { return f.remove(id, f.device) })
		f.healthy()
		if f.t.Failed() {
			f.t.Fatalf("round %d left something wrong behind", round)
		}
	}
	f.t.Logf("%d rounds in %v: %d kills, %d of them while the task was under way", round, time.Since(begun).Round(time.Second), f.kills, f.hits)
	if f.hits == 0 {
		f.t.Error("no kill ever hit a task")
	}
}

// step has a task accepted, kills at a random moment of it, and wants it to
// succeed all the same: neither kill is a reason to fail.
func (f *faults) step(what string, kill func(), ask func() api.Task) api.Task {
	f.t.Helper()
	task := ask()
	delay := rand.N(30 * time.Millisecond)
	moment := time.NewTimer(delay)
	defer moment.Stop()
	<-moment.C
	killed := time.Now()
	kill()
	if task = f.ended(task); task.Result != api.TaskResultSuccess {
		f.t.Errorf("%s, with a kill after %v, ended as %+v", what, delay, task)
	}
	f.kills++
	if task.TaskUpdated.After(killed) {
		f.hits++
	}
	f.agree(f.g, f.device)
	return task
}
