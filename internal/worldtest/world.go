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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	_ "modernc.org/sqlite" // the checks read the database as it is

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/adopt"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
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

// Lab is the code of the facility of Options.Hosts.
const Lab = "LAB1"

// Start is where the clock of a world begins: the 31st, before a leap February.
var Start = time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC)

// Patience bounds every wait of a world.
const Patience = testneed.Patience

// MaxUpload is the longest image that may be uploaded, to TPA1 only.
const MaxUpload = 1 << 30

// Options change a world from the start. Zero values are good ones.
type Options struct {
	// ImportDeadline is that of imports; 0: their own.
	ImportDeadline time.Duration
	// UploadIdle is how long an upload may get no byte; 0: its own.
	UploadIdle time.Duration
	// Bare leaves out the devices.
	Bare bool
	// Hosts adds the facility Lab, whose guests are made elsewhere: by AddGuest of
	// its driver.
	Hosts bool
	// Imports is how many imports run at once; 0: 4.
	Imports int
}

// World is one installation.
type World struct {
	t    TB
	opt  Options
	path string // of the database
	raw  *sql.DB
	dump string // the statement of Dump

	advances atomic.Int64

	Staging string
	Uploads string // the folder of uploads

	DB      *store.DB
	Clock   *Clock
	Drivers Drivers
	Source  *Source
	Volumes *volume.Service
	ISOs    *iso.Service
	VPS     *vps.Service
	Adopt   *adopt.Service
	Ledger  *billing.Ledger
	Tasks   task.Lister
	// Reconcile looks only when it is told to.
	Reconcile *reconcile.Service

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever a run has ended
	engine  *task.Engine  // nil: stopped
	boot    string
	dying   chan struct{}
	graves  *graves
	stop    context.CancelFunc
	drained <-chan struct{}
	deaf    <-chan struct{} // closed once guests are heard of no more
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
	if opt.Hosts {
		w.hosts()
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
		t: t, opt: opt, path: filepath.Join(dir, "test.db"), Staging: filepath.Join(dir, "imports"), Uploads: filepath.Join(dir, "uploads"),
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
	const undo = 600 * time.Millisecond // passes where an undo is blocked, and nowhere else
	w.VPS = &vps.Service{Store: mortalVPS{w.DB.VPS(), w.graves}, Drivers: w.Drivers, Now: w.Clock.Now, NewID: NewID, Undo: undo}
	w.Volumes = &volume.Service{
		Store: mortalVolumes{w.DB.Volumes(), w.graves}, Drivers: w.Drivers, Now: w.Clock.Now, NewID: NewID, Undo: undo,
	}
	w.ISOs = &iso.Service{
		Store: mortalISOs{w.DB.ISOs(), w.graves, func() { w.advances.Add(1) }}, Drivers: w.Drivers, Fetcher: w.Source, Staging: w.Staging, Now: w.Clock.Now, NewID: NewID,
		ImportDeadline: w.opt.ImportDeadline, Undo: undo,
		Uploads: &iso.Uploads{
			Folder: w.Uploads, ID: "here", MaxBytes: MaxUpload, Server: node + "/boot", Idle: w.opt.UploadIdle,
			Takes: func(code string) bool { return code != "LAX3" },
		},
		CancelRun: func(id string) {
			if e := w.running(); e != nil {
				e.CancelRun(id)
			}
		},
	}
	w.Reconcile = &reconcile.Service{Store: mortalFindings{w.DB.Findings(), w.graves}, Drivers: w.Drivers, Now: w.Clock.Now, Retention: 7 * 24 * time.Hour}
	w.Adopt = &adopt.Service{Store: w.DB.Adoptions(), Drivers: w.Drivers, Now: w.Clock.Now, NewID: NewID}
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

// hosts makes the facility whose guests are made elsewhere.
func (w *World) hosts() {
	w.t.Helper()
	adopted := func(ctx context.Context) (map[string]string, error) { return w.DB.Volumes().Adopted(ctx, Lab) }
	w.Drivers[Lab] = fake.New(fake.Options{DetachTimeout: 20 * time.Millisecond, Elsewhere: true, Adopted: adopted})
	if _, err := w.VPS.PutFacility(context.Background(), vps.Facility{Code: Lab, Title: Lab, City: "Tampa", State: "FL", Country: "US"}); err != nil {
		w.t.Fatalf("make facility: %v", err)
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
	w.rows(`SELECT d.facility_code, d.ref, v.id, v.bytes FROM device d JOIN volume v ON v.device_id = d.id`,
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

// Database is the address of the world's database.
func (w *World) Database() string { return "sqlite:" + w.path }

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

// Dump is every row of the database as text.
func (w *World) Dump() []string {
	w.t.Helper()
	if w.dump == "" { // one statement for all tables, which stay the same
		var all []string
		for _, table := range w.column(`SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`) {
			row := w.column(`SELECT group_concat('quote(' || name || ')', ' || '','' || ') FROM pragma_table_info(?)`, table)[0]
			all = append(all, fmt.Sprintf(`SELECT '%s: ' || %s FROM %s`, table, row, table))
		}
		w.dump = strings.Join(all, " UNION ALL ")
	}
	return w.column(w.dump)
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

// On lists the volumes on a device, for tests that know nothing of volumes.
func (w *World) On(scope access.Scope, device int64) ([]volume.Volume, error) {
	return w.Volumes.List(context.Background(), scope, volume.Filter{DeviceID: &device})
}
