package httpapi

import (
	"context"
	"time"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/reconcile"
)

// AdminListFindings lists what differed at the last look.
func (o *ops) AdminListFindings(ctx context.Context, r api.AdminListFindingsRequestObject) (api.AdminListFindingsResponseObject, error) {
	f := reconcile.Filter{FacilityCode: r.Params.FacilityCode, After: orZero(r.Params.After), Limit: limitOf(r.Params.Limit)}
	if r.Params.Class != nil {
		class := reconcile.Class(*r.Params.Class)
		f.Class = &class
	}
	list, err := o.Reconcile.Findings(ctx, f)
	if err != nil {
		return nil, err
	}
	return api.AdminListFindings200JSONResponse(each(list, toFinding)), nil
}

// AdminReconcile accepts a look, and repairs.
func (o *ops) AdminReconcile(ctx context.Context, r api.AdminReconcileRequestObject) (api.AdminReconcileResponseObject, error) {
	q := reconcile.Request{Repair: r.Body.Repair, FacilityCode: orZero(r.Body.FacilityCode)}
	if r.Body.GraceSeconds != nil {
		grace := time.Duration(*r.Body.GraceSeconds) * time.Second
		q.Grace = &grace
	}
	t, err := o.Reconcile.Start(ctx, q)
	if err != nil {
		return nil, err
	}
	return api.AdminReconcile201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

// AdminListQuarantine lists what belongs to nothing.
func (o *ops) AdminListQuarantine(ctx context.Context, r api.AdminListQuarantineRequestObject) (api.AdminListQuarantineResponseObject, error) {
	list, err := o.Reconcile.Held(ctx, r.Params.FacilityCode, orZero(r.Params.After), limitOf(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return api.AdminListQuarantine200JSONResponse(each(list, o.toQuarantined)), nil
}

// AdminDeleteQuarantine accepts deleting what is in quarantine.
func (o *ops) AdminDeleteQuarantine(ctx context.Context, r api.AdminDeleteQuarantineRequestObject) (api.AdminDeleteQuarantineResponseObject, error) {
	t, err := o.Reconcile.Discard(ctx, r.QuarantineID)
	if err != nil {
		return nil, err
	}
	return api.AdminDeleteQuarantine201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

func toFinding(f reconcile.Finding) api.Finding {
	return api.Finding{
		FindingID: f.ID, Class: api.FindingClass(f.Class), FacilityCode: orNull(f.FacilityCode), ObjectID: f.Object,
		Detail: f.Detail, Remedy: f.Class.Remedy(), FirstSeen: inUTC(f.FirstSeen), LastSeen: inUTC(f.LastSeen),
		Looks: f.Looks, Confirmed: f.Confirmed,
	}
}

func (o *ops) toQuarantined(h reconcile.Held) api.Quarantined {
	return api.Quarantined{
		QuarantineID: h.ID, FacilityCode: h.FacilityCode, Kind: api.QuarantinedKind(h.Kind), ObjectID: h.Object, SizeBytes: h.Bytes,
		FirstSeen: inUTC(h.FirstSeen), QuarantinedAt: inUTC(h.At), DeletableAt: inUTC(o.Reconcile.DeletableAt(h)),
	}
}
