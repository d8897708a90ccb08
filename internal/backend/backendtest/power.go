package backendtest

import "github.com/drivebay/drivebay/internal/backend"

var powerCases = map[string]func(*kit){
	"PowerTwice": func(k *kit) {
		ref := k.vm()
		id := k.attached(ref)
		for _, c := range []struct {
			action  backend.PowerAction
			running bool
		}{
			{backend.PowerStart, true},
			{backend.PowerShutdown, false},
			{backend.PowerReset, false}, // off: nothing to reset
			{backend.PowerStart, true},
			{backend.PowerReset, true},
			{backend.PowerOff, false},
			{backend.PowerStart, true},
		} {
			for range 2 {
				k.ok(k.d.Power(k.ctx, ref, c.action))
				if got := k.inspect(ref).Running; got != c.running {
					k.Fatalf("after %s the guest runs: %t", c.action, got)
				}
			}
			k.has(ref, id, true)
		}
	},
	"PowerRefused": func(k *kit) {
		ref := k.vm()
		before := k.view()
		k.refused(before, k.d.Power(k.ctx, missingID, backend.PowerStart), backend.ErrVMNotFound)
		k.refused(before, k.d.Power(k.ctx, ref, "explode"), backend.ErrUnsupported)
	},
	"WorkWhileOff": func(k *kit) {
		ref, key := k.vm(), k.iso()
		gone := k.attached(ref)
		k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
		id := k.attached(ref)
		k.ok(k.detach(ref, gone))
		k.ok(k.d.SetMedia(k.ctx, ref, key, false))
		k.ok(k.d.Power(k.ctx, ref, backend.PowerStart))
		k.has(ref, id, true)
		k.has(ref, gone, false)
		k.media(ref, key)
		if !k.inspect(ref).Running {
			k.Fatal("the guest does not run")
		}
	},
	"GuestStopsByItself": func(k *kit) {
		k.need(k.h.StopGuest != nil, "stop a guest")
		ref := k.vm()
		id, gone := k.attached(ref), k.attached(ref)
		k.h.StopGuest(k.T, ref)
		if k.inspect(ref).Running {
			k.Fatal("the guest still runs")
		}
		k.ok(k.d.Power(k.ctx, ref, backend.PowerShutdown))
		k.ok(k.detach(ref, gone))
		k.ok(k.d.Power(k.ctx, ref, backend.PowerStart))
		k.has(ref, id, true)
		k.has(ref, gone, false)
	},
	"EnsureVMTwice": func(k *kit) {
		ref := k.vm()
		id := k.attached(ref)
		before := k.view()
		k.ok(k.d.EnsureVM(k.ctx, backend.VM{Ref: ref, VCPU: 1, MemoryMB: 512}))
		k.same(before, k.view())
		k.has(ref, id, true)
	},
	"EnsureVMMadeElsewhere": func(k *kit) {
		if k.d.Info().MakesVMs {
			k.Skip("this driver makes its guests")
		}
		before := k.view()
		k.refused(before, k.d.EnsureVM(k.ctx, backend.VM{Ref: missingID}), backend.ErrVMNotFound)
	},
	"InspectAgreesWithInspectAll": func(k *kit) {
		key := k.iso()
		for i := range 3 {
			ref := k.vm()
			for range i {
				k.attached(ref)
			}
			k.ok(k.d.SetMedia(k.ctx, ref, key, false))
		}
		all := k.view()
		if len(all.VMs) < 3 || len(all.Volumes) < 3 || len(all.ISOs) != 1 {
			k.Fatalf("the driver does not list everything: %+v", all)
		}
		alone := all
		alone.VMs, alone.Volumes = nil, nil
		for _, v := range all.Volumes {
			one, err := k.d.InspectVolume(k.ctx, v.ID)
			k.ok(err)
			alone.Volumes = append(alone.Volumes, one)
		}
		for _, v := range all.VMs {
			alone.VMs = append(alone.VMs, k.inspect(v.Ref))
		}
		k.same(alone, all)
		k.sorted(all)
		_, err := k.d.Inspect(k.ctx, missingID)
		k.is(err, backend.ErrVMNotFound)
	},
	"InspectVolume": func(k *kit) {
		ref, id := k.vm(), k.volume()
		read := func(want backend.VolumeView) {
			k.Helper()
			got, err := k.d.InspectVolume(k.ctx, id)
			k.ok(err)
			if got != want {
				k.Fatalf("read %+v, want %+v", got, want)
			}
		}
		read(backend.VolumeView{ID: id, Bytes: volumeBytes})
		k.ok(k.d.EnsureAttached(k.ctx, ref, id))
		k.ok(k.d.GrowVolume(k.ctx, id, 2*volumeBytes))
		read(backend.VolumeView{ID: id, Bytes: 2 * volumeBytes, Ref: ref})
		k.ok(k.detach(ref, id))
		read(backend.VolumeView{ID: id, Bytes: 2 * volumeBytes})
		k.ok(k.d.DeleteVolume(k.ctx, id))
		_, err := k.d.InspectVolume(k.ctx, id)
		k.is(err, backend.ErrVolumeNotFound)
		_, err = k.d.InspectVolume(k.ctx, "../x")
		k.is(err, backend.ErrInvalid)
	},
}

// sorted wants each list to be sorted and without repeats.
func (k *kit) sorted(all backend.View) {
	k.Helper()
	lists := [3][]string{}
	for _, v := range all.VMs {
		lists[0] = append(lists[0], v.Ref)
		for i, id := range v.VolumeIDs {
			if i > 0 && v.VolumeIDs[i-1] >= id {
				k.Fatalf("volumes out of order: %q", v.VolumeIDs)
			}
		}
	}
	for _, v := range all.Volumes {
		lists[1] = append(lists[1], v.ID)
	}
	for _, v := range all.ISOs {
		lists[2] = append(lists[2], v.Key)
	}
	for _, names := range lists {
		for i := range names {
			if i > 0 && names[i-1] >= names[i] {
				k.Fatalf("names out of order: %q", names)
			}
		}
	}
}
