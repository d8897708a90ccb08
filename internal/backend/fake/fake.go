// Package fake is a backend driver in memory that fails, waits and loses its
// answers when a test tells it to. What it holds outlives Close: Reopen gives
// a restarted control plane the same storage and guests again.
package fake

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

// Options says how a fake behaves. The zero value is a good one.
type Options struct {
	// MaxVolumes is how many data volumes a guest takes; 0 means 16.
	MaxVolumes int
	// DetachTimeout is how long a guest may hold a volume when the caller does
	// not say; 0 means one second.
	DetachTimeout time.Duration
	// Elsewhere: guests are made elsewhere, by AddGuest.
	Elsewhere bool
	// Cold: the fake says of itself that guests do not see changes while they run.
	Cold bool
	// Adopted are the volumes whose disk has another name than the volume's id:
	// the id by that name. nil: there are none.
	Adopted func(ctx context.Context) (map[string]string, error)
}

// Driver is a backend.Driver in memory. All methods may be called concurrently.
type Driver struct {
	opts   Options
	gate   *backend.Gate // never closed: a closed fake can be opened again
	heard  backend.Watchers
	script script
	log    callLog

	mu      sync.Mutex
	closed  bool
	gone    chan struct{} // closed by Close, replaced by Reopen
	full    bool
	volumes map[string]int64 // bytes by volume id
	isos    map[string]int64 // bytes by key
	foreign map[string]bool  // volumes that are disks of other origin
	vms     map[string]*vm
	changed chan struct{} // closed and replaced whenever a guest changes
}

var _ backend.Driver = (*Driver)(nil)

type vm struct {
	spec       backend.VM
	guest      *backend.Guest // as AddGuest had it; nil: of EnsureVM
	running    bool
	volumes    map[string]bool
	holds      map[string]bool // volumes it does not let go
	iso        string
	trayLocked bool
	deaf       bool // ignores that it is asked to shut down
	cdFirst    bool // at the next start
	fromCD     bool // what cdFirst was at the last one
	starts     int
}

// New returns an empty fake.
func New(o Options) *Driver {
	if o.MaxVolumes == 0 {
		o.MaxVolumes = 16
	}
	if o.DetachTimeout == 0 {
		o.DetachTimeout = time.Second
	}
	return &Driver{
		opts:    o,
		gate:    backend.NewGate(),
		volumes: make(map[string]int64),
		isos:    make(map[string]int64),
		foreign: make(map[string]bool),
		vms:     make(map[string]*vm),
		changed: make(chan struct{}),
		gone:    make(chan struct{}),
	}
}

// Info implements backend.Driver.
func (d *Driver) Info() backend.Info {
	return backend.Info{Name: "fake", MakesVMs: !d.opts.Elsewhere, MaxVolumes: d.opts.MaxVolumes, TrayLock: true, Persistent: true, Boots: true, Live: !d.opts.Cold}
}

// EnsureVM implements backend.Driver. A new guest runs.
func (d *Driver) EnsureVM(ctx context.Context, spec backend.VM) error {
	return d.do(ctx, Call{Method: "EnsureVM", Ref: spec.Ref}, func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if v := d.vms[spec.Ref]; v != nil {
			v.spec = spec
			return nil
		}
		if d.opts.Elsewhere {
			return backend.ErrVMNotFound
		}
		v := &vm{spec: spec, volumes: make(map[string]bool), holds: make(map[string]bool)}
		d.vms[spec.Ref] = v
		d.start(v)
		return nil
	})
}

// EnsureVolume implements backend.Driver.
func (d *Driver) EnsureVolume(ctx context.Context, spec backend.VolumeSpec) error {
	return d.do(ctx, Call{Method: "EnsureVolume", VolumeID: spec.ID, Bytes: spec.Bytes, Guest: spec.Ref}, func(context.Context) error {
		if spec.Bytes < 1 || spec.Ref != "" && !backend.ValidID(spec.Ref) {
			return backend.ErrInvalid
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		have, ok := d.volumes[spec.ID]
		switch {
		case ok && have == spec.Bytes:
			return nil
		case ok:
			return backend.ErrConflict
		case d.full:
			return backend.ErrNoSpace
		}
		d.volumes[spec.ID] = spec.Bytes
		return nil
	})
}

// GrowVolume implements backend.Driver.
func (d *Driver) GrowVolume(ctx context.Context, volumeID string, bytes int64) error {
	return d.do(ctx, Call{Method: "GrowVolume", VolumeID: volumeID, Bytes: bytes}, func(ctx context.Context) error {
		if bytes < 1 {
			return backend.ErrInvalid
		}
		volumeID, err := d.key(ctx, volumeID)
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		have, ok := d.volumes[volumeID]
		switch {
		case !ok:
			return backend.ErrVolumeNotFound
		case have == bytes:
			return nil
		case have > bytes:
			return backend.ErrShrink
		case d.full:
			return backend.ErrNoSpace
		}
		d.volumes[volumeID] = bytes
		return nil
	})
}

// DeleteVolume implements backend.Driver.
func (d *Driver) DeleteVolume(ctx context.Context, volumeID string) error {
	return d.do(ctx, Call{Method: "DeleteVolume", VolumeID: volumeID}, func(ctx context.Context) error {
		volumeID, err := d.key(ctx, volumeID)
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.holder(volumeID) != nil {
			return backend.ErrInUse
		}
		delete(d.volumes, volumeID)
		return nil
	})
}

// ImportISO implements backend.Driver. It leaves the file at path where it is.
func (d *Driver) ImportISO(ctx context.Context, spec backend.ISOSpec, path string) error {
	return d.do(ctx, Call{Method: "ImportISO", ISOKey: spec.Key, Bytes: spec.Bytes}, func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if have, ok := d.isos[spec.Key]; ok {
			if have != spec.Bytes {
				return backend.ErrConflict
			}
			return nil
		}
		info, err := os.Lstat(path)
		if err != nil {
			return backend.ErrInvalid.Because(err)
		}
		if spec.Bytes < 1 || !info.Mode().IsRegular() || info.Size() != spec.Bytes {
			return backend.ErrInvalid
		}
		if d.full {
			return backend.ErrNoSpace
		}
		d.isos[spec.Key] = spec.Bytes
		return nil
	})
}

// DeleteISO implements backend.Driver.
func (d *Driver) DeleteISO(ctx context.Context, isoKey string) error {
	return d.do(ctx, Call{Method: "DeleteISO", ISOKey: isoKey}, func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, v := range d.vms {
			if v.iso == isoKey {
				return backend.ErrInUse
			}
		}
		delete(d.isos, isoKey)
		return nil
	})
}

// Inspect implements backend.Driver.
func (d *Driver) Inspect(ctx context.Context, ref string) (view backend.VMView, err error) {
	err = d.do(ctx, Call{Method: "Inspect", Ref: ref}, func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		v := d.vms[ref]
		if v == nil {
			return backend.ErrVMNotFound
		}
		view = d.view(v)
		return nil
	})
	return view, err
}

// InspectVolume implements backend.Driver.
func (d *Driver) InspectVolume(ctx context.Context, volumeID string) (view backend.VolumeView, err error) {
	err = d.do(ctx, Call{Method: "InspectVolume", VolumeID: volumeID}, func(ctx context.Context) error {
		key, err := d.key(ctx, volumeID)
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if _, ok := d.volumes[key]; !ok {
			return backend.ErrVolumeNotFound
		}
		view = d.volume(key)
		view.ID = volumeID
		return nil
	})
	return view, err
}

// volume is one volume as it is. The caller holds mu.
func (d *Driver) volume(id string) backend.VolumeView {
	view := backend.VolumeView{ID: id, Bytes: d.volumes[id]}
	if v := d.holder(id); v != nil {
		view.Ref = v.spec.Ref
	}
	return view
}

// InspectAll implements backend.Driver.
func (d *Driver) InspectAll(ctx context.Context) (all backend.View, err error) {
	err = d.do(ctx, Call{Method: "InspectAll"}, func(context.Context) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, ref := range sortedKeys(d.vms) {
			all.VMs = append(all.VMs, d.view(d.vms[ref]))
		}
		for _, id := range sortedKeys(d.volumes) {
			if !d.foreign[id] {
				all.Volumes = append(all.Volumes, d.volume(id))
			}
		}
		for _, key := range sortedKeys(d.isos) {
			all.ISOs = append(all.ISOs, backend.ISOView{Key: key, Bytes: d.isos[key]})
		}
		return nil
	})
	return all, err
}

// Close implements backend.Driver. Calls fail with ErrUnavailable until Reopen.
func (d *Driver) Close() error {
	d.setClosed(true)
	return nil
}

// Reopen takes the driver into service again with everything it held, its
// script and its log.
func (d *Driver) Reopen() { d.setClosed(false) }

func (d *Driver) setClosed(closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case closed && !d.closed:
		close(d.gone)
	case !closed && d.closed:
		d.gone = make(chan struct{})
	}
	d.closed = closed
	d.wake()
}

// holder returns the guest that has the volume, or nil. The caller holds mu.
func (d *Driver) holder(volumeID string) *vm {
	for _, v := range d.vms {
		if v.volumes[volumeID] {
			return v
		}
	}
	return nil
}

// wake tells those who wait for a guest to look again. The caller holds mu.
func (d *Driver) wake() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Driver) view(v *vm) backend.VMView {
	ids := slices.DeleteFunc(sortedKeys(v.volumes), func(id string) bool { return d.foreign[id] })
	view := backend.VMView{Ref: v.spec.Ref, Running: v.running, VolumeIDs: ids, ISOKey: v.iso, CDFirst: v.cdFirst}
	if v.running {
		view.Starts = strconv.Itoa(v.starts)
	}
	return view
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
