package httpapi

import (
	"context"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
)

// GetQuota reads a client's quota and what is used of it: the caller's, or that
// of a client it may act for. An operator must name one.
func (o *ops) GetQuota(ctx context.Context, r api.GetQuotaRequestObject) (api.GetQuotaResponseObject, error) {
	clientID, err := caller(ctx).Owner(r.Params.ClientID)
	if err != nil {
		return nil, err
	}
	q, used, err := o.Access.Usage(ctx, clientID)
	if err != nil {
		return nil, err
	}
	return api.GetQuota200JSONResponse{ClientID: clientID, Limits: toQuota(q), Used: toUsage(used)}, nil
}

// AdminGetClientQuota reads a client's quota.
func (o *ops) AdminGetClientQuota(ctx context.Context, r api.AdminGetClientQuotaRequestObject) (api.AdminGetClientQuotaResponseObject, error) {
	q, err := o.Access.Quota(ctx, r.ClientID)
	if err != nil {
		return nil, err
	}
	return api.AdminGetClientQuota200JSONResponse(toQuota(q)), nil
}

// AdminPutClientQuota replaces a client's quota; what is left out is unlimited.
func (o *ops) AdminPutClientQuota(ctx context.Context, r api.AdminPutClientQuotaRequestObject) (api.AdminPutClientQuotaResponseObject, error) {
	q := quotaOf(r.Body)
	if err := o.Access.PutQuota(ctx, r.ClientID, q); err != nil {
		return nil, err
	}
	return api.AdminPutClientQuota200JSONResponse(toQuota(q)), nil
}

func quotaOf(b *api.QuotaPut) access.Quota {
	return access.Quota{Volumes: b.Volumes, GiB: b.Gib, ISOs: b.Isos, ISOBytes: b.ISOBytes}
}
