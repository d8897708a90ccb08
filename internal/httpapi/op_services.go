package httpapi

import (
	"context"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/volume"
)

// ListServices lists the caller's services.
func (o *ops) ListServices(ctx context.Context, r api.ListServicesRequestObject) (api.ListServicesResponseObject, error) {
	scope, err := caller(ctx).ActingFor(nil)
	if err != nil {
		return nil, err
	}
	f, some := serviceFilter(r.Params)
	if !some {
		return api.ListServices200JSONResponse{}, nil
	}
	list, err := o.Ledger.Services(ctx, scope, f)
	if err != nil {
		return nil, err
	}
	names, err := o.facilityNames(ctx)
	if err != nil {
		return nil, err
	}
	at, err := o.attachedTo(ctx, scope, list)
	if err != nil {
		return nil, err
	}
	return api.ListServices200JSONResponse(each(list, func(s billing.Service) api.Service {
		return toService(s, nameOf(names, s.FacilityCode), at[s.VolumeID])
	})), nil
}

// GetService reads one service. Volume services have no options, so there are
// none without a price to include.
func (o *ops) GetService(ctx context.Context, r api.GetServiceRequestObject) (api.GetServiceResponseObject, error) {
	scope := caller(ctx).Scope()
	s, err := o.Ledger.Service(ctx, scope, r.ServiceID)
	if err != nil {
		return nil, err
	}
	names, err := o.facilityNames(ctx)
	if err != nil {
		return nil, err
	}
	var deviceID int64
	if s.Status == billing.Active {
		v, err := o.Volumes.Get(ctx, scope, s.VolumeID)
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return nil, err
		}
		deviceID = v.DeviceID // 0 for a volume that went a moment ago
	}
	return api.GetService200JSONResponse(toService(s, nameOf(names, s.FacilityCode), deviceID)), nil
}

// ListServiceTypes lists the one type there is.
func (o *ops) ListServiceTypes(context.Context, api.ListServiceTypesRequestObject) (api.ListServiceTypesResponseObject, error) {
	return api.ListServiceTypes200JSONResponse{{Name: serviceTypeName, Code: serviceTypeCode}}, nil
}

// serviceFilter is what the parameters ask for; some is false where no service
// can match: in a status services never have, of another type, of an order.
func serviceFilter(p api.ListServicesParams) (f billing.ServiceFilter, some bool) {
	if code := orZero(p.TypeCode); code != "" && code != serviceTypeCode {
		return f, false
	}
	if orZero(p.OrderID) != 0 {
		return f, false
	}
	switch status := orZero(p.Status); status {
	case "", api.ListServicesParamsStatusAll:
		return f, true
	case api.ListServicesParamsStatusActive, api.ListServicesParamsStatusCancelled:
		s := billing.ServiceStatus(status)
		f.Status = &s
		return f, true
	default:
		return f, false
	}
}

// facilityNames are the titles of the facilities by code.
func (o *ops) facilityNames(ctx context.Context) (map[string]string, error) {
	all, err := o.VPS.Facilities(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[string]string, len(all))
	for _, f := range all {
		names[f.Code] = f.Title
	}
	return names, nil
}

func nameOf(names map[string]string, code string) string {
	if n := names[code]; n != "" {
		return n
	}
	return code
}

// attachedTo is where the volumes of running services are attached now. What
// a service remembers is where its volume began. One reading per facility is
// enough, since a client has about as many volumes as services.
func (o *ops) attachedTo(ctx context.Context, scope access.Scope, list []billing.Service) (map[string]int64, error) {
	at, read := map[string]int64{}, map[string]bool{}
	for _, s := range list {
		if s.Status != billing.Active || read[s.FacilityCode] {
			continue
		}
		read[s.FacilityCode] = true
		volumes, err := o.Volumes.List(ctx, scope, volume.Filter{FacilityCode: &s.FacilityCode})
		if err != nil {
			return nil, err
		}
		for _, v := range volumes {
			at[v.ID] = v.DeviceID
		}
	}
	return at, nil
}
