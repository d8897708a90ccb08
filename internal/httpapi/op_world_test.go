package httpapi_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/adopt"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fetch"
	"github.com/drivebay/drivebay/internal/httpapi"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/node"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/store/storetest"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// noon is the time in the world. It stands still, so that answers can be
// compared, and lies ahead of the machine's clock, which the engine's deadlines
// go by.
var noon = time.Date(2099, 1, 31, 12, 0, 0, 0, time.UTC)

// world is a whole server on a real database, with the engine running and
// fakes in place of storage. Clients: 7 with devices 1001 and 1002 in TPA1 and
// 1003 in LAX3, its child 9 with 3001, and 8, a stranger, with 2001. Device
// 1002 takes one volume.
type world struct {
	t       *testing.T
	db      *store.DB
	deps    httpapi.Deps
	drivers drivers
	images  *httptest.Server // where ISOs come from
	server  *httptest.Server
	keys    keys
	ahead   atomic.Int64 // how far the clock has been moved
}

// keys are the tokens: of an operator with every permission, of clients 7 and 8
// with all a client can have, and of client 7 for reading only.
type keys struct{ operator, client, stranger, reader string }

type drivers map[string]*fake.Driver

// Driver is in backend.Provider.
func (d drivers) Driver(facilityCode string) (backend.Driver, error) {
	if f := d[facilityCode]; f != nil {
		return f, nil
	}
	return nil, backend.ErrUnavailable
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, drivers: drivers{"TPA1": fake.New(fake.Options{}), "LAX3": fake.New(fake.Options{})}}
	w.images = httptest.NewServer(http.HandlerFunc(serveImages))
	t.Cleanup(w.images.Close)
	now := func() time.Time { return noon.Add(time.Duration(w.ahead.Load())) }
	var err error
	w.db, err = store.Open(t.Context(), storetest.File(t), store.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.db.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	newID := func() string { return uuid.Must(uuid.NewV7()).String() }
	w.deps = httpapi.Deps{
		Volumes: &volume.Service{Store: w.db.Volumes(), Drivers: w.drivers, Now: now, NewID: newID},
		ISOs: &iso.Service{
			Store: w.db.ISOs(), Drivers: w.drivers, Now: now, NewID: newID, Staging: filepath.Join(t.TempDir(), "imports"),
			Uploads: &iso.Uploads{Folder: t.TempDir(), ID: "here", MaxBytes: 1 << 30, Server: "test/1", Takes: func(code string) bool { return code != "LAX3" }},
			Fetcher: fetch.New(fetch.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Retries: -1}),
		},
		VPS:       &vps.Service{Store: w.db.VPS(), Drivers: w.drivers, Now: now, NewID: newID},
		Adopt:     &adopt.Service{Store: w.db.Adoptions(), Drivers: w.drivers, Now: now, NewID: newID},
		Reconcile: &reconcile.Service{Store: w.db.Findings(), Drivers: w.drivers, Now: now, Retention: 24 * time.Hour},
		Tasks:     w.db.Tasks(),
		Ledger:    &billing.Ledger{Store: w.db.Billing(), Now: now},
		Access:    access.NewService(w.db.Access(), noLog, now),
		Nodes:     w.db.Nodes(), Idempotency: w.db.Idempotency(),
		Log: noLog, Now: now, Version: "test",
	}
	if err := w.db.Nodes().Join(t.Context(), node.Node{Name: "test", Boot: "1", Role: node.All, URL: "http://127.0.0.1:8080", Version: "test"}, node.Lease); err != nil {
		t.Fatal(err)
	}
	w.startEngine()
	w.seed()
	w.server = w.serve(func(*httpapi.Deps) {})
	return w
}

// lab makes the facility LAB1, whose guests are made elsewhere, with two of
// them: web has a disk of a size on sale and one of another, odd none at all.
func (w *world) lab() {
	w.t.Helper()
	adopted := func(ctx context.Context) (map[string]string, error) { return w.db.Volumes().Adopted(ctx, "LAB1") }
	d := fake.New(fake.Options{Elsewhere: true, Adopted: adopted})
	w.drivers["LAB1"] = d
	_, err := w.deps.VPS.PutFacility(w.t.Context(), vps.Facility{Code: "LAB1", Title: "Lab 1", City: "Tampa", State: "FL", Country: "US"})
	w.must(err)
	d.AddGuest(backend.Guest{
		Ref: "6a1d3f0e-0000-4000-8000-000000000001", Name: "web", Host: "h1", Running: true, VCPU: 4, MemoryMB: 8192,
		Disks: []backend.GuestDisk{
			{Source: "/images/web.qcow2", Format: "qcow2", Target: "vda", Bytes: 20 << 30}, {Source: "/images/data.raw", Format: "raw", Target: "sda", Bytes: 100 << 30},
			{Source: "fast/odd", Format: "raw", Target: "sdb", Bytes: 7 << 30}, {Source: "/images/shared.raw", Target: "sdc", Bytes: 50 << 30, Shared: true},
		},
	})
	d.AddGuest(backend.Guest{Ref: "6a1d3f0e-0000-4000-8000-000000000002", Name: "odd", Host: "h2"})
}

// startEngine runs tasks until the test ends. Of the server's own periodic work
// there is only the sweep, which finds nothing.
func (w *world) startEngine() {
	e := task.NewEngine(w.db.Tasks(), task.Config{
		Node: "test", Boot: "1", Poll: 20 * time.Millisecond, Workers: map[task.Queue]int{task.Quick: 4, task.Imports: 2, task.Housework: 2},
	})
	w.deps.Volumes.Register(e)
	w.deps.ISOs.Register(e)
	w.deps.VPS.Register(e)
	w.deps.Reconcile.Register(e)
	w.deps.ISOs.CancelRun = e.CancelRun
	ctx, stop := context.WithCancel(context.Background())
	drained, err := e.Start(ctx)
	if err != nil {
		stop()
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { stop(); <-drained })
}

func (w *world) seed() {
	w.t.Helper()
	ctx := w.t.Context()
	for _, f := range []vps.Facility{
		{Code: "TPA1", Title: "Tampa 1", City: "Tampa", State: "FL", Country: "US"},
		{Code: "LAX3", Title: "Los Angeles 3", City: "Los Angeles", State: "CA", Country: "US"},
	} {
		_, err := w.deps.VPS.PutFacility(ctx, f)
		w.must(err)
	}
	for _, c := range []access.Client{{ID: 7, Name: "Harbour"}, {ID: 8, Name: "Stranger"}, {ID: 9, Name: "Harbour East", ParentID: 7}} {
		c.CreatedAt = noon
		_, err := w.db.Access().AddClient(ctx, c)
		w.must(err)
	}
	for _, d := range []vps.NewDevice{
		{ID: 1001, ClientID: 7, FacilityCode: "TPA1", Hostname: "bay-1001"}, {ID: 1002, ClientID: 7, FacilityCode: "TPA1", MaxVolumes: new(1)},
		{ID: 1003, ClientID: 7, FacilityCode: "LAX3"}, {ID: 2001, ClientID: 8, FacilityCode: "TPA1"}, {ID: 3001, ClientID: 9, FacilityCode: "TPA1"},
	} {
		t, err := w.deps.VPS.CreateDevice(ctx, d)
		w.must(err)
		w.ended(t.ID)
	}
	everything := append([]access.Permission{access.Admin}, access.Everything...)
	w.keys.operator = w.key(0, "operator", everything...)
	w.keys.client = w.key(7, "client", access.Everything...)
	w.keys.stranger = w.key(8, "stranger", access.Everything...)
	w.keys.reader = w.key(7, "reader", access.Read)
}

func (w *world) key(clientID int64, name string, may ...access.Permission) string {
	w.t.Helper()
	_, token, err := w.deps.Access.CreateKey(w.t.Context(), access.NewKey{ClientID: clientID, Name: name, Permissions: may})
	w.must(err)
	return token
}

// serve starts another server on the same world, changed by change.
func (w *world) serve(change func(*httpapi.Deps)) *httptest.Server {
	w.t.Helper()
	d := w.deps
	change(&d)
	h, err := httpapi.New(d)
	w.must(err)
	s := httptest.NewServer(h)
	w.t.Cleanup(s.Close)
	return s
}

// keysGone makes every look at the keys fail with err, as when the database is
// away.
func keysGone(w *world, err error) func(*httpapi.Deps) {
	return func(d *httpapi.Deps) {
		d.Access = access.NewService(brokenKeys{w.db.Access(), err}, noLog, d.Now)
	}
}

type brokenKeys struct {
	access.Store
	err error
}

// KeyByPrefix is in access.Store.
func (b brokenKeys) KeyByPrefix(context.Context, string) (access.Key, error) {
	return access.Key{}, b.err
}

// awaitTime is far more than any task of a test takes.
const awaitTime = testneed.Patience

// ended waits until the task has ended, well or badly, and returns it.
func (w *world) ended(id string) task.Task {
	w.t.Helper()
	return await(w, "task "+id+" to end", func(ctx context.Context) (task.Task, bool, error) {
		t, err := w.deps.Tasks.Get(ctx, access.Scope{All: true}, id)
		return t, t.State.Ended(), err
	})
}

// await asks again and again until look is content.
func await[T any](w *world, what string, look func(context.Context) (T, bool, error)) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), awaitTime)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		v, ok, err := look(ctx)
		if err != nil {
			w.t.Fatalf("wait for %s: %v", what, err)
		}
		if ok {
			return v
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s takes more than %v", what, awaitTime)
		case <-tick.C:
		}
	}
}

// root is the ROOT volume of a device.
func (g *golden) root(deviceID int64) string {
	g.t.Helper()
	list, err := g.deps.Volumes.List(g.t.Context(), access.Scope{All: true}, volume.Filter{DeviceID: &deviceID})
	g.must(err)
	for _, v := range list {
		if v.Type == volume.Root {
			return v.ID
		}
	}
	g.t.Fatalf("device %d has no ROOT volume", deviceID)
	return ""
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// answer is what a server said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request to a path below the API's base.
func (w *world) ask(s *httptest.Server, key, method, path, body string, header ...string) answer {
	w.t.Helper()
	var send io.Reader
	if body != "" {
		send = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, s.URL+"/api/v2"+path, send)
	w.must(err)
	if key != "" {
		r.Header.Set("X-API-KEY", key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client().Do(r)
	w.must(err)
	b, err := io.ReadAll(resp.Body)
	w.must(errors.Join(err, resp.Body.Close()))
	return answer{status: resp.StatusCode, header: resp.Header, body: b}
}

// serveImages has one good image, a page that is none, and nothing else.
func serveImages(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/demo.iso":
		http.ServeContent(w, r, "demo.iso", time.Time{}, bytes.NewReader(image()))
	case "/page.iso":
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html><title>Please sign in</title></html>")
	default:
		http.NotFound(w, r)
	}
}

// image is the smallest ISO 9660 image: a primary descriptor, the end of the
// descriptors, and an empty root directory.
func image() []byte {
	const sector, sectors = 2048, 20
	b := make([]byte, sector*sectors)
	both := func(at []byte, n uint32) {
		binary.LittleEndian.PutUint32(at, n)
		binary.BigEndian.PutUint32(at[4:], n)
	}
	self := make([]byte, 34) // the record that names a directory itself
	self[0], self[25], self[32] = 34, 2, 1
	both(self[2:], 18)
	both(self[10:], sector)

	p := b[16*sector:]
	copy(p, "\x01CD001\x01")
	copy(p[40:72], "DRIVEBAY DEMO                   ")
	both(p[80:], sectors)
	binary.LittleEndian.PutUint16(p[128:], sector)
	binary.BigEndian.PutUint16(p[130:], sector)
	copy(p[156:], self)
	p[881] = 1
	copy(b[17*sector:], "\xffCD001\x01")
	copy(b[18*sector:], self)
	return b
}
