package httpapi

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/node"
	"github.com/drivebay/drivebay/internal/vps"
)

// What the forms of the admin operations refuse beyond their schemas.
var (
	errPrice      = fault.Field("price_malformed", "monthlyPrice", "a price has at most two decimals and is not negative")
	errAddress    = fault.Field("address_malformed", "allowedAddresses", "an allowed address is an IP address or a network, such as 192.0.2.7 or 2001:db8::/32")
	errPermission = fault.Field("permission_unknown", "permissions", "there is no such permission")
)

// AdminListFacilities lists the facilities.
func (o *ops) AdminListFacilities(ctx context.Context, _ api.AdminListFacilitiesRequestObject) (api.AdminListFacilitiesResponseObject, error) {
	list, err := o.VPS.Facilities(ctx)
	if err != nil {
		return nil, err
	}
	return api.AdminListFacilities200JSONResponse(each(list, toLocation)), nil
}

// AdminPutFacility adds or changes a facility.
func (o *ops) AdminPutFacility(ctx context.Context, r api.AdminPutFacilityRequestObject) (api.AdminPutFacilityResponseObject, error) {
	f, err := o.VPS.PutFacility(ctx, vps.Facility{
		Code: r.Code, Title: r.Body.Title, City: r.Body.City, State: orZero(r.Body.State), Country: r.Body.Country,
	})
	if err != nil {
		return nil, err
	}
	return api.AdminPutFacility200JSONResponse(toLocation(f)), nil
}

// AdminListClients lists clients by id.
func (o *ops) AdminListClients(ctx context.Context, r api.AdminListClientsRequestObject) (api.AdminListClientsResponseObject, error) {
	list, err := o.Access.Clients(ctx, orZero(r.Params.After), limitOf(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return api.AdminListClients200JSONResponse(each(list, toClient)), nil
}

// AdminCreateClient adds a client.
func (o *ops) AdminCreateClient(ctx context.Context, r api.AdminCreateClientRequestObject) (api.AdminCreateClientResponseObject, error) {
	c, err := o.Access.CreateClient(ctx, r.Body.Name, orZero(r.Body.ParentID))
	if err != nil {
		return nil, err
	}
	return api.AdminCreateClient201JSONResponse(toClient(c)), nil
}

// AdminGetClient reads one client.
func (o *ops) AdminGetClient(ctx context.Context, r api.AdminGetClientRequestObject) (api.AdminGetClientResponseObject, error) {
	c, err := o.Access.Client(ctx, r.ClientID)
	if err != nil {
		return nil, err
	}
	return api.AdminGetClient200JSONResponse(toClient(c)), nil
}

// clientExists is access.ErrNoSuchClient for a filter that names no client.
func (o *ops) clientExists(ctx context.Context, clientID *int64) error {
	if clientID == nil {
		return nil
	}
	_, err := o.Access.Client(ctx, *clientID)
	return err
}

// AdminListKeys lists keys, newest first.
func (o *ops) AdminListKeys(ctx context.Context, r api.AdminListKeysRequestObject) (api.AdminListKeysResponseObject, error) {
	if err := o.clientExists(ctx, r.Params.ClientID); err != nil {
		return nil, err
	}
	list, err := o.Access.Keys(ctx, r.Params.ClientID, limitOf(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return api.AdminListKeys200JSONResponse(each(list, toKey)), nil
}

// AdminCreateKey makes a key and shows it, this once.
func (o *ops) AdminCreateKey(ctx context.Context, r api.AdminCreateKeyRequestObject) (api.AdminCreateKeyResponseObject, error) {
	permissions, err := parsePermissions(r.Body.Permissions)
	if err != nil {
		return nil, err
	}
	allowed, err := parseAddresses(orZero(r.Body.AllowedAddresses))
	if err != nil {
		return nil, err
	}
	n := access.NewKey{ClientID: orZero(r.Body.ClientID), Name: r.Body.Name, Permissions: permissions, Allowed: allowed}
	if r.Body.ExpiresAt != nil {
		n.ExpiresAt = inUTC(*r.Body.ExpiresAt)
	}
	k, token, err := o.Access.CreateKey(ctx, n)
	if err != nil {
		return nil, err
	}
	return api.AdminCreateKey201JSONResponse(toNewKey(k, token)), nil
}

func parsePermissions(list []api.Permission) ([]access.Permission, error) {
	out := make([]access.Permission, len(list))
	for i, s := range list {
		p, ok := access.ParsePermission(string(s))
		if !ok {
			return nil, errPermission
		}
		out[i] = p
	}
	return out, nil
}

// parseAddresses reads IP addresses and networks. Bits of a network beyond its
// mask and the IPv6 form of an IPv4 address are taken away, so that what is
// stored matches what is asked for when a key is used.
func parseAddresses(list []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		p, err := parsePrefix(strings.TrimSpace(s))
		if err != nil {
			return nil, errAddress
		}
		out[i] = p
	}
	return out, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, errAddress
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() {
		p, err = p.Addr().Unmap().Prefix(p.Bits() - 96)
	}
	return p.Masked(), err
}

// AdminRevokeKey ends a key. Ids are numbers, so any other text names none.
func (o *ops) AdminRevokeKey(ctx context.Context, r api.AdminRevokeKeyRequestObject) (api.AdminRevokeKeyResponseObject, error) {
	id, err := strconv.ParseInt(r.KeyID, 10, 64)
	if err != nil || strconv.FormatInt(id, 10) != r.KeyID {
		return nil, access.ErrKeyNotFound
	}
	if err := o.Access.RevokeKey(ctx, id); err != nil {
		return nil, err
	}
	return api.AdminRevokeKey204Response{}, nil
}

// AdminListDevices lists devices by id.
func (o *ops) AdminListDevices(ctx context.Context, r api.AdminListDevicesRequestObject) (api.AdminListDevicesResponseObject, error) {
	if err := o.clientExists(ctx, r.Params.ClientID); err != nil {
		return nil, err
	}
	scope, err := caller(ctx).ActingFor(r.Params.ClientID)
	if err != nil {
		return nil, err
	}
	list, err := o.VPS.List(ctx, scope, vps.Filter{After: orZero(r.Params.After), Limit: limitOf(r.Params.Limit)})
	if err != nil {
		return nil, err
	}
	return api.AdminListDevices200JSONResponse(each(list, toDevice)), nil
}

// AdminCreateDevice accepts a new device.
func (o *ops) AdminCreateDevice(ctx context.Context, r api.AdminCreateDeviceRequestObject) (api.AdminCreateDeviceResponseObject, error) {
	t, err := o.VPS.CreateDevice(ctx, vps.NewDevice{
		ID:           orZero(r.Body.DeviceID),
		ClientID:     r.Body.ClientID,
		FacilityCode: r.Body.FacilityCode,
		Ref:          orZero(r.Body.Ref),
		Hostname:     orZero(r.Body.Hostname),
		VCPU:         orZero(r.Body.VCPU),
		MemoryMB:     orZero(r.Body.Memory),
		RootGiB:      orZero(r.Body.RootGiB),
		MaxVolumes:   r.Body.MaxVolumes,
	})
	if err != nil {
		return nil, err
	}
	return api.AdminCreateDevice201JSONResponse{TaskAcceptedJSONResponse: accepted(t)}, nil
}

// AdminListPrices lists what is on sale.
func (o *ops) AdminListPrices(ctx context.Context, r api.AdminListPricesRequestObject) (api.AdminListPricesResponseObject, error) {
	list, err := o.prices(ctx, r.Params.FacilityCode)
	if err != nil {
		return nil, err
	}
	return api.AdminListPrices200JSONResponse(each(list, toPrice)), nil
}

// AdminPutPrice puts a size on sale, or changes its price.
func (o *ops) AdminPutPrice(ctx context.Context, r api.AdminPutPriceRequestObject) (api.AdminPutPriceResponseObject, error) {
	monthly, err := parsePrice(r.Body.MonthlyPrice)
	if err != nil {
		return nil, err
	}
	p, err := o.Ledger.PutPrice(ctx, billing.Price{FacilityCode: r.FacilityCode, SizeGiB: r.Size, Monthly: monthly})
	if err != nil {
		return nil, err
	}
	return api.AdminPutPrice200JSONResponse(toPrice(p)), nil
}

// parsePrice turns units into cents. It looks at the decimal a caller would
// have written, because 0.29 times 100 is not 29 in binary.
func parsePrice(units float64) (billing.Cents, error) {
	whole, part, _ := strings.Cut(strconv.FormatFloat(units, 'f', -1, 64), ".")
	if len(part) > 2 || units < 0 {
		return 0, errPrice
	}
	cents, err := strconv.ParseInt(whole+(part + "00")[:2], 10, 64)
	if err != nil {
		return 0, errPrice
	}
	return billing.Cents(cents), nil
}

// AdminDeletePrice takes a size off sale.
func (o *ops) AdminDeletePrice(ctx context.Context, r api.AdminDeletePriceRequestObject) (api.AdminDeletePriceResponseObject, error) {
	if err := o.Ledger.DeletePrice(ctx, r.FacilityCode, r.Size); err != nil {
		return nil, err
	}
	return api.AdminDeletePrice204Response{}, nil
}

// AdminListCharges reads the ledger, newest first.
func (o *ops) AdminListCharges(ctx context.Context, r api.AdminListChargesRequestObject) (api.AdminListChargesResponseObject, error) {
	if err := o.clientExists(ctx, r.Params.ClientID); err != nil {
		return nil, err
	}
	list, err := o.Ledger.Charges(ctx, billing.ChargeFilter{
		ClientID: r.Params.ClientID, VolumeID: r.Params.VolumeID,
		Before: orZero(r.Params.Before), Limit: limitOf(r.Params.Limit),
	})
	if err != nil {
		return nil, err
	}
	return api.AdminListCharges200JSONResponse(each(list, toCharge)), nil
}

// AdminListNodes lists the servers of the installation.
func (o *ops) AdminListNodes(ctx context.Context, _ api.AdminListNodesRequestObject) (api.AdminListNodesResponseObject, error) {
	list, err := o.Nodes.List(ctx, node.Lease)
	if err != nil {
		return nil, err
	}
	return api.AdminListNodes200JSONResponse(each(list, toNode)), nil
}
