package chaos

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/app"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/config"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/pgtest"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// facilities are the codes of the two facilities, each with a host of its own.
var facilities = []string{"LAX3", "TPA1"}

// tenant is one client with its key, its devices and, in each facility where it
// has one, an ISO that is ready.
type tenant struct {
	id      int64
	key     string
	devices []device
	isos    map[string]string // id by facility
}

type device struct {
	id       int64
	facility string
	most     int // volumes
}

// plans are the inhabitants: four clients with two devices each, which are in
// one facility or in both, and one whose device takes as many volumes as any.
func plans() []*tenant {
	place := func(id int64, facility string) device { return device{id, facility, 5} }
	return []*tenant{
		{id: 1, devices: []device{place(101, "TPA1"), place(102, "TPA1")}},
		{id: 2, devices: []device{place(201, "LAX3"), place(202, "LAX3")}},
		{id: 3, devices: []device{place(301, "TPA1"), place(302, "LAX3")}},
		{id: 4, devices: []device{place(401, "LAX3"), place(402, "LAX3")}},
		{id: 5, devices: []device{{501, "TPA1", fakeOptions.MaxVolumes}}},
	}
}

// world is the state every seed begins with: a database to copy, and what the
// hosts hold then.
type world struct {
	database string // the name of the template
	tenants  []*tenant
	guests   []guest
	image    []byte // of every ISO
	key      string // its SHA-256
}

type guest struct {
	facility, ref, root string
	device, bytes       int64
}

var made struct {
	once  sync.Once
	world *world
	err   error
}

// theWorld makes the template once.
func theWorld(t testing.TB) *world {
	t.Helper()
	pg := needPostgres(t)
	made.once.Do(func() { made.world, made.err = makeWorld(pg) })
	if made.err != nil {
		t.Fatalf("make the world: %v", made.err)
	}
	return made.world
}

func makeWorld(pg *pgtest.Server) (_ *world, err error) {
	dir, err := os.MkdirTemp("", "chaos-world")
	if err != nil {
		return nil, err
	}
	image := worldtest.Image("CHAOS", true)
	sum := sha256.Sum256(image)
	w := &world{database: "chaos_template", tenants: plans(), image: image, key: hex.EncodeToString(sum[:])}
	defer os.RemoveAll(dir)
	if err := execute(pg.Address("postgres"), "CREATE DATABASE "+w.database); err != nil {
		return nil, err
	}
	origin := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.ServeContent(rw, r, "chaos.iso", time.Time{}, bytes.NewReader(image))
	}))
	defer origin.Close()
	cfg := config.Default()
	cfg.Listen, cfg.DataDir, cfg.Database, cfg.Node = "127.0.0.1:0", dir, pg.Address(w.database), "template"
	cfg.FetchAllow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := app.Start(ctx, cfg, app.Options{
		Log: slog.New(slog.DiscardHandler), Version: "chaos",
		Drivers: func(d *app.Drivers) {
			d.Use(func(string) (backend.Driver, error) { return fake.New(fakeOptions), nil })
		},
	})
	if err != nil {
		return nil, err
	}
	err = w.people(ctx, s, origin.URL+"/chaos.iso")
	if cerr := s.Close(ctx); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	return w, w.read(ctx, pg.Address(w.database))
}

// people makes the inhabitants and waits until all is there.
func (w *world) people(ctx context.Context, s *app.Server, url string) error {
	for _, code := range facilities {
		if _, err := s.VPS.PutFacility(ctx, vps.Facility{Code: code, Title: code, City: "Tampa", State: "FL", Country: "US"}); err != nil {
			return err
		}
	}
	for _, t := range w.tenants {
		c, err := s.Access.CreateClient(ctx, fmt.Sprintf("client %d", t.id), 0)
		if err != nil {
			return err
		}
		t.id, t.isos = c.ID, map[string]string{}
		if _, t.key, err = s.Access.CreateKey(ctx, access.NewKey{ClientID: t.id, Name: "chaos", Permissions: access.Everything}); err != nil {
			return err
		}
		for _, d := range t.devices {
			if _, err := s.VPS.CreateDevice(ctx, vps.NewDevice{ID: d.id, ClientID: t.id, FacilityCode: d.facility, Hostname: "chaos", MaxVolumes: &d.most}); err != nil {
				return err
			}
			if t.isos[d.facility] != "" {
				continue
			}
			i, err := s.ISOs.Create(ctx, t.id, iso.Create{FacilityCode: d.facility, Name: "chaos", URL: url, Bootable: true})
			if err != nil {
				return err
			}
			t.isos[d.facility] = i.ID
		}
	}
	for {
		left, err := s.Tasks.Count(ctx)
		if err != nil {
			return err
		}
		n := 0
		for _, c := range left {
			if c.Queue != "housework" {
				n += c.Tasks
			}
		}
		if n == 0 {
			return nil
		}
		if !pass(ctx, 5*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// read finds out what the hosts have to hold.
func (w *world) read(ctx context.Context, address string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT d.facility_code, d.ref, v.id, d.id, v.bytes FROM device d
		JOIN volume v ON v.device_id = d.id WHERE v.type = 'ROOT' AND v.state = 'attached'`)
	if err != nil {
		return err
	}
	w.guests, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (g guest, err error) {
		return g, r.Scan(&g.facility, &g.ref, &g.root, &g.device, &g.bytes)
	})
	if want := 9; err == nil && len(w.guests) != want {
		err = fmt.Errorf("%d devices are running, want %d", len(w.guests), want)
	}
	return err
}

// fill gives the hosts what the database says is there.
func (w *world) fill(h *host, dir string) error {
	ctx, path := context.Background(), filepath.Join(dir, "chaos.iso")
	if err := os.WriteFile(path, w.image, 0o600); err != nil {
		return err
	}
	for _, g := range w.guests {
		d := h.drivers[g.facility]
		for _, err := range []error{
			d.EnsureVM(ctx, backend.VM{Ref: g.ref}), d.EnsureVolume(ctx, backend.VolumeSpec{ID: g.root, Bytes: g.bytes}),
			d.EnsureAttached(ctx, g.ref, g.root), d.ImportISO(ctx, backend.ISOSpec{Key: w.key, Bytes: int64(len(w.image))}, path),
		} {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// execute runs one statement.
func execute(address, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
