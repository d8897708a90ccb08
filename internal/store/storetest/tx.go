package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

func openOptions(w *world) store.Options { return store.Options{Now: w.clock.Now} }

// everything writes to every kind of table in one transaction.
func (w *world) everything(ctx context.Context, tx volume.Tx, id string) error {
	v := volume.Volume{
		ID: id, ClientID: 7, FacilityCode: tpa, Type: volume.DataDisk, State: volume.Detached,
		Bytes: 50 * volume.GiB, ProductID: 1050, Monthly: 500, CreatedAt: w.clock.Now(),
	}
	if err := tx.PutVolume(ctx, v); err != nil {
		return err
	}
	if err := tx.Attach(ctx, v, dev1); err != nil {
		return err
	}
	s, err := tx.PutService(ctx, service(v, w.clock.Now()))
	if err != nil {
		return err
	}
	if _, c := s.Renew(s.PeriodEnd); tx.AddCharges(ctx, c...) != nil {
		return errors.New("no charge")
	}
	_, err = tx.Enqueue(ctx, task.New{Kind: "test.work", Lane: id, Queue: task.Quick, ClientID: 7, DeviceID: dev1, VolumeID: id})
	return err
}

// state is how many rows everything has left behind.
func (w *world) state(t testing.TB) string {
	t.Helper()
	ctx := context.Background()
	all := must(w.Volumes().List(ctx, everyone, volume.Filter{FacilityCode: new(tpa)}))(t)
	return fmt.Sprintf("%d volumes, %d attached, %d services, %d charges, %d tasks, %d events",
		len(all), must(w.VPS().Device(ctx, everyone, dev1))(t).Volumes,
		count(w.Billing().Services(ctx, everyone, serviceFilter)), count(w.Billing().Charges(ctx, chargeFilter)),
		count(w.Tasks().List(ctx, everyone, task.Filter{Limit: 10000})), count(w.VPS().Events(ctx, dev1, 10000)))
}

func testRollback(t *testing.T, w *world) {
	ctx := t.Context()
	before := w.state(t)
	is(t, w.Volumes().Tx(ctx, func(tx volume.Tx) error {
		check(t, w.everything(ctx, tx, "gone"))
		same(t, "its own writes", w.readVolumeIn(t, tx, "gone").DeviceID, dev1)
		return errBoom
	}), errBoom)
	same(t, "after a rollback", w.state(t), before)
	w.noVolume(t, "gone")

	w.tx(t, func(tx volume.Tx) error { return w.everything(ctx, tx, "kept") })
	same(t, "after a commit", w.state(t), "4 volumes, 1 attached, 1 services, 1 charges, 1 tasks, 1 events")
}

func testPanic(t *testing.T, w *world) {
	ctx := t.Context()
	before := w.state(t)
	err := w.Volumes().Tx(ctx, func(tx volume.Tx) error {
		check(t, w.everything(ctx, tx, "gone"))
		panic("boom")
	})
	if err == nil {
		t.Fatal("a panic was a success")
	}
	same(t, "after a panic", w.state(t), before)
	w.tx(t, func(tx volume.Tx) error { return w.everything(ctx, tx, "next") })
}

// testConcurrent runs many transactions at once, a third of which fail and a
// third of which panic: the others come true whole, in some order.
func testConcurrent(t *testing.T, w *world) {
	ctx := t.Context()
	const n = 60
	w.vol(t, "counter", func(v *volume.Volume) { v.Monthly = 0 })
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := w.Volumes().Tx(ctx, func(tx volume.Tx) error {
				v := w.readVolumeIn(t, tx, "counter")
				v.Monthly++
				if err := tx.PutVolume(ctx, v); err != nil {
					return err
				}
				if err := w.everything(ctx, tx, fmt.Sprint("x", i)); err != nil {
					return err
				}
				switch i % 3 {
				case 1:
					return errBoom
				case 2:
					panic("boom")
				}
				return nil
			})
			if (err == nil) != (i%3 == 0) || i%3 == 1 && !errors.Is(err, errBoom) {
				t.Errorf("transaction %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	same(t, "no update lost, none too many", int(w.readVolume(t, "counter").Monthly), n/3)
	same(t, "rows", w.state(t), fmt.Sprintf("%d volumes, %[2]d attached, %[2]d services, %[2]d charges, %[2]d tasks, %[2]d events", n/3+4, n/3))
	for i := range n {
		if id := fmt.Sprint("x", i); i%3 == 0 {
			same(t, id, w.readVolume(t, id).DeviceID, dev1)
		} else {
			w.noVolume(t, id)
		}
	}
}

// testCancelled: a caller who has gone before the transaction began changes
// nothing; one who goes in its middle gets what came of it.
func testCancelled(t *testing.T, w *world) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	ran := false
	is(t, w.Volumes().Tx(gone, func(volume.Tx) error { ran = true; return nil }), context.Canceled)
	same(t, "ran", ran, false)
	if err := w.Volumes().View(gone, func(volume.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("view: %v", err)
	}

	// Behind one that takes its time. What the waiting one wants to write is
	// in the way of nobody, so an engine may run it at once or never.
	inside, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- w.Volumes().Tx(t.Context(), func(tx volume.Tx) error {
			close(inside)
			<-release
			return w.everything(t.Context(), tx, "first")
		})
	}()
	<-inside
	waiting, cancel := context.WithCancel(t.Context())
	secondDone := make(chan error, 1)
	go func() {
		secondDone <- w.Volumes().Tx(waiting, func(tx volume.Tx) error { return w.everything(t.Context(), tx, "second") })
	}()
	cancel()
	close(release)
	check(t, <-first)
	if err := <-secondDone; err == nil {
		w.readVolume(t, "second")
	} else {
		is(t, err, context.Canceled)
		w.noVolume(t, "second")
	}

	midway, cancel := context.WithCancel(t.Context())
	err := w.Volumes().Tx(midway, func(tx volume.Tx) error {
		cancel()
		return w.everything(midway, tx, "midway")
	})
	if err == nil {
		w.readVolume(t, "midway")
	} else {
		w.noVolume(t, "midway")
	}
}

func testView(t *testing.T, w *world) {
	ctx := t.Context()
	w.vol(t, "v1")
	check(t, w.Volumes().View(ctx, func(tx volume.Tx) error {
		before := w.readVolumeIn(t, tx, "v1")
		w.tx(t, func(tx volume.Tx) error {
			if err := tx.Attach(ctx, before, dev1); err != nil {
				return err
			}
			return w.everything(ctx, tx, "v2")
		})
		same(t, "device in the view", w.readVolumeIn(t, tx, "v1").DeviceID, int64(0))
		_, err := tx.Volume(ctx, "v2")
		is(t, err, volume.ErrNotFound)
		pending, err := tx.Pending(ctx, "v2")
		same(t, "tasks in the view", len(pending), 0)
		return err
	}))
	same(t, "device outside", w.readVolume(t, "v1").DeviceID, dev1)

	before := w.state(t)
	for name, write := range map[string]func(volume.Tx) error{
		"PutVolume": func(tx volume.Tx) error { return tx.PutVolume(ctx, volume.Volume{ID: "v1", Bytes: 1}) },
		"Attach":    func(tx volume.Tx) error { return tx.Attach(ctx, volume.Volume{ID: "v1", Generation: 1}, dev2) },
		"Enqueue":   func(tx volume.Tx) error { return second(tx.Enqueue(ctx, task.New{Lane: "l"})) },
		"PutService": func(tx volume.Tx) error {
			return second(tx.PutService(ctx, service(w.readVolumeIn(t, tx, "v1"), w.clock.Now())))
		},
		"Remove": func(tx volume.Tx) error { return tx.RemoveVolume(ctx, "v1") },
	} {
		if w.Volumes().View(ctx, write) == nil {
			t.Errorf("%s in a view was no error", name)
		}
	}
	if w.VPS().View(ctx, func(tx vps.Tx) error { return tx.SetStatus(ctx, dev1, vps.Stopped) }) == nil {
		t.Error("SetStatus in a view was no error")
	}
	if w.ISOs().View(ctx, func(tx iso.Tx) error { return tx.PutContent(ctx, tpa, "s", iso.Content{State: iso.Present}) }) == nil {
		t.Error("PutContent in a view was no error")
	}
	is(t, w.Volumes().View(ctx, func(volume.Tx) error { return errBoom }), errBoom)
	same(t, "after refused writes", w.state(t), before)
}

// testReadWhileWriting: readers neither wait for a writer nor see what it has
// not committed.
func testReadWhileWriting(t *testing.T, w *world) {
	ctx := t.Context()
	before := w.state(t)
	written, release := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- w.Volumes().Tx(ctx, func(tx volume.Tx) error {
			err := w.everything(ctx, tx, "v1")
			close(written)
			<-release
			return err
		})
	}()
	<-written
	same(t, "seen beside the writer", w.state(t), before)
	w.noVolume(t, "v1")
	close(release)
	check(t, <-done)
	if w.state(t) == before {
		t.Error("nothing to see after the commit")
	}
	same(t, "clock of the row", w.readVolume(t, "v1").CreatedAt, w.clock.Now().Truncate(time.Microsecond))
}

// testDecideWhileWriting: what a request is decided by can be read in a view,
// which does not wait for another request of the client that is being accepted.
func testDecideWhileWriting(t *testing.T, w *world) {
	ctx := t.Context()
	w.vol(t, "v1")
	w.tx(t, func(tx volume.Tx) error { return w.everything(ctx, tx, "v2") })
	check(t, w.Access().PutQuota(ctx, 7, access.Quota{Volumes: new(int64)}))
	decide := func(tx volume.Tx) error {
		_, device := tx.Device(ctx, dev1)
		_, one := tx.Volume(ctx, "v1")
		_, pending := tx.Pending(ctx, "v2")
		_, kinds := tx.PendingKinds(ctx, task.DeviceLane(dev1))
		_, prices := tx.Prices(ctx, tpa)
		_, service := tx.Service(ctx, "v2")
		q, quota := tx.Quota(ctx, 7)
		if quota == nil && (q.Volumes == nil || *q.Volumes != 0) {
			t.Errorf("the quota is %+v", q)
		}
		_, used := tx.Used(ctx, 7)
		return errors.Join(device, one, pending, kinds, prices, service, quota, used)
	}
	w.tx(t, func(tx volume.Tx) error {
		if err := decide(tx); err != nil { // takes every lock there is
			return err
		}
		return w.Volumes().View(ctx, decide)
	})
}
