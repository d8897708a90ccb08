// Package access knows clients and API keys and decides who may do what.
package access

import (
	"net/netip"
	"slices"
	"time"

	"github.com/drivebay/drivebay/internal/fault"
)

// Permission is what a key may do. Read goes with every key; the others are
// given one by one.
type Permission string

// The permissions.
const (
	Read    Permission = "read"    // see volumes, ISOs, VPS, tasks, locations
	Volumes Permission = "volumes" // create, resize, attach, detach, delete volumes; power of VPS
	ISOs    Permission = "isos"    // create, attach, detach, delete ISOs
	Billing Permission = "billing" // see services and charges
	Admin   Permission = "admin"   // everything below /admin, and every client
)

// Everything is what a client's key gets unless told otherwise.
var Everything = []Permission{Read, Volumes, ISOs, Billing}

// ParsePermission returns the permission named s.
func ParsePermission(s string) (Permission, bool) {
	p := Permission(s)
	return p, slices.Contains([]Permission{Read, Volumes, ISOs, Billing, Admin}, p)
}

// standard is the contract's sentence for every refusal of a key.
const standard = "You have not been granted permission to complete this action. Please contact your account manager to grant the proper permission."

// Refusals. The text is the same for all; the reason tells which.
var (
	ErrKeyMissing   = fault.New(fault.Forbidden, "key_missing", standard)
	ErrKeyInvalid   = fault.New(fault.Forbidden, "key_invalid", standard)
	ErrKeyExpired   = fault.New(fault.Forbidden, "key_expired", standard)
	ErrKeyAddress   = fault.New(fault.Forbidden, "key_address_not_allowed", standard)
	ErrPermission   = fault.New(fault.Forbidden, "permission_missing", standard)
	ErrOtherClient  = fault.New(fault.Forbidden, "client_not_allowed", standard)
	ErrKeyNotFound  = fault.New(fault.NotFound, "key_not_found", "Key not found")
	ErrNoSuchClient = fault.New(fault.NotFound, "client_not_found", "Client not found")
)

// Client is a customer. A parent may act for its children and theirs.
type Client struct {
	ID        int64
	Name      string
	ParentID  int64 // 0: none
	CreatedAt time.Time
}

// Key is an API key as it is stored: the secret itself is not.
type Key struct {
	ID          int64
	ClientID    int64 // 0: an operator's key, of no client
	Name        string
	Prefix      string // public part, finds the row
	Hash        []byte // SHA-256 of the whole token
	Permissions []Permission
	Allowed     []netip.Prefix // source addresses; empty: any
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: never
	RevokedAt   time.Time // zero: valid
	LastUsedAt  time.Time // zero: never; to the minute
}

// Identity is who makes a request.
type Identity struct {
	KeyID       int64
	ClientID    int64 // 0: an operator
	Permissions []Permission
	// Clients are the client and all below it, itself first.
	Clients []int64
}

// May reports whether the identity has permission p.
func (id Identity) May(p Permission) bool {
	return slices.Contains(id.Permissions, p) || (p == Read && len(id.Permissions) > 0)
}

// Operator reports whether the identity sees every client.
func (id Identity) Operator() bool { return slices.Contains(id.Permissions, Admin) }

// Scope is whose objects the identity may name.
func (id Identity) Scope() Scope {
	if id.Operator() {
		return Scope{All: true}
	}
	return Scope{Clients: id.Clients}
}

// ActingFor narrows the scope to one client. Without clientID it is the
// caller's own client, or everyone for an operator. A client that is not the
// caller's own or below it is ErrOtherClient, whether it exists or not.
func (id Identity) ActingFor(clientID *int64) (Scope, error) {
	switch {
	case clientID == nil && id.Operator():
		return Scope{All: true}, nil
	case clientID == nil:
		return Scope{Clients: []int64{id.ClientID}}, nil
	case id.Operator() || slices.Contains(id.Clients, *clientID):
		return Scope{Clients: []int64{*clientID}}, nil
	default:
		return Scope{}, ErrOtherClient
	}
}

// Owner is the client that something new belongs to: clientID if given, else
// the caller's own. An operator must name one.
func (id Identity) Owner(clientID *int64) (int64, error) {
	if clientID == nil && id.ClientID == 0 {
		return 0, fault.Field("client_required", "clientId", "'clientId' is a required property for an operator's key")
	}
	if clientID == nil {
		return id.ClientID, nil
	}
	if _, err := id.ActingFor(clientID); err != nil {
		return 0, err
	}
	return *clientID, nil
}

// Scope is a set of clients whose objects may be seen.
type Scope struct {
	All     bool
	Clients []int64
}

// Covers reports whether objects of the client are inside the scope.
func (s Scope) Covers(clientID int64) bool { return s.All || slices.Contains(s.Clients, clientID) }
