package httpapi

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
)

// errWithheld: the request made a key, which was shown to the first try only.
var errWithheld = fault.New(fault.Conflict, "idempotency_secret_withheld", "The key was made and cannot be shown again; revoke it and make another under a new Idempotency-Key")

// again answers requests that were carried out before and whose answer was not
// stored, because the server ended in between. The answer is made from the
// request and from what it made, as that was when it was accepted. Nothing is
// changed. An operation that changes something and is not here panics.
type again struct {
	api.StrictServerInterface
	ops *ops
}

// task is the task that the request was accepted as.
func (a again) task(ctx context.Context) (task.Task, error) {
	t, err := a.ops.Tasks.Get(ctx, access.Scope{All: true}, keptOf(ctx).Result)
	if err != nil {
		return t, fmt.Errorf("read the task of a repeated request: %w", err)
	}
	t.State, t.Progress, t.Message, t.UpdatedAt = task.Waiting, 0, "", t.CreatedAt
	return t, nil
}

func (a again) accepted(ctx context.Context) (api.TaskAcceptedJSONResponse, error) {
	t, err := a.task(ctx)
	return accepted(t), err
}

// made is the number of what the request made.
func (a again) made(ctx context.Context) (int64, error) {
	return strconv.ParseInt(keptOf(ctx).Result, 10, 64)
}

func (a again) CreateVolume(ctx context.Context, _ api.CreateVolumeRequestObject) (api.CreateVolumeResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.CreateVolume201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

func (a again) ResizeVolume(ctx context.Context, _ api.ResizeVolumeRequestObject) (api.ResizeVolumeResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.ResizeVolume201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

func (a again) DeleteVolume(ctx context.Context, _ api.DeleteVolumeRequestObject) (api.DeleteVolumeResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.DeleteVolume201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

func (a again) AttachVolume(ctx context.Context, _ api.AttachVolumeRequestObject) (api.AttachVolumeResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.AttachVolume201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

func (a again) DetachVolume(ctx context.Context, _ api.DetachVolumeRequestObject) (api.DetachVolumeResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.DetachVolume201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

func (a again) DeleteISO(ctx context.Context, _ api.DeleteISORequestObject) (api.DeleteISOResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.DeleteISO201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

func (a again) AttachISO(ctx context.Context, _ api.AttachISORequestObject) (api.AttachISOResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.AttachISO201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

func (a again) DetachISO(ctx context.Context, _ api.DetachISORequestObject) (api.DetachISOResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.DetachISO201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

func (a again) PowerVPS(ctx context.Context, _ api.PowerVPSRequestObject) (api.PowerVPSResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.PowerVPS201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

func (a again) AdminCreateDevice(ctx context.Context, _ api.AdminCreateDeviceRequestObject) (api.AdminCreateDeviceResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.AdminCreateDevice201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

// CreateISO answers the ISO as it was when it was new. It may have been
// deleted since.
func (a again) CreateISO(ctx context.Context, r api.CreateISORequestObject) (api.CreateISOResponseObject, error) {
	t, err := a.task(ctx)
	if err != nil {
		return nil, err
	}
	i := iso.ISO{
		ID: t.ISOID, ClientID: t.ClientID, FacilityCode: r.Body.FacilityCode, Name: r.Body.Name, Description: r.Body.Description,
		URL: r.Body.URL, Bootable: r.Body.Bootable, State: iso.Queued, TaskID: t.ID, CreatedAt: t.CreatedAt,
	}
	if n := uploadBytes(r.Body); n > 0 {
		i.State, i.Size = iso.Uploading, n
	}
	switch now, err := a.ops.ISOs.Get(ctx, access.Scope{All: true}, i.ID, nil); {
	case err == nil:
		i.CreatedAt = now.CreatedAt
	case !errors.Is(err, iso.ErrNotFound):
		return nil, err
	}
	return api.CreateISO200JSONResponse(toISO(i)), nil
}

// AdminPutFacility answers the facility as the request made it.
func (a again) AdminPutFacility(ctx context.Context, r api.AdminPutFacilityRequestObject) (api.AdminPutFacilityResponseObject, error) {
	f, err := a.ops.facility(ctx, r.Code)
	if err != nil {
		return nil, err
	}
	f.Title, f.City, f.State, f.Country = r.Body.Title, r.Body.City, orZero(r.Body.State), r.Body.Country
	return api.AdminPutFacility200JSONResponse(toLocation(f)), nil
}

func (a again) AdminCreateClient(ctx context.Context, _ api.AdminCreateClientRequestObject) (api.AdminCreateClientResponseObject, error) {
	id, err := a.made(ctx)
	if err != nil {
		return nil, err
	}
	c, err := a.ops.Access.Client(ctx, id)
	return api.AdminCreateClient201JSONResponse(toClient(c)), err
}

// AdminCreateKey is errWithheld with the key's id.
func (a again) AdminCreateKey(ctx context.Context, _ api.AdminCreateKeyRequestObject) (api.AdminCreateKeyResponseObject, error) {
	id, err := a.made(ctx)
	if err != nil {
		return nil, err
	}
	return nil, errWithheld.Textf("Key %d was made by this request and cannot be shown again; revoke it and make another under a new Idempotency-Key", id)
}

// AdminRevokeKey has nothing to tell but that it was done.
func (a again) AdminRevokeKey(context.Context, api.AdminRevokeKeyRequestObject) (api.AdminRevokeKeyResponseObject, error) {
	return api.AdminRevokeKey204Response{}, nil
}

// AdminPutPrice answers the price that was asked for.
func (a again) AdminPutPrice(_ context.Context, r api.AdminPutPriceRequestObject) (api.AdminPutPriceResponseObject, error) {
	monthly, err := parsePrice(r.Body.MonthlyPrice)
	return api.AdminPutPrice200JSONResponse(toPrice(billing.Price{FacilityCode: r.FacilityCode, SizeGiB: r.Size, Monthly: monthly})), err
}

// AdminDeletePrice has nothing to tell but that it was done.
func (a again) AdminDeletePrice(context.Context, api.AdminDeletePriceRequestObject) (api.AdminDeletePriceResponseObject, error) {
	return api.AdminDeletePrice204Response{}, nil
}

// AdminPutClientQuota answers the quota that was asked for.
func (a again) AdminPutClientQuota(_ context.Context, r api.AdminPutClientQuotaRequestObject) (api.AdminPutClientQuotaResponseObject, error) {
	return api.AdminPutClientQuota200JSONResponse(toQuota(quotaOf(r.Body))), nil
}

func (a again) AdminReconcile(ctx context.Context, _ api.AdminReconcileRequestObject) (api.AdminReconcileResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.AdminReconcile201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

func (a again) AdminDeleteQuarantine(ctx context.Context, _ api.AdminDeleteQuarantineRequestObject) (api.AdminDeleteQuarantineResponseObject, error) {
	t, err := a.accepted(ctx)
	return api.AdminDeleteQuarantine201JSONResponse{TaskAcceptedJSONResponse: t}, err
}

// AdminDeleteDevice has nothing to tell but that it was done.
func (a again) AdminDeleteDevice(context.Context, api.AdminDeleteDeviceRequestObject) (api.AdminDeleteDeviceResponseObject, error) {
	return api.AdminDeleteDevice204Response{}, nil
}

// AdminImportVPS goes on with the import, which changes nothing where it has
// come to its end: what the first try has done is told as done by this one.
func (a again) AdminImportVPS(ctx context.Context, r api.AdminImportVPSRequestObject) (api.AdminImportVPSResponseObject, error) {
	q := importOf(r.Body)
	q.Since = keptOf(ctx).At
	return a.ops.importVPS(ctx, q)
}
