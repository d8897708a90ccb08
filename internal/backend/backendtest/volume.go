package backendtest

import (
	"bytes"
	"math"
	"strings"

	"github.com/drivebay/drivebay/internal/backend"
)

var volumeCases = map[string]func(*kit){
	"CreateTwice": func(k *kit) {
		id := k.volume()
		before := k.view()
		k.ok(k.d.EnsureVolume(k.ctx, backend.VolumeSpec{ID: id, Bytes: volumeBytes}))
		k.same(before, k.view())
	},
	"CreateWithAnotherSize": func(k *kit) {
		id := k.volume()
		before := k.view()
		for _, size := range []int64{volumeBytes / 2, volumeBytes * 2} {
			k.refused(before, k.d.EnsureVolume(k.ctx, backend.VolumeSpec{ID: id, Bytes: size}), backend.ErrConflict)
		}
	},
	"CreateReadsAsZeros": func(k *kit) {
		k.need(k.h.Read != nil, "read a volume")
		id := k.volume()
		k.zeros(id, volumeBytes)
		k.ok(k.d.GrowVolume(k.ctx, id, 2*volumeBytes))
		k.zeros(id, 2*volumeBytes)
	},
	"DeleteWhatIsGone": func(k *kit) {
		id := k.volume()
		k.ok(k.d.DeleteVolume(k.ctx, id))
		before := k.view()
		k.ok(k.d.DeleteVolume(k.ctx, id))
		k.ok(k.d.DeleteVolume(k.ctx, missingID))
		k.same(before, k.view())
	},
	"DeleteInUse": func(k *kit) {
		ref := k.vm()
		id := k.attached(ref)
		before := k.view()
		k.refused(before, k.d.DeleteVolume(k.ctx, id), backend.ErrInUse)
		// A guest that is off still names its volumes.
		k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
		before = k.view()
		k.refused(before, k.d.DeleteVolume(k.ctx, id), backend.ErrInUse)
		k.ok(k.detach(ref, id))
		k.ok(k.d.DeleteVolume(k.ctx, id))
	},
	"DeleteLeavesNoByte": func(k *kit) {
		before := k.view()
		id := k.volume()
		if k.h.Write != nil {
			k.h.Write(k.T, id, bytes.Repeat([]byte("secret "), 1000))
		}
		k.ok(k.d.DeleteVolume(k.ctx, id))
		k.same(before, k.view())
		if k.h.Strays != nil {
			if found := k.h.Strays(k.T); len(found) > 0 {
				k.Fatalf("left in the storage: %q", found)
			}
		}
		k.need(k.h.Read != nil && k.h.Write != nil, "read and write a volume")
		k.ok(k.d.EnsureVolume(k.ctx, backend.VolumeSpec{ID: id, Bytes: volumeBytes}))
		k.zeros(id, volumeBytes)
	},
	"Grow": func(k *kit) {
		ref := k.vm()
		for name, id := range map[string]string{"detached": k.volume(), "attached": k.attached(ref)} {
			k.ok(k.d.GrowVolume(k.ctx, id, volumeBytes)) // the same size
			k.size(id, volumeBytes)
			k.ok(k.d.GrowVolume(k.ctx, id, 2*volumeBytes))
			k.ok(k.d.GrowVolume(k.ctx, id, 2*volumeBytes))
			k.size(id, 2*volumeBytes)
			k.has(ref, id, name == "attached")
		}
	},
	"GrowKeepsContent": func(k *kit) {
		k.need(k.h.Read != nil && k.h.Write != nil, "read and write a volume")
		id := k.volume()
		data := bytes.Repeat([]byte("precious"), 512)
		k.h.Write(k.T, id, data)
		k.ok(k.d.GrowVolume(k.ctx, id, 2*volumeBytes))
		got := k.h.Read(k.T, id)
		if len(got) != 2*volumeBytes || !bytes.HasPrefix(got, data) || !allZero(got[len(data):]) {
			k.Fatal("the volume is not its old content followed by zeros")
		}
	},
	"GrowWhileOff": func(k *kit) {
		ref := k.vm()
		id := k.attached(ref)
		k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
		k.ok(k.d.GrowVolume(k.ctx, id, 2*volumeBytes))
		k.ok(k.d.Power(k.ctx, ref, backend.PowerStart))
		k.size(id, 2*volumeBytes)
		k.has(ref, id, true)
	},
	"ShrinkRefused": func(k *kit) {
		ref := k.vm()
		for _, id := range []string{k.volume(), k.attached(ref)} {
			before := k.view()
			k.refused(before, k.d.GrowVolume(k.ctx, id, volumeBytes/2), backend.ErrShrink)
		}
	},
	"GrowMissing": func(k *kit) {
		before := k.view()
		k.refused(before, k.d.GrowVolume(k.ctx, missingID, volumeBytes), backend.ErrVolumeNotFound)
	},
	"InvalidArguments": func(k *kit) {
		ref, id := k.vm(), k.volume()
		_, path := k.image()
		before := k.view()
		for _, bad := range []string{"", ".", "..", "../x", "a/b", `a\b`, "a b", "a\x00b", "-\n", "é", strings.Repeat("x", 65)} {
			k.refused(before, k.d.EnsureVolume(k.ctx, backend.VolumeSpec{ID: bad, Bytes: volumeBytes}), backend.ErrInvalid)
			k.refused(before, k.d.GrowVolume(k.ctx, bad, volumeBytes), backend.ErrInvalid)
			k.refused(before, k.d.DeleteVolume(k.ctx, bad), backend.ErrInvalid)
			k.refused(before, k.d.EnsureAttached(k.ctx, ref, bad), backend.ErrInvalid)
			k.refused(before, k.detach(ref, bad), backend.ErrInvalid)
			k.refused(before, k.d.ImportISO(k.ctx, backend.ISOSpec{Key: bad, Bytes: 64 << 10}, path), backend.ErrInvalid)
			k.refused(before, k.d.DeleteISO(k.ctx, bad), backend.ErrInvalid)
			if bad != "" { // "" ejects
				k.refused(before, k.d.SetMedia(k.ctx, ref, bad, false), backend.ErrInvalid)
			}
		}
		for _, size := range []int64{0, -1, math.MinInt64} {
			k.refused(before, k.d.EnsureVolume(k.ctx, backend.VolumeSpec{ID: newID(), Bytes: size}), backend.ErrInvalid)
			k.refused(before, k.d.GrowVolume(k.ctx, id, size), backend.ErrInvalid)
		}
	},
}

// zeros wants the volume to have exactly that many bytes, all zero.
func (k *kit) zeros(id string, length int) {
	k.Helper()
	k.size(id, int64(length))
	got := k.h.Read(k.T, id)
	if len(got) != length {
		k.Fatalf("read %d bytes, want %d", len(got), length)
	}
	if !allZero(got) {
		k.Fatal("a new volume does not read as zeros")
	}
}

func allZero(b []byte) bool {
	return bytes.Count(b, []byte{0}) == len(b)
}
