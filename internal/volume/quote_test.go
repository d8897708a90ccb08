package volume_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

func newOrder(device int64, size int) volume.Order {
	return volume.Order{Kind: volume.KindCreate, DeviceID: &device, SizeGiB: size}
}

func growOrder(id string, device int64, size int) volume.Order {
	return volume.Order{Kind: volume.KindResize, VolumeID: id, DeviceID: &device, SizeGiB: size}
}

func dropOrder(id string, device int64) volume.Order {
	return volume.Order{Kind: volume.KindDelete, VolumeID: id, DeviceID: &device}
}

func quoted(t worldtest.TB, w *worldtest.World, o volume.Order) volume.Quote {
	t.Helper()
	q, err := w.Volumes.Quote(ctx, mine, o)
	if err != nil {
		t.Fatalf("no quote: %v (%s)", err, fault.ReasonOf(err))
	}
	return q
}

// told is all that a caller is told of an error.
func told(err error) string {
	f, ok := fault.As(err)
	if !ok {
		return fmt.Sprint(err)
	}
	return fmt.Sprint(f.Kind, f.Reason, f.Text, f.Fields)
}

// tried makes a dry run of an order, which must change nothing, and then the
// real call: both are refused in the same words, or neither is.
func tried(t worldtest.TB, w *worldtest.World, scope access.Scope, o volume.Order) (volume.Quote, task.Task, error) {
	t.Helper()
	before := w.Dump()
	q, refusal := w.Volumes.Quote(ctx, scope, o)
	if diff := cmp.Diff(before, w.Dump()); diff != "" {
		t.Fatalf("a dry run of %+v has changed the database:\n%s", o, diff)
	}
	k, err := w.Volumes.Accept(ctx, scope, o)
	if told(refusal) != told(err) {
		t.Fatalf("%+v: the dry run says %s, the real call %s", o, told(refusal), told(err))
	}
	if err != nil && fault.KindOf(err) == fault.Internal {
		t.Fatalf("%+v: %v", o, err)
	}
	if err == nil && slices.Equal(before, w.Dump()) {
		t.Fatalf("%+v was accepted, and the database has not changed", o)
	}
	return q, k, err
}

// Each refusal, in the order in which it comes: what a case breaks besides is
// refused later.
func TestQuoteRefusesAsTheRealCall(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	kept, going := made(t, w, 1001, 100), made(t, w, 1001, 50)
	foreign, free := made(t, w, 2001, 50), madeFree(t, w, 1002, 50)
	root := rootOf(t, w, 1001).ID
	for range worldtest.MaxVolumes {
		made(t, w, 1003, 50)
	}
	w.Stop()
	k, err := w.Volumes.Delete(ctx, mine, going, ptr(int64(1001)))
	accepted(t, k, err)
	setQuota(t, w, access.Quota{GiB: ptr(int64(450))}) // 400 are used
	cheap := func(o volume.Order) volume.Order { o.MaxMonthly = ptr(billing.Cents(1)); return o }
	nowhere := func(o volume.Order) volume.Order { o.DeviceID = nil; return o }
	for name, c := range map[string]struct {
		order volume.Order
		want  *fault.Error
	}{
		"create, no device":         {cheap(nowhere(newOrder(0, 75))), vps.ErrDeviceNotFound},
		"create, not their device":  {cheap(newOrder(2001, 75)), vps.ErrDeviceNotFound},
		"create, size not sold":     {cheap(newOrder(1003, 75)), volume.ErrSizeNotSold},
		"create, full":              {cheap(newOrder(1003, 500)), volume.ErrDeviceFull},
		"create, quota":             {cheap(newOrder(1001, 500)), access.ErrQuota},
		"create, price":             {cheap(newOrder(1001, 50)), volume.ErrPriceChanged},
		"resize, unknown":           {cheap(growOrder("none", 9, 75)), volume.ErrNotFound},
		"resize, not theirs":        {cheap(growOrder(foreign, 2001, 100)), volume.ErrNotFound},
		"resize, ROOT":              {cheap(growOrder(root, 9, 75)), volume.ErrRoot},
		"resize, going":             {cheap(growOrder(going, 9, 75)), volume.ErrDeleting},
		"resize, no device":         {cheap(nowhere(growOrder(kept, 0, 75))), volume.ErrDeviceRequired},
		"resize, other device":      {cheap(growOrder(kept, 1002, 75)), volume.ErrWrongDevice},
		"resize, a device too many": {cheap(growOrder(free, 1002, 75)), volume.ErrWrongDevice},
		"resize, not larger":        {cheap(growOrder(kept, 1001, 75)), volume.ErrNotLarger},
		"resize, size not sold":     {cheap(growOrder(kept, 1001, 150)), volume.ErrSizeNotSold},
		"resize, quota":             {cheap(growOrder(kept, 1001, 200)), access.ErrQuota},
		"resize, price":             {cheap(nowhere(growOrder(free, 0, 100))), volume.ErrPriceChanged},
		"delete, unknown":           {dropOrder("none", 9), volume.ErrNotFound},
		"delete, not theirs":        {dropOrder(foreign, 2001), volume.ErrNotFound},
		"delete, ROOT":              {dropOrder(root, 9), volume.ErrRoot},
		"delete, going":             {dropOrder(going, 9), volume.ErrDeleting},
		"delete, no device":         {nowhere(dropOrder(kept, 0)), volume.ErrDeviceRequired},
		"delete, other device":      {dropOrder(kept, 1002), volume.ErrWrongDevice},
	} {
		if _, _, err := tried(t, w, mine, c.order); fault.ReasonOf(err) != c.want.Reason {
			t.Errorf("%s: %v (%s), want %s", name, err, fault.ReasonOf(err), c.want.Reason)
		}
	}
	if _, err := w.Volumes.Quote(ctx, mine, volume.Order{Kind: volume.KindAttach, VolumeID: free}); err == nil || fault.KindOf(err) != fault.Internal {
		t.Errorf("an attach has a quote: %v", err)
	}
}

// The guard takes the price itself, and what was accepted keeps it.
func TestMaxMonthly(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	w.Stop()
	o := newOrder(1001, 50)
	for most, want := range map[billing.Cents]fault.Reason{499: volume.ErrPriceChanged.Reason, 0: volume.ErrPriceChanged.Reason} {
		o.MaxMonthly = &most
		if _, _, err := tried(t, w, mine, o); fault.ReasonOf(err) != want {
			t.Errorf("at most %s: %v", most, err)
		}
	}
	o.MaxMonthly = ptr(billing.Cents(500))
	q, k, err := tried(t, w, mine, o)
	accepted(t, k, err)
	if _, err := w.Ledger.PutPrice(ctx, billing.Price{FacilityCode: "TPA1", SizeGiB: 50, Monthly: 999}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tried(t, w, mine, o); fault.ReasonOf(err) != volume.ErrPriceChanged.Reason {
		t.Errorf("after a change of the price list: %v", err)
	}
	w.Start()
	id := w.Succeeds(k).VolumeID
	v, err := w.Volumes.Get(ctx, mine, id)
	if err != nil || v.Monthly != 500 || q.After != 500 || q.Charged != 500 {
		t.Errorf("the volume costs %s (%v), by the quote %+v", v.Monthly, err, q)
	}
}

// A resize of 5.00 to 10.00 on each day of a month of each length, reckoned
// here by hand: rounded half up, whole days of whole months.
func TestQuoteInEveryMonth(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	first := quoted(t, w, newOrder(1001, 50)) // on the 31st of January
	if want := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC); first.Charged != 500 || !first.PaidUntil.Equal(want) || !first.RenewsAt.Equal(want) {
		t.Errorf("%+v, want 5.00 until %s", first, want)
	}
	for _, month := range []struct {
		begin time.Time
		days  int
	}{
		{time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC), 31},
		{time.Date(2024, 4, 1, 0, 0, 0, 0, time.UTC), 30},
		{time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC), 28},
		{time.Date(2028, 2, 1, 0, 0, 0, 0, time.UTC), 29},
	} {
		w.Clock.Add(month.begin.Sub(w.Clock.Now()))
		id := made(t, w, 1001, 50)
		end := month.begin.AddDate(0, 1, 0)
		var q volume.Quote
		for day := range month.days {
			q = quoted(t, w, growOrder(id, 1001, 100))
			want := billing.Cents((2*500*(month.days-day) + month.days) / (2 * month.days))
			if q.Before != 500 || q.After != 1000 || q.Charged != want || q.Due != 0 || !q.RenewsAt.Equal(end) || !q.PaidUntil.Equal(end) {
				t.Errorf("day %d of %d: %+v, want %s", day, month.days, q, want)
			}
			if drop := quoted(t, w, dropOrder(id, 1001)); drop.Before != 500 || drop.After != 0 || drop.Charged != 0 || !drop.RenewsAt.IsZero() || !drop.PaidUntil.Equal(end) {
				t.Errorf("day %d of %d: %+v", day, month.days, drop)
			}
			if day < month.days-1 {
				w.Clock.Add(24 * time.Hour)
			}
		}
		k, err := w.Volumes.Resize(ctx, mine, id, 100, ptr(int64(1001)))
		w.Succeeds(accepted(t, k, err))
		if got := billing.Cents(w.Count(`SELECT sum(amount_cents) FROM charge WHERE task_id = ?`, k.ID)); got != q.Charged {
			t.Errorf("the last day of %d: charged %s, by the quote %s", month.days, got, q.Charged)
		}
		w.Clock.Add(24 * time.Hour) // the next month has begun and is not charged
		if q := quoted(t, w, growOrder(id, 1001, 200)); q.Due != 1000 || q.Charged != 1000 || !q.PaidUntil.Equal(month.begin.AddDate(0, 2, 0)) {
			t.Errorf("after %d days: %+v, want 10.00 due and 10.00 charged", month.days, q)
		}
	}
}

// A quote counts on what was accepted before, for a volume that does not exist
// yet too.
func TestQuoteBehindOtherTasks(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	w.Stop()
	k, err := w.Volumes.Create(ctx, mine, 1001, 50)
	id := accepted(t, k, err).VolumeID
	k, err = w.Volumes.Resize(ctx, mine, id, 100, ptr(int64(1001)))
	accepted(t, k, err)
	q := quoted(t, w, growOrder(id, 1001, 500))
	if q.BeforeGiB != 100 || q.Before != 1000 || q.AfterGiB != 500 || q.After != 5000 || q.Charged != 4000 || q.DeviceID != 1001 {
		t.Errorf("%+v", q)
	}
	k, err = w.Volumes.Detach(ctx, mine, 1001, id)
	accepted(t, k, err)
	q = quoted(t, w, volume.Order{Kind: volume.KindDelete, VolumeID: id})
	if q.BeforeGiB != 100 || q.AfterGiB != 0 || q.Before != 1000 || q.After != 0 || q.DeviceID != 0 || !*q.Online {
		t.Errorf("%+v", q)
	}
}

// one has the same driver everywhere, good only for what it says of itself.
type one struct{ live bool }

// Driver is in backend.Provider.
func (o one) Driver(string) (backend.Driver, error) {
	return fake.New(fake.Options{Cold: !o.live}), nil
}

// Months that nobody has booked yet are told apart from what the change costs,
// also when a task before it will book them.
func TestQuoteWithMonthsDue(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	id := made(t, w, 1001, 50)
	w.Stop()
	w.Clock.Add(60 * 24 * time.Hour) // the 31st of March: the months of the 29th of February and of the 31st of March
	var tasks []task.Task
	for _, o := range []volume.Order{growOrder(id, 1001, 100), growOrder(id, 1001, 200), dropOrder(id, 1001)} {
		q, k, err := tried(t, w, mine, o)
		tasks = append(tasks, accepted(t, k, err))
		if q.Due != 1000 || !q.PaidUntil.Equal(time.Date(2024, 4, 30, 12, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %+v, want 10.00 due, paid until the 30th of April", o.Kind, q)
		}
	}
	w.Start()
	for _, k := range tasks {
		w.Succeeds(k)
	}
	if due := w.Count(`SELECT sum(amount_cents) FROM charge WHERE kind = 'renew'`); due != 1000 {
		t.Errorf("renewals of %d cents, want 1000", due)
	}
}

func TestQuoteOnline(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	free := madeFree(t, w, 1001, 50)
	for name, c := range map[string]struct {
		drivers backend.Provider
		want    map[bool]*bool // whether a device has it
	}{
		"live":   {one{live: true}, map[bool]*bool{true: ptr(true), false: ptr(true)}},
		"cold":   {one{}, map[bool]*bool{true: ptr(false), false: ptr(true)}},
		"absent": {worldtest.Drivers{}, map[bool]*bool{true: nil, false: ptr(true)}},
	} {
		s := *w.Volumes
		s.Drivers = c.drivers
		for attached, o := range map[bool]volume.Order{true: newOrder(1001, 50), false: {Kind: volume.KindResize, VolumeID: free, SizeGiB: 100}} {
			q, err := s.Quote(ctx, mine, o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want[attached], q.Online); diff != "" {
				t.Errorf("%s, attached %v (-want +got):\n%s", name, attached, diff)
			}
		}
	}
}
