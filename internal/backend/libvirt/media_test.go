package libvirt

import (
	"os"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

// stray leaves in the guest's QEMU what a libvirtd that dies in a change of the
// medium leaves: an image's block nodes that no definition names, in the drive or
// not, and our mark.
func stray(t *testing.T, d *Driver, ref, key string, inserted bool) {
	t.Helper()
	ctx := t.Context()
	c, g := onHost(t, d, ref)
	p, err := c.isoPool(ctx)
	ok(t, err)
	path := p.sourceOf(imageFile(key))
	ok(t, os.Chmod(path, 0o666)) // QEMU, which is not root, opens it by itself here
	ok(t, c.setBusy(ctx, g.dom, busyDrive))
	type step struct {
		command string
		args    map[string]any
	}
	drive := g.live.cdrom(d.opts.CDBus).alias
	steps := []step{
		{"blockdev-add", map[string]any{"driver": "file", "filename": path, "node-name": "left-storage", "read-only": true}},
		{"blockdev-add", map[string]any{"driver": "raw", "file": "left-storage", "node-name": "left-format", "read-only": true}},
	}
	if inserted {
		steps = append(steps,
			step{"blockdev-open-tray", map[string]any{"id": drive, "force": true}},
			step{"blockdev-insert-medium", map[string]any{"id": drive, "node-name": "left-format"}},
			step{"blockdev-close-tray", map[string]any{"id": drive}})
	}
	for _, s := range steps {
		_, err := g.monitor(ctx, s.command, s.args)
		ok(t, err)
	}
	mediumNodes(t, d, ref, key, true)
}

// TestInterruptedMedium: what an interrupted change of the medium left in QEMU is
// gone with the next work on the guest, whatever that is.
func TestInterruptedMedium(t *testing.T) {
	r := newRig(t, libvirttest.Shared(t))
	d := r.open(t, Options{})
	ctx := t.Context()
	left, other := importISO(t, d, "left"), importISO(t, d, "other")
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "v", Bytes: testBytes}))
	for name, work := range map[string]func(t *testing.T, ref string){
		"Eject": func(t *testing.T, ref string) {
			ok(t, d.SetMedia(ctx, ref, "", false))
			inDrive(t, d, ref, "")
		},
		"InsertIt": func(t *testing.T, ref string) {
			ok(t, d.SetMedia(ctx, ref, left, false))
			inDrive(t, d, ref, left)
			ok(t, d.SetMedia(ctx, ref, "", true))
		},
		"InsertAnother": func(t *testing.T, ref string) {
			ok(t, d.SetMedia(ctx, ref, other, false))
			inDrive(t, d, ref, other)
			mediumNodes(t, d, ref, other, true)
			mediumNodes(t, d, ref, left, false)
			ok(t, d.SetMedia(ctx, ref, "", true))
		},
		"Attach": func(t *testing.T, ref string) {
			ok(t, d.EnsureAttached(ctx, ref, "v"))
			ok(t, d.EnsureDetached(ctx, ref, "v", backend.DetachOptions{}))
		},
		"Reconnect": func(t *testing.T, ref string) {
			_, err := r.open(t, Options{}).Inspect(ctx, ref)
			ok(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ref := r.guest(t, 0, libvirttest.GuestOptions{Ports: 4}).UUID
			for _, inserted := range []bool{false, true} {
				stray(t, d, ref, left, inserted)
				work(t, ref)
				mediumNodes(t, d, ref, left, false)
			}
		})
	}
	ok(t, d.DeleteISO(ctx, left))
	ok(t, d.DeleteISO(ctx, other))
}
