package httpapi

import (
	"context"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/vps"
)

// mostEntries ends every list that has a limit.
const mostEntries = 1000

// limitOf is how many entries a list may have; 1,000 unless the caller wants
// fewer.
func limitOf(p *int) int {
	if p == nil || *p > mostEntries {
		return mostEntries
	}
	return *p
}

// ListVPS lists the acting client's devices. Networks, hosts and storage
// servers have no ids a client could know, so none is on the one asked for.
func (o *ops) ListVPS(ctx context.Context, r api.ListVPSRequestObject) (api.ListVPSResponseObject, error) {
	scope, err := caller(ctx).ActingFor(r.Params.ClientID)
	if err != nil {
		return nil, err
	}
	list, err := o.VPS.List(ctx, scope, vps.Filter{FacilityCode: r.Params.FacilityCode})
	if err != nil {
		return nil, err
	}
	if r.Params.NetworkID != nil || r.Params.HostID != nil || r.Params.StorageID != nil {
		list = nil
	}
	return api.ListVPS200JSONResponse(each(list, toVPS)), nil
}

// GetVPS reads one device.
func (o *ops) GetVPS(ctx context.Context, r api.GetVPSRequestObject) (api.GetVPSResponseObject, error) {
	d, err := o.VPS.Get(ctx, caller(ctx).Scope(), r.DeviceID)
	if err != nil {
		return nil, err
	}
	return api.GetVPS200JSONResponse(toVPS(d)), nil
}

// PowerVPS accepts a change of a device's power. The action is in the body, else
// in the query.
func (o *ops) PowerVPS(ctx context.Context, r api.PowerVPSRequestObject) (api.PowerVPSResponseObject, error) {
	action := r.Params.Action
	if r.Body != nil && r.Body.Action != nil {
		action = r.Body.Action
	}
	t, err := o.VPS.Power(ctx, caller(ctx).Scope(), r.DeviceID, vps.Action(orZero(action)))
	if err != nil {
		return nil, err
	}
	return api.PowerVPS201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

// ListVPSEvents lists what happened to a device.
func (o *ops) ListVPSEvents(ctx context.Context, r api.ListVPSEventsRequestObject) (api.ListVPSEventsResponseObject, error) {
	list, err := o.VPS.Events(ctx, caller(ctx).Scope(), r.DeviceID, limitOf(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return api.ListVPSEvents200JSONResponse(each(list, toEvent)), nil
}

// ListLocations lists the facilities. Each of them has VPS, so the filter
// changes nothing.
func (o *ops) ListLocations(ctx context.Context, _ api.ListLocationsRequestObject) (api.ListLocationsResponseObject, error) {
	list, err := o.VPS.Facilities(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListLocations200JSONResponse(each(list, toLocation)), nil
}

// facility returns one facility. vps.ErrFacilityNotFound.
func (o *ops) facility(ctx context.Context, code string) (vps.Facility, error) {
	all, err := o.VPS.Facilities(ctx)
	if err != nil {
		return vps.Facility{}, err
	}
	for _, f := range all {
		if f.Code == code {
			return f, nil
		}
	}
	return vps.Facility{}, vps.ErrFacilityNotFound
}
