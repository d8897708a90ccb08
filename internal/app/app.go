// Package app wires the server: configuration in, running server out. Tests
// start the same one.
package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/adopt"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/config"
	"github.com/drivebay/drivebay/internal/fetch"
	"github.com/drivebay/drivebay/internal/httpapi"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/node"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// Options are what a program around the server may bring along. All are
// optional.
type Options struct {
	Log     *slog.Logger
	Version string
	// Now is the clock of the rules: creation times, billing, expiry. Leases
	// and timeouts always use the system's.
	Now func() time.Time
	// Drivers wraps how facilities find their storage and guests.
	Drivers func(*Drivers)
	// Lease is how long a silent node keeps its tasks, the same on all nodes of
	// an installation; 0: node.Lease. Only tests have a reason to set it: what
	// the database may keep a node waiting for is cut to fit the default.
	Lease time.Duration
}

// Server is a running server.
type Server struct {
	cfg     config.Config
	log     *slog.Logger
	db      *store.DB
	drivers *Drivers
	engine  *task.Engine
	metrics *httpapi.Metrics

	Access    *access.Service
	VPS       *vps.Service
	Adopt     *adopt.Service
	Volumes   *volume.Service
	ISOs      *iso.Service
	Ledger    *billing.Ledger
	Reconcile *reconcile.Service
	Tasks     task.Lister

	boot       string
	nodes      context.CancelFunc
	left       <-chan struct{} // the list of nodes
	unlock     func() error
	listener   net.Listener
	http       *http.Server
	admin      *http.Server // metrics and profiles; nil when off
	adminAddr  string
	stopEngine context.CancelFunc
	drained    <-chan struct{}
	deaf       <-chan struct{} // closed once guests are heard of no more
	stopping   chan struct{}   // closed when Close begins
	stopSweep  func()          // of the folder of uploads; nil: it is not swept
	failed     chan error
}

// Start opens everything, takes up interrupted tasks and serves. On return the
// server answers requests; ctx bounds only the start. Close it with Close.
func Start(ctx context.Context, cfg config.Config, opt Options) (_ *Server, err error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	opt.Lease = cmp.Or(opt.Lease, node.Lease)
	s := &Server{
		cfg: cfg, boot: newID(), log: opt.Log, failed: make(chan error, 2), stopping: make(chan struct{}), metrics: httpapi.NewMetrics(opt.Version),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	if s.unlock, err = lockFolder(cfg.DataDir); err != nil {
		return nil, err
	}
	if err := s.openStore(ctx, opt); err != nil {
		return nil, err
	}
	s.drivers = &Drivers{dir: filepath.Join(cfg.DataDir, "facilities"), open: s.openDriver, only: cfg.Facilities}
	if opt.Drivers != nil {
		opt.Drivers(s.drivers)
	}
	s.wire(opt)
	if s.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := s.join(ctx, opt); err != nil {
		return nil, err
	}
	if err := s.openUploads(ctx); err != nil {
		return nil, err
	}
	if cfg.Role != config.RoleAPI {
		if err := s.startEngine(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	if err := s.serve(opt); err != nil {
		return nil, err
	}
	// Whoever waits for demo.json finds a server that answers.
	if cfg.Demo {
		err = s.writeDemo(ctx)
	}
	return s, err
}

func (s *Server) openStore(ctx context.Context, opt Options) (err error) {
	s.db, err = store.Open(ctx, s.cfg.DatabaseAddress(), store.Options{Log: s.log, Now: opt.Now, Observe: s.metrics.ObserveDB})
	return err
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// houseWorkers is how much of the server's own work runs at once: a run of the
// reconciler that waits must not hold up the rest.
const houseWorkers = 4

// wire makes the services of all domains and the engine that runs their tasks.
func (s *Server) wire(opt Options) {
	s.engine = task.NewEngine(s.db.Tasks().In(s.cfg.Facilities...), task.Config{
		Node: s.cfg.NodeName(), Boot: s.boot, Log: s.log, Lease: opt.Lease,
		Workers:    map[task.Queue]int{task.Quick: s.cfg.TaskWorkers, task.Imports: s.cfg.ImportWorkers, task.Housework: houseWorkers},
		Facilities: s.facilities,
		Observe:    func(k task.Kind, result string, took time.Duration) { s.metrics.ObserveTask(string(k), result, took) },
	})
	now := opt.Now
	if now == nil {
		now = time.Now
	}
	s.Access = access.NewService(s.db.Access(), s.log, now)
	s.VPS = &vps.Service{Store: s.db.VPS(), Drivers: s.drivers, Now: now, NewID: newID}
	s.Adopt = &adopt.Service{Store: s.db.Adoptions(), Drivers: s.drivers, Now: now, NewID: newID}
	s.Volumes = &volume.Service{Store: s.db.Volumes(), Drivers: s.drivers, Now: now, NewID: newID}
	s.Ledger = &billing.Ledger{Store: s.db.Billing(), Now: now}
	s.Tasks = s.db.Tasks()
	s.ISOs = &iso.Service{
		Store: s.db.ISOs(), Drivers: s.drivers, Now: now, NewID: newID,
		Fetcher:   fetch.New(fetch.Options{Allow: s.cfg.FetchAllow, MaxBytes: s.cfg.FetchMaxBytes, UserAgent: "drivebay/" + opt.Version}),
		Staging:   filepath.Join(s.cfg.DataDir, "imports"),
		Uploads:   s.uploads(),
		CancelRun: s.engine.CancelRun,
		Imported:  s.metrics.ObserveImport,
	}
	s.Reconcile = &reconcile.Service{
		Store: s.db.Findings(), Drivers: s.drivers, Now: now, Log: s.log, Every: s.cfg.ReconcileEvery,
		Grace: s.cfg.ReconcileGrace, Repair: s.cfg.ReconcileRepair, Retention: s.cfg.QuarantineRetention,
	}
	s.VPS.Register(s.engine)
	s.Volumes.Register(s.engine)
	s.ISOs.Register(s.engine)
	s.Reconcile.Register(s.engine)
	s.engine.Register(kindRenew, task.Policy{Every: time.Minute}, renewal{s.Ledger, s.Access})
	s.engine.Register(kindForget, task.Policy{Every: 10 * time.Minute}, forgetting{s.db.Idempotency()})
}

// facilities are those this server runs tasks of.
func (s *Server) facilities(ctx context.Context) ([]string, error) {
	if len(s.cfg.Facilities) > 0 {
		return s.cfg.Facilities, nil
	}
	all, err := s.VPS.Facilities(ctx)
	codes := make([]string, len(all))
	for i, f := range all {
		codes[i] = f.Code
	}
	return codes, err
}

// join puts this server on the list of nodes. Its name is its own, since a
// task leased to the name counts as this server's.
func (s *Server) join(ctx context.Context, opt Options) error {
	instance, err := instanceID(filepath.Join(s.cfg.DataDir, "node.id"))
	if err != nil {
		return fmt.Errorf("read the data folder's id: %w", err)
	}
	self := node.Node{
		Name: s.cfg.NodeName(), Instance: instance, Boot: s.boot, Role: node.Role(s.cfg.Role), Facilities: s.cfg.Facilities, Version: opt.Version,
	}
	if s.cfg.Role != config.RoleWorker {
		self.URL = s.URL()
	}
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.nodes = stop
	s.left, err = (&node.Registry{Store: s.db.Nodes(), Self: self, Lease: opt.Lease, Log: s.log}).Start(beating)
	return err
}

func (s *Server) startEngine(ctx context.Context) error {
	unfinished, err := s.db.ISOs().Unfinished(ctx)
	if err != nil {
		return fmt.Errorf("read unfinished imports: %w", err)
	}
	if err := s.ISOs.CleanStaging(unfinished); err != nil {
		return err
	}
	engineCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stopEngine = stop
	if s.drained, err = s.engine.Start(engineCtx); err != nil {
		return err
	}
	deaf := make(chan struct{})
	s.deaf = deaf
	go func() {
		defer close(deaf)
		var hearing sync.WaitGroup
		hearing.Go(func() { s.ISOs.Listen(engineCtx, s.facilities, s.log) })
		for _, code := range s.cfg.LibvirtFacilities() {
			if len(s.cfg.Facilities) == 0 || slices.Contains(s.cfg.Facilities, code) {
				hearing.Go(func() { s.VPS.Follow(engineCtx, code, s.log) })
			}
		}
		hearing.Wait()
	}()
	return nil
}

// prepare makes what a first start needs: the facilities that have hosts, and
// the demo's world or an operator's key.
func (s *Server) prepare(ctx context.Context) error {
	if err := s.hostFacilities(ctx); err != nil {
		return err
	}
	if s.cfg.Demo {
		return s.seedDemo(ctx)
	}
	return s.firstKey(ctx)
}

func (s *Server) serve(opt Options) error {
	make := httpapi.New
	if s.cfg.Role == config.RoleWorker {
		make = httpapi.NewProbes
	}
	h, err := make(httpapi.Deps{
		Volumes: s.Volumes, ISOs: s.ISOs, VPS: s.VPS, Tasks: s.Tasks, Ledger: s.Ledger, Access: s.Access, Nodes: s.db.Nodes(),
		Idempotency: s.db.Idempotency(), Reconcile: s.Reconcile, Adopt: s.Adopt,
		Ready: s.db.Ping, Log: s.log, Metrics: s.metrics, Now: opt.Now, Version: opt.Version,
		RateLimit: s.cfg.RateLimit, RateLimitAnonymous: s.cfg.RateLimitAnonymous, SizeUnit: string(s.cfg.VolumeSizeUnit),
		Stopping: s.stopping,
	})
	if err != nil {
		return fmt.Errorf("make handler: %w", err)
	}
	s.http = newHTTPServer(h, s.log)
	l := s.listener
	if s.cfg.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(s.cfg.TLSCert, s.cfg.TLSKey)
		if err != nil {
			return fmt.Errorf("read TLS certificate: %w", err)
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	}
	go func() { s.report(s.http.Serve(l)) }()
	return s.serveMetrics()
}

// newHTTPServer bounds every phase of a connection.
func newHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func (s *Server) report(err error) {
	if !errors.Is(err, http.ErrServerClosed) {
		s.failed <- err
	}
}

// URL is where the API answers, without a path.
func (s *Server) URL() string {
	scheme := "http"
	if s.cfg.TLSCert != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return scheme + "://" + s.listener.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// Close stops taking requests, lets those under way end, gives running tasks
// back to be taken up later, and closes everything. ctx bounds the wait.
func (s *Server) Close(ctx context.Context) error {
	var errs []error
	close(s.stopping) // calls that wait would be waited for
	for _, h := range []*http.Server{s.http, s.admin} {
		if h == nil {
			continue
		}
		if err := h.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop serving: %w", err), h.Close())
		}
	}
	if s.http == nil && s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	if s.stopEngine != nil {
		s.stopEngine()
	}
	if s.drained != nil {
		select {
		case <-s.drained:
		case <-ctx.Done():
			errs = append(errs, errors.New("tasks did not stop in time; they go on at the next start"))
		}
	}
	if s.deaf != nil {
		<-s.deaf
	}
	if s.stopSweep != nil {
		s.stopSweep()
	}
	if s.left != nil {
		s.nodes()
		<-s.left
	}
	if s.Access != nil {
		s.Access.FlushUsed(context.WithoutCancel(ctx))
	}
	if s.drivers != nil {
		errs = append(errs, s.drivers.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
	}
	return errors.Join(errs...)
}

// gcPercent lets garbage grow to twice what lives, unless the environment says
// otherwise. What lives is a few MiB, so this costs as little, and collecting
// half as often gives a twentieth of the processor back under load.
const gcPercent = 200

// Run serves until ctx ends, then drains. What a person needs to begin goes to
// stdout, the log to stderr.
func Run(ctx context.Context, cfg config.Config, version string, stdout io.Writer) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log := newLog(cfg, os.Stderr)
	s, err := Start(ctx, cfg, Options{Log: log, Version: version})
	if err != nil {
		return err
	}
	log.Info("ready", "url", s.URL(), "version", version, "data", cfg.DataDir)
	if err := s.greet(stdout); err != nil {
		log.Warn("write greeting", "error", err)
	}
	tell := func(state string) {
		if err := notify(state); err != nil {
			log.Warn("service manager", "error", err)
		}
	}
	tell(stateReady)
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case err = <-s.failed:
		log.Error("serving ended", "error", err)
	}
	tell(stateStopping)
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.DrainTimeout)
	defer cancel()
	err = errors.Join(err, s.Close(closeCtx))
	log.Info("stopped")
	return err
}

func newLog(cfg config.Config, w io.Writer) *slog.Logger {
	opt := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}
