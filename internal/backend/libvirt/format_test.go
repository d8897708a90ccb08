package libvirt

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

// head is the start of an image in another format than raw, as a guest may write
// it into its disk; it claims a size of its own and a file of the host's below it.
func head(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	out, err := exec.Command("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/hostname", path, "1T").CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img: %v: %s", err, out)
	}
	b, err := os.ReadFile(path)
	ok(t, err)
	return b
}

// TestOtherFormat: what a guest writes into a volume never changes what the
// volume is taken for.
func TestOtherFormat(t *testing.T) {
	libvirttest.Need(t)
	r := newRig(t, libvirttest.Shared(t))
	d := r.open(t, Options{})
	ctx := t.Context()
	g := r.guest(t, 0, libvirttest.GuestOptions{Ports: 4})
	content := head(t)
	size := int64(len(content)+4095) &^ 4095
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "v1", Bytes: size, Ref: g.UUID}))
	f, err := os.OpenFile(r.path("v1"), os.O_WRONLY, 0)
	ok(t, err)
	_, err = f.Write(content)
	ok(t, errors.Join(err, f.Close()))
	is := func(bytes int64, ref string) {
		t.Helper()
		want := backend.VolumeView{ID: "v1", Bytes: bytes, Ref: ref}
		if got, err := d.InspectVolume(ctx, "v1"); err != nil || got != want {
			t.Errorf("it is %+v, %v; want %+v", got, err, want)
		}
		all, err := d.InspectAll(ctx)
		ok(t, err)
		if len(all.Volumes) != 1 || all.Volumes[0] != want {
			t.Errorf("the volumes are %+v; want %+v", all.Volumes, want)
		}
	}
	is(size, "")
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "v1", Bytes: size, Ref: g.UUID}))
	ok(t, d.GrowVolume(ctx, "v1", 2*size))
	is(2*size, "")
	ok(t, d.EnsureAttached(ctx, g.UUID, "v1"))
	ok(t, d.GrowVolume(ctx, "v1", 3*size))
	is(3*size, g.UUID)
	ok(t, d.EnsureDetached(ctx, g.UUID, "v1", backend.DetachOptions{}))
	if err := d.GrowVolume(ctx, "v1", size); !errors.Is(err, backend.ErrShrink) {
		t.Errorf("shrink: %v", err)
	}
	got, err := os.ReadFile(r.path("v1"))
	ok(t, err)
	if int64(len(got)) != 3*size || !bytes.Equal(got[:len(content)], content) || len(bytes.Trim(got[len(content):], "\x00")) > 0 {
		t.Errorf("the content has changed: %d bytes", len(got))
	}
	ok(t, d.DeleteVolume(ctx, "v1"))
	if there(r.path("v1")) {
		t.Error("the file is left")
	}
}
