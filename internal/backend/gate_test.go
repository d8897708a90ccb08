package backend

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestGateNames(t *testing.T) {
	g := NewGate()
	key := strings.Repeat("a", 64)
	for _, bad := range [][]Object{
		{GuestObject("")}, {VolumeObject("../x")}, {ImageObject("a")}, {ImageObject("")},
		{GuestObject("g"), VolumeObject("")}, {GuestObject("g"), ImageObject("g")},
	} {
		if _, err := g.Enter(t.Context(), bad...); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	// One name, three objects.
	for _, o := range []Object{GuestObject(key), VolumeObject(key), ImageObject(key)} {
		leave, err := g.Enter(t.Context(), o)
		if err != nil {
			t.Fatalf("%v: %v", o, err)
		}
		defer leave()
	}
	if n := g.Held(); n != 3 {
		t.Errorf("%d objects are held", n)
	}
}

// TestGateFences: a call that names a volume is measured by what the volume
// has seen, one that names a guest alone by what the guest has, and images
// have no memory. A refused call holds nothing.
func TestGateFences(t *testing.T) {
	g := NewGate()
	key := strings.Repeat("a", 64)
	guest, volume, image := GuestObject("g"), VolumeObject("v"), ImageObject(key)
	for i, step := range []struct {
		fence   Fence
		objects []Object
		want    error
	}{
		{Fence{5, 2}, []Object{guest, volume}, nil},
		{Fence{5, 2}, []Object{volume}, nil},
		{Fence{5, 1}, []Object{volume}, ErrFenced},
		{Fence{4, 9}, []Object{GuestObject("other"), volume}, ErrFenced},
		{Fence{1, 1}, []Object{guest}, nil}, // the first was the volume's
		{Fence{3, 1}, []Object{guest, image}, nil},
		{Fence{2, 1}, []Object{guest}, ErrFenced},
		{Fence{2, 1}, []Object{image}, nil},
		{Fence{2, 1}, nil, nil},
	} {
		leave, err := g.Enter(WithFence(t.Context(), step.fence), step.objects...)
		if !errors.Is(err, step.want) {
			t.Fatalf("step %d: %v, want %v", i, err, step.want)
		}
		if err == nil {
			leave()
		}
		if n := g.Held(); n != 0 {
			t.Fatalf("step %d: %d objects are held", i, n)
		}
	}
	leave, err := g.Enter(t.Context(), volume) // housekeeping has no fence
	if err != nil {
		t.Fatal(err)
	}
	leave()
}

// TestGateClose: Close waits for the call under way, which hears of it, and
// those behind it are let go.
func TestGateClose(t *testing.T) {
	g := NewGate()
	leave, err := g.Enter(t.Context(), VolumeObject("v"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	behind := make(chan error, 1)
	go func() {
		_, err := g.Enter(ctx, VolumeObject("v"))
		behind <- err
	}()
	closed := make(chan struct{})
	go func() { g.Close(); close(closed) }()
	<-g.Closing()
	if _, err := g.Enter(t.Context()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a call on a closed gate: %v", err)
	}
	select {
	case <-closed:
		t.Fatal("closed over a call")
	default:
	}
	cancel()
	if err := <-behind; !errors.Is(err, context.Canceled) && !errors.Is(err, ErrUnavailable) {
		t.Errorf("the call behind: %v", err)
	}
	leave()
	<-closed
	g.Close()
	if n := g.Held(); n != 0 {
		t.Errorf("%d objects are held", n)
	}
}
