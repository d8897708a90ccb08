package httpapi

import (
	"context"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/iso"
)

// ListISOs lists the acting client's ISOs of a facility.
func (o *ops) ListISOs(ctx context.Context, r api.ListISOsRequestObject) (api.ListISOsResponseObject, error) {
	scope, err := caller(ctx).ActingFor(r.Params.ClientID)
	if err != nil {
		return nil, err
	}
	list, err := o.ISOs.List(ctx, scope, r.Params.FacilityCode)
	if err != nil {
		return nil, err
	}
	return api.ListISOs200JSONResponse(each(list, toISO)), nil
}

// CreateISO registers an ISO and accepts its import. Only an operator can name
// a client that does not exist: access.ErrNoSuchClient.
func (o *ops) CreateISO(ctx context.Context, r api.CreateISORequestObject) (api.CreateISOResponseObject, error) {
	who := caller(ctx)
	owner, err := who.Owner(r.Body.ClientID)
	if err != nil {
		return nil, err
	}
	if owner != who.ClientID {
		if _, err := o.Access.Client(ctx, owner); err != nil {
			return nil, err
		}
	}
	i, err := o.ISOs.Create(ctx, owner, iso.Create{
		FacilityCode: r.Body.FacilityCode,
		Name:         r.Body.Name,
		Description:  r.Body.Description,
		URL:          r.Body.URL,
		UploadBytes:  uploadBytes(r.Body),
		Checksum:     orZero(r.Body.Checksum),
		Bootable:     r.Body.Bootable,
	})
	if err != nil {
		return nil, err
	}
	return api.CreateISO200JSONResponse(toISO(i)), nil
}

// uploadBytes is the size of an upload, 0 for a download.
func uploadBytes(b *api.ISOCreate) int64 {
	if b.Upload == nil {
		return 0
	}
	return b.Upload.Size
}

// GetISO reads one ISO.
func (o *ops) GetISO(ctx context.Context, r api.GetISORequestObject) (api.GetISOResponseObject, error) {
	scope, err := narrowed(ctx, r.Params.ClientID)
	if err != nil {
		return nil, err
	}
	i, err := o.ISOs.Get(ctx, scope, r.ISOID, r.Params.FacilityCode)
	if err != nil {
		return nil, err
	}
	return api.GetISO200JSONResponse(toISO(i)), nil
}

// DeleteISO accepts deleting an ISO.
func (o *ops) DeleteISO(ctx context.Context, r api.DeleteISORequestObject) (api.DeleteISOResponseObject, error) {
	scope, err := narrowed(ctx, r.Params.ClientID)
	if err != nil {
		return nil, err
	}
	t, err := o.ISOs.Delete(ctx, scope, r.ISOID, r.Params.FacilityCode)
	if err != nil {
		return nil, err
	}
	return api.DeleteISO201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

// AttachISO accepts putting an ISO into a device's drive.
func (o *ops) AttachISO(ctx context.Context, r api.AttachISORequestObject) (api.AttachISOResponseObject, error) {
	t, err := o.ISOs.Attach(ctx, caller(ctx).Scope(), r.DeviceID, r.Body.ISOID, orZero(r.Body.BootOnce))
	if err != nil {
		return nil, err
	}
	return api.AttachISO201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

// DetachISO accepts emptying a device's drive. The body may be missing.
func (o *ops) DetachISO(ctx context.Context, r api.DetachISORequestObject) (api.DetachISOResponseObject, error) {
	t, err := o.ISOs.Detach(ctx, caller(ctx).Scope(), r.DeviceID, r.Body != nil && orZero(r.Body.Force))
	if err != nil {
		return nil, err
	}
	return api.DetachISO201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}
