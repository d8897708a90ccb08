package httpapi

import (
	"cmp"
	"context"
	"slices"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/volume"
)

// sizesInBytes reports whether the server shows volume sizes as the published
// schema describes them.
func (o *ops) sizesInBytes() bool { return o.SizeUnit == Bytes }

// ListVolumes lists the acting client's volumes.
func (o *ops) ListVolumes(ctx context.Context, r api.ListVolumesRequestObject) (api.ListVolumesResponseObject, error) {
	scope, err := caller(ctx).ActingFor(r.Params.ClientID)
	if err != nil {
		return nil, err
	}
	list, err := o.Volumes.List(ctx, scope, volume.Filter{DeviceID: r.Params.DeviceID, FacilityCode: r.Params.FacilityCode})
	if err != nil {
		return nil, err
	}
	return volumesAnswer{list: list, inBytes: o.sizesInBytes()}, nil
}

// CreateVolume accepts a new volume on a device.
func (o *ops) CreateVolume(ctx context.Context, r api.CreateVolumeRequestObject) (api.CreateVolumeResponseObject, error) {
	most, err := parseMost(r.Body.MaxMonthlyPrice)
	if err != nil {
		return nil, err
	}
	order := volume.Order{Kind: volume.KindCreate, SizeGiB: r.Body.Size, DeviceID: &r.Body.DeviceID, MaxMonthly: most}
	if orZero(r.Params.DryRun) {
		q, err := o.quote(ctx, order)
		return api.CreateVolume200JSONResponse{QuotedJSONResponse: q}, err
	}
	t, err := o.Volumes.Accept(ctx, caller(ctx).Scope(), order)
	if err != nil {
		return nil, err
	}
	return api.CreateVolume201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

// GetVolume reads one volume.
func (o *ops) GetVolume(ctx context.Context, r api.GetVolumeRequestObject) (api.GetVolumeResponseObject, error) {
	v, err := o.Volumes.Get(ctx, caller(ctx).Scope(), r.VolumeID)
	if err != nil {
		return nil, err
	}
	return volumeAnswer{v: v, inBytes: o.sizesInBytes()}, nil
}

// ResizeVolume accepts growing a volume.
func (o *ops) ResizeVolume(ctx context.Context, r api.ResizeVolumeRequestObject) (api.ResizeVolumeResponseObject, error) {
	most, err := parseMost(r.Body.MaxMonthlyPrice)
	if err != nil {
		return nil, err
	}
	order := volume.Order{Kind: volume.KindResize, VolumeID: r.VolumeID, SizeGiB: r.Body.Size, DeviceID: r.Body.DeviceID, MaxMonthly: most}
	if orZero(r.Params.DryRun) {
		q, err := o.quote(ctx, order)
		return api.ResizeVolume200JSONResponse{QuotedJSONResponse: q}, err
	}
	t, err := o.Volumes.Accept(ctx, caller(ctx).Scope(), order)
	if err != nil {
		return nil, err
	}
	return api.ResizeVolume201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

// DeleteVolume accepts deleting a volume. Many clients drop the body of a
// DELETE, so the device may stand in the query; the body wins.
func (o *ops) DeleteVolume(ctx context.Context, r api.DeleteVolumeRequestObject) (api.DeleteVolumeResponseObject, error) {
	deviceID := r.Params.DeviceID
	if r.Body != nil && r.Body.DeviceID != nil {
		deviceID = r.Body.DeviceID
	}
	order := volume.Order{Kind: volume.KindDelete, VolumeID: r.VolumeID, DeviceID: deviceID}
	if orZero(r.Params.DryRun) {
		q, err := o.quote(ctx, order)
		return api.DeleteVolume200JSONResponse{QuotedJSONResponse: q}, err
	}
	t, err := o.Volumes.Accept(ctx, caller(ctx).Scope(), order)
	if err != nil {
		return nil, err
	}
	return api.DeleteVolume201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

// AttachVolume accepts connecting a detached volume to a device.
func (o *ops) AttachVolume(ctx context.Context, r api.AttachVolumeRequestObject) (api.AttachVolumeResponseObject, error) {
	t, err := o.Volumes.Attach(ctx, caller(ctx).Scope(), r.DeviceID, r.VolumeID)
	if err != nil {
		return nil, err
	}
	return api.AttachVolume201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

// DetachVolume accepts taking a volume off its device.
func (o *ops) DetachVolume(ctx context.Context, r api.DetachVolumeRequestObject) (api.DetachVolumeResponseObject, error) {
	t, err := o.Volumes.Detach(ctx, caller(ctx).Scope(), r.DeviceID, r.VolumeID)
	if err != nil {
		return nil, err
	}
	return api.DetachVolume201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

// ListVolumeUpgradeSizes lists what a volume can grow to.
func (o *ops) ListVolumeUpgradeSizes(ctx context.Context, r api.ListVolumeUpgradeSizesRequestObject) (api.ListVolumeUpgradeSizesResponseObject, error) {
	prices, err := o.Volumes.UpgradeSizes(ctx, caller(ctx).Scope(), r.VolumeID)
	if err != nil {
		return nil, err
	}
	return api.ListVolumeUpgradeSizes200JSONResponse(toProducts(prices)), nil
}

// ListVolumeSizes lists what new volumes can have: of one facility, or of all,
// and then each size at its highest price.
func (o *ops) ListVolumeSizes(ctx context.Context, r api.ListVolumeSizesRequestObject) (api.ListVolumeSizesResponseObject, error) {
	prices, err := o.prices(ctx, r.Params.FacilityCode)
	if err != nil {
		return nil, err
	}
	return api.ListVolumeSizes200JSONResponse(toProducts(dearest(prices))), nil
}

// prices returns the price lists; of one facility if facilityCode is set, which
// must exist: vps.ErrFacilityNotFound.
func (o *ops) prices(ctx context.Context, facilityCode *string) ([]billing.Price, error) {
	if facilityCode != nil {
		if _, err := o.facility(ctx, *facilityCode); err != nil {
			return nil, err
		}
	}
	return o.Ledger.Prices(ctx, facilityCode)
}

// dearest returns each size once, at its highest price, smallest size first.
func dearest(prices []billing.Price) []billing.Price {
	out := slices.Clone(prices)
	slices.SortFunc(out, func(a, b billing.Price) int {
		return cmp.Or(cmp.Compare(a.SizeGiB, b.SizeGiB), cmp.Compare(b.Monthly, a.Monthly))
	})
	return slices.CompactFunc(out, func(a, b billing.Price) bool { return a.SizeGiB == b.SizeGiB })
}

// narrowed is the scope for an object named by its id: what the caller may
// see, cut down to clientID where that is given.
func narrowed(ctx context.Context, clientID *int64) (access.Scope, error) {
	if clientID == nil {
		return caller(ctx).Scope(), nil
	}
	return caller(ctx).ActingFor(clientID)
}
