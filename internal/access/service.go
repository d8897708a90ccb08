package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/drivebay/drivebay/internal/fault"
)

// Store keeps clients and keys.
type Store interface {
	// KeyByPrefix returns a key, revoked ones too. ErrKeyNotFound.
	KeyByPrefix(ctx context.Context, prefix string) (Key, error)
	// Family returns a client and all below it, itself first.
	Family(ctx context.Context, clientID int64) ([]int64, error)
	// Keys returns keys, newest first; of one client if clientID is set.
	Keys(ctx context.Context, clientID *int64, limit int) ([]Key, error)
	// AddKey stores a new key and returns it with its ID. ErrNoSuchClient.
	AddKey(ctx context.Context, k Key) (Key, error)
	// RevokeKey ends a key now; again is fine. ErrKeyNotFound.
	RevokeKey(ctx context.Context, id int64) error
	// Operators is how many valid keys have the Admin permission.
	Operators(ctx context.Context) (int, error)
	// Touch records when keys were last used.
	Touch(ctx context.Context, used map[int64]time.Time) error

	// Clients returns clients by id, those above after.
	Clients(ctx context.Context, after int64, limit int) ([]Client, error)
	// Client returns one. ErrNoSuchClient.
	Client(ctx context.Context, id int64) (Client, error)
	// AddClient stores a new client, with its ID if that is not 0, and returns
	// it. ErrNoSuchClient for the parent.
	AddClient(ctx context.Context, c Client) (Client, error)

	// Quota returns a client's quota, without bounds if it has none.
	Quota(ctx context.Context, clientID int64) (Quota, error)
	// Usage returns it with what is used of it, at one moment.
	Usage(ctx context.Context, clientID int64) (Quota, Usage, error)
	// PutQuota replaces a client's quota. ErrNoSuchClient.
	PutQuota(ctx context.Context, clientID int64, q Quota) error
}

// cacheTime is how long an identity may be used before the key is read again:
// a key revoked on another node is refused within this time.
const cacheTime = 5 * time.Second

// Service authenticates requests and manages clients and keys.
type Service struct {
	store Store
	log   *slog.Logger
	now   func() time.Time

	mu    sync.RWMutex
	cache map[string]cached // by prefix
	// changes grows with every change to keys or clients, so that what was read
	// before one is not remembered after it.
	changes int

	usedMu sync.Mutex
	used   map[int64]time.Time
}

type cached struct {
	key      Key
	identity Identity
	until    time.Time
}

// NewService returns a service on the store.
func NewService(store Store, log *slog.Logger, now func() time.Time) *Service {
	return &Service{store: store, log: log, now: now, cache: map[string]cached{}, used: map[int64]time.Time{}}
}

// tokenPrefix marks a string as a key of ours, so that scanners for leaked
// secrets can find it.
const tokenPrefix = "dbay_"

const (
	prefixLen = 12
	secretLen = 32
)

// NewToken returns a fresh key and its public prefix. The form is
// dbay_<prefix>_<secret>; the secret has 160 bits.
func NewToken() (token, prefix string) {
	prefix = strings.ToLower(rand.Text()[:prefixLen])
	secret := strings.ToLower((rand.Text() + rand.Text())[:secretLen])
	return tokenPrefix + prefix + "_" + secret, prefix
}

func prefixOf(token string) (string, bool) {
	rest, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(rest) != prefixLen+1+secretLen || rest[prefixLen] != '_' {
		return "", false
	}
	return rest[:prefixLen], true
}

// Authenticate finds out who sends the token from the address. The refusals
// are ErrKeyMissing, ErrKeyInvalid (unknown or revoked), ErrKeyExpired and
// ErrKeyAddress.
func (s *Service) Authenticate(ctx context.Context, token string, from netip.Addr) (Identity, error) {
	if token == "" {
		return Identity{}, ErrKeyMissing
	}
	prefix, ok := prefixOf(token)
	if !ok {
		return Identity{}, ErrKeyInvalid
	}
	now := s.now()
	c, err := s.lookUp(ctx, prefix, now)
	if err != nil {
		return Identity{}, err
	}
	hash := sha256.Sum256([]byte(token))
	switch {
	case subtle.ConstantTimeCompare(hash[:], c.key.Hash) != 1, !c.key.RevokedAt.IsZero():
		return Identity{}, ErrKeyInvalid
	case !c.key.ExpiresAt.IsZero() && !now.Before(c.key.ExpiresAt):
		return Identity{}, ErrKeyExpired
	case !allowed(c.key.Allowed, from):
		return Identity{}, ErrKeyAddress
	}
	s.usedNow(c.key, now)
	return c.identity, nil
}

func (s *Service) lookUp(ctx context.Context, prefix string, now time.Time) (cached, error) {
	s.mu.RLock()
	c, ok := s.cache[prefix]
	changes := s.changes
	s.mu.RUnlock()
	if ok && now.Before(c.until) {
		return c, nil
	}
	k, err := s.store.KeyByPrefix(ctx, prefix)
	if fault.KindOf(err) == fault.NotFound {
		return cached{}, ErrKeyInvalid
	}
	if err != nil {
		return cached{}, err
	}
	c = cached{key: k, until: now.Add(cacheTime)}
	c.identity = Identity{KeyID: k.ID, ClientID: k.ClientID, Permissions: k.Permissions}
	if k.ClientID != 0 {
		if c.identity.Clients, err = s.store.Family(ctx, k.ClientID); err != nil {
			return cached{}, err
		}
	}
	s.mu.Lock()
	if s.changes == changes {
		s.cache[prefix] = c
	}
	s.mu.Unlock()
	return c, nil
}

// forget drops what is remembered of keys after a change.
func (s *Service) forget() {
	s.mu.Lock()
	clear(s.cache)
	s.changes++
	s.mu.Unlock()
}

func allowed(list []netip.Prefix, from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	for _, p := range list {
		if p.Contains(from) {
			return true
		}
	}
	return len(list) == 0
}

// usedNow notes the use of a key, to the minute, for FlushUsed to write.
func (s *Service) usedNow(k Key, now time.Time) {
	minute := now.Truncate(time.Minute)
	if !k.LastUsedAt.Before(minute) {
		return
	}
	s.usedMu.Lock()
	s.used[k.ID] = minute
	s.usedMu.Unlock()
}

// FlushUsed writes when keys were last used. Call it now and then, and at the
// end.
func (s *Service) FlushUsed(ctx context.Context) {
	s.usedMu.Lock()
	used := maps.Clone(s.used)
	clear(s.used)
	s.usedMu.Unlock()
	if len(used) == 0 {
		return
	}
	if err := s.store.Touch(ctx, used); err != nil {
		s.log.Warn("write last use of keys", "error", err)
	}
}

// NewKey is what an operator asks for.
type NewKey struct {
	ClientID    int64 // 0: an operator's key
	Name        string
	Permissions []Permission
	Allowed     []netip.Prefix
	ExpiresAt   time.Time // zero: never
	// Token is one from NewToken, for who must keep it before the key exists;
	// "" makes one.
	Token string
}

// Errors about a new key.
var (
	errAdminOfClient = fault.Field("permission_not_allowed", "permissions", "a client's key cannot have the permission 'admin'")
	errNoClient      = fault.Field("client_required", "clientId", "'clientId' is a required property unless the permissions are just 'admin'")
	errExpired       = fault.Field("expiry_in_past", "expiresAt", "the key would have expired already")
)

// CreateKey stores a new key and returns the token, which is not kept and
// cannot be shown again. ErrNoSuchClient.
func (s *Service) CreateKey(ctx context.Context, n NewKey) (Key, string, error) {
	id := Identity{Permissions: n.Permissions}
	switch {
	case n.ClientID != 0 && id.Operator():
		return Key{}, "", errAdminOfClient
	case n.ClientID == 0 && !id.Operator():
		return Key{}, "", errNoClient
	case !n.ExpiresAt.IsZero() && !n.ExpiresAt.After(s.now()):
		return Key{}, "", errExpired
	}
	token, prefix := NewToken()
	if n.Token != "" {
		given, ok := prefixOf(n.Token)
		if !ok {
			return Key{}, "", errors.New("the token of the new key is not one of NewToken")
		}
		token, prefix = n.Token, given
	}
	hash := sha256.Sum256([]byte(token))
	k, err := s.store.AddKey(ctx, Key{
		ClientID: n.ClientID, Name: n.Name, Prefix: prefix, Hash: hash[:], Permissions: n.Permissions,
		Allowed: n.Allowed, CreatedAt: s.now(), ExpiresAt: n.ExpiresAt,
	})
	return k, token, err
}

// RevokeKey ends a key at once on this node, and within five seconds on
// others. ErrKeyNotFound.
func (s *Service) RevokeKey(ctx context.Context, id int64) error {
	defer s.forget()
	return s.store.RevokeKey(ctx, id)
}

// Keys lists keys, newest first; of one client if clientID is set.
func (s *Service) Keys(ctx context.Context, clientID *int64, limit int) ([]Key, error) {
	return s.store.Keys(ctx, clientID, limit)
}

// Operators is how many valid operator's keys there are.
func (s *Service) Operators(ctx context.Context) (int, error) { return s.store.Operators(ctx) }

// CreateClient adds a client below parentID, 0 for none. ErrNoSuchClient.
func (s *Service) CreateClient(ctx context.Context, name string, parentID int64) (Client, error) {
	defer s.forget() // the parent's keys reach one client more
	return s.store.AddClient(ctx, Client{Name: name, ParentID: parentID, CreatedAt: s.now()})
}

// Clients lists clients by id, those above after.
func (s *Service) Clients(ctx context.Context, after int64, limit int) ([]Client, error) {
	return s.store.Clients(ctx, after, limit)
}

// Client returns one client. ErrNoSuchClient.
func (s *Service) Client(ctx context.Context, id int64) (Client, error) {
	return s.store.Client(ctx, id)
}

// Quota returns a client's quota. ErrNoSuchClient.
func (s *Service) Quota(ctx context.Context, clientID int64) (Quota, error) {
	if _, err := s.store.Client(ctx, clientID); err != nil {
		return Quota{}, err
	}
	return s.store.Quota(ctx, clientID)
}

// Usage returns a client's quota with what is used of it. ErrNoSuchClient.
func (s *Service) Usage(ctx context.Context, clientID int64) (Quota, Usage, error) {
	if _, err := s.store.Client(ctx, clientID); err != nil {
		return Quota{}, Usage{}, err
	}
	return s.store.Usage(ctx, clientID)
}

// PutQuota replaces a client's quota, from the next request on. One below what
// is used takes nothing away. ErrNoSuchClient.
func (s *Service) PutQuota(ctx context.Context, clientID int64, q Quota) error {
	return s.store.PutQuota(ctx, clientID, q)
}

// Fingerprint is a short public name of a token for logs: its prefix, or "" if
// it is no key of ours.
func Fingerprint(token string) string {
	p, _ := prefixOf(token)
	return p
}
