package backendtest

import (
	"context"

	"github.com/drivebay/drivebay/internal/backend"
)

// fenceCases: what a stopped node does too late is refused.
var fenceCases = map[string]func(*kit){
	"FenceVolume": func(k *kit) {
		ref, id := k.vm(), newID()
		by := func(task, attempt int64) context.Context {
			return backend.WithFence(k.ctx, backend.Fence{Task: task, Attempt: attempt})
		}
		k.ok(k.d.EnsureVolume(by(5, 1), backend.VolumeSpec{ID: id, Bytes: volumeBytes}))
		k.ok(k.d.EnsureAttached(by(5, 2), ref, id))
		before := k.view()
		stale := by(5, 1)
		k.refused(before, k.d.EnsureDetached(stale, ref, id, backend.DetachOptions{}), backend.ErrFenced)
		k.refused(before, k.d.GrowVolume(stale, id, 2*volumeBytes), backend.ErrFenced)
		k.refused(before, k.d.EnsureDetached(by(4, 9), ref, id, backend.DetachOptions{}), backend.ErrFenced)
		k.ok(k.d.EnsureDetached(by(7, 1), ref, id, backend.DetachOptions{}))
		before = k.view()
		k.refused(before, k.d.EnsureAttached(by(5, 2), ref, id), backend.ErrFenced)
		k.refused(before, k.d.DeleteVolume(by(6, 1), id), backend.ErrFenced)
		other := k.volume()
		k.ok(k.d.EnsureAttached(by(1, 1), ref, other)) // another volume, whatever its guest has seen
		k.ok(k.d.GrowVolume(k.ctx, id, 2*volumeBytes)) // the server's own
		_, err := k.d.InspectVolume(by(7, 2), id)      // whoever only looks has come too
		k.ok(err)
		k.refused(k.view(), k.d.GrowVolume(by(7, 1), id, 3*volumeBytes), backend.ErrFenced)
		k.ok(k.d.DeleteVolume(by(7, 2), id))
		k.refused(k.view(), k.d.EnsureVolume(by(5, 1), backend.VolumeSpec{ID: id, Bytes: volumeBytes}), backend.ErrFenced)
	},
	"FenceGuest": func(k *kit) {
		ref, key := k.vm(), k.iso()
		at := func(task int64) context.Context {
			return backend.WithFence(k.ctx, backend.Fence{Task: task, Attempt: 1})
		}
		k.ok(k.d.SetMedia(at(8), ref, key, false))
		before := k.view()
		k.refused(before, k.d.SetMedia(at(7), ref, "", true), backend.ErrFenced)
		k.refused(before, k.d.Power(at(7), ref, backend.PowerOff), backend.ErrFenced)
		if k.d.Info().Boots {
			_, err := k.d.SetBoot(at(7), ref, true)
			k.refused(before, err, backend.ErrFenced)
		}
		k.ok(k.d.SetMedia(at(9), ref, "", true))
		k.ok(k.d.DeleteISO(at(1), key)) // images are shared
	},
}
