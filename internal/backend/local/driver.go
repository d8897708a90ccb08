package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

// ErrLocked is what Open returns while another process uses the folder.
var ErrLocked = errors.New("the folder is in use by another process")

// Options says how the simulated guests behave. The zero value is a good one.
type Options struct {
	// MaxVolumes is how many data volumes a guest takes, beside its ROOT disk;
	// 0 means 256.
	MaxVolumes int
	// DetachTimeout is how long a guest may hold a volume when the caller does
	// not say; 0 means 5 seconds, as with a real hypervisor.
	DetachTimeout time.Duration
}

// Driver is a backend.Driver on a folder. All methods may be called
// concurrently.
type Driver struct {
	opts  Options
	gate  *backend.Gate
	heard backend.Watchers

	lockFile  *os.File
	id        string // of this folder
	tmp       string
	tempSeq   atomic.Uint64
	volumes   folder
	isos      folder
	vms       folder
	rename    func(from, to string) error
	onStep    func(step, name string) error // tests: called ahead of each step on disk
	closeOnce sync.Once
	closeErr  error

	mu       sync.RWMutex
	guests   map[string]*vm
	volumeAt map[string]string // guest by volume id
	isoUses  map[string]int    // drives an image is in, by key
}

var _ backend.Driver = (*Driver)(nil)

// Open takes the folder dir, which it makes if needed, for this process.
// ErrLocked: another process has it. A guest's file that cannot be understood
// is an error that names the guest; nothing is changed then.
func Open(dir string, o Options) (*Driver, error) {
	if o.MaxVolumes <= 0 {
		o.MaxVolumes = 256
	}
	if o.DetachTimeout <= 0 {
		o.DetachTimeout = 5 * time.Second
	}
	d := &Driver{
		opts:     o,
		rename:   os.Rename,
		gate:     backend.NewGate(),
		guests:   make(map[string]*vm),
		volumeAt: make(map[string]string),
		isoUses:  make(map[string]int),
	}
	if err := d.open(dir); err != nil {
		_ = d.release()
		return nil, fmt.Errorf("open local storage %s: %w", dir, err)
	}
	return d, nil
}

func (d *Driver) open(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := makeDir(dir); err != nil {
		return err
	}
	if d.lockFile, err = lockFolder(filepath.Join(dir, "lock")); err != nil {
		return err
	}
	d.tmp = filepath.Join(dir, "tmp")
	if err := makeDir(d.tmp); err != nil {
		return err
	}
	if d.id, err = folderID(filepath.Join(dir, "storage.id")); err != nil {
		return err
	}
	for name, f := range map[string]*folder{"volumes": &d.volumes, "isos": &d.isos, "vms": &d.vms} {
		if err := f.open(filepath.Join(dir, name), d.step); err != nil {
			return err
		}
	}
	if err := d.loadGuests(); err != nil {
		return err
	}
	return d.clearTemp()
}

// StorageID is the folder's own id: it stays when the folder moves.
func (d *Driver) StorageID() string { return d.id }

// folderID reads the id in the file, which is made if it is not there. A
// process killed in the middle leaves a short one, which nobody knows yet.
func folderID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) == 2*idBytes {
		return string(b), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	raw := make([]byte, idBytes)
	_, _ = rand.Read(raw) // never fails
	id := hex.EncodeToString(raw)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(id)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	return id, errors.Join(syncDir(dir), dir.Close())
}

const idBytes = 16

// clearTemp removes what a killed process left half-made.
func (d *Driver) clearTemp() error {
	entries, err := os.ReadDir(d.tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(d.tmp, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Info implements backend.Driver.
func (d *Driver) Info() backend.Info {
	return backend.Info{Name: "local", MakesVMs: true, MaxVolumes: d.opts.MaxVolumes, TrayLock: true, Persistent: true, Boots: true, Live: true}
}

// Close waits for the calls under way, ends those that wait for a guest, and
// gives the folder to the next process.
func (d *Driver) Close() error {
	d.closeOnce.Do(func() {
		d.gate.Close()
		d.closeErr = d.release()
	})
	return d.closeErr
}

// release closes what is open; the lock goes last.
func (d *Driver) release() error {
	err := errors.Join(d.volumes.close(), d.isos.close(), d.vms.close())
	if d.lockFile != nil {
		err = errors.Join(err, unlockFolder(d.lockFile))
	}
	return err
}

// Inspect implements backend.Driver. It waits for no other call.
func (d *Driver) Inspect(ctx context.Context, ref string) (backend.VMView, error) {
	leave, err := d.gate.Enter(ctx)
	if err != nil {
		return backend.VMView{}, err
	}
	defer leave()
	v := d.guest(ref)
	if v == nil {
		return backend.VMView{}, backend.ErrVMNotFound
	}
	g, _ := d.read(v)
	return g.view(), nil
}

// InspectVolume implements backend.Driver. It waits for a call on the volume
// that is under way, and shuts out later ones of older runs.
func (d *Driver) InspectVolume(ctx context.Context, volumeID string) (backend.VolumeView, error) {
	leave, err := d.gate.Enter(ctx, backend.VolumeObject(volumeID))
	if err != nil {
		return backend.VolumeView{}, err
	}
	defer leave()
	bytes, there, err := d.volumeLen(volumeID)
	switch {
	case err != nil:
		return backend.VolumeView{}, ioError("look at volume "+volumeID, err)
	case !there:
		return backend.VolumeView{}, backend.ErrVolumeNotFound
	}
	return backend.VolumeView{ID: volumeID, Bytes: bytes, Ref: d.holder(volumeID)}, nil
}

// InspectAll implements backend.Driver. A call that runs meanwhile may be in it
// or not.
func (d *Driver) InspectAll(ctx context.Context) (backend.View, error) {
	leave, err := d.gate.Enter(ctx)
	if err != nil {
		return backend.View{}, err
	}
	defer leave()
	var all backend.View
	err = d.volumes.each(ctx, ".raw", func(id string, bytes int64) {
		if backend.ValidID(id) && bytes > 0 { // as volumeLen has it
			all.Volumes = append(all.Volumes, backend.VolumeView{ID: id, Bytes: bytes, Ref: d.holder(id)})
		}
	})
	if err != nil {
		return backend.View{}, ioError("list the volumes", err)
	}
	err = d.isos.each(ctx, ".iso", func(key string, bytes int64) {
		if backend.ValidKey(key) {
			all.ISOs = append(all.ISOs, backend.ISOView{Key: key, Bytes: bytes})
		}
	})
	if err != nil {
		return backend.View{}, ioError("list the images", err)
	}
	d.mu.RLock()
	for _, v := range d.guests {
		all.VMs = append(all.VMs, v.state.view())
	}
	d.mu.RUnlock()
	slices.SortFunc(all.VMs, func(a, b backend.VMView) int { return strings.Compare(a.Ref, b.Ref) })
	slices.SortFunc(all.Volumes, func(a, b backend.VolumeView) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(all.ISOs, func(a, b backend.ISOView) int { return strings.Compare(a.Key, b.Key) })
	return all, nil
}
