// Package worldtest gives tests of the domains a whole world without a network:
// the real database in a folder of its own, fake backends, a source of images,
// a running task engine that can be killed, and a clock that only tests move.
package worldtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	_ "modernc.org/sqlite" // the checks read the database as it is

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// TB is what a world needs of a test; *testing.T and *rapid.T have it.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// The inhabitants of every world. Client 7 has devices 1001 and 1002 in TPA1
// and 1003 in LAX3, client 8 has 2001 in TPA1. Client 9 is a child of 7 and
// has 3001 in TPA1. Each device takes MaxVolumes data volumes.
const (
	Client, Other, Child = int64(7), int64(8), int64(9)
	MaxVolumes           = 4
)

var maxVolumes = MaxVolumes

// Devices are the devices of every world, by id.
var Devices = []vps.NewDevice{
	{ID: 1001, ClientID: Client, FacilityCode: "TPA1", Hostname: "a", MaxVolumes: new(MaxVolumes)},
	{ID: 1002, ClientID: Client, FacilityCode: "TPA1", Hostname: "b", MaxVolumes: new(MaxVolumes)},
	{ID: 1003, ClientID: Client, FacilityCode: "LAX3", Hostname: "c", MaxVolumes: new(MaxVolumes)},
	{ID: 2001, ClientID: Other, FacilityCode: "TPA1", Hostname: "d", MaxVolumes: new(MaxVolumes)},
	{ID: 3001, ClientID: Child, FacilityCode: "TPA1", Hostname: "e", MaxVolumes: new(MaxVolumes)},
}

// Facilities are the codes of the facilities, each with a backend of its own.
var Facilities = []string{"LAX3", "TPA1"}

// Start is where the clock of a world begins: the 31st, before a leap February.
var Start = time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC)

// Patience bounds every wait of a world.
const Patience = 30 * time.Second

// Options change a world from the start. Zero values are good ones.
type Options struct {
	// Deadline is that of quick tasks; 0: their own.
	Deadline time.Duration
	// ImportDeadline is that of imports; 0: their own.
	ImportDeadline time.Duration
	// Bare leaves out the devices.
	Bare bool
	// Imports is how many imports run at once; 0: 4.
	Imports int
}

// World is one installation.
type World struct {
	t    TB
	opt  Options
	path string // of the database
	raw  *sql.DB

	advances atomic.Int64

	Staging string

	DB      *store.DB
	Clock   *Clock
	Drivers Drivers
	Source  *Source
	Volumes *volume.Service
	ISOs    *iso.Service
	VPS     *vps.Service
	Ledger  *billing.Ledger
	Tasks   task.Lister

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever a run has ended
	engine  *task.Engine  // nil: stopped
	boot    string
	dying   chan struct{}
	graves  *graves
	stop    context.CancelFunc
	drained <-chan struct{}
}

// template is the database of a world with its inhabitants, made once.
var template = sync.OnceValues(func() (db []byte, err error) {
	t := &failure{}
	defer func() {
		if r := recover(); r == t {
			err = t.err
		} else if r != nil {
			panic(r)
		}
	}()
	defer t.clean()
	w := open(t, Options{}, nil)
	w.seed()
	w.Stop()
	if err := w.DB.Close(); err != nil {
		return nil, err
	}
	w.Exec(`VACUUM INTO ?`, w.path+".copy") // all of it in one file
	return os.ReadFile(w.path + ".copy")
})

// New makes a world and starts its engine. It ends with the test.
func New(t TB, opt Options) *World {
	t.Helper()
	var db []byte
	if !opt.Bare {
		var err error
		if db, err = template(); err != nil {
			t.Fatalf("make inhabitants: %v", err)
		}
	}
	w := open(t, opt, db)
	t.Cleanup(func() {
		w.Stop()
		if err := w.DB.Close(); err != nil {
			t.Errorf("close world: %v", err)
		}
	})
	if opt.Bare {
		w.places()
	} else {
		w.guests()
	}
	w.Start()
	return w
}

// open opens a world on a copy of the database, empty if there is none.
func open(t TB, opt Options, db []byte) *World {
	t.Helper()
	dir, err := os.MkdirTemp("", "world")
	if err != nil {
		t.Fatalf("make folder: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove world: %v", err)
		}
	})
	w := &World{
		t: t, opt: opt, path: filepath.Join(dir, "test.db"), Staging: filepath.Join(dir, "imports"),
		Clock: &Clock{now: Start}, Source: NewSource(), Drivers: Drivers{}, changed: make(chan struct{}), graves: &graves{},
	}
	if db != nil {
		if err := os.WriteFile(w.path, db, 0o600); err != nil {
			t.Fatalf("copy database: %v", err)
		}
	}
	for _, code := range Facilities {
		w.Drivers[code] = fake.New(fake.Options{DetachTimeout: 20 * time.Millisecond})
	}
	if w.DB, err = store.Open(context.Background(), w.path, store.Options{}); err != nil {
		t.Fatalf("open store: %v", err)
	}
	if w.raw, err = sql.Open("sqlite", "file:"+w.path+"?_pragma=query_only(1)"); err != nil {
		t.Fatalf("open database: %v", err)
	}
	t.Cleanup(func() {
		if err := w.raw.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	w.wire()
	return w
}

// failure is a TB outside of any test.
type failure struct {
	err      error
	cleanups []func()
}

// Helper is in TB.
func (f *failure) Helper() {}

// Errorf is in TB.
func (f *failure) Errorf(format string, args ...any) { f.err = fmt.Errorf(format, args...) }

// Fatalf is in TB.
func (f *failure) Fatalf(format string, args ...any) { f.Errorf(format, args...); panic(f) }

// Cleanup is in TB.
func (f *failure) Cleanup(fn func()) { f.cleanups = append(f.cleanups, fn) }

func (f *failure) clean() {
	for _, fn := range slices.Backward(f.cleanups) {
		fn()
	}
}

// node is the name all engines of a world share.
const node = "one"

// NewID returns a fresh id.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

func (w *World) wire() {
	const undo = 150 * time.Millisecond
	w.VPS = &vps.Service{Store: mortalVPS{w.DB.VPS(), w.graves}, Drivers: w.Drivers, Now: w.Clock.Now, NewID: NewID}
	w.Volumes = &volume.Service{
		Store: mortalVolumes{w.DB.Volumes(), w.graves}, Drivers: w.Drivers, Now: w.Clock.Now, NewID: NewID, Deadline: w.opt.Deadline, Undo: undo,
	}
	w.ISOs = &iso.Service{
		Store: mortalISOs{w.DB.ISOs(), w.graves, func() { w.advances.Add(1) }}, Drivers: w.Drivers, Fetcher: w.Source, Staging: w.Staging, Now: w.Clock.Now, NewID: NewID,
		Deadline: w.opt.Deadline, ImportDeadline: w.opt.ImportDeadline, Undo: undo,
		CancelRun: func(id string) {
			if e := w.running(); e != nil {
				e.CancelRun(id)
			}
		},
	}
	w.Ledger = &billing.Ledger{Store: w.DB.Billing(), Now: w.Clock.Now}
	w.Tasks = w.DB.Tasks()
}

// places makes facilities and clients.
func (w *World) places() {
	w.t.Helper()
	ctx := context.Background()
	for _, code := range Facilities {
		if _, err := w.VPS.PutFacility(ctx, vps.Facility{Code: code, Title: code, City: "Tampa", State: "FL", Country: "US"}); err != nil {
			w.t.Fatalf("make facility: %v", err)
		}
	}
	for _, c := range []access.Client{{ID: Client, Name: "a"}, {ID: Other, Name: "b"}, {ID: Child, Name: "c", ParentID: Client}} {
		if _, err := w.DB.Access().AddClient(ctx, c); err != nil {
			w.t.Fatalf("make client: %v", err)
		}
	}
}

// seed makes all inhabitants, devices too.
func (w *World) seed() {
	w.t.Helper()
	w.places()
	w.Start()
	var all []task.Task
	for _, d := range Devices {
		t, err := w.VPS.CreateDevice(context.Background(), d)
		if err != nil {
			w.t.Fatalf("make device %d: %v", d.ID, err)
		}
		all = append(all, t)
	}
	for _, t := range all {
		w.Succeeds(t)
	}
}

// guests makes on the backends what the database says is there.
func (w *World) guests() {
	w.t.Helper()
	ctx := context.Background()
	w.rows(`SELECT d.facility_code, d.ref, v.id, v.bytes FROM device d JOIN attachment a ON a.device_id = d.id JOIN volume v ON v.id = a.volume_id`,
		nil, func(scan func(...any)) {
			var code, ref, id string
			var bytes int64
			scan(&code, &ref, &id, &bytes)
			d := w.Drivers[code]
			err := errors.Join(d.EnsureVM(ctx, backend.VM{Ref: ref}), d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: bytes}), d.EnsureAttached(ctx, ref, id))
			if err != nil {
				w.t.Fatalf("make guest %s: %v", ref, err)
			}
		})
}

// Start runs the engine, as a server does that has just been started.
func (w *World) Start() {
	w.t.Helper()
	boot := NewID()
	imports := w.opt.Imports
	if imports == 0 {
		imports = 4
	}
	e := task.NewEngine(mortal{w.DB.Tasks(), w.graves}, task.Config{
		Node: node, Boot: boot, Poll: 5 * time.Millisecond,
		Workers: map[task.Queue]int{task.Quick: 4, task.Imports: imports, task.Housework: 1},
		Observe: func(task.Kind, string, time.Duration) { w.wake() },
	})
	w.VPS.Register(e)
	w.Volumes.Register(e)
	w.ISOs.Register(e)
	ctx, stop := context.WithCancel(context.Background())
	drained, err := e.Start(ctx)
	if err != nil {
		stop()
		w.t.Fatalf("start engine: %v", err)
	}
	w.mu.Lock()
	w.engine, w.boot, w.stop, w.drained, w.dying = e, boot, stop, drained, make(chan struct{})
	w.mu.Unlock()
}

func (w *World) running() *task.Engine {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.engine
}

func (w *World) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// Stop drains the engine: what runs is given back.
func (w *World) Stop() { w.end(false) }

// Kill ends the engine as a crash does: nothing it would still have written
// gets into the database, and its leases stay.
func (w *World) Kill() { w.end(true) }

func (w *World) end(crash bool) {
	w.mu.Lock()
	stop, drained := w.stop, w.drained
	if stop == nil {
		w.mu.Unlock()
		return
	}
	w.engine, w.stop = nil, nil
	if crash {
		w.graves.bury(node + "/" + w.boot)
		for _, d := range w.Drivers {
			_ = d.Close() // a fake's Close cannot fail
		}
	}
	close(w.dying)
	w.mu.Unlock()
	stop()
	<-drained
	for _, d := range w.Drivers {
		d.Reopen()
	}
}

// KillAtWrite kills the engine ahead of the n-th write (from 1) of the task
// that do asks for, and starts another one. It reports false, without a kill,
// if the task ended with fewer writes.
func (w *World) KillAtWrite(n int, do func() task.Task) bool {
	w.t.Helper()
	reached := w.graves.plan(n, w.Dying)
	id := do().ID
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if t, err := w.Tasks.Get(context.Background(), access.Scope{All: true}, id); err != nil || t.State.Ended() {
			w.graves.plan(0, nil)
			return false
		}
		select {
		case <-reached:
			w.Kill()
			w.Start()
			return true
		case <-changed:
		case <-limit.C:
			w.t.Fatalf("the task neither ended nor wrote %d times", n)
		}
	}
}

// Dying is closed when the engine now running is about to be stopped or
// killed. A hook that waits for it ends a task's run at that point.
func (w *World) Dying() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dying
}

// Advances is how often an import's progress has been written.
func (w *World) Advances() int { return int(w.advances.Load()) }

// KillAt kills the engine ahead of the next call of a method of the facility's
// driver, or once the call has had its effect, and starts another one. do
// makes the call happen.
func (w *World) KillAt(facility, method string, after bool, do func()) {
	w.t.Helper()
	driver := w.Drivers[facility]
	reached := make(chan struct{}, 64)
	hook := func(fake.Call) error {
		dying := w.Dying()
		reached <- struct{}{}
		<-dying
		return nil
	}
	if after {
		driver.On(method).After(hook)
	} else {
		driver.On(method).Before(hook)
	}
	do()
	select {
	case <-reached:
	case <-time.After(Patience):
		w.t.Fatalf("%s was never called", method)
	}
	w.Kill()
	driver.Reset()
	w.Start()
}

// Restart is Kill and Start.
func (w *World) Restart() {
	w.t.Helper()
	w.Kill()
	w.Start()
}

// Ended waits until the task has ended and returns it.
func (w *World) Ended(id string) task.Task {
	w.t.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		t, err := w.Tasks.Get(context.Background(), access.Scope{All: true}, id)
		if err != nil {
			w.t.Fatalf("read task: %v", err)
		}
		if t.State.Ended() {
			return t
		}
		select {
		case <-changed:
		case <-limit.C:
			w.t.Fatalf("%s has not ended: %+v", t.Kind, t)
		}
	}
}

// Until waits until what is true, looking whenever a run has ended.
func (w *World) Until(what string, ok func() bool) {
	w.t.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Succeeds waits until the task has ended well.
func (w *World) Succeeds(t task.Task) task.Task {
	w.t.Helper()
	t = w.Ended(t.ID)
	if t.State != task.Done {
		w.t.Fatalf("%s failed: %s: %s", t.Kind, t.Reason, t.Error)
	}
	return t
}

// Fails waits until the task has ended, for the reason.
func (w *World) Fails(t task.Task, reason string) task.Task {
	w.t.Helper()
	t = w.Ended(t.ID)
	if t.State != task.Failed || string(t.Reason) != reason || t.Error == "" {
		w.t.Fatalf("%s ended %s, reason %q (%s), want failed, %s", t.Kind, t.State, t.Reason, t.Error, reason)
	}
	return t
}

// Quiet waits until no task of a client is unfinished.
func (w *World) Quiet() {
	w.t.Helper()
	for _, id := range w.column(`SELECT id FROM task WHERE client_id IS NOT NULL AND state IN ('waiting', 'ready', 'running') ORDER BY seq`) {
		w.Ended(id)
	}
}

// column reads the first column of a query, as text.
func (w *World) column(query string, args ...any) (out []string) {
	w.t.Helper()
	w.rows(query, args, func(scan func(...any)) {
		var s string
		scan(&s)
		out = append(out, s)
	})
	return out
}

// rows reads a query, with one call of each for every row.
func (w *World) rows(query string, args []any, each func(scan func(...any))) {
	w.t.Helper()
	rows, err := w.raw.Query(query, args...)
	if err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		each(func(dest ...any) {
			if err := rows.Scan(dest...); err != nil {
				w.t.Fatalf("%s: %v", query, err)
			}
		})
	}
	if err := rows.Err(); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
}

// Exec changes the database behind everybody's back.
func (w *World) Exec(query string, args ...any) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.path+"?_pragma=busy_timeout(10000)")
	if err == nil {
		_, err = db.Exec(query, args...)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
}

// Count is the number a query answers.
func (w *World) Count(query string, args ...any) (n int) {
	w.t.Helper()
	w.rows(query, args, func(scan func(...any)) { scan(&n) })
	return n
}

// Drivers are the fakes, by facility.
type Drivers map[string]*fake.Driver

// Driver is in backend.Provider.
func (d Drivers) Driver(code string) (backend.Driver, error) {
	if f := d[code]; f != nil {
		return f, nil
	}
	return nil, backend.ErrUnavailable.Because(fmt.Errorf("no driver for %s", code))
}

// Clock is a clock that stands until a test moves it.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the present moment.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
