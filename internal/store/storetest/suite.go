// Package storetest holds every database engine behind the store to the same
// behaviour: one suite, run by each engine's own test.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// Database is one database of an engine, empty until the test writes to it.
type Database interface {
	// Open opens it and brings its schema up to date. Whoever opens closes.
	Open(t testing.TB, opt store.Options) *store.DB
	// Exec runs one statement on it, past the store.
	Exec(t testing.TB, statement string) error
}

// Run runs the suite. fresh makes a database that is gone after the test.
func Run(t *testing.T, fresh func(t testing.TB) Database) {
	cases := []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"Types", testTypes},
		{"Clients", testClients},
		{"Keys", testKeys},
		{"Quota", testQuota},
		{"Usage", testUsage},
		{"QuotaRace", testQuotaRace},
		{"Facilities", testFacilities},
		{"Devices", testDevices},
		{"DeviceChanges", testDeviceChanges},
		{"Adopt", testAdopt},
		{"Forget", testForget},
		{"Drive", testDrive},
		{"Events", testEvents},
		{"Prices", testPrices},
		{"Services", testServices},
		{"Ledger", testLedger},
		{"RenewDue", testRenewDue},
		{"Volumes", testVolumes},
		{"VolumeScopes", testVolumeScopes},
		{"Attachment", testAttachment},
		{"AttachmentRace", testAttachmentRace},
		{"ReadYourWrites", testReadYourWrites},
		{"ISOs", testISOs},
		{"Uploads", testUploads},
		{"Content", testContent},
		{"Findings", testFindings},
		{"Quarantine", testQuarantine},
		{"Rows", testRows},
		{"StuckTasks", testStuckTasks},

		{"Rollback", testRollback},
		{"Panic", testPanic},
		{"Concurrent", testConcurrent},
		{"Cancelled", testCancelled},
		{"View", testView},
		{"ReadWhileWriting", testReadWhileWriting},
		{"DecideWhileWriting", testDecideWhileWriting},
		{"Close", testClose},
		{"Reopen", testReopen},

		{"Claim", testClaim},
		{"ClaimResults", testClaimResults},
		{"ClaimRace", testClaimRace},
		{"Settle", testSettle},
		{"Retention", testRetention},

		{"TaskLife", testTaskLife},
		{"TaskLists", testTaskLists},
		{"TaskPending", testTaskPending},
		{"ClaimOrder", testClaimOrder},
		{"ClaimOnce", testClaimOnce},
		{"RunAt", testRunAt},
		{"Fencing", testFencing},
		{"Renew", testRenew},
		{"Reap", testReap},
		{"ReleaseNode", testReleaseNode},
		{"Ensure", testEnsure},
		{"Near", testNear},
		{"Nodes", testNodes},
		{"ClaimStorage", testClaimStorage},
		{"After", testAfter},
		{"AfterEnded", testAfterEnded},
		{"Wake", testWake},
		{"WakeNot", testWakeNot},
		{"Watch", testWatch},
		{"LaneModel", testLaneModel},
		{"LaneRace", testLaneRace},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newWorld(t, fresh(t)))
		})
	}
}

// world is an open database with two facilities, three clients and four
// devices in it, and a clock that the test moves.
type world struct {
	*store.DB
	data  Database
	clock *clock
}

// Who and what is in every world. Client 9 is below client 7.
const (
	tpa, lax         = "TPA1", "LAX3"
	dev1, dev2, dev3 = int64(1001), int64(1002), int64(1003) // of client 7; dev3 in LAX3
	other            = int64(2001)                           // of client 8, in TPA1
)

var everyone = access.Scope{All: true}

func only(clients ...int64) access.Scope { return access.Scope{Clients: clients} }

func newWorld(t *testing.T, data Database) *world {
	c := &clock{now: time.Date(2026, 11, 23, 12, 34, 56, 123_456_789, time.UTC)}
	w := &world{data: data, clock: c, DB: data.Open(t, store.Options{Now: c.Now})}
	t.Cleanup(func() {
		if err := w.DB.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	ctx := context.Background()
	for i, code := range []string{tpa, lax} {
		must(w.VPS().PutFacility(ctx, vps.Facility{Code: code, Title: "Site " + code, City: "City", State: "ST", Country: []string{"US", "DE"}[i]}))(t)
	}
	for _, cl := range []access.Client{{ID: 7, Name: "seven"}, {ID: 8, Name: "eight"}, {ID: 9, Name: "nine", ParentID: 7}} {
		cl.CreatedAt = c.Now()
		must(w.Access().AddClient(ctx, cl))(t)
	}
	for _, d := range []vps.Device{
		{ID: dev1, ClientID: 7, FacilityCode: tpa}, {ID: dev2, ClientID: 7, FacilityCode: tpa},
		{ID: dev3, ClientID: 7, FacilityCode: lax}, {ID: other, ClientID: 8, FacilityCode: tpa},
	} {
		w.addDevice(t, d)
	}
	return w
}

// addDevice adds a running device with its ROOT volume, named "root-ID".
func (w *world) addDevice(t testing.TB, d vps.Device) vps.Device {
	t.Helper()
	d.Status, d.VCPU, d.MemoryMB, d.MaxVolumes = vps.Running, 2, 4096, 8
	d.Hostname = fmt.Sprintf("host-%d", d.ID)
	root := fmt.Sprintf("root-%d", d.ID)
	err := w.VPS().Tx(context.Background(), func(tx vps.Tx) (err error) {
		if d, err = tx.AddDevice(context.Background(), d, root, 25*volume.GiB); err != nil {
			return err
		}
		return tx.ShowRoot(context.Background(), d.ID, root)
	})
	check(t, err)
	return d
}

// vol writes a detached data volume of client 7 in TPA1, changed by with.
func (w *world) vol(t testing.TB, id string, with ...func(*volume.Volume)) volume.Volume {
	t.Helper()
	v := volume.Volume{
		ID: id, ClientID: 7, FacilityCode: tpa, Type: volume.DataDisk, State: volume.Detached,
		Bytes: 50 * volume.GiB, ProductID: 1050, Monthly: 500, CreatedAt: w.clock.Now(),
	}
	for _, f := range with {
		f(&v)
	}
	w.tx(t, func(tx volume.Tx) error { return tx.PutVolume(t.Context(), v) })
	return v
}

func (w *world) tx(t testing.TB, fn func(volume.Tx) error) {
	t.Helper()
	check(t, w.Volumes().Tx(context.Background(), fn))
}

// look reads inside a view.
func look[T any](t testing.TB, w *world, fn func(volume.Tx) (T, error)) T {
	t.Helper()
	var out T
	check(t, w.Volumes().View(context.Background(), func(tx volume.Tx) (err error) {
		out, err = fn(tx)
		return err
	}))
	return out
}

// readVolume reads a volume in any state.
func (w *world) readVolume(t testing.TB, id string) volume.Volume {
	t.Helper()
	return look(t, w, func(tx volume.Tx) (volume.Volume, error) { return tx.Volume(context.Background(), id) })
}

// noVolume fails the test if there is a volume of that name in any state.
func (w *world) noVolume(t testing.TB, id string) {
	t.Helper()
	err := w.Volumes().View(context.Background(), func(tx volume.Tx) error {
		_, err := tx.Volume(context.Background(), id)
		return err
	})
	is(t, err, volume.ErrNotFound)
}

func (w *world) enqueue(t testing.TB, n task.New) task.Task {
	t.Helper()
	if n.Kind == "" {
		n.Kind = "test.work"
	}
	if n.Queue == "" {
		n.Queue = task.Quick
	}
	var out task.Task
	w.tx(t, func(tx volume.Tx) (err error) {
		out, err = tx.Enqueue(context.Background(), n)
		return err
	})
	return out
}

// claimOne claims the one task that is due for the owner.
func (w *world) claimOne(t testing.TB, owner string) (task.Task, task.Lease) {
	t.Helper()
	got := must(w.Tasks().Claim(context.Background(), task.Quick, owner, time.Minute, 1))(t)
	if len(got) != 1 {
		t.Fatalf("claimed %d tasks, want 1", len(got))
	}
	return got[0], leaseOf(got[0], owner)
}

func leaseOf(k task.Task, owner string) task.Lease {
	return task.Lease{TaskID: k.ID, Owner: owner, Attempt: k.Attempt}
}

func (w *world) task(t testing.TB, id string) task.Task {
	t.Helper()
	var got task.Task
	for _, k := range must(w.Tasks().List(context.Background(), everyone, task.Filter{Limit: 10000}))(t) {
		if k.ID == id {
			got = k
		}
	}
	if got.ID == "" {
		t.Fatalf("task %s is in no list", id)
	}
	return got
}

func service(v volume.Volume, at time.Time) billing.Service {
	s, _ := billing.Open(billing.Opening{
		ClientID: v.ClientID, VolumeID: v.ID, At: at,
		Price: billing.Price{FacilityCode: v.FacilityCode, SizeGiB: v.SizeGiB(), Monthly: v.Monthly, ProductID: v.ProductID},
	})
	return s
}

// clock is time as the database sees it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the present moment.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

var errBoom = errors.New("boom")

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func same[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}
