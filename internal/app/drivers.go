package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/local"
)

// Drivers opens the driver of each facility when it is first needed, and keeps
// it. It is a backend.Provider.
type Drivers struct {
	dir  string
	open func(code, dir string) (backend.Driver, error)
	only []string // the facilities served here; none: all

	mu     sync.Mutex
	byCode map[string]backend.Driver
	closed bool
}

// openLocal opens a facility's folder. Where other servers use the database
// too, each has a folder of its own under the same name, and only the one that
// has the facility's disks may serve it: any other would find them missing.
func (s *Server) openLocal(code, dir string) (backend.Driver, error) {
	d, err := local.Open(dir, local.Options{})
	if err != nil {
		return nil, err
	}
	if s.cfg.Postgres() {
		if err := s.db.VPS().ClaimStorage(context.Background(), code, d.StorageID()); err != nil {
			return nil, errors.Join(fmt.Errorf("serve %s from %s: %w; leave it out of --facilities here", code, dir, err), d.Close())
		}
	}
	return d, nil
}

// Use makes every facility open its driver with fn, given the facility's own
// folder. Call it before the first Driver.
func (d *Drivers) Use(fn func(dir string) (backend.Driver, error)) {
	d.open = func(_, dir string) (backend.Driver, error) { return fn(dir) }
}

// Driver returns the driver of a facility, backend.ErrUnavailable if it cannot
// be opened.
func (d *Drivers) Driver(facilityCode string) (backend.Driver, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, backend.ErrUnavailable
	}
	if len(d.only) > 0 && !slices.Contains(d.only, facilityCode) {
		return nil, backend.ErrUnavailable.Because(fmt.Errorf("%s is served by another node", facilityCode))
	}
	if drv := d.byCode[facilityCode]; drv != nil {
		return drv, nil
	}
	drv, err := d.open(facilityCode, filepath.Join(d.dir, facilityCode))
	if err != nil {
		return nil, backend.ErrUnavailable.Because(fmt.Errorf("open storage of %s: %w", facilityCode, err))
	}
	if d.byCode == nil {
		d.byCode = map[string]backend.Driver{}
	}
	d.byCode[facilityCode] = drv
	return drv, nil
}

// Close closes every driver; none is opened after.
func (d *Drivers) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	var errs []error
	for _, drv := range d.byCode {
		errs = append(errs, drv.Close())
	}
	clear(d.byCode)
	return errors.Join(errs...)
}
