package store_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/store/storetest"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// busy is a database whose writer is held inside a transaction, so that what
// comes next shares the commit with it.
type busy struct {
	t       *testing.T
	db      *store.DB
	release chan struct{}
	results []chan error
}

func newBusy(t *testing.T) *busy {
	t.Helper()
	db := file{path: storetest.File(t)}.Open(t, store.Options{})
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.VPS().PutFacility(t.Context(), vps.Facility{Code: "TPA1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Access().AddClient(t.Context(), access.Client{ID: 7}); err != nil {
		t.Fatal(err)
	}
	b := &busy{t: t, db: db, release: make(chan struct{})}
	b.hold(nil)
	return b
}

// hold lets a transaction into the writer that ends with err once released.
func (b *busy) hold(err error) {
	inside := make(chan struct{})
	b.start(context.Background(), func(volume.Tx) error {
		close(inside)
		<-b.release
		return err
	})
	<-inside
}

func (b *busy) start(ctx context.Context, fn func(volume.Tx) error) {
	b.call(func() error { return b.db.Volumes().Tx(ctx, fn) })
}

func (b *busy) call(fn func() error) {
	done := make(chan error, 1)
	b.results = append(b.results, done)
	go func() { done <- fn() }()
}

// queue starts a transaction and waits until it is in the writer's queue.
func (b *busy) queue(ctx context.Context, fn func(volume.Tx) error) {
	b.enqueue(func() error { return b.db.Volumes().Tx(ctx, fn) })
}

func (b *busy) enqueue(call func() error) {
	n := b.db.Queued()
	b.call(call)
	for b.db.Queued() == n {
		runtime.Gosched()
	}
}

// add queues a transaction that adds a volume and then does more.
func (b *busy) add(id string, more func(tx volume.Tx) error) {
	b.queue(context.Background(), func(tx volume.Tx) error {
		if err := put(tx, id); err != nil {
			return err
		}
		return more(tx)
	})
}

func put(tx volume.Tx, id string) error {
	return tx.PutVolume(context.Background(), volume.Volume{ID: id, ClientID: 7, FacilityCode: "TPA1", Type: volume.DataDisk, State: volume.Detached, Bytes: 1})
}

func has(tx volume.Tx, id string) bool {
	_, err := tx.Volume(context.Background(), id)
	return err == nil
}

func (b *busy) wait() (errs []error) {
	for _, r := range b.results {
		errs = append(errs, <-r)
	}
	return errs
}

// list is the ids of all volumes, a space behind each.
func (b *busy) list() (out string) {
	b.t.Helper()
	volumes, err := b.db.Volumes().List(b.t.Context(), everyone, volume.Filter{FacilityCode: new("TPA1")})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, v := range volumes {
		out = v.ID + " " + out
	}
	return out
}

func fine(volume.Tx) error { return nil }
