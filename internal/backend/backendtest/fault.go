package backendtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

var faultCases = map[string]func(*kit){
	"CancelledBefore":    cancelledBefore,
	"CancelledMidway":    cancelledMidway,
	"DiskFull":           diskFull,
	"RestartBetweenAny":  restartBetweenAny,
	"CallsAfterClose":    callsAfterClose,
	"RestartKeepsVolume": restartKeepsContent,
}

func shortRun() bool { return testing.Short() }

// change is one call that changes something, and can be repeated.
type change struct {
	name string
	call func(ctx context.Context) error
}

// changes returns one change of every kind. Each finds what it needs as the one
// before left it.
func (k *kit) changes() []change {
	ref, key := k.vm(), k.iso()
	spec, path := k.image()
	id, grown := newID(), k.volume()
	list := []change{
		{"EnsureVolume", func(ctx context.Context) error {
			return k.d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: volumeBytes})
		}},
		{"GrowVolume", func(ctx context.Context) error { return k.d.GrowVolume(ctx, grown, 2*volumeBytes) }},
		{"EnsureAttached", func(ctx context.Context) error { return k.d.EnsureAttached(ctx, ref, id) }},
		{"SetMedia", func(ctx context.Context) error { return k.d.SetMedia(ctx, ref, key, false) }},
		{"Power", func(ctx context.Context) error { return k.d.Power(ctx, ref, backend.PowerOff) }},
		{"PowerStart", func(ctx context.Context) error { return k.d.Power(ctx, ref, backend.PowerStart) }},
		{"Eject", func(ctx context.Context) error { return k.d.SetMedia(ctx, ref, "", true) }},
		{"EnsureDetached", func(ctx context.Context) error {
			return k.d.EnsureDetached(ctx, ref, id, backend.DetachOptions{Timeout: time.Minute})
		}},
		{"DeleteVolume", func(ctx context.Context) error { return k.d.DeleteVolume(ctx, id) }},
		{"ImportISO", func(ctx context.Context) error { return k.d.ImportISO(ctx, spec, path) }},
		{"DeleteISO", func(ctx context.Context) error { return k.d.DeleteISO(ctx, key) }},
	}
	if k.d.Info().Boots {
		list = append(list, change{"SetBoot", func(ctx context.Context) error {
			_, err := k.d.SetBoot(ctx, ref, true)
			return err
		}})
	}
	if k.d.Info().MakesVMs {
		vm := backend.VM{Ref: "vm-" + randomHex(6), VCPU: 2, MemoryMB: 1024}
		list = append(list, change{"EnsureVM", func(ctx context.Context) error { return k.d.EnsureVM(ctx, vm) }})
	}
	return list
}

func cancelledBefore(k *kit) {
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	for _, c := range k.changes() {
		before := k.view()
		if err := c.call(ctx); !errors.Is(err, context.Canceled) {
			k.Fatalf("%s: got %v, want context.Canceled", c.name, err)
		}
		k.same(before, k.view())
		k.ok(c.call(k.ctx)) // for the changes that follow
	}
	_, err := k.d.InspectAll(ctx)
	k.is(err, context.Canceled)
}

// cancelledMidway ends each change's context at the first, second, third ...
// moment at which the driver looks at it, until the change comes through.
func cancelledMidway(k *kit) {
	for _, c := range k.changes() {
		before := k.view()
		for looks := 0; ; looks++ {
			if looks > 10_000 {
				k.Fatalf("%s looks at its context without end", c.name)
			}
			err := c.call(newCountdown(k.ctx, looks))
			now := k.view()
			if err == nil {
				if diffViews(before, now) == "" {
					k.Fatalf("%s changed nothing", c.name)
				}
				break
			}
			if !errors.Is(err, context.Canceled) {
				k.Fatalf("%s: got %v, want context.Canceled", c.name, err)
			}
			if diffViews(before, now) != "" {
				break // done, though cancelled: the other allowed outcome
			}
		}
		after := k.view()
		k.ok(c.call(k.ctx))
		if diff := diffViews(after, k.view()); diff != "" {
			k.Fatalf("%s was half done (-then +after a repeat):\n%s", c.name, diff)
		}
	}
}

// countdown is a context that ends when it has been looked at so many times.
type countdown struct {
	context.Context
	mu   sync.Mutex
	left int
	done chan struct{}
}

func newCountdown(parent context.Context, looks int) *countdown {
	return &countdown{Context: parent, left: looks, done: make(chan struct{})}
}

func (c *countdown) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		close(c.done)
	}
	c.left--
}

func (c *countdown) Done() <-chan struct{} {
	c.look()
	return c.done
}

func (c *countdown) Err() error {
	c.look()
	select {
	case <-c.done:
		return context.Canceled
	default:
		return c.Context.Err()
	}
}

func diskFull(k *kit) {
	k.need(k.h.Fill != nil, "fill the storage")
	list := k.changes()
	before := k.view()
	k.h.Fill(k.T, true)
	k.refused(before, k.d.EnsureVolume(k.ctx, backend.VolumeSpec{ID: newID(), Bytes: volumeBytes}), backend.ErrNoSpace)
	k.h.Fill(k.T, false)
	for _, c := range list {
		before := k.view()
		k.h.Fill(k.T, true)
		err := c.call(k.ctx)
		if err != nil && !errors.Is(err, backend.ErrNoSpace) {
			k.Fatalf("%s: got %v, want ErrNoSpace or nil", c.name, err)
		}
		if err != nil {
			k.same(before, k.view())
		}
		k.h.Fill(k.T, false)
		k.ok(c.call(k.ctx)) // a repeat heals it
		if diffViews(before, k.view()) == "" {
			k.Fatalf("%s changed nothing", c.name)
		}
	}
}

// restartBetweenAny reopens the driver after each change, and repeats it then.
func restartBetweenAny(k *kit) {
	if !k.d.Info().Persistent {
		k.Skip("this driver forgets everything when it is closed")
	}
	for _, c := range k.changes() {
		before := k.view()
		k.ok(c.call(k.ctx))
		after := k.view()
		if diffViews(before, after) == "" {
			k.Fatalf("%s changed nothing", c.name)
		}
		for range 2 {
			k.d = k.h.Reopen(k.T)
			k.same(after, k.view())
			k.ok(c.call(k.ctx))
			k.same(after, k.view())
		}
	}
}

func restartKeepsContent(k *kit) {
	k.need(k.d.Info().Persistent && k.h.Read != nil && k.h.Write != nil, "read and write a volume over a restart")
	id := k.volume()
	data := []byte("still here")
	k.h.Write(k.T, id, data)
	k.d = k.h.Reopen(k.T)
	k.ok(k.d.EnsureVolume(k.ctx, backend.VolumeSpec{ID: id, Bytes: volumeBytes}))
	if got := k.h.Read(k.T, id); len(got) != volumeBytes || string(got[:len(data)]) != string(data) {
		k.Fatal("the content is not there after a restart")
	}
}

func callsAfterClose(k *kit) {
	list := k.changes()
	before := k.view()
	k.ok(k.d.Close())
	k.ok(k.d.Close())
	for _, c := range list {
		if err := c.call(k.ctx); !errors.Is(err, backend.ErrUnavailable) {
			k.Fatalf("%s after Close: got %v, want ErrUnavailable", c.name, err)
		}
	}
	if k.d.Info().Persistent {
		k.d = k.h.Reopen(k.T)
		k.same(before, k.view())
	}
}
