package adopt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/event"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// Store keeps what becomes of guests.
type Store interface {
	// Client is nil if there is such a client, else access.ErrNoSuchClient.
	Client(ctx context.Context, id int64) error
	// Facility is nil if there is such a facility, else
	// vps.ErrFacilityNotFound.
	Facility(ctx context.Context, code string) error
	// Tx runs fn in one transaction, to which the client's objects are kept.
	Tx(ctx context.Context, clientID int64, fn func(Tx) error) error
	// View runs fn on one consistent state; writes in it are errors.
	View(ctx context.Context, fn func(Tx) error) error
}

// Tx is what an import reads and writes inside one transaction.
type Tx interface {
	// DeviceByRef finds a device by its guest. vps.ErrDeviceNotFound.
	DeviceByRef(ctx context.Context, facilityCode, ref string) (vps.Device, error)
	// VolumeOf finds the volume with the id, or that has the disk, in any state
	// and of any client. volume.ErrNotFound.
	VolumeOf(ctx context.Context, facilityCode, source, id string) (volume.Volume, error)
	Prices(ctx context.Context, facilityCode string) ([]billing.Price, error)

	// AddDevice and ShowRoot are as in vps.Tx.
	AddDevice(ctx context.Context, d vps.Device, rootID string, bytes int64) (vps.Device, error)
	ShowRoot(ctx context.Context, deviceID int64, rootID string) error
	// PutVolume, Attach, PutService and AddCharges are as in volume.Tx.
	PutVolume(ctx context.Context, v volume.Volume) error
	Attach(ctx context.Context, v volume.Volume, deviceID int64) error
	PutService(ctx context.Context, s billing.Service) (billing.Service, error)
	AddCharges(ctx context.Context, charges ...billing.Charge) error
	// SetSource notes the name of a volume's disk on its host. ErrDiskTaken.
	SetSource(ctx context.Context, id, source string) error
	Emit(ctx context.Context, e event.Event) error
}

// Service imports guests. All who call it are operators.
type Service struct {
	Store   Store
	Drivers backend.Provider
	Now     func() time.Time
	NewID   func() string
}

// Request is what is to be imported.
type Request struct {
	FacilityCode string
	ClientID     int64  // whose the devices become
	Host         string // only the guests of this host; "": of all
	All          bool
	Domains      []string // names or refs of guests, unless All
	DryRun       bool     // say what would be done, and do nothing
	// Since, if set, is when an earlier try of the same request began: what was
	// imported from then on was by it.
	Since time.Time
}

// inventoryTime bounds what the hosts may take to list their guests.
const inventoryTime = 20 * time.Second

// Import registers guests as devices of a client, with their first disk as ROOT
// volume and the others as data volumes, which are charged from now on. Each
// guest is one transaction, and may be refused without harm to the others.
// Neither quotas nor the facility's maxVolumes keep a guest out.
// ErrWhich, ErrMadeHere, vps.ErrUnknownFacility, a fault about clientId, or one
// that says that a host does not answer.
func (s *Service) Import(ctx context.Context, r Request) ([]Guest, error) {
	if r.All == (len(r.Domains) > 0) {
		return nil, ErrWhich
	}
	driver, all, err := s.look(ctx, r)
	if err != nil {
		return nil, err
	}
	out := []Guest{}
	for _, c := range chosen(all, r) {
		g := c.answer
		if c.guest != nil {
			if g, err = s.one(ctx, r, *c.guest, driver.Info().MaxVolumes); err != nil {
				return nil, err
			}
		}
		out = append(out, g)
	}
	return out, nil
}

// look checks the request and lists the guests of the facility.
func (s *Service) look(ctx context.Context, r Request) (backend.Driver, []backend.Guest, error) {
	if err := s.Store.Client(ctx, r.ClientID); errors.Is(err, access.ErrNoSuchClient) {
		return nil, nil, fault.Field("client_unknown", "clientId", "there is no such client")
	} else if err != nil {
		return nil, nil, err
	}
	if err := s.Store.Facility(ctx, r.FacilityCode); errors.Is(err, vps.ErrFacilityNotFound) {
		return nil, nil, vps.ErrUnknownFacility
	} else if err != nil {
		return nil, nil, err
	}
	driver, err := s.Drivers.Driver(r.FacilityCode)
	if err != nil {
		return nil, nil, task.Refusal(err)
	}
	inventory, ok := driver.(backend.Inventory)
	if !ok || driver.Info().MakesVMs {
		return nil, nil, ErrMadeHere
	}
	ctx, cancel := context.WithTimeout(ctx, inventoryTime)
	defer cancel()
	all, err := inventory.Guests(ctx)
	if err != nil {
		return nil, nil, task.Refusal(err)
	}
	return driver, all, nil
}

// choice is a guest that was asked for, or the answer where there is none.
type choice struct {
	guest  *backend.Guest
	answer Guest
}

// chosen are the guests that the request names, each once.
func chosen(all []backend.Guest, r Request) (out []choice) {
	if r.Host != "" {
		all = slices.DeleteFunc(slices.Clone(all), func(g backend.Guest) bool { return g.Host != r.Host })
	}
	if r.All {
		for i := range all {
			out = append(out, choice{guest: &all[i]})
		}
		return out
	}
	seen := map[string]bool{}
	for _, name := range r.Domains {
		var found []*backend.Guest
		for i, g := range all {
			if g.Name == name || strings.EqualFold(g.Ref, name) {
				found = append(found, &all[i])
			}
		}
		answer := Guest{Name: name}
		switch {
		case len(found) == 0:
			out = append(out, choice{answer: answer.refused(ErrUnknown)})
		case len(found) > 1:
			out = append(out, choice{answer: answer.refused(ErrAmbiguous)})
		case !seen[found[0].Ref]:
			seen[found[0].Ref] = true
			out = append(out, choice{guest: found[0]})
		}
	}
	return out
}

// one imports one guest, or says what would be done.
func (s *Service) one(ctx context.Context, r Request, g backend.Guest, most int) (out Guest, err error) {
	if r.DryRun {
		err = s.Store.View(ctx, func(tx Tx) error {
			out, err = judge(ctx, tx, r, g, most)
			return err
		})
		return out, err
	}
	err = s.Store.Tx(ctx, r.ClientID, func(tx Tx) error {
		if out, err = judge(ctx, tx, r, g, most); err != nil || out.Result != Importable {
			return err
		}
		return s.adopt(ctx, tx, r, g, &out)
	})
	if why, ok := fault.As(err); ok && why.Kind == fault.Conflict { // somebody was faster
		return Guest{Ref: g.Ref, Name: g.Name, Host: g.Host}.refused(why), nil
	}
	return out, err
}

// judge reads what is known of a guest and decides.
func judge(ctx context.Context, tx Tx, r Request, g backend.Guest, most int) (Guest, error) {
	k := known{clientID: r.ClientID, facility: r.FacilityCode, most: most}
	switch d, err := tx.DeviceByRef(ctx, r.FacilityCode, g.Ref); {
	case err == nil:
		k.device = &d
	case !errors.Is(err, vps.ErrDeviceNotFound):
		return Guest{}, err
	}
	for _, d := range g.Disks {
		v, err := tx.VolumeOf(ctx, r.FacilityCode, d.Source, d.VolumeID)
		if err != nil && !errors.Is(err, volume.ErrNotFound) {
			return Guest{}, err
		}
		k.volumes = append(k.volumes, v)
	}
	var err error
	if k.prices, err = tx.Prices(ctx, r.FacilityCode); err != nil {
		return Guest{}, err
	}
	out := decide(g, k)
	if out.Result == Registered && !r.Since.IsZero() && !k.device.CreatedAt.Before(r.Since) {
		out.Result = Imported
	}
	return out, nil
}

// adopt writes what was decided.
func (s *Service) adopt(ctx context.Context, tx Tx, r Request, g backend.Guest, out *Guest) error {
	for i := range out.Disks {
		if d := &out.Disks[i]; d.Why == nil {
			// A disk that bears the id of a volume of ours was one before the
			// database was lost, and is it again.
			if d.VolumeID = g.Disks[i].VolumeID; !backend.ValidID(d.VolumeID) {
				d.VolumeID = s.NewID()
			}
		}
	}
	root := out.Disks[0]
	d, err := tx.AddDevice(ctx, vps.Device{
		ClientID: r.ClientID, FacilityCode: r.FacilityCode, Hostname: g.Name, Status: vps.StatusOf(g.Running),
		VCPU: g.VCPU, MemoryMB: g.MemoryMB, MaxVolumes: out.MaxVolumes, Ref: g.Ref,
	}, root.VolumeID, root.Bytes)
	if err != nil {
		return err
	}
	if err := tx.ShowRoot(ctx, d.ID, root.VolumeID); err != nil {
		return err
	}
	if err := tx.SetSource(ctx, root.VolumeID, root.Source); err != nil {
		return err
	}
	for _, disk := range out.Disks[1:] {
		if disk.Why != nil {
			continue
		}
		if err := s.take(ctx, tx, d, disk); err != nil {
			return err
		}
	}
	out.Result, out.DeviceID = Imported, d.ID
	return tx.Emit(ctx, event.Event{ClientID: d.ClientID, DeviceID: d.ID, Type: "DEVICE.IMPORT", Level: event.Info, State: event.Completed})
}

// take makes a data volume of a disk, with its service from now on.
func (s *Service) take(ctx context.Context, tx Tx, d vps.Device, disk Disk) error {
	now := s.Now()
	v := volume.Volume{
		ID: disk.VolumeID, ClientID: d.ClientID, FacilityCode: d.FacilityCode, Type: volume.DataDisk, State: volume.Attached,
		Bytes: disk.Bytes, ProductID: disk.Price.ProductID, Monthly: disk.Price.Monthly, CreatedAt: now,
	}
	if err := tx.PutVolume(ctx, v); err != nil {
		return err
	}
	if err := tx.Attach(ctx, v, d.ID); err != nil {
		return err
	}
	if err := tx.SetSource(ctx, v.ID, disk.Source); err != nil {
		return err
	}
	svc, first := billing.Open(billing.Opening{ClientID: v.ClientID, VolumeID: v.ID, DeviceID: &d.ID, Price: disk.Price, At: now})
	svc, err := tx.PutService(ctx, svc)
	if err != nil {
		return err
	}
	first.ServiceID = svc.ID
	return tx.AddCharges(ctx, first)
}
