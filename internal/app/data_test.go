package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/config"
	"github.com/drivebay/drivebay/internal/pgtest"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
	"github.com/drivebay/drivebay/internal/volume"
)

var client7 = access.Scope{Clients: []int64{7}}

// house is an installation that is started and stopped.
type house struct {
	t     *testing.T
	cfg   config.Config
	ahead atomic.Int64 // of the system's clock, a time.Duration
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, cfg: config.Default()}
	h.cfg.DataDir, h.cfg.Listen, h.cfg.Demo = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", true
	return h
}

func (h *house) start() *Server {
	h.t.Helper()
	s, err := Start(h.t.Context(), h.cfg, Options{Now: func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }})
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *house) stop(s *Server) {
	h.t.Helper()
	if err := s.Close(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) demo() (d Demo) {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.cfg.DataDir, "demo.json"))
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

// ended waits until the task has succeeded.
func (h *house) ended(s *Server, id string) {
	h.t.Helper()
	testneed.Eventually(h.t, "the end of a task", func() bool {
		k, err := s.Tasks.Get(h.t.Context(), client7, id)
		if err != nil || k.State == task.Failed {
			h.t.Fatalf("%+v, %v", k, err)
		}
		return k.State == task.Done
	})
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestMoveToPostgres exports a demo whose server has accepted more than it has
// done, and goes on with it on PostgreSQL, in the third month.
func TestMoveToPostgres(t *testing.T) {
	pgtest.Need(t)
	ctx, h := t.Context(), newHouse(t)
	s := h.start()
	made := must(s.Volumes.Create(ctx, client7, 1001, 50))(t)
	h.ended(s, made.ID)
	h.stop(s)

	h.cfg.Demo, h.cfg.Role = false, config.RoleAPI // accepts, and runs nothing
	s = h.start()
	second := must(s.Volumes.Create(ctx, client7, 1001, 100))(t)
	third := must(s.Volumes.Create(ctx, client7, 1001, 200))(t)
	file := filepath.Join(t.TempDir(), "moved.jsonl.gz")
	rows := must(Export(ctx, h.cfg, file, nil))(t)
	if info := must(os.Stat(file))(t); info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v", info.Mode())
	}
	if _, err := Import(ctx, h.cfg, file, nil); err == nil || !strings.Contains(err.Error(), "in use by another drivebay") {
		t.Errorf("an import beside a running server: %v", err)
	}
	h.stop(s)
	if _, err := Import(ctx, h.cfg, file, nil); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("an import over what is there: %v", err)
	}

	h.cfg.Database, h.cfg.Role = pgtest.New(t), config.RoleAll
	if n, err := Import(ctx, h.cfg, file, nil); err != nil || n != rows {
		t.Fatalf("imported %d of %d rows, %v", n, rows, err)
	}
	h.ahead.Store(int64(75 * 24 * time.Hour)) // two anniversaries, whatever the months
	s = h.start()
	defer h.stop(s)
	h.ended(s, second.ID)
	h.ended(s, third.ID)
	for _, key := range []string{h.demo().APIKey, h.demo().AdminKey, h.demo().Other.APIKey} {
		if _, err := s.Access.Authenticate(ctx, key, netip.IPv6Loopback()); err != nil {
			t.Errorf("a key of before: %v", err)
		}
	}
	if list := must(s.Volumes.List(ctx, client7, volume.Filter{DeviceID: new(int64(1001))}))(t); len(list) != 4 {
		t.Errorf("%d volumes, want ROOT and three", len(list))
	}
	testneed.Eventually(h.t, "the months of the first volume", func() bool {
		months := 0
		for _, c := range must(s.db.Billing().Charges(ctx, billing.ChargeFilter{ClientID: new(int64(7)), Limit: 100}))(t) {
			if c.Kind == billing.ChargeRenew {
				months++
			}
		}
		return months == 2
	})
	if _, err := os.Stat(filepath.Join(h.cfg.DataDir, "admin.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a first key although there are operators: %v", err)
	}
}

// TestExportFile holds that a file is replaced as a whole or not at all.
func TestExportFile(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "x.jsonl.gz")
	if err := os.WriteFile(file, []byte("the one before"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(ctx, h.cfg, file, nil); err == nil || string(must(os.ReadFile(file))(t)) != "the one before" {
		t.Errorf("without a database: %v", err)
	}
	if have, want, err := Schema(ctx, h.cfg); have != 0 || want == 0 || err != nil {
		t.Errorf("schema %d of %d, %v", have, want, err)
	}
	if _, err := os.Stat(h.cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looking made a folder: %v", err)
	}
	if from, err := Migrate(ctx, h.cfg); from != 0 || err != nil {
		t.Errorf("from %d, %v", from, err)
	}
	if have, want, err := Schema(ctx, h.cfg); have != want || err != nil {
		t.Errorf("schema %d of %d, %v", have, want, err)
	}
	must(Export(ctx, h.cfg, file, nil))(t)
	if info := must(os.Stat(file))(t); info.Mode().Perm() != 0o600 {
		t.Errorf("the file that was replaced has mode %v", info.Mode())
	}
	var b bytes.Buffer
	must(Export(ctx, h.cfg, "-", &b))(t)
	other := h.cfg
	other.DataDir = filepath.Join(dir, "other")
	must(Import(ctx, other, "-", &b))(t)
	if _, err := Export(ctx, h.cfg, dir, nil); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("into a folder: %v", err)
	}
	gone, stop := context.WithCancel(ctx)
	stop()
	if _, err := Export(gone, h.cfg, file, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if left := must(filepath.Glob(filepath.Join(dir, ".x*")))(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
