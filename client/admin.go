package client

import (
	"context"
	"iter"
	"time"

	"github.com/drivebay/drivebay/api"
)

// Admin has the operations that set up an installation.
type Admin struct {
	Account    AccountService
	Key        KeyService
	Device     DeviceService
	Facility   FacilityService
	Price      PriceService
	Charge     ChargeService
	Node       NodeService
	Doctor     DoctorService
	Quarantine QuarantineService
}

func newAdmin(c *Client) Admin {
	return Admin{
		Account: AccountService{c}, Key: KeyService{c}, Device: DeviceService{c}, Facility: FacilityService{c}, Price: PriceService{c},
		Charge: ChargeService{c}, Node: NodeService{c}, Doctor: DoctorService{c}, Quarantine: QuarantineService{c},
	}
}

// Page chooses a part of a list whose ids rise.
type Page struct {
	After int64 // only larger ids
	Limit int   // how many at most; 0 is the server's own limit (1000)
}

func (p Page) of(r *call) *call { return r.number("after", p.After).number("limit", int64(p.Limit)) }

// Account is a client of the installation.
type Account = api.ClientAccount

// AccountService is what an operator can do with clients.
type AccountService struct{ c *Client }

// List returns clients by ascending id.
func (s AccountService) List(ctx context.Context, p Page, opts ...CallOption) ([]Account, error) {
	return do[[]Account](ctx, s.c, p.of(reading("admin", "clients")), opts)
}

// All iterates over all clients. It ends after an error.
func (s AccountService) All(ctx context.Context, opts ...CallOption) iter.Seq2[Account, error] {
	return pages("GET /admin/clients", func(last int64) ([]Account, error) { return s.List(ctx, Page{last, pageSize}, opts...) },
		func(a Account) int64 { return a.ClientID })
}

// AccountCreate is a client to make.
type AccountCreate struct {
	Name string
	// ParentID is the client that may act for it; 0 for none.
	ParentID int64
}

// Create makes a client.
func (s AccountService) Create(ctx context.Context, o AccountCreate, opts ...CallOption) (Account, error) {
	return do[Account](ctx, s.c, posting(api.ClientCreate{Name: o.Name, ParentID: optional(o.ParentID)}, "admin", "clients"), opts)
}

// Get reads a client.
func (s AccountService) Get(ctx context.Context, id int64, opts ...CallOption) (Account, error) {
	return do[Account](ctx, s.c, reading("admin", "clients", id), opts)
}

// Limits reads a client's quota.
func (s AccountService) Limits(ctx context.Context, id int64, opts ...CallOption) (Limits, error) {
	return do[Limits](ctx, s.c, reading("admin", "clients", id, "quota"), opts)
}

// SetLimits replaces a client's quota whole.
func (s AccountService) SetLimits(ctx context.Context, id int64, l Limits, opts ...CallOption) (Limits, error) {
	return do[Limits](ctx, s.c, putting(api.QuotaPut(l), "admin", "clients", id, "quota"), opts)
}

// Key is an API key without its secret.
type Key = api.APIKey

// NewKey is an API key with its secret, which is shown this once.
type NewKey = api.NewAPIKey

// Permission is what a key may do.
type Permission = api.Permission

// The permissions of keys.
const (
	PermissionRead    = api.PermissionRead
	PermissionVolumes = api.PermissionVolumes
	PermissionISOs    = api.PermissionIsos
	PermissionBilling = api.PermissionBilling
	PermissionAdmin   = api.PermissionAdmin
)

// KeyService is what an operator can do with API keys.
type KeyService struct{ c *Client }

// KeyListOptions chooses keys. The zero value is all.
type KeyListOptions struct {
	ClientID int64
	Limit    int // how many at most; 0 is the server's own limit (1000)
}

// List returns keys, newest first.
func (s KeyService) List(ctx context.Context, o KeyListOptions, opts ...CallOption) ([]Key, error) {
	return do[[]Key](ctx, s.c, reading("admin", "keys").number("clientId", o.ClientID).number("limit", int64(o.Limit)), opts)
}

// KeyCreate is a key to make.
type KeyCreate struct {
	Name        string
	Permissions []Permission
	// ClientID is the client it speaks for; 0 for an operator's key.
	ClientID int64
	// ExpiresAt is when it ends to be valid; zero for never.
	ExpiresAt time.Time
	// AllowedAddresses are addresses or networks; empty for anywhere.
	AllowedAddresses []string
}

// Create makes a key. Where the answer was lost and a second try finds the key
// made, the error is ErrConflict with the reason idempotency_secret_withheld, and
// names the key to revoke.
func (s KeyService) Create(ctx context.Context, o KeyCreate, opts ...CallOption) (NewKey, error) {
	body := api.KeyCreate{Name: o.Name, Permissions: o.Permissions, ClientID: optional(o.ClientID)}
	if body.Permissions == nil {
		body.Permissions = []Permission{}
	}
	if !o.ExpiresAt.IsZero() {
		at := o.ExpiresAt.UTC()
		body.ExpiresAt = &at
	}
	if len(o.AllowedAddresses) > 0 {
		body.AllowedAddresses = &o.AllowedAddresses
	}
	return do[NewKey](ctx, s.c, posting(body, "admin", "keys"), opts)
}

// Revoke makes a key invalid for good. It takes the key's id, not the key.
func (s KeyService) Revoke(ctx context.Context, id string, opts ...CallOption) error {
	return run(ctx, s.c, deleting("admin", "keys", id), opts)
}

// FacilityService is what an operator can do with facilities.
type FacilityService struct{ c *Client }

// List returns the facilities, by code.
func (s FacilityService) List(ctx context.Context, opts ...CallOption) ([]Location, error) {
	return do[[]Location](ctx, s.c, reading("admin", "facilities"), opts)
}

// FacilityPut is what is said of a facility.
type FacilityPut = api.FacilityPut

// Put makes a facility, or changes what is said of it.
func (s FacilityService) Put(ctx context.Context, code string, o FacilityPut, opts ...CallOption) (Location, error) {
	return do[Location](ctx, s.c, putting(o, "admin", "facilities", code), opts)
}

// Price is a size on sale in a facility.
type Price = api.Price

// PriceService is what an operator can do with prices.
type PriceService struct{ c *Client }

// List returns what is on sale in a facility, or anywhere where the code is "",
// by facility code and size.
func (s PriceService) List(ctx context.Context, facilityCode string, opts ...CallOption) ([]Price, error) {
	return do[[]Price](ctx, s.c, reading("admin", "prices").text("facilityCode", facilityCode), opts)
}

// Put sells a size, or changes its price for volumes made or resized from now
// on. The price has at most two decimals.
func (s PriceService) Put(ctx context.Context, facilityCode string, sizeGiB int64, monthlyPrice float64, opts ...CallOption) (Price, error) {
	return do[Price](ctx, s.c, putting(api.PricePut{MonthlyPrice: monthlyPrice}, "admin", "prices", facilityCode, sizeGiB), opts)
}

// Delete sells a size no longer. Volumes of that size go on.
func (s PriceService) Delete(ctx context.Context, facilityCode string, sizeGiB int64, opts ...CallOption) error {
	return run(ctx, s.c, deleting("admin", "prices", facilityCode, sizeGiB), opts)
}

// Charge is an entry of the ledger.
type Charge = api.Charge

// ChargeService reads the ledger.
type ChargeService struct{ c *Client }

// ChargeListOptions chooses charges. The zero value is all.
type ChargeListOptions struct {
	ClientID int64
	VolumeID string // which may be gone
	Before   int64  // only smaller ids; 0 for all
	Limit    int    // how many at most; 0 is the server's own limit (1000)
}

// List returns charges, newest first.
func (s ChargeService) List(ctx context.Context, o ChargeListOptions, opts ...CallOption) ([]Charge, error) {
	r := reading("admin", "charges").number("clientId", o.ClientID).text("volumeId", o.VolumeID).number("before", o.Before).number("limit", int64(o.Limit))
	return do[[]Charge](ctx, s.c, r, opts)
}

// All iterates over the charges chosen, newest first, whatever the limit. It
// ends after an error.
func (s ChargeService) All(ctx context.Context, o ChargeListOptions, opts ...CallOption) iter.Seq2[Charge, error] {
	first := o.Before
	return pages("GET /admin/charges", func(last int64) ([]Charge, error) {
		o := o
		if o.Before, o.Limit = last, pageSize; last == 0 {
			o.Before = first
		}
		return s.List(ctx, o, opts...)
	}, func(c Charge) int64 { return c.ChargeID })
}

// Node is a server of the installation.
type Node = api.Node

// NodeService reads the servers of the installation.
type NodeService struct{ c *Client }

// List returns the servers, by name.
func (s NodeService) List(ctx context.Context, opts ...CallOption) ([]Node, error) {
	return do[[]Node](ctx, s.c, reading("admin", "nodes"), opts)
}
