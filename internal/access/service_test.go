package access_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/worldtest"
)

var (
	ctx  = context.Background()
	home = netip.MustParseAddr("192.0.2.7")
)

// spy is a store that counts and can be stopped in the middle.
type spy struct {
	access.Store
	reads, touches atomic.Int32
	onRead         func() // once a key has been read
	fail           error
}

func (s *spy) KeyByPrefix(ctx context.Context, prefix string) (access.Key, error) {
	s.reads.Add(1)
	if s.fail != nil {
		return access.Key{}, s.fail
	}
	k, err := s.Store.KeyByPrefix(ctx, prefix)
	if s.onRead != nil {
		s.onRead()
	}
	return k, err
}

func (s *spy) Touch(ctx context.Context, used map[int64]time.Time) error {
	s.touches.Add(1)
	return s.Store.Touch(ctx, used)
}

type desk struct {
	*worldtest.World
	*access.Service
	spy *spy
	log *bytes.Buffer
}

func newDesk(t *testing.T) desk {
	w := worldtest.New(t, worldtest.Options{Bare: true})
	s, log := &spy{Store: w.DB.Access()}, &bytes.Buffer{}
	return desk{w, access.NewService(s, slog.New(slog.NewTextHandler(log, nil)), w.Clock.Now), s, log}
}

func (d desk) key(t *testing.T, n access.NewKey) (access.Key, string) {
	t.Helper()
	if n.Permissions == nil {
		n.Permissions = access.Everything
	}
	k, token, err := d.CreateKey(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	return k, token
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	own, token := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "mine"})
	_, spare := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "spare"})
	revoked, old := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "old"})
	if err := d.RevokeKey(ctx, revoked.ID); err != nil {
		t.Fatal(err)
	}
	_, short := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "short", ExpiresAt: d.Clock.Now().Add(time.Minute)})
	_, listed := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "listed", Allowed: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	_, admin := d.key(t, access.NewKey{Name: "operator", Permissions: []access.Permission{access.Admin}})

	id, err := d.Authenticate(ctx, token, home)
	if err != nil || id.KeyID != own.ID || id.ClientID != worldtest.Client || !id.May(access.Volumes) || id.Operator() ||
		len(id.Clients) != 2 || id.Clients[0] != worldtest.Client || id.Clients[1] != worldtest.Child {
		t.Errorf("a parent's key: %+v, %v", id, err)
	}
	if id, err := d.Authenticate(ctx, admin, home); err != nil || id.ClientID != 0 || !id.Operator() {
		t.Errorf("an operator's key: %+v, %v", id, err)
	}
	if _, err := d.Authenticate(ctx, short, home); err != nil {
		t.Errorf("before it expires: %v", err)
	}
	d.Clock.Add(time.Minute)
	unknown, _ := access.NewToken()
	for name, c := range map[string]struct {
		token string
		from  netip.Addr
		want  *fault.Error
	}{
		"none":                     {"", home, access.ErrKeyMissing},
		"malformed":                {"hunter2", home, access.ErrKeyInvalid},
		"cut":                      {token[:len(token)-1], home, access.ErrKeyInvalid},
		"unknown prefix":           {unknown, home, access.ErrKeyInvalid},
		"another's secret":         {token[:18] + spare[18:], home, access.ErrKeyInvalid},
		"one letter off":           {token[:len(token)-1] + "0", home, access.ErrKeyInvalid},
		"in capitals":              {strings.ToUpper(token), home, access.ErrKeyInvalid},
		"revoked":                  {old, home, access.ErrKeyInvalid},
		"expired, at the moment":   {short, home, access.ErrKeyExpired},
		"from another address":     {listed, home, access.ErrKeyAddress},
		"a wrong secret, expired":  {short[:len(short)-1] + "0", home, access.ErrKeyInvalid},
		"a wrong secret, not here": {listed[:len(listed)-1] + "0", home, access.ErrKeyInvalid},
	} {
		_, err := d.Authenticate(ctx, c.token, c.from)
		f, ok := fault.As(err)
		if !ok || f.Kind != fault.Forbidden || f.Reason != c.want.Reason || f.Text != c.want.Text {
			t.Errorf("%s: %v (%s), want %s", name, err, fault.ReasonOf(err), c.want.Reason)
		}
	}
	for _, from := range []string{"198.51.100.9", "::ffff:198.51.100.9"} {
		if _, err := d.Authenticate(ctx, listed, netip.MustParseAddr(from)); err != nil {
			t.Errorf("from %s: %v", from, err)
		}
	}
	if n := d.Count(`SELECT count(*) FROM api_key WHERE instr(hash, ?) OR instr(prefix || name, ?)`, token, token[18:]); n != 0 {
		t.Error("a secret is in the database")
	}
	if strings.Contains(d.log.String(), token[18:]) {
		t.Error("a secret is in the log")
	}
}

// A key is read again after five seconds, or at once after a change here.
func TestCache(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	k, token := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "k"})
	ask := func() error {
		_, err := d.Authenticate(ctx, token, home)
		return err
	}
	for range 3 {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.spy.reads.Load(); n != 1 {
		t.Errorf("%d reads for three requests", n)
	}
	d.Clock.Add(5*time.Second - 1)
	if err := ask(); err != nil || d.spy.reads.Load() != 1 {
		t.Errorf("just before the time is up: %v, %d reads", err, d.spy.reads.Load())
	}
	// Another node revokes the key: this one hears of it when the time is up.
	if err := d.spy.RevokeKey(ctx, k.ID); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Errorf("within the time: %v", err)
	}
	d.Clock.Add(1)
	if err := ask(); !errors.Is(err, access.ErrKeyInvalid) {
		t.Errorf("after it: %v", err)
	}

	k, token = d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "k"})
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	if err := d.RevokeKey(ctx, k.ID); err != nil {
		t.Fatal(err)
	}
	if err := ask(); !errors.Is(err, access.ErrKeyInvalid) {
		t.Errorf("revoked here: %v", err)
	}
	if err := d.RevokeKey(ctx, k.ID); err != nil {
		t.Errorf("revoked again: %v", err)
	}
	if err := d.RevokeKey(ctx, 4711); !errors.Is(err, access.ErrKeyNotFound) {
		t.Errorf("no such key: %v", err)
	}
}

// A key revoked while another request is reading it is not remembered as it
// was before.
func TestRevokeMeetsRead(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	k, token := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "k"})
	d.spy.onRead = func() {
		d.spy.onRead = nil
		if err := d.RevokeKey(ctx, k.ID); err != nil {
			t.Error(err)
		}
	}
	_, _ = d.Authenticate(ctx, token, home) // began before the key was revoked
	if _, err := d.Authenticate(ctx, token, home); !errors.Is(err, access.ErrKeyInvalid) {
		t.Errorf("the next request: %v", err)
	}
}

// A new child is in its parent's reach at once.
func TestFamily(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, token := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "k"})
	if _, err := d.Authenticate(ctx, token, home); err != nil {
		t.Fatal(err)
	}
	child, err := d.CreateClient(ctx, "grandchild", worldtest.Child)
	if err != nil || child.ParentID != worldtest.Child {
		t.Fatalf("%+v, %v", child, err)
	}
	id, err := d.Authenticate(ctx, token, home)
	if err != nil || !id.Scope().Covers(child.ID) || id.Scope().Covers(worldtest.Other) {
		t.Errorf("%+v, %v", id, err)
	}
	if _, err := d.CreateClient(ctx, "orphan", 4711); !errors.Is(err, access.ErrNoSuchClient) {
		t.Errorf("below nobody: %v", err)
	}
	if _, err := d.Client(ctx, 4711); !errors.Is(err, access.ErrNoSuchClient) {
		t.Errorf("no such client: %v", err)
	}
	if list, err := d.Clients(ctx, worldtest.Other, 1); err != nil || len(list) != 1 || list[0].ID != worldtest.Child {
		t.Errorf("a page of clients: %+v, %v", list, err)
	}
}

func TestCreateKey(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	admin := []access.Permission{access.Admin}
	for name, c := range map[string]struct {
		n    access.NewKey
		want fault.Reason
	}{
		"admin of a client":    {access.NewKey{ClientID: worldtest.Client, Permissions: admin}, "permission_not_allowed"},
		"no client, no admin":  {access.NewKey{Permissions: access.Everything}, "client_required"},
		"expired already":      {access.NewKey{ClientID: worldtest.Client, Permissions: access.Everything, ExpiresAt: d.Clock.Now()}, "expiry_in_past"},
		"of no such client":    {access.NewKey{ClientID: 4711, Permissions: access.Everything}, access.ErrNoSuchClient.Reason},
		"nothing, of a client": {access.NewKey{ClientID: 4711}, access.ErrNoSuchClient.Reason},
	} {
		if k, token, err := d.CreateKey(ctx, c.n); fault.ReasonOf(err) != c.want {
			t.Errorf("%s: %+v %q %v", name, k, token, err)
		}
	}
	if n := d.Count(`SELECT count(*) FROM api_key`); n != 0 {
		t.Errorf("refused requests left %d keys", n)
	}
	first, _ := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "first"})
	second, _ := d.key(t, access.NewKey{Name: "operator", Permissions: admin})
	if list, err := d.Keys(ctx, nil, 10); err != nil || len(list) != 2 || list[0].ID != second.ID {
		t.Errorf("all keys: %+v, %v", list, err)
	}
	client := worldtest.Client
	if list, err := d.Keys(ctx, &client, 10); err != nil || len(list) != 1 || list[0].ID != first.ID || list[0].Name != "first" {
		t.Errorf("a client's keys: %+v, %v", list, err)
	}
	if n, err := d.Operators(ctx); err != nil || n != 1 {
		t.Errorf("%d operator's keys, %v", n, err)
	}
	if err := d.RevokeKey(ctx, second.ID); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Operators(ctx); err != nil || n != 0 {
		t.Errorf("%d operator's keys after the only one is revoked, %v", n, err)
	}
}

// The last use is kept to the minute, and written in one go.
func TestLastUsed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	k, token := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "k"})
	used := func() time.Time {
		t.Helper()
		list, err := d.Keys(ctx, nil, 1)
		if err != nil || len(list) != 1 || list[0].ID != k.ID {
			t.Fatalf("%+v, %v", list, err)
		}
		return list[0].LastUsedAt
	}
	d.FlushUsed(ctx)
	if !used().IsZero() || d.spy.touches.Load() != 0 {
		t.Error("an unused key was used")
	}
	d.Clock.Add(90 * time.Second)
	for range 5 {
		if _, err := d.Authenticate(ctx, token, home); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = d.Authenticate(ctx, token[:len(token)-1]+"0", home)
	d.FlushUsed(ctx)
	d.FlushUsed(ctx)
	if got, want := used(), worldtest.Start.Add(time.Minute); !got.Equal(want) || d.spy.touches.Load() != 1 {
		t.Errorf("used at %s in %d writes, want %s in 1", got, d.spy.touches.Load(), want)
	}
	d.Clock.Add(20 * time.Second) // the same minute, and the key is read anew
	if _, err := d.Authenticate(ctx, token, home); err != nil {
		t.Fatal(err)
	}
	d.FlushUsed(ctx)
	if d.spy.touches.Load() != 1 {
		t.Error("the same minute was written twice")
	}
	d.Clock.Add(time.Minute)
	if _, err := d.Authenticate(ctx, token[:len(token)-1]+"0", home); err == nil {
		t.Fatal("a wrong secret was taken")
	}
	d.FlushUsed(ctx)
	if d.spy.touches.Load() != 1 {
		t.Error("a refused request counts as a use")
	}
}

// A database that does not answer is no reason to call a key wrong.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, token := d.key(t, access.NewKey{ClientID: worldtest.Client, Name: "k"})
	d.spy.fail = fault.New(fault.Unavailable, "database_unavailable", "away")
	if _, err := d.Authenticate(ctx, token, home); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("%v", err)
	}
	d.spy.fail = nil
	if _, err := d.Authenticate(ctx, token, home); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
