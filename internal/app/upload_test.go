package app

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/drivebay/drivebay/internal/config"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/pgtest"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// TestUploadOnSeveralServers uploads by way of a server that runs no tasks: into
// a folder that both see, and into one that the other does not see.
func TestUploadOnSeveralServers(t *testing.T) {
	pgtest.Need(t)
	ctx, h, image := t.Context(), newHouse(t), worldtest.Image("DISC", true)
	h.cfg.Database, h.cfg.Node, h.cfg.UploadDir = pgtest.New(t), "worker", filepath.Join(t.TempDir(), "shared")
	worker := h.start()
	defer func() { h.stop(worker) }()
	front := newHouse(t)
	front.cfg.Database, front.cfg.Node, front.cfg.Role, front.cfg.Demo = h.cfg.Database, "front", config.RoleAPI, false
	front.cfg.UploadDir = h.cfg.UploadDir
	api := front.start()

	req := iso.Create{FacilityCode: "TPA1", Name: "disc", UploadBytes: int64(len(image)), Bootable: true}
	send := func(s *Server, i iso.ISO, from, to int) error {
		_, err := s.ISOs.Upload(ctx, client7, i.ID, int64(from), int64(to-from), bytes.NewReader(image[from:to]))
		return err
	}
	half, whole := len(image)/2, len(image)
	i := must(api.ISOs.Create(ctx, 7, req))(t)
	if err := errors.Join(send(api, i, 0, half), send(worker, i, half, whole-1), send(api, i, whole-1, whole)); err != nil {
		t.Fatal(err)
	}
	h.ended(worker, i.TaskID)

	front.stop(api)
	front.cfg.UploadDir = ""
	api = front.start()
	defer func() { front.stop(api) }()
	if _, err := api.ISOs.Create(ctx, 7, req); !errors.Is(err, iso.ErrNoUploads) {
		t.Errorf("a server that imports nothing and shares no folder: %v", err)
	}
	i = must(worker.ISOs.Create(ctx, 7, req))(t)
	if err := send(worker, i, 0, half); err != nil {
		t.Fatal(err)
	}
	if err := send(api, i, half, whole); !errors.Is(err, iso.ErrUploadElsewhere) {
		t.Errorf("a server without the bytes: %v", err)
	}
	if got := must(api.ISOs.Uploaded(ctx, client7, i.ID))(t); got.Done != int64(half) {
		t.Errorf("it says that %d are there, want %d", got.Done, half)
	}
	if err := send(worker, i, half, whole); err != nil {
		t.Fatal(err)
	}
	h.ended(worker, i.TaskID)
}

// TestUploadFacilities: a server with a folder of its own takes uploads to the
// facilities that it imports for.
func TestUploadFacilities(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		role       config.Role
		facilities []string
		dir        string
		want       bool
	}{
		"all":                 {config.RoleAll, nil, "", true},
		"this one":            {config.RoleAll, []string{"LAX3", "TPA1"}, "", true},
		"another one":         {config.RoleAll, []string{"LAX3"}, "", false},
		"another one, shared": {config.RoleAll, []string{"LAX3"}, "x", true},
		"none":                {config.RoleAPI, nil, "", false},
		"none, shared":        {config.RoleAPI, nil, "x", true},
	} {
		cfg := config.Default()
		cfg.Role, cfg.Facilities, cfg.UploadDir = c.role, c.facilities, c.dir
		if got := (&Server{cfg: cfg}).uploads().Takes("TPA1"); got != c.want {
			t.Errorf("%s: takes uploads: %v, want %v", name, got, c.want)
		}
	}
}

// TestSharedID: whoever comes first names the folder, for all.
func TestSharedID(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "folder.id")
	ids := make(chan string, 16)
	var all sync.WaitGroup
	for range cap(ids) {
		all.Go(func() {
			id, err := sharedID(path)
			if err != nil {
				t.Error(err)
			}
			ids <- id
		})
	}
	all.Wait()
	first := must(sharedID(path))(t)
	for range cap(ids) {
		if id := <-ids; id != first || id == "" {
			t.Errorf("the folder is called %q and %q", id, first)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
