package iso_test

import (
	"context"
	"errors"
	"testing"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/worldtest"
)

func setQuota(t *testing.T, w *worldtest.World, isos, bytes int64) {
	t.Helper()
	if err := w.DB.Access().PutQuota(ctx, worldtest.Client, access.Quota{ISOs: &isos, ISOBytes: &bytes}); err != nil {
		t.Fatal(err)
	}
}

func wantUsed(t *testing.T, w *worldtest.World, isos, bytes int64) {
	t.Helper()
	if _, u, err := w.DB.Access().Usage(ctx, worldtest.Client); err != nil || u.ISOs != isos || u.ISOBytes != bytes {
		t.Fatalf("%+v is used (%v), want %d ISOs of %d bytes", u, err, isos, bytes)
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	size := int64(len(image))
	over := func() {
		t.Helper()
		if _, err := w.ISOs.Create(ctx, worldtest.Client, wanted(url)); !errors.Is(err, access.ErrQuota) {
			t.Fatalf("got %v", err)
		}
	}
	setQuota(t, w, 3, size)
	first := ready(t, w, worldtest.Client, "TPA1")
	wantUsed(t, w, 1, size)
	over() // no byte is left

	setQuota(t, w, 3, 2*size-1) // there is room for a shorter one
	failed := begun(t, w, worldtest.Client, wanted(url))
	w.Fails(importOf(failed), "quota_exceeded")
	wantUsed(t, w, 2, size)
	if i := read(t, w, failed.ID); i.Reason != "quota_exceeded" || i.Ready() {
		t.Errorf("%+v", i)
	}
	setQuota(t, w, 3, 2*size)
	ready(t, w, worldtest.Client, "LAX3")
	wantUsed(t, w, 3, 2*size)
	setQuota(t, w, 3, 9*size)
	over() // a failed one counts as one
	removed(t, w, failed.ID)
	removed(t, w, first.ID)
	wantUsed(t, w, 1, size)
	ready(t, w, worldtest.Client, "TPA1")
	w.Check()
}

// Two imports run at once with room for one: one of them fails, whichever
// learns its length later.
func TestQuotaOfTwoImports(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldtest.Options{})
	size := int64(len(image))
	setQuota(t, w, 2, size+1)
	begin := make(chan struct{})
	w.Source.Hook(url, func(ctx context.Context, done int) error {
		select {
		case <-begin:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	a, b := begun(t, w, worldtest.Client, wanted(url)), begun(t, w, worldtest.Client, wanted(url))
	close(begin)
	good, bad := 0, 0
	for _, i := range []string{a.ID, b.ID} {
		w.Ended(read(t, w, i).TaskID)
		switch i := read(t, w, i); {
		case i.Ready():
			good++
		case i.Reason == "quota_exceeded":
			bad++
		}
	}
	if good != 1 || bad != 1 {
		t.Errorf("%d are ready, %d over the quota", good, bad)
	}
	wantUsed(t, w, 2, size)
	w.Check()
}
