package fake_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/backendtest"
	"github.com/drivebay/drivebay/internal/backend/fake"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		d := fake.New(fake.Options{MaxVolumes: 128})
		return backendtest.Harness{
			Driver: d,
			Reopen: func(t *testing.T) backend.Driver {
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				d.Reopen()
				return d
			},
			LockTray:   func(_ *testing.T, ref string, locked bool) { d.SetTrayLocked(ref, locked) },
			HoldVolume: func(_ *testing.T, ref, id string, hold bool) { d.SetGuestHolds(ref, id, hold) },
			StopGuest:  func(_ *testing.T, ref string) { d.StopGuest(ref) },
			Deafen:     func(_ *testing.T, ref string, deaf bool) { d.SetDeaf(ref, deaf) },
			Fill:       func(_ *testing.T, full bool) { d.SetFull(full) },
		}
	})
}

var errBoom = errors.New("boom")

func create(ctx context.Context, d *fake.Driver, id string) error {
	return d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: 1})
}

func volumes(t *testing.T, d *fake.Driver) int {
	t.Helper()
	all, err := d.InspectAll(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return len(all.Volumes)
}

func TestFailDoesNothing(t *testing.T) {
	t.Parallel()
	d := fake.New(fake.Options{})
	d.On("EnsureVolume").Fail(errBoom, 2)
	for range 2 {
		if err := create(t.Context(), d, "a"); !errors.Is(err, errBoom) {
			t.Fatalf("got %v", err)
		}
	}
	if n := volumes(t, d); n != 0 {
		t.Fatalf("%d volumes after a failure", n)
	}
	if err := create(t.Context(), d, "a"); err != nil {
		t.Fatal(err)
	}
}

func TestLoseDoesTheWork(t *testing.T) {
	t.Parallel()
	d := fake.New(fake.Options{})
	d.On("EnsureVolume").For("a").Lose(errBoom, 1)
	if err := create(t.Context(), d, "b"); err != nil {
		t.Fatal(err)
	}
	if err := create(t.Context(), d, "a"); !errors.Is(err, errBoom) {
		t.Fatalf("got %v", err)
	}
	if n := volumes(t, d); n != 2 {
		t.Fatalf("%d volumes, want 2", n)
	}
	// The work itself refuses: the answer is the refusal, and no turn is used up.
	d.On("GrowVolume").Lose(errBoom, 1)
	if err := d.GrowVolume(t.Context(), "none", 2); !errors.Is(err, backend.ErrVolumeNotFound) {
		t.Fatalf("got %v", err)
	}
	if err := d.GrowVolume(t.Context(), "a", 2); !errors.Is(err, errBoom) {
		t.Fatalf("got %v", err)
	}
}

func TestBlockHoldsTheObject(t *testing.T) {
	t.Parallel()
	d := fake.New(fake.Options{})
	gate, entered := make(chan struct{}), make(chan struct{})
	d.On("EnsureVolume").For("a").Before(signal(entered)).Block(gate)
	done := make(chan error, 2)
	go func() { done <- create(t.Context(), d, "a") }()
	<-entered
	go func() { done <- d.GrowVolume(t.Context(), "a", 9) }()
	if err := d.WaitCalls(t.Context(), "GrowVolume", 1); err != nil {
		t.Fatal(err)
	}
	if err := create(t.Context(), d, "b"); err != nil { // another volume is free
		t.Fatal(err)
	}
	for _, c := range d.Calls() {
		if c.VolumeID == "a" && c.Done {
			t.Errorf("%s did not wait", c.Method)
		}
	}
	close(gate)
	for range 2 { // the grow came second, so it finds the volume
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for _, c := range d.Calls() {
		if !c.Done || c.Err != nil {
			t.Errorf("logged %+v", c)
		}
	}
}

func TestBlockEndsWithContext(t *testing.T) {
	t.Parallel()
	d := fake.New(fake.Options{})
	made := make(chan struct{})
	d.On("EnsureVolume").After(signal(made)).BlockAfter(nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- create(ctx, d, "a") }()
	<-made
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if n := volumes(t, d); n != 1 {
		t.Fatalf("%d volumes, want 1", n)
	}
}

func signal(ch chan<- struct{}) func(fake.Call) error {
	return func(fake.Call) error { close(ch); return nil }
}

func TestDelayHooksAndReset(t *testing.T) {
	t.Parallel()
	d := fake.New(fake.Options{})
	var order []string
	note := func(s string) func(fake.Call) error {
		return func(c fake.Call) error { order = append(order, s+" "+c.VolumeID); return nil }
	}
	const span = 5 * time.Millisecond
	d.On("EnsureVolume").Before(note("before")).Delay(span).DelayAfter(span).After(note("after"))
	start := time.Now()
	if err := create(t.Context(), d, "a"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 2*span {
		t.Errorf("took %v, want at least %v", took, 2*span)
	}
	if len(order) != 2 || order[0] != "before a" || order[1] != "after a" {
		t.Errorf("hooks ran as %q", order)
	}
	d.Reset()
	if err := create(t.Context(), d, "b"); err != nil || len(order) != 2 {
		t.Errorf("a rule outlived Reset: %v, %q", err, order)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.On("DeleteVolume").Delay(time.Hour)
	if err := d.DeleteVolume(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	d := fake.New(fake.Options{})
	if err := create(t.Context(), d, "a"); err != nil {
		t.Fatal(err)
	}
	_ = d.EnsureAttached(t.Context(), "vm", "a")
	calls := d.Calls()
	if len(calls) != 2 || calls[1].Ref != "vm" || calls[1].VolumeID != "a" || !errors.Is(calls[1].Err, backend.ErrVMNotFound) {
		t.Errorf("logged %+v", calls)
	}
	d.ClearCalls()
	if n := d.Count("EnsureVolume"); n != 0 {
		t.Errorf("%d calls after ClearCalls", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.WaitCalls(ctx, "Power", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOnUnknownMethodPanics(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"GrowVolumes", "Close", "Info", "Watch"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("On(%q) does not panic", name)
				}
			}()
			fake.New(fake.Options{}).On(name)
		}()
	}
}
