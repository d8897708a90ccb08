package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/store/storetest"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

var (
	everyone = access.Scope{All: true}
	errBoom  = errors.New("boom")
)

// TestGroupCommit: of transactions that share a commit one may fail or panic
// without the others, each sees those before it that succeeded, and nobody
// hears of success before the commit.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	b := newBusy(t)
	b.add("a", fine)
	b.add("b", func(volume.Tx) error { return errBoom })
	b.add("c", func(volume.Tx) error { panic("boom") })
	b.add("d", func(tx volume.Tx) error {
		if !has(tx, "a") || has(tx, "b") || has(tx, "c") {
			return errors.New("saw what was rolled back, or not what came before")
		}
		if put(tx, "a-child") != nil || tx.PutVolume(t.Context(), volume.Volume{ID: "bad", ClientID: 4711}) == nil {
			return errors.New("a refused statement did not stay one's own matter")
		}
		return nil
	})
	inside, more := make(chan struct{}), make(chan struct{})
	b.add("e", func(volume.Tx) error {
		close(inside)
		<-more
		return nil
	})
	b.add("f", func(volume.Tx) error { return errBoom })
	close(b.release)
	<-inside
	for i, r := range b.results {
		select {
		case err := <-r:
			if err == nil {
				t.Errorf("transaction %d was acknowledged before its commit", i)
			}
			r <- err
		default:
		}
	}
	if got := b.list(); got != "" {
		t.Errorf("seen before the commit: %s", got)
	}
	close(more)
	errs := b.wait()
	for i, ok := range []bool{true, true, false, false, true, true, false} {
		if (errs[i] == nil) != ok {
			t.Errorf("transaction %d: %v", i, errs[i])
		}
	}
	if !errors.Is(errs[2], errBoom) || !errors.Is(errs[6], errBoom) || !strings.Contains(errs[3].Error(), "panic") {
		t.Errorf("errors %v", errs)
	}
	if got, want := b.list(), "a a-child d e "; got != want {
		t.Errorf("volumes %q, want %q", got, want)
	}
}

// TestGroupFirstFails: the first of a batch has no savepoint.
func TestGroupFirstFails(t *testing.T) {
	t.Parallel()
	for name, fn := range map[string]func(volume.Tx) error{
		"error": func(tx volume.Tx) error { return errors.Join(put(tx, "first"), errBoom) },
		"panic": func(tx volume.Tx) error { panic(put(tx, "first")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBusy(t)
			b.queue(t.Context(), fn)
			for i := range 200 { // more than one batch
				b.add(fmt.Sprint(i), fine)
			}
			close(b.release)
			for i, err := range b.wait() {
				if (err == nil) != (i != 1) {
					t.Errorf("transaction %d: %v", i, err)
				}
			}
			if n := strings.Count(b.list(), " "); n != 200 || strings.Contains(b.list(), "first") {
				t.Errorf("%d volumes", n)
			}
		})
	}
}

// TestGroupCancelled: who gave up while waiting was never there.
func TestGroupCancelled(t *testing.T) {
	t.Parallel()
	b := newBusy(t)
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	b.queue(ctx, func(tx volume.Tx) error {
		t.Error("ran")
		return put(tx, "gone")
	})
	b.add("stays", fine)
	cancel(gone)
	close(b.release)
	if errs := b.wait(); errs[0] != nil || !errors.Is(errs[1], gone) || errs[2] != nil {
		t.Errorf("errors %v", errs)
	}
	if got := b.list(); got != "stays " {
		t.Errorf("volumes %q", got)
	}
}

// TestGroupTx: in one commit each transaction has its own events, wakes and
// lane, and a rolled back one takes a number of no lane with it.
func TestGroupTx(t *testing.T) {
	t.Parallel()
	b := newBusy(t)
	enqueue := func(err error) func(volume.Tx) error {
		return func(tx volume.Tx) error {
			k, e := tx.Enqueue(t.Context(), task.New{Kind: "k", Lane: "l", Queue: task.Imports, ClientID: 7})
			if e != nil {
				return e
			}
			if err == nil && k.State == task.Ready {
				_, e = tx.Enqueue(t.Context(), task.New{Kind: "second", Lane: "l", Queue: task.Imports, ClientID: 7})
			}
			return errors.Join(e, err)
		}
	}
	b.queue(t.Context(), enqueue(errBoom))
	b.queue(t.Context(), enqueue(nil))
	b.queue(t.Context(), enqueue(errBoom))
	b.queue(t.Context(), enqueue(nil))
	close(b.release)
	b.wait()
	list, err := b.db.Tasks().List(t.Context(), everyone, task.Filter{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, k := range list {
		got = fmt.Sprintf("%s:%s ", k.Kind, k.State) + got
	}
	if want := "k:ready second:waiting k:waiting "; got != want {
		t.Errorf("tasks %q, want %q", got, want)
	}
	select {
	case <-b.db.Tasks().Wake(task.Imports):
	default:
		t.Error("nobody was woken")
	}
}

// TestCloseAnswers: a transaction that waits while the database closes gets
// an answer.
func TestCloseAnswers(t *testing.T) {
	t.Parallel()
	db := file{path: storetest.File(t)}.Open(t, store.Options{})
	inside, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := db.Volumes().Tx(t.Context(), func(volume.Tx) error {
			close(inside)
			<-release
			return nil
		})
		if err != nil {
			t.Errorf("the transaction under way: %v", err)
		}
	})
	<-inside
	for range 300 { // more than the queue takes
		wg.Go(func() {
			err := db.Ping(t.Context())
			if err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("waiting: %v", err)
			}
		})
	}
	for db.Queued() < 256 {
		runtime.Gosched()
	}
	wg.Go(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	close(release)
	wg.Wait()
	if err := db.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("after the close: %v", err)
	}
}

// TestFull: on a full disk who does not fit is told so, everyone's answer is
// the truth, and the database goes on once there is room again.
func TestFull(t *testing.T) {
	t.Parallel()
	b := newBusy(t)
	close(b.release)
	b.wait()
	if err := b.db.LimitPages(8); err != nil {
		t.Fatal(err)
	}
	b.results, b.release = nil, make(chan struct{})
	b.hold(nil)
	large := func(tx volume.Tx) error {
		_, err := tx.Enqueue(t.Context(), task.New{Kind: "k", Lane: "l", Queue: task.Quick, ClientID: 7, Args: strings.Repeat("x", 1<<20)})
		return err
	}
	b.add("before", fine)
	b.add("large", large)
	b.add("after", fine)
	close(b.release)
	errs := b.wait()
	if !errors.Is(errs[2], store.ErrUnavailable) {
		t.Errorf("on a full disk: %v", errs[2])
	}
	want := ""
	for i, id := range []string{"before", "large", "after"} {
		if err := errs[i+1]; err == nil {
			want = want + id + " "
		} else if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if got := b.list(); !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("volumes %q, acknowledged %q", got, want)
	}
	if err := b.db.Volumes().Tx(t.Context(), large); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("alone on a full disk: %v", err)
	}
	if err := b.db.LimitPages(0); err != nil {
		t.Fatal(err)
	}
	if err := b.db.Volumes().Tx(t.Context(), large); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// BenchmarkCommit is the rate of durable transactions, each with a volume and
// a task, by how many callers wait at once.
func BenchmarkCommit(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			db := file{path: storetest.File(b)}.Open(b, store.Options{})
			defer db.Close()
			if _, err := db.VPS().PutFacility(b.Context(), vps.Facility{Code: "TPA1"}); err != nil {
				b.Fatal(err)
			}
			if _, err := db.Access().AddClient(b.Context(), access.Client{ID: 7}); err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						id := fmt.Sprint(n)
						err := db.Volumes().Tx(b.Context(), func(tx volume.Tx) error {
							if err := put(tx, id); err != nil {
								return err
							}
							_, err := tx.Enqueue(b.Context(), task.New{Kind: "k", Lane: id, Queue: task.Quick, ClientID: 7, VolumeID: id})
							return err
						})
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
		})
	}
}

func sorted(words string) []string { return slices.Sorted(slices.Values(strings.Fields(words))) }

// TestObserve: metrics hear of every kind of access.
func TestObserve(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	heard := map[string]int{}
	db := file{path: storetest.File(t)}.Open(t, store.Options{Observe: func(kind string, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if took >= 0 {
			heard[kind]++
		}
	}})
	defer db.Close()
	if err := db.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Volumes().View(t.Context(), func(volume.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := db.VPS().Facilities(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if heard["tx"] != 1 || heard["view"] != 1 || heard["read"] != 1 {
		t.Errorf("heard %v", heard)
	}
}

// TestHasty: a transaction that asks to be durable is never committed without
// the disk, whatever stands beside it in the queue, and all are answered.
func TestHasty(t *testing.T) {
	t.Parallel()
	b := newBusy(t)
	var levels [2]map[int]int // by hasty, by level
	levels[0], levels[1] = map[int]int{}, map[int]int{}
	r := rand.New(rand.NewPCG(3, 4))
	close(b.release)
	wait := func() {
		for _, err := range b.wait() {
			if err != nil {
				t.Error(err)
			}
		}
		b.results = nil
	}
	wait()
	for range 20 {
		release, inside := make(chan struct{}), make(chan struct{})
		b.call(func() error {
			return b.db.Write(context.Background(), true, func(level int) error {
				levels[1][level]++
				close(inside)
				<-release
				return nil
			})
		})
		<-inside
		for range 10 {
			hasty := r.IntN(2)
			fails := r.IntN(5) == 0
			b.enqueue(func() error {
				err := b.db.Write(context.Background(), hasty == 1, func(level int) error {
					levels[hasty][level]++
					if fails {
						return errBoom
					}
					return nil
				})
				if errors.Is(err, errBoom) == fails {
					return nil
				}
				return fmt.Errorf("fails %v: %w", fails, err)
			})
		}
		close(release)
		wait()
	}
	if levels[0][1] > 0 || levels[0][2] == 0 || levels[1][1] == 0 {
		t.Errorf("durable and hasty ones were committed with %v", levels)
	}
}

// TestEventNumbersAreSkipped: after a start no number is given again that a
// power cut may have taken back.
func TestEventNumbersAreSkipped(t *testing.T) {
	t.Parallel()
	f := file{path: storetest.File(t)}
	var last [2]int64
	for i := range last {
		db := f.Open(t, store.Options{})
		if i == 0 {
			if _, err := db.VPS().PutFacility(t.Context(), vps.Facility{Code: "TPA1"}); err != nil {
				t.Fatal(err)
			}
			if _, err := db.Access().AddClient(t.Context(), access.Client{ID: 7}); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if last[i], err = db.EmitOne(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if last[0] != 1 || last[1] < 10_000 {
		t.Errorf("the events have the numbers %v", last)
	}
}
