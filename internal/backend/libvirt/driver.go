package libvirt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lv "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"

	"github.com/drivebay/drivebay/internal/backend"
)

// Host is one hypervisor of a facility.
type Host struct {
	Name string
	// URI is where its libvirt is: qemu+unix:///system?socket=PATH,
	// qemu+tls://HOST[:PORT]/system, qemu+ssh://USER@HOST/system.
	URI     string
	Pool    string // where volumes are made: a directory or RBD pool of libvirt's
	ISOPool string // where images are kept: a directory pool; "" is Pool
}

// Options says which hosts a facility has and how guests get their disks.
type Options struct {
	Hosts         []Host
	DiskBus       string        // "scsi", which is "", or "virtio"
	CDBus         string        // "sata", which is "", "scsi" or "ide": the bus of the drive, where a guest has several
	MaxVolumes    int           // data volumes of one guest; 0: 128, and 20 with "virtio"
	DetachTimeout time.Duration // how long a guest may hold a volume; 0: 30 s
	CallTimeout   time.Duration // the deadline of one call to a host; 0: 45 s
	Log           *slog.Logger  // nil: slog.Default()
	// Adopted are the volumes that were guests' own disks before: the id of each
	// by the Source that Guests has for its disk. It is asked once or a few times
	// in a call. nil: there are none.
	Adopted func(ctx context.Context) (map[string]string, error)
}

// Driver is the backend.Driver of a facility whose guests libvirt runs. All
// methods may be called concurrently.
type Driver struct {
	opts   Options
	log    *slog.Logger
	hosts  []*host
	gate   *backend.Gate
	marks  backend.Locks // held to mark a start, by ref
	id     string        // of its marks
	events events

	unmarks   backend.Locks  // held while a guest's mark is taken off, by ref
	unmarking sync.WaitGroup // in the background

	calling sync.Mutex         // held by onCall
	onCall  func(doing string) // tests: called ahead of each call to a host

	background sync.WaitGroup // what serves the connections
	closeOnce  sync.Once

	mu   sync.Mutex
	home map[string]*host // where a guest was found last, by ref
}

var _ backend.Driver = (*Driver)(nil)

// Open checks the options and returns the driver. No host needs to be up: a
// call makes the connection it needs.
func Open(o Options) (*Driver, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("libvirt: %w", err)
	}
	d := &Driver{opts: o, log: o.Log, gate: backend.NewGate(), id: uuid.NewString(), home: make(map[string]*host)}
	names := map[string]bool{}
	for _, h := range o.Hosts {
		u, err := checkURI(h.URI)
		switch {
		case err != nil:
			return nil, fmt.Errorf("libvirt: URI of host %q: %w", h.Name, err)
		case h.Name == "" || h.Pool == "" || names[h.Name]:
			return nil, fmt.Errorf("libvirt: host %q: each needs a name of its own and a pool", h.Name)
		}
		names[h.Name] = true
		d.hosts = append(d.hosts, &host{Host: h, d: d, url: u})
	}
	return d, nil
}

func (o *Options) complete() error {
	if o.DiskBus == "" {
		o.DiskBus = busSCSI
	}
	if o.CDBus == "" {
		o.CDBus = busSATA
	}
	if o.MaxVolumes <= 0 {
		o.MaxVolumes = 128
		if o.DiskBus == busVirtio {
			o.MaxVolumes = 20
		}
	}
	if o.DetachTimeout <= 0 {
		o.DetachTimeout = 30 * time.Second
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = 45 * time.Second // libvirt itself waits 30 s for its turn with a guest, and then says so
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	switch {
	case len(o.Hosts) == 0:
		return errors.New("no host is named")
	case o.DiskBus != busSCSI && o.DiskBus != busVirtio:
		return fmt.Errorf("disk bus %q: want scsi or virtio", o.DiskBus)
	case o.CDBus != busSATA && o.CDBus != busSCSI && o.CDBus != busIDE:
		return fmt.Errorf("CD bus %q: want sata, scsi or ide", o.CDBus)
	}
	return nil
}

// Info implements backend.Driver.
func (d *Driver) Info() backend.Info {
	return backend.Info{Name: "libvirt", MaxVolumes: d.opts.MaxVolumes, TrayLock: true, Persistent: true, Boots: true, Live: true}
}

// Close waits for the calls under way, ends those that wait for a guest, and
// leaves the hosts. Guests go on.
func (d *Driver) Close() error {
	d.closeOnce.Do(func() {
		d.gate.Close()
		d.unmarking.Wait()
		for _, h := range d.hosts {
			h.close()
		}
		d.background.Wait()
	})
	return nil
}

// refOf is the ref of a domain: its UUID as text.
func refOf(id lv.UUID) string { return uuid.UUID(id).String() }

// onHosts runs fn for each host at once and returns the errors in the order of
// the hosts, nil for each that went well.
func onHosts(ctx context.Context, hosts []*host, fn func(i int, c *conn) error) []error {
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() {
			c, err := h.conn(ctx)
			if err == nil {
				err = fn(i, c)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errs
}

// found is a domain on a host.
type found struct {
	c   *conn
	dom lv.Domain
}

// find looks for a guest where it was last, and if it does not run there, on
// all hosts: one that moved is where it runs, else where it is defined.
// ErrVMNotFound: no host has it. ErrUnavailable: none that answers.
func (d *Driver) find(ctx context.Context, ref string) (*conn, lv.Domain, error) {
	id, err := uuid.Parse(ref)
	if err != nil || id.String() != ref {
		return nil, lv.Domain{}, backend.ErrVMNotFound
	}
	var best *found
	d.mu.Lock()
	home := d.home[ref]
	d.mu.Unlock()
	if home != nil {
		if c, err := home.conn(ctx); err == nil {
			if best, err = c.lookup(ctx, id); err != nil {
				return nil, lv.Domain{}, err
			}
		}
	}
	if best == nil || best.dom.ID < 0 && len(d.hosts) > 1 {
		if best, err = d.search(ctx, id, home); err != nil {
			return nil, lv.Domain{}, err
		}
	}
	d.mu.Lock()
	d.home[ref] = best.c.host
	d.mu.Unlock()
	return best.c, best.dom, nil
}

// search asks all hosts. Of several that have the guest off, home wins.
func (d *Driver) search(ctx context.Context, id uuid.UUID, home *host) (*found, error) {
	all := make([]*found, len(d.hosts))
	errs := onHosts(ctx, d.hosts, func(i int, c *conn) (err error) {
		all[i], err = c.lookup(ctx, id)
		return err
	})
	var best *found
	for _, f := range all {
		switch {
		case f == nil:
		case best == nil, f.dom.ID >= 0 && best.dom.ID < 0, f.c.host == home && best.dom.ID < 0:
			best = f
		}
	}
	if best == nil {
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		d.mu.Lock()
		delete(d.home, id.String())
		d.mu.Unlock()
		return nil, backend.ErrVMNotFound
	}
	return best, nil
}

// lookup finds a domain on the host, nil without. Its ID is below 0 while it is
// off.
func (c *conn) lookup(ctx context.Context, id uuid.UUID) (*found, error) {
	dom, err := ask(ctx, c, "look up guest "+id.String(), func() (lv.Domain, error) { return c.l.DomainLookupByUUID(lv.UUID(id)) })
	if isCode(err, lv.ErrNoDomain) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &found{c, dom}, nil
}

// EnsureVM implements backend.Driver. Guests are made by others; it only looks.
func (d *Driver) EnsureVM(ctx context.Context, spec backend.VM) error {
	leave, err := d.gate.Enter(ctx, backend.GuestObject(spec.Ref))
	if err != nil {
		return err
	}
	defer leave()
	_, _, err = d.find(ctx, spec.Ref)
	return failure("look for guest "+spec.Ref, err)
}
