package backendtest

import (
	"slices"

	"github.com/drivebay/drivebay/internal/backend"
)

// bootCases: what a guest starts from, and how its starts are told apart.
var bootCases = map[string]func(*kit){
	"BootOrder": func(k *kit) {
		k.need(k.d.Info().Boots, "set what a guest starts from")
		ref := k.vm()
		k.boot(ref, false, false)
		for range 2 {
			k.boot(ref, true, true) // it runs from its disks
		}
		k.ok(k.d.Power(k.ctx, ref, backend.PowerReset))
		k.boot(ref, true, true) // a reset keeps the order of the process
		k.cycle(ref)
		k.boot(ref, true, false)
		for range 2 {
			k.boot(ref, false, true)
		}
		k.boot(ref, true, false) // taken back
		k.boot(ref, false, true)
		k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
		for _, cdFirst := range []bool{false, true, false} {
			k.boot(ref, cdFirst, false) // off: nothing runs with another order
		}
		k.ok(k.d.Power(k.ctx, ref, backend.PowerStart))
		k.boot(ref, false, false)
	},
	"BootOrderRefused": func(k *kit) {
		k.need(k.d.Info().Boots, "set what a guest starts from")
		k.vm()
		before := k.view()
		_, err := k.d.SetBoot(k.ctx, missingID, true)
		k.refused(before, err, backend.ErrVMNotFound)
		_, err = k.d.SetBoot(k.ctx, "../x", true)
		k.refused(before, err, backend.ErrInvalid)
		pending, err := k.d.SetBoot(k.ctx, missingID, false)
		k.ok(err)
		if pending {
			k.Fatal("a guest that is not there waits for its start")
		}
	},
	"BootOrderUnsupported": func(k *kit) {
		if k.d.Info().Boots {
			k.Skip("this driver sets what a guest starts from")
		}
		ref := k.vm()
		before := k.view()
		_, err := k.d.SetBoot(k.ctx, ref, true)
		k.refused(before, err, backend.ErrUnsupported)
	},
	// The order is the guest's, whatever is done to its disks and its drive.
	"BootOrderStays": func(k *kit) {
		k.need(k.d.Info().Boots, "set what a guest starts from")
		ref, key := k.vm(), k.iso()
		k.boot(ref, true, true)
		id := k.attached(ref)
		k.ok(k.d.SetMedia(k.ctx, ref, key, false))
		k.boots(ref, true)
		k.cycle(ref)
		k.media(ref, key)
		k.ok(k.d.SetMedia(k.ctx, ref, "", true))
		k.ok(k.detach(ref, id))
		k.boots(ref, true)
		k.boot(ref, true, false)
	},
	"Starts": func(k *kit) {
		ref := k.vm()
		var seen []string
		for range 3 {
			first := k.inspect(ref).Starts
			if first == "" || slices.ContainsFunc(seen, func(old string) bool { return backend.SameStart(first, old) }) {
				k.Fatalf("a new process has the mark %q, after %v", first, seen)
			}
			seen = append(seen, first)
			id := k.attached(ref)
			k.ok(k.d.Power(k.ctx, ref, backend.PowerStart))
			k.ok(k.d.Power(k.ctx, ref, backend.PowerReset))
			k.ok(k.detach(ref, id))
			if again := k.inspect(ref).Starts; !backend.SameStart(again, first) {
				k.Fatalf("without a start the mark went from %q to %q", first, again)
			}
			k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
			if off := k.inspect(ref).Starts; off != "" {
				k.Fatalf("a guest that is off has the mark %q", off)
			}
			k.ok(k.d.Power(k.ctx, ref, backend.PowerStart))
		}
	},
	"VolumeForGuest": func(k *kit) {
		ref, id := k.vm(), newID()
		spec := backend.VolumeSpec{ID: id, Bytes: volumeBytes, Ref: ref}
		k.ok(k.d.EnsureVolume(k.ctx, spec))
		k.ok(k.d.EnsureVolume(k.ctx, spec))
		k.ok(k.d.EnsureAttached(k.ctx, ref, id))
		k.has(ref, id, true)
		before := k.view()
		bad := backend.VolumeSpec{ID: newID(), Bytes: volumeBytes, Ref: "../x"}
		k.refused(before, k.d.EnsureVolume(k.ctx, bad), backend.ErrInvalid)
	},
}

// boot sets what the guest starts from, and wants to hear whether it has to be
// powered off and on for that.
func (k *kit) boot(ref string, cdFirst, want bool) {
	k.Helper()
	pending, err := k.d.SetBoot(k.ctx, ref, cdFirst)
	k.ok(err)
	if pending != want {
		k.Fatalf("CD first %t is pending: %t, want %t", cdFirst, pending, want)
	}
	k.boots(ref, cdFirst)
}

func (k *kit) boots(ref string, cdFirst bool) {
	k.Helper()
	if got := k.inspect(ref).CDFirst; got != cdFirst {
		k.Fatalf("the guest tries its CD first: %t, want %t", got, cdFirst)
	}
}

// cycle powers the guest off and on.
func (k *kit) cycle(ref string) {
	k.Helper()
	k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
	k.ok(k.d.Power(k.ctx, ref, backend.PowerStart))
}
