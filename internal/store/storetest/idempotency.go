package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/idempotency"
	"github.com/drivebay/drivebay/internal/volume"
)

// try is one try of a request of client 7.
func try(id, key string) *idempotency.Request {
	return &idempotency.Request{ID: id, Scope: 7, Key: key, Fingerprint: idempotency.Fingerprint("POST", "/x", "", []byte(`{"n":1}`))}
}

// asked carries out r as a transaction that writes to every kind of table.
func (w *world) asked(ctx context.Context, r *idempotency.Request, id string) error {
	ctx = idempotency.With(ctx, r)
	return w.Volumes().Tx(ctx, func(tx volume.Tx) error { return w.everything(ctx, tx, id) })
}

// kept is what is known of r's key.
func (w *world) kept(t testing.TB, r *idempotency.Request) *idempotency.Kept {
	t.Helper()
	return must(w.Idempotency().Find(t.Context(), r))(t)
}

func (w *world) free(t testing.TB, r *idempotency.Request) {
	t.Helper()
	if k := w.kept(t, r); k != nil {
		t.Fatalf("the key %q is taken: %+v", r.Key, k)
	}
}

// testClaim: a key comes and goes with the effect of its request.
func testClaim(t *testing.T, w *world) {
	ctx := t.Context()
	a, b := try("a", "k"), try("b", "k")
	w.free(t, a)

	refused := idempotency.With(ctx, a)
	is(t, w.Volumes().Tx(refused, func(tx volume.Tx) error {
		check(t, w.everything(refused, tx, "refused"))
		return errBoom
	}), errBoom)
	w.free(t, a)
	if w.Volumes().Tx(refused, func(volume.Tx) error { panic("boom") }) == nil {
		t.Fatal("a panic was a success")
	}
	w.free(t, a)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	is(t, w.asked(gone, a, "gone"), context.Canceled)
	w.free(t, a)

	check(t, w.asked(ctx, a, "v1"))
	k := w.kept(t, a)
	same(t, "whose", k.ID, "a")
	same(t, "same", b.Same(*k), true)
	same(t, "at", k.At, w.clock.Now().Truncate(time.Microsecond))
	same(t, "result", k.Result, must(w.Tasks().Newest(ctx, everyone, dev1))(t).ID)
	if k.Answer != nil {
		t.Fatalf("an answer that nobody gave: %+v", k.Answer)
	}

	after := w.state(t)
	ran := false
	is(t, w.Volumes().Tx(idempotency.With(ctx, b), func(volume.Tx) error { ran = true; return nil }), idempotency.ErrTaken)
	same(t, "ran", ran, false)
	same(t, "after a repeat", w.state(t), after)

	// More of the same request is its own, and the first result counts.
	check(t, w.asked(ctx, a, "v2"))
	same(t, "result", w.kept(t, a).Result, k.Result)

	for name, r := range map[string]*idempotency.Request{
		"another key": try("c", "K"), "another client": {ID: "d", Scope: 8, Key: "k"}, "an operator": {ID: "e", Scope: 0, Key: "k"},
	} {
		w.free(t, r)
		check(t, w.asked(ctx, r, name))
		same(t, name, w.kept(t, r).ID, r.ID)
	}
	same(t, "the first", w.kept(t, b).ID, "a")
	same(t, "another fingerprint", (&idempotency.Request{}).Same(*k), false)
}

// testClaimResults: clients and keys are noted as tasks are.
func testClaimResults(t *testing.T, w *world) {
	ctx := t.Context()
	a, b := try("a", "client"), try("b", "key")
	c := must(w.Access().AddClient(idempotency.With(ctx, a), access.Client{Name: "x", CreatedAt: w.clock.Now()}))(t)
	same(t, "client", w.kept(t, a).Result, strconv.FormatInt(c.ID, 10))
	k := must(w.Access().AddKey(idempotency.With(ctx, b), access.Key{Name: "y", Prefix: "p", Hash: []byte("h"), CreatedAt: w.clock.Now()}))(t)
	same(t, "key", w.kept(t, b).Result, strconv.FormatInt(k.ID, 10))
	r := try("c", "revoke")
	check(t, w.Access().RevokeKey(idempotency.With(ctx, r), k.ID))
	same(t, "nothing made", w.kept(t, r).Result, "")
}

// testClaimRace sends many requests at once, several tries of each, between
// others without a key: each is carried out once, and nobody else suffers.
func testClaimRace(t *testing.T, w *world) {
	ctx := t.Context()
	const keys, tries = 5, 12
	var wg sync.WaitGroup
	var done [keys]atomic.Int64
	for i := range keys * tries {
		wg.Go(func() {
			r := try(fmt.Sprint("try-", i), fmt.Sprint("key-", i%keys))
			switch err := w.asked(ctx, r, fmt.Sprint("keyed-", i)); {
			case err == nil:
				done[i%keys].Add(1)
			case !errors.Is(err, idempotency.ErrTaken):
				t.Errorf("try %d: %v", i, err)
			default: // whoever loses can see the winner
				if k, err := w.Idempotency().Find(ctx, r); err != nil || k == nil {
					t.Errorf("try %d was turned away by nobody: %v", i, err)
				}
			}
		})
		wg.Go(func() {
			if err := w.asked(ctx, nil, fmt.Sprint("plain-", i)); err != nil {
				t.Errorf("without a key: %v", err)
			}
		})
	}
	wg.Wait()
	for i := range done {
		same(t, fmt.Sprint("times key ", i, " was carried out"), done[i].Load(), 1)
	}
	n := keys*tries + keys
	same(t, "rows", w.state(t), fmt.Sprintf("%d volumes, %[2]d attached, %[2]d services, %[2]d charges, %[2]d tasks, %[2]d events", n+3, n))
}

// testSettle: the first answer is the answer, over a restart too.
func testSettle(t *testing.T, w *world) {
	ctx := t.Context()
	s := w.Idempotency()
	a, b := try("a", "k"), try("b", "k")
	check(t, w.asked(ctx, a, "v1"))
	first := idempotency.Answer{Status: 201, ContentType: "application/json", Body: []byte("{\"x\":\"" + unicode + "\"}\n")}
	other := idempotency.Answer{Status: 200, ContentType: "text/plain", Body: []byte("other")}
	equal(t, "stored", must(s.Settle(ctx, a, "a", first))(t), first)
	equal(t, "stored before", must(s.Settle(ctx, b, "a", other))(t), first)
	equal(t, "read", *w.kept(t, b).Answer, first)

	// What is not there, or not there any more, takes no answer.
	equal(t, "of nobody", must(s.Settle(ctx, b, "b", other))(t), other)
	equal(t, "of no key", must(s.Settle(ctx, try("c", "none"), "c", other))(t), other)
	equal(t, "read", *w.kept(t, b).Answer, first)

	e := try("e", "empty")
	check(t, w.asked(ctx, e, "v2"))
	none := idempotency.Answer{Status: 204}
	equal(t, "without a body", must(s.Settle(ctx, e, "e", none))(t), none)
	equal(t, "without a body", *w.kept(t, e).Answer, none)
	equal(t, "without a body", must(s.Settle(ctx, e, "e", other))(t), none)

	db := w.data.Open(t, openOptions(w))
	equal(t, "after a restart", *must(db.Idempotency().Find(ctx, b))(t).Answer, first)
	check(t, db.Close())
}

// testRetention: a key is kept for its time, is free from then on, and goes.
func testRetention(t *testing.T, w *world) {
	ctx := t.Context()
	s := w.Idempotency()
	purged := func(limit, want int) {
		t.Helper()
		same(t, "purged", must(s.Purge(ctx, limit))(t), want)
	}
	answer := idempotency.Answer{Status: 201, ContentType: "application/json", Body: []byte("{}")}
	for i := range 5 {
		r := try(fmt.Sprint("old-", i), fmt.Sprint("k", i))
		check(t, w.asked(ctx, r, fmt.Sprint("v", i)))
		must(s.Settle(ctx, r, r.ID, answer))(t)
	}
	w.clock.add(idempotency.Retention - time.Second)
	young := try("young", "young")
	check(t, w.asked(ctx, young, "young"))
	is(t, w.asked(ctx, try("new", "k0"), "refused"), idempotency.ErrTaken)
	purged(10, 0)

	w.clock.add(time.Second)
	again := try("new", "k0")
	w.free(t, again)
	check(t, w.asked(ctx, again, "again"))
	k := w.kept(t, again)
	same(t, "whose", k.ID, "new")
	if k.Answer != nil {
		t.Fatalf("an answer of the request before: %+v", k.Answer)
	}
	same(t, "result", k.Result, must(w.Tasks().Newest(ctx, everyone, dev1))(t).ID)
	equal(t, "too late", must(s.Settle(ctx, again, "old-0", answer))(t), answer)
	if k := w.kept(t, again); k.Answer != nil {
		t.Fatalf("the answer of the request before: %+v", k.Answer)
	}

	purged(3, 3)
	purged(3, 1)
	purged(3, 0)
	same(t, "kept", w.kept(t, again).ID, "new")
	same(t, "kept", w.kept(t, young).ID, "young")
}
