package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/store"
	tasks "github.com/drivebay/drivebay/internal/task"
	volumes "github.com/drivebay/drivebay/internal/volume"
)

// The simulated provider: what docs/guide/scale.md speaks of.
const (
	simFacilities = 10
	simClients    = 1000
	simDevices    = 100_000
	simPerDevice  = 10   // volumes
	simBusy       = 2000 // devices that are worked on while it is measured
	simNodes      = 2
	simCallers    = 16
)

// simulation is a provider of that size: the database is real, hosts are fakes.
type simulation struct {
	b       *bench
	pool    *pgxpool.Pool
	devices int
	drivers simDrivers
	nodes   []*simNode
}

type simDrivers map[string]*fake.Driver

// Driver is in backend.Provider.
func (d simDrivers) Driver(code string) (backend.Driver, error) {
	if f := d[code]; f != nil {
		return f, nil
	}
	return nil, backend.ErrUnavailable
}

type simNode struct {
	db      *store.DB
	volumes *volumes.Service
	ledger  *billing.Ledger
	stop    func() error
}

// scale fills a PostgreSQL database as a large provider's is, and measures what
// customers and the house do in it, beside the same in a small one.
func (b *bench) scale() ([]row, error) {
	large := simDevices
	if b.short {
		large /= 10
	}
	var got [2]*figuresAt
	for i, devices := range []int{simBusy, large} {
		var err error
		if got[i], err = b.simulate(devices); err != nil {
			return nil, err
		}
	}
	small, big := got[0], got[1]
	at := fmt.Sprintf(" among %d volumes, against among %d", large*simPerDevice, simBusy*simPerDevice)
	line := func(what, unit string, pick func(*figuresAt) float64) row {
		return row{
			figure: what + at, ours: fmt.Sprintf("%.2f %s", pick(big), unit), baseline: fmt.Sprintf("%.2f %s", pick(small), unit),
			ratio: fmt.Sprintf("%.2f", pick(big)/pick(small)), met: true,
		}
	}
	return []row{
		line("creates, resizes and deletes accepted and done, 2 nodes", "/s", func(f *figuresAt) float64 { return f.rate }),
		line("accepting one, median", "ms", func(f *figuresAt) float64 { return f.accept }),
		line("list of a device, median", "ms", func(f *figuresAt) float64 { return f.list }),
		line("services renewed", "/s", func(f *figuresAt) float64 { return f.renew }),
		line("the database on disk", "MB", func(f *figuresAt) float64 { return f.megabytes }),
	}, nil
}

// figuresAt is what is measured at one size.
type figuresAt struct{ rate, accept, list, renew, megabytes float64 }

func (b *bench) simulate(devices int) (_ *figuresAt, err error) {
	pg, address, err := b.postgres()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pg.Remove()) }()
	s := &simulation{b: b, devices: devices, drivers: simDrivers{}}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(address); err != nil {
		return nil, err
	}
	out := &figuresAt{}
	if err := s.work(out); err != nil {
		return nil, err
	}
	if err := s.read(out); err != nil {
		return nil, err
	}
	if err := s.renew(out); err != nil {
		return nil, err
	}
	var bytes int64
	err = s.pool.QueryRow(b.ctx, `SELECT pg_database_size(current_database())`).Scan(&bytes)
	out.megabytes = float64(bytes) / 1e6
	return out, err
}

// open makes the schema and the rows, and starts the nodes.
func (s *simulation) open(address string) (err error) {
	ctx := s.b.ctx
	db, err := store.Open(ctx, address, store.Options{})
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	if s.pool, err = pgxpool.New(ctx, address); err != nil {
		return err
	}
	for _, statement := range simRows {
		if _, err := s.pool.Exec(ctx, statement, simArgs(statement, s.devices)...); err != nil {
			return fmt.Errorf("fill the database: %w", err)
		}
	}
	for f := range simFacilities {
		s.drivers[simFacility(f)] = fake.New(fake.Options{MaxVolumes: 1000})
	}
	for d := range simBusy {
		id := simDevice(d)
		if err := s.drivers[simFacility(d%simFacilities)].EnsureVM(ctx, backend.VM{Ref: fmt.Sprint(id)}); err != nil {
			return err
		}
	}
	for i := range simNodes {
		n, err := s.node(address, fmt.Sprint("node", i))
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, n)
	}
	return nil
}

func simFacility(n int) string { return fmt.Sprintf("F%d", n) }
func simDevice(n int) int64    { return int64(10_000 + n) }

// simRows fill the database: facilities, prices, clients, devices, volumes,
// services and charges. $1 is the number of devices where a
// statement has it.
var simRows = []string{
	`INSERT INTO facility (code, title, city, state, country) SELECT 'F' || i, 'F' || i, 'City', '', 'US' FROM generate_series(0, 9) i`,
	`INSERT INTO price (facility_code, size_gib, monthly_cents, product_id) SELECT code, s, s * 10, s FROM facility, unnest(ARRAY[50, 100, 200, 500]) s`,
	`INSERT INTO client (id, name, created_at) SELECT i, 'c' || i, 0 FROM generate_series(1, 1000) i`,
	`INSERT INTO device (id, client_id, facility_code, hostname, status, vcpu, memory_mb, max_volumes, ref, created_at)
		SELECT 10000 + i, i % 1000 + 1, 'F' || i % 10, 'h' || i, 'RUNNING', 2, 4096, 1000, (10000 + i)::text, 0 FROM generate_series(0, $1::int - 1) i`,
	`INSERT INTO volume (id, client_id, facility_code, type, state, bytes, product_id, monthly_cents, generation, created_at, device_id)
		SELECT md5(d.id || '/' || v), d.client_id, d.facility_code, 'DATADISK', 'attached', 53687091200, 50, 500, 1, 0, d.id FROM device d, generate_series(1, 10) v`,
	`INSERT INTO service (client_id, volume_id, facility_code, device_id, size_gib, product_id, monthly_cents, status, started_at, period_start, period_end, periods)
		SELECT v.client_id, v.id, v.facility_code, v.device_id, 50, 50, 500, 'active', 0, 0, 9000000000000000, 1 FROM volume v`,
	`INSERT INTO charge (service_id, client_id, volume_id, kind, amount_cents, from_at, to_at, at, task_id, text)
		SELECT id, client_id, volume_id, 'create', 500, 0, 1, 0, '', '' FROM service`,
	`ANALYZE`,
}

func simArgs(statement string, devices int) []any {
	if slices.Contains([]byte(statement), '$') {
		return []any{devices}
	}
	return nil
}

func (s *simulation) node(address, name string) (*simNode, error) {
	db, err := store.Open(s.b.ctx, address, store.Options{})
	if err != nil {
		return nil, err
	}
	n := &simNode{
		db:      db,
		volumes: &volumes.Service{Store: db.Volumes(), Drivers: s.drivers, Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }},
		ledger:  &billing.Ledger{Store: db.Billing(), Now: time.Now},
	}
	e := tasks.NewEngine(db.Tasks(), tasks.Config{Node: name, Boot: "bench", Workers: map[tasks.Queue]int{tasks.Quick: 16}})
	n.volumes.Register(e)
	ctx, cancel := context.WithCancel(s.b.ctx)
	drained, err := e.Start(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(err, db.Close())
	}
	n.stop = func() error { cancel(); <-drained; return db.Close() }
	return n, nil
}

func (s *simulation) close() error {
	var errs []error
	for _, n := range s.nodes {
		errs = append(errs, n.stop())
	}
	if s.pool != nil {
		s.pool.Close()
	}
	return errors.Join(errs...)
}

// work lets callers make, grow and delete volumes of busy devices.
func (s *simulation) work(out *figuresAt) error {
	each := 20 * s.b.rounds
	var mu sync.Mutex
	var took []float64
	errs := make([]error, simCallers)
	start := time.Now()
	var all sync.WaitGroup
	for c := range simCallers {
		all.Go(func() {
			r, n := rand.New(rand.NewPCG(1, uint64(c))), s.nodes[c%simNodes]
			for range each {
				began := time.Now()
				if errs[c] = s.one(n, r); errs[c] != nil {
					return
				}
				mu.Lock()
				took = append(took, float64(time.Since(began).Microseconds())/3000)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for left := 1; left > 0; {
		if err := s.pool.QueryRow(s.b.ctx, `SELECT count(*) FROM task WHERE client_id IS NOT NULL AND state IN ('waiting', 'ready', 'running')`).Scan(&left); err != nil {
			return err
		}
	}
	var failed int
	if err := s.pool.QueryRow(s.b.ctx, `SELECT count(*) FROM task WHERE state = 'failed'`).Scan(&failed); err != nil || failed > 0 {
		return errors.Join(err, fmt.Errorf("%d tasks failed", failed))
	}
	out.rate, out.accept = float64(3*simCallers*each)/time.Since(start).Seconds(), median(took)
	return nil
}

// one asks for a volume, for more of it, and for its end.
func (s *simulation) one(n *simNode, r *rand.Rand) error {
	device := simDevice(r.IntN(min(simBusy, s.devices)))
	everyone := access.Scope{All: true}
	t, err := n.volumes.Create(s.b.ctx, everyone, device, 50)
	if err != nil {
		return err
	}
	if _, err := n.volumes.Resize(s.b.ctx, everyone, t.VolumeID, 100, &device); err != nil {
		return err
	}
	_, err = n.volumes.Delete(s.b.ctx, everyone, t.VolumeID, &device)
	return err
}

// read lists the volumes of devices, one after the other.
func (s *simulation) read(out *figuresAt) error {
	r := rand.New(rand.NewPCG(2, 0))
	var took []float64
	for range 200 * s.b.rounds {
		device := simDevice(r.IntN(s.devices))
		start := time.Now()
		list, err := s.nodes[0].volumes.List(s.b.ctx, access.Scope{All: true}, volumes.Filter{DeviceID: &device})
		if err != nil || len(list) != simPerDevice {
			return errors.Join(err, fmt.Errorf("device %d has %d volumes", device, len(list)))
		}
		took = append(took, float64(time.Since(start).Microseconds())/1000)
	}
	out.list = median(took)
	return nil
}

// renew lets the months of some services end.
func (s *simulation) renew(out *figuresAt) error {
	now := time.Now().UTC()
	tag, err := s.pool.Exec(s.b.ctx, `UPDATE service SET started_at = $1, period_start = $1, period_end = $2 WHERE id IN
		(SELECT id FROM service WHERE status = 'active' ORDER BY id LIMIT 5000)`, now.AddDate(0, -1, 0).UnixMicro(), now.UnixMicro())
	if err != nil {
		return err
	}
	start := time.Now()
	n, err := s.nodes[0].ledger.RenewAll(s.b.ctx)
	if err != nil || int64(n) != tag.RowsAffected() {
		return errors.Join(err, fmt.Errorf("%d services were renewed of %d", n, tag.RowsAffected()))
	}
	out.renew = float64(n) / time.Since(start).Seconds()
	return nil
}
