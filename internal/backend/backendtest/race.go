package backendtest

import (
	"errors"
	"slices"
	"sync"

	"github.com/drivebay/drivebay/internal/backend"
)

var raceCases = map[string]func(*kit){
	"ParallelOnOneGuest":      parallelOnOneGuest,
	"OneVolumeOneGuest":       oneVolumeOneGuest,
	"AttachAgainstDelete":     attachAgainstDelete,
	"InsertAgainstDelete":     insertAgainstDelete,
	"ParallelGrow":            parallelGrow,
	"ParallelSameCall":        parallelSameCall,
	"SlotsHoldUnderPressure":  slotsHoldUnderPressure,
	"ParallelGuestsNoCrosses": parallelGuests,
}

// together runs n calls at once and returns their errors.
func together(n int, call func(i int) error) []error {
	var (
		wg    sync.WaitGroup
		start = make(chan struct{})
		errs  = make([]error, n)
	)
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func (k *kit) allOK(errs []error) {
	k.Helper()
	k.ok(errors.Join(errs...))
}

func parallelOnOneGuest(k *kit) {
	ref := k.vm()
	base := len(k.inspect(ref).VolumeIDs)
	n := min(100, k.d.Info().MaxVolumes)
	ids := make([]string, n)
	for i := range ids {
		ids[i] = newID()
	}
	k.allOK(together(n, func(i int) error {
		return k.d.EnsureVolume(k.ctx, backend.VolumeSpec{ID: ids[i], Bytes: volumeBytes})
	}))
	k.allOK(together(n, func(i int) error { return k.d.EnsureAttached(k.ctx, ref, ids[i]) }))
	got := k.inspect(ref).VolumeIDs
	if len(got) != base+n {
		k.Fatalf("the guest has %d volumes, want %d", len(got), base+n)
	}
	for _, id := range ids {
		if !slices.Contains(got, id) {
			k.Fatalf("volume %s was lost", id)
		}
	}
	k.allOK(together(n, func(i int) error { return k.detach(ref, ids[i]) }))
	if got := k.inspect(ref).VolumeIDs; len(got) != base {
		k.Fatalf("the guest still has %q", got)
	}
}

func oneVolumeOneGuest(k *kit) {
	refs := make([]string, k.h.Guests)
	for i := range refs {
		refs[i] = k.vm()
	}
	id := k.volume()
	for range k.h.Rounds {
		errs := together(len(refs), func(i int) error { return k.d.EnsureAttached(k.ctx, refs[i], id) })
		winner := ""
		for i, err := range errs {
			switch {
			case err == nil && winner == "":
				winner = refs[i]
			case err == nil:
				k.Fatal("two guests got the volume")
			default:
				k.is(err, backend.ErrInUse)
			}
		}
		for _, ref := range refs {
			k.has(ref, id, ref == winner)
		}
		k.ok(k.detach(winner, id))
	}
}

func attachAgainstDelete(k *kit) {
	ref := k.vm()
	for range k.h.Rounds {
		id := k.volume()
		errs := together(2, func(i int) error {
			if i == 0 {
				return k.d.EnsureAttached(k.ctx, ref, id)
			}
			return k.d.DeleteVolume(k.ctx, id)
		})
		switch {
		case errs[0] == nil: // attached first
			k.is(errs[1], backend.ErrInUse)
			k.size(id, volumeBytes)
			k.has(ref, id, true)
			k.ok(k.detach(ref, id))
		default:
			k.is(errs[0], backend.ErrVolumeNotFound)
			k.ok(errs[1])
			k.has(ref, id, false)
		}
	}
}

// parallelGrow asks for several sizes at once: the largest wins, and none of the
// others takes it back.
func parallelGrow(k *kit) {
	const sizes = 8
	for range k.h.Rounds {
		id := k.volume()
		errs := together(sizes, func(i int) error { return k.d.GrowVolume(k.ctx, id, int64(2+i)*volumeBytes) })
		k.ok(errs[sizes-1])
		for _, err := range errs {
			if err != nil {
				k.is(err, backend.ErrShrink)
			}
		}
		k.size(id, (1+sizes)*volumeBytes)
		k.ok(k.d.DeleteVolume(k.ctx, id))
	}
}

func insertAgainstDelete(k *kit) {
	ref := k.vm()
	for range k.h.Rounds {
		key := k.iso()
		errs := together(2, func(i int) error {
			if i == 0 {
				return k.d.SetMedia(k.ctx, ref, key, false)
			}
			return k.d.DeleteISO(k.ctx, key)
		})
		switch {
		case errs[0] == nil:
			k.is(errs[1], backend.ErrInUse)
			k.media(ref, key)
			k.ok(k.d.SetMedia(k.ctx, ref, "", false))
		default:
			k.is(errs[0], backend.ErrISONotFound)
			k.ok(errs[1])
			k.media(ref, "")
		}
	}
}

// parallelSameCall repeats each change while it runs.
func parallelSameCall(k *kit) {
	for _, c := range k.changes() {
		before := k.view()
		k.allOK(together(4, func(int) error { return c.call(k.ctx) }))
		after := k.view()
		if diffViews(before, after) == "" {
			k.Fatalf("%s changed nothing", c.name)
		}
		k.ok(c.call(k.ctx))
		k.same(after, k.view())
	}
}

func slotsHoldUnderPressure(k *kit) {
	ref, max := k.vm(), k.d.Info().MaxVolumes
	if len(k.inspect(ref).VolumeIDs) == 0 {
		k.attached(ref) // the ROOT disk takes no data slot
	}
	for range max - min(3, max) {
		k.attached(ref)
	}
	ids := make([]string, 10)
	for i := range ids {
		ids[i] = k.volume()
	}
	won := 0
	for _, err := range together(len(ids), func(i int) error { return k.d.EnsureAttached(k.ctx, ref, ids[i]) }) {
		if err == nil {
			won++
			continue
		}
		k.is(err, backend.ErrNoSlot)
	}
	if want := min(3, max); won != want {
		k.Fatalf("%d volumes got the last %d slots", won, want)
	}
}

// parallelGuests works on many guests at once and wants each to end with its own.
func parallelGuests(k *kit) {
	n := k.h.Guests
	refs, ids := make([]string, n), make([]string, n)
	for i := range n {
		refs[i], ids[i] = k.vm(), newID()
	}
	k.allOK(together(n, func(i int) error {
		spec := backend.VolumeSpec{ID: ids[i], Bytes: volumeBytes}
		return errors.Join(
			k.d.EnsureVolume(k.ctx, spec),
			k.d.EnsureAttached(k.ctx, refs[i], ids[i]),
			k.d.GrowVolume(k.ctx, ids[i], 2*volumeBytes),
			k.d.Power(k.ctx, refs[i], backend.PowerOff),
			k.d.Power(k.ctx, refs[i], backend.PowerStart),
		)
	}))
	for i := range n {
		k.has(refs[i], ids[i], true)
		k.size(ids[i], 2*volumeBytes)
	}
}
