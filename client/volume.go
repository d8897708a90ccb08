package client

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/drivebay/drivebay/api"
)

// VolumeState is what goes on with a volume.
type VolumeState string

// The states of volumes.
const (
	VolumeAttached VolumeState = "attached"
	VolumeDetached VolumeState = "detached"
	VolumeResizing VolumeState = "resizing"
	VolumeDeleting VolumeState = "deleting"
)

// Volume is a disk of a VPS.
type Volume struct {
	ID string `json:"volumeId"`
	// Type is ROOT for the device's own disk and DATADISK for any other.
	Type string `json:"type"`
	// SizeGiB is the size in GiB, whatever unit the server answers in.
	SizeGiB int64 `json:"size"`
	// SizeBytes is the size in bytes. Of a server that does not send it, it
	// is found from the size: one above 1<<20 is taken for bytes.
	SizeBytes int64 `json:"sizeBytes"`
	// DeviceID is the device it is attached to; nil for none.
	DeviceID     *int64    `json:"deviceId"`
	FacilityCode string    `json:"facilityCode"`
	CreatedAt    time.Time `json:"createdAt"`
	// State is found from DeviceID where the server does not say.
	State VolumeState `json:"state"`
	// MonthlyPrice is nil for a ROOT volume, and where the server does not say.
	MonthlyPrice *float64 `json:"monthlyPrice"`
}

const gib = 1 << 30

// largestGiB is the largest size sold. A size above it is bytes.
const largestGiB = 1 << 20

// UnmarshalJSON reads a volume in every published form.
func (v *Volume) UnmarshalJSON(b []byte) error {
	type plain Volume
	var w struct {
		*plain
		ID        looseText `json:"volumeId"`
		Size      looseInt  `json:"size"`
		SizeBytes looseInt  `json:"sizeBytes"`
		CreatedAt looseTime `json:"createdAt"`
	}
	*v = Volume{}
	w.plain = (*plain)(v)
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	v.ID, v.SizeBytes, v.CreatedAt = string(w.ID), int64(w.SizeBytes), w.CreatedAt.Time
	switch {
	case v.SizeBytes > 0:
	case w.Size > largestGiB:
		v.SizeBytes = int64(w.Size)
	default:
		v.SizeBytes = int64(w.Size) * gib
	}
	v.SizeGiB = v.SizeBytes / gib
	if v.State == "" && v.ID != "" {
		v.State = VolumeDetached
		if v.DeviceID != nil {
			v.State = VolumeAttached
		}
	}
	return nil
}

func (v Volume) known() bool { return v.ID != "" }

// Root reports whether v is a device's own disk, which cannot be changed.
func (v Volume) Root() bool { return v.Type == string(api.VolumeTypeROOT) }

// VolumeSize is a size on sale.
type VolumeSize struct {
	SizeGiB      int64
	MonthlyPrice float64
}

// VolumeService is what can be done with volumes.
type VolumeService struct{ c *Client }

// VolumeListOptions chooses volumes. With both a device and a facility, a
// volume must match both.
type VolumeListOptions struct {
	DeviceID     int64
	FacilityCode string
	ClientID     int64
}

// List returns volumes, newest first. The options must name a device or a
// facility.
func (s VolumeService) List(ctx context.Context, o VolumeListOptions, opts ...CallOption) ([]Volume, error) {
	r := reading("vps", "volume").number("deviceId", o.DeviceID).text("facilityCode", o.FacilityCode).number("clientId", s.c.actFor(o.ClientID))
	return do[[]Volume](ctx, s.c, r, opts)
}

// All iterates over what List returns; where the options name neither device
// nor facility, over the volumes of all facilities, one after the other. It ends
// after an error.
func (s VolumeService) All(ctx context.Context, o VolumeListOptions, opts ...CallOption) iter.Seq2[Volume, error] {
	if o.DeviceID != 0 || o.FacilityCode != "" {
		return each(func() ([]Volume, error) { return s.List(ctx, o, opts...) })
	}
	return everywhere(ctx, s.c, func(facility string) ([]Volume, error) {
		o := o
		o.FacilityCode = facility
		return s.List(ctx, o, opts...)
	})
}

// Get reads a volume.
func (s VolumeService) Get(ctx context.Context, id string, opts ...CallOption) (Volume, error) {
	return do[Volume](ctx, s.c, reading("vps", "volume", id), opts)
}

// VolumeCreate is a volume to make.
type VolumeCreate struct {
	DeviceID int64 // the device to attach it to
	SizeGiB  int64 // one of the sizes on sale
	// MaxMonthlyPrice refuses it with the reason price_changed where a month
	// costs more, on a server that gives quotes; nil for any price.
	MaxMonthlyPrice *float64
}

// Create makes a volume and attaches it. On a drivebay server the task tells
// its id at once; see [Task.VolumeID].
func (s VolumeService) Create(ctx context.Context, o VolumeCreate, opts ...CallOption) (Task, error) {
	return do[Task](ctx, s.c, s.create(o), opts)
}

func (s VolumeService) create(o VolumeCreate) *call {
	return posting(api.VolumeCreate{DeviceID: o.DeviceID, Size: int(o.SizeGiB), MaxMonthlyPrice: o.MaxMonthlyPrice}, "vps", "volume")
}

// VolumeResize is a growth.
type VolumeResize struct {
	SizeGiB int64 // one of the larger sizes on sale
	// DeviceID is the device it is attached to, which must be given; 0 for a
	// detached volume.
	DeviceID int64
	// MaxMonthlyPrice is as in [VolumeCreate], for the volume at its new size.
	MaxMonthlyPrice *float64
}

// Resize grows a volume.
func (s VolumeService) Resize(ctx context.Context, id string, o VolumeResize, opts ...CallOption) (Task, error) {
	return do[Task](ctx, s.c, s.resize(id, o), opts)
}

func (s VolumeService) resize(id string, o VolumeResize) *call {
	return putting(api.VolumeResize{DeviceID: optional(o.DeviceID), Size: int(o.SizeGiB), MaxMonthlyPrice: o.MaxMonthlyPrice}, "vps", "volume", id)
}

// VolumeDelete is how to delete a volume.
type VolumeDelete struct {
	// DeviceID is the device it is attached to, which must be given; 0 for a
	// detached volume.
	DeviceID int64
}

// Delete detaches a volume where it is attached, removes its data and cancels
// its service.
func (s VolumeService) Delete(ctx context.Context, id string, o VolumeDelete, opts ...CallOption) (Task, error) {
	return do[Task](ctx, s.c, s.delete(id, o), opts)
}

func (s VolumeService) delete(id string, o VolumeDelete) *call {
	r := deleting("vps", "volume", id).number("deviceId", o.DeviceID) // some proxies drop the body of a DELETE
	r.body = api.VolumeDelete{DeviceID: optional(o.DeviceID)}
	return r
}

// Attach attaches a detached volume to a device of the same facility.
func (s VolumeService) Attach(ctx context.Context, id string, deviceID int64, opts ...CallOption) (Task, error) {
	return do[Task](ctx, s.c, posting(nil, "vps", deviceID, "volume", id, "attach"), opts)
}

// Detach detaches a volume from the device it is attached to. It keeps its data
// and stays billed.
func (s VolumeService) Detach(ctx context.Context, id string, deviceID int64, opts ...CallOption) (Task, error) {
	return do[Task](ctx, s.c, posting(nil, "vps", deviceID, "volume", id, "detach"), opts)
}

// Sizes returns the sizes of new volumes and their prices, smallest first.
// Without a facility code, each size at the highest price asked anywhere.
func (s VolumeService) Sizes(ctx context.Context, facilityCode string, opts ...CallOption) ([]VolumeSize, error) {
	return s.sizes(ctx, reading("vps", "available-volume-sizes").text("facilityCode", facilityCode), opts)
}

// AvailableSizes returns the sizes that a volume can grow to, smallest first.
func (s VolumeService) AvailableSizes(ctx context.Context, id string, opts ...CallOption) ([]VolumeSize, error) {
	return s.sizes(ctx, reading("vps", "volume", id, "available-sizes"), opts)
}

func (s VolumeService) sizes(ctx context.Context, r *call, opts []CallOption) ([]VolumeSize, error) {
	type product struct {
		Size         looseInt `json:"size"`
		MonthlyPrice float64  `json:"monthlyPrice"`
	}
	got, err := do[struct {
		VolumeProducts []product `json:"volumeProducts"`
	}](ctx, s.c, r, opts)
	if err != nil {
		return nil, err
	}
	sizes := make([]VolumeSize, 0, len(got.VolumeProducts))
	for _, p := range got.VolumeProducts {
		sizes = append(sizes, VolumeSize{SizeGiB: int64(p.Size), MonthlyPrice: p.MonthlyPrice})
	}
	return sizes, nil
}
