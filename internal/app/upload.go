package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/config"
	"github.com/drivebay/drivebay/internal/iso"
)

// sweepEvery is how often the folder of uploads is looked through for what an
// upload left behind that ended on another server.
const sweepEvery = 10 * time.Minute

// uploads is where uploads grow. In a folder that other servers do not see,
// only those are taken that this server imports.
func (s *Server) uploads() *iso.Uploads {
	folder, shared := s.cfg.UploadFolder()
	imports := s.cfg.Role != config.RoleAPI
	return &iso.Uploads{
		Folder: folder, MaxBytes: s.cfg.FetchMaxBytes, Server: s.cfg.NodeName() + "/" + s.boot,
		Takes: func(facilityCode string) bool {
			return shared || imports && (len(s.cfg.Facilities) == 0 || slices.Contains(s.cfg.Facilities, facilityCode))
		},
	}
}

// openUploads reads what the folder is called, ends what an earlier process of
// this server was writing, and keeps the folder clean.
func (s *Server) openUploads(ctx context.Context) error {
	u := s.ISOs.Uploads
	err := os.MkdirAll(u.Folder, 0o700)
	if err == nil {
		u.ID, err = sharedID(filepath.Join(u.Folder, "folder.id"))
	}
	if err != nil {
		return fmt.Errorf("open folder of uploads: %w", err)
	}
	if err := s.db.ISOs().FreeUploads(ctx, s.cfg.NodeName()); err != nil {
		return fmt.Errorf("end interrupted uploads: %w", err)
	}
	if err := s.sweepUploads(ctx); err != nil {
		return err
	}
	sweeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	swept := make(chan struct{})
	s.stopSweep = func() { stop(); <-swept }
	go func() {
		defer close(swept)
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-sweeping.Done():
				return
			case <-tick.C:
			}
			if err := s.sweepUploads(sweeping); err != nil && sweeping.Err() == nil {
				s.log.Warn("clean folder of uploads", "error", err)
			}
		}
	}()
	return nil
}

// sharedID is instanceID for a file that several servers may make at once: it
// is that of the first.
func sharedID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id := newID()
	own := path + "." + id // no other server's
	if err := writeFile(own, []byte(id+"\n")); err != nil {
		return "", err
	}
	err = os.Link(own, path) // unlike a rename, not over another one
	if err = errors.Join(err, os.Remove(own)); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	b, err = os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

func (s *Server) sweepUploads(ctx context.Context) error {
	return s.ISOs.SweepUploads(func() ([]string, error) { return s.db.ISOs().Uploads(ctx, s.ISOs.Uploads.ID) })
}
