package app

import (
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
	open func(dir string) (backend.Driver, error)
	only []string // the facilities served here; none: all

	mu     sync.Mutex
	byCode map[string]backend.Driver
	closed bool
}

func openLocal(dir string) (backend.Driver, error) {
	d, err := local.Open(dir, local.Options{})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Use makes every facility open its driver with fn, given the facility's own
// folder. Call it before the first Driver.
func (d *Drivers) Use(fn func(dir string) (backend.Driver, error)) { d.open = fn }

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
	drv, err := d.open(filepath.Join(d.dir, facilityCode))
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
