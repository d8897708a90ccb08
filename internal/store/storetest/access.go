package storetest

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
)

const unicode = "Größe 漢字 🎛 'quoted' \"double\" \\ % _ ? $1 \r\n\t\u200b end"

// equal compares, with prefixes by their text.
func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	byText := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if d := cmp.Diff(want, got, byText, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// testTypes writes the hardest values of every kind and reads them back.
func testTypes(t *testing.T, w *world) {
	ctx := t.Context()
	for i, when := range []time.Time{
		time.Date(2026, 11, 23, 12, 34, 56, 123_456_000, time.UTC),
		time.Unix(0, 1000).UTC(),
		time.Unix(0, 0).UTC(),
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(2026, 3, 29, 3, 30, 0, 1000, time.FixedZone("odd", 5*3600+1800)),
	} {
		v := w.vol(t, fmt.Sprintf("time-%d", i), func(v *volume.Volume) { v.CreatedAt = when })
		got := w.readVolume(t, v.ID).CreatedAt
		if !got.Equal(when) || got.Location() != time.UTC {
			t.Errorf("wrote %v, read %v", when, got)
		}
	}
	finer := w.vol(t, "finer", func(v *volume.Volume) { v.CreatedAt = time.Unix(5, 1999).UTC() })
	same(t, "finer than the database", w.readVolume(t, finer.ID).CreatedAt, time.Unix(5, 1000).UTC())

	big := w.vol(t, "big", func(v *volume.Volume) {
		v.Bytes, v.Monthly, v.CreatedAt = math.MaxInt64, math.MaxInt64, v.CreatedAt.Truncate(time.Microsecond)
	})
	equal(t, "largest numbers", w.readVolume(t, "big"), big)

	c := must(w.Access().AddClient(ctx, access.Client{ID: math.MaxInt32, Name: unicode, CreatedAt: w.clock.Now()}))(t)
	equal(t, "client", must(w.Access().Client(ctx, c.ID))(t).Name, unicode)

	args := map[string]any{"n": int64(math.MaxInt64), "f": 0.1, "s": unicode, "nil": nil, "list": []int{1, 2}}
	w.enqueue(t, task.New{Lane: unicode, ClientID: 7, Args: args})
	k, l := w.claimOne(t, "n/"+unicode)
	same(t, "lane", k.Lane, unicode)
	if want := `{"f":0.1,"list":[1,2],"n":9223372036854775807,"nil":null,"s":"`; len(k.Args) < len(want) || string(k.Args[:len(want)]) != want {
		t.Errorf("arguments came back as %s", k.Args)
	}
	bytes := make([]byte, 256)
	for i := range bytes {
		bytes[i] = byte(i)
	}
	check(t, w.Tasks().Save(ctx, l, bytes, task.Progress{Percent: 100, Message: unicode}))
	k = w.task(t, k.ID)
	same(t, "message", k.Message, unicode)
	if !slices.Equal(k.Checkpoint, bytes) {
		t.Errorf("checkpoint came back as %x", k.Checkpoint)
	}
	check(t, w.Tasks().Save(ctx, l, nil, task.Progress{}))
	if !slices.Equal(w.task(t, k.ID).Checkpoint, bytes) {
		t.Error("a save without checkpoint changed it")
	}
}

func testClients(t *testing.T, w *world) {
	ctx, s := t.Context(), w.Access()
	is(t, second(s.Client(ctx, 4711)), access.ErrNoSuchClient)
	is(t, second(s.AddClient(ctx, access.Client{Name: "orphan", ParentID: 4711, CreatedAt: w.clock.Now()})), access.ErrNoSuchClient)
	if second(s.AddClient(ctx, access.Client{ID: 7, Name: "again", CreatedAt: w.clock.Now()})) == nil {
		t.Error("two clients with one id")
	}
	same(t, "client 7", must(s.Client(ctx, 7))(t).Name, "seven")

	child := must(s.AddClient(ctx, access.Client{Name: "ten", ParentID: 9, CreatedAt: w.clock.Now()}))(t)
	if child.ID <= 9 {
		t.Errorf("the next client got id %d", child.ID)
	}
	got := must(s.Client(ctx, child.ID))(t)
	same(t, "parent", got.ParentID, int64(9))
	same(t, "created", got.CreatedAt, w.clock.Now().Truncate(time.Microsecond))

	equal(t, "family of 7", must(s.Family(ctx, 7))(t), []int64{7, 9, child.ID})
	equal(t, "family of 8", must(s.Family(ctx, 8))(t), []int64{8})
	equal(t, "family of nobody", must(s.Family(ctx, 4711))(t), []int64{})

	var ids []int64
	for _, c := range must(s.Clients(ctx, 7, 2))(t) {
		ids = append(ids, c.ID)
	}
	equal(t, "clients above 7, two of them", ids, []int64{8, 9})
}

func testKeys(t *testing.T, w *world) {
	ctx, s := t.Context(), w.Access()
	now := w.clock.Now().Truncate(time.Microsecond)
	full := access.Key{
		ClientID: 7, Name: unicode, Prefix: "abcdefghijkl", Hash: []byte{0, 1, 255}, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		Permissions: []access.Permission{access.Read, access.Volumes},
		Allowed:     []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
	}
	k := must(s.AddKey(ctx, full))(t)
	full.ID = k.ID
	equal(t, "key", must(s.KeyByPrefix(ctx, full.Prefix))(t), full)
	is(t, second(s.KeyByPrefix(ctx, "nothing")), access.ErrKeyNotFound)
	is(t, second(s.AddKey(ctx, access.Key{ClientID: 4711, Prefix: "x", Hash: []byte{1}, CreatedAt: now})), access.ErrNoSuchClient)
	if second(s.AddKey(ctx, access.Key{ClientID: 8, Prefix: full.Prefix, Hash: []byte{1}, CreatedAt: now})) == nil {
		t.Error("two keys with one prefix")
	}

	bare := must(s.AddKey(ctx, access.Key{Name: "op", Prefix: "operator", Hash: []byte{2}, Permissions: []access.Permission{access.Admin}, CreatedAt: now}))(t)
	equal(t, "key without client, expiry or addresses", must(s.KeyByPrefix(ctx, "operator"))(t), bare)
	short := must(s.AddKey(ctx, access.Key{Prefix: "short", Hash: []byte{3}, Permissions: []access.Permission{access.Admin}, CreatedAt: now, ExpiresAt: now.Add(time.Minute)}))(t)
	same(t, "operators", must(s.Operators(ctx))(t), 2)
	w.clock.add(time.Minute)
	same(t, "operators after one expired", must(s.Operators(ctx))(t), 1)

	check(t, s.Touch(ctx, map[int64]time.Time{k.ID: now.Add(time.Second), 4711: now}))
	same(t, "last used", must(s.KeyByPrefix(ctx, full.Prefix))(t).LastUsedAt, now.Add(time.Second))
	check(t, s.Touch(ctx, nil))

	check(t, s.RevokeKey(ctx, bare.ID))
	revoked := must(s.KeyByPrefix(ctx, "operator"))(t).RevokedAt
	same(t, "revoked", revoked, w.clock.Now().Truncate(time.Microsecond))
	w.clock.add(time.Hour)
	check(t, s.RevokeKey(ctx, bare.ID))
	same(t, "revoked once", must(s.KeyByPrefix(ctx, "operator"))(t).RevokedAt, revoked)
	is(t, s.RevokeKey(ctx, 4711), access.ErrKeyNotFound)
	same(t, "operators at last", must(s.Operators(ctx))(t), 0)

	ids := func(keys []access.Key) (out []int64) {
		for _, k := range keys {
			out = append(out, k.ID)
		}
		return out
	}
	equal(t, "all keys", ids(must(s.Keys(ctx, nil, 10))(t)), []int64{short.ID, bare.ID, k.ID})
	equal(t, "newest key", ids(must(s.Keys(ctx, nil, 1))(t)), []int64{short.ID})
	seven, eight := int64(7), int64(8)
	equal(t, "keys of 7", ids(must(s.Keys(ctx, &seven, 10))(t)), []int64{k.ID})
	equal(t, "keys of 8", ids(must(s.Keys(ctx, &eight, 10))(t)), []int64{})
}

func second[T any](_ T, err error) error { return err }
