package backendtest

import (
	"context"
	"slices"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
)

// brief is a detach timeout that is meant to run out.
const brief = 20 * time.Millisecond

var attachCases = map[string]func(*kit){
	"AttachTwice": func(k *kit) {
		ref := k.vm()
		id := k.attached(ref)
		before := k.view()
		k.ok(k.d.EnsureAttached(k.ctx, ref, id))
		k.same(before, k.view())
		k.has(ref, id, true)
	},
	"AttachToAnotherGuest": func(k *kit) {
		ref, other := k.vm(), k.vm()
		id := k.attached(ref)
		before := k.view()
		k.refused(before, k.d.EnsureAttached(k.ctx, other, id), backend.ErrInUse)
		k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
		before = k.view()
		k.refused(before, k.d.EnsureAttached(k.ctx, other, id), backend.ErrInUse)
		k.ok(k.detach(ref, id))
		k.ok(k.d.EnsureAttached(k.ctx, other, id))
		k.has(other, id, true)
	},
	"AttachMissing": func(k *kit) {
		ref, id := k.vm(), k.volume()
		before := k.view()
		k.refused(before, k.d.EnsureAttached(k.ctx, ref, missingID), backend.ErrVolumeNotFound)
		k.refused(before, k.d.EnsureAttached(k.ctx, missingID, id), backend.ErrVMNotFound)
	},
	"NoSlotLeft": func(k *kit) {
		ref, max := k.vm(), k.d.Info().MaxVolumes
		if len(k.inspect(ref).VolumeIDs) == 0 {
			k.attached(ref) // the ROOT disk takes no data slot
		}
		var last string
		for range max {
			last = k.attached(ref)
		}
		id := k.volume()
		before := k.view()
		k.refused(before, k.d.EnsureAttached(k.ctx, ref, id), backend.ErrNoSlot)
		k.ok(k.d.EnsureAttached(k.ctx, ref, last)) // there already needs no slot
		k.ok(k.detach(ref, last))
		k.ok(k.d.EnsureAttached(k.ctx, ref, id))
	},
	"DetachTwice": func(k *kit) {
		ref := k.vm()
		id := k.attached(ref)
		k.ok(k.detach(ref, id))
		before := k.view()
		k.ok(k.detach(ref, id))
		k.same(before, k.view())
		k.has(ref, id, false)
	},
	"DetachMissing": func(k *kit) {
		ref, other := k.vm(), k.vm()
		id := k.attached(ref)
		before := k.view()
		k.ok(k.detach(missingID, id))
		k.ok(k.detach(other, id)) // connected, but not there
		k.ok(k.detach(ref, missingID))
		k.same(before, k.view())
	},
	"DetachTakesTheRightOne": func(k *kit) {
		ref := k.vm()
		a, b, c := k.attached(ref), k.attached(ref), k.attached(ref)
		k.ok(k.detach(ref, b))
		k.has(ref, a, true)
		k.has(ref, b, false)
		k.has(ref, c, true)
	},
	"GuestDoesNotRelease":   guestDoesNotRelease,
	"GuestReleasesInTime":   guestReleasesInTime,
	"GuestStopsWhileAsked":  guestStopsWhileAsked,
	"DetachCancelledInWait": detachCancelledInWait,
	"ManyCycles":            manyCycles,
}

func guestDoesNotRelease(k *kit) {
	k.need(k.h.HoldVolume != nil, "make a guest keep a volume")
	ref := k.vm()
	id, free := k.attached(ref), k.attached(ref)
	k.h.HoldVolume(k.T, ref, id, true)
	before := k.view()
	for range 2 {
		err := k.d.EnsureDetached(k.ctx, ref, id, backend.DetachOptions{Timeout: brief})
		k.refused(before, err, backend.ErrGuestDidNotRelease)
	}
	k.refused(before, k.d.DeleteVolume(k.ctx, id), backend.ErrInUse)
	k.ok(k.detach(ref, free)) // the others are not affected
	k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
	k.ok(k.detach(ref, id)) // without power nobody holds it
	k.has(ref, id, false)
}

func guestReleasesInTime(k *kit) {
	k.need(k.h.HoldVolume != nil, "make a guest keep a volume")
	ref := k.vm()
	id := k.attached(ref)
	k.h.HoldVolume(k.T, ref, id, true)
	done := make(chan error, 1)
	go func() { done <- k.detach(ref, id) }()
	k.h.HoldVolume(k.T, ref, id, false)
	k.ok(<-done)
	k.has(ref, id, false)
}

func guestStopsWhileAsked(k *kit) {
	k.need(k.h.HoldVolume != nil && k.h.StopGuest != nil, "stop a guest that keeps a volume")
	ref := k.vm()
	id := k.attached(ref)
	k.h.HoldVolume(k.T, ref, id, true)
	done := make(chan error, 1)
	go func() { done <- k.detach(ref, id) }()
	k.h.StopGuest(k.T, ref)
	k.ok(<-done)
	k.has(ref, id, false)
}

func detachCancelledInWait(k *kit) {
	k.need(k.h.HoldVolume != nil, "make a guest keep a volume")
	ref := k.vm()
	id := k.attached(ref)
	k.h.HoldVolume(k.T, ref, id, true)
	before := k.view()
	ctx, cancel := context.WithTimeout(k.ctx, brief)
	defer cancel()
	err := k.d.EnsureDetached(ctx, ref, id, backend.DetachOptions{Timeout: time.Minute})
	k.refused(before, err, context.DeadlineExceeded)
	k.h.HoldVolume(k.T, ref, id, false)
	k.ok(k.detach(ref, id))
}

func manyCycles(k *kit) {
	cycles := k.h.Cycles
	if cycles == 0 {
		cycles = 1000
		if shortRun() {
			cycles = 100
		}
	}
	ref, id := k.vm(), k.volume()
	before := k.view()
	for range cycles {
		k.ok(k.d.EnsureAttached(k.ctx, ref, id))
		k.ok(k.detach(ref, id))
	}
	k.same(before, k.view())
	k.ok(k.d.DeleteVolume(k.ctx, id))
	if slices.ContainsFunc(k.view().Volumes, func(v backend.VolumeView) bool { return v.ID == id }) {
		k.Fatal("the volume is still there")
	}
}
