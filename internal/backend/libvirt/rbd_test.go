package libvirt

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/backendtest"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

// onCeph gives the rig's hosts one pool of Ceph's for their volumes.
func (r *rig) onCeph(t testing.TB, c *libvirttest.Cluster) (cephPool string) {
	t.Helper()
	cephPool = c.NewPool(t)
	for i, d := range r.daemons {
		r.hosts[i].Pool = d.NewRBDPool(t, c, cephPool)
	}
	return cephPool
}

// TestSuiteRBD runs the cases that are about volumes on Ceph.
func TestSuiteRBD(t *testing.T) {
	libvirttest.Need(t)
	c := libvirttest.Ceph(t)
	volumes := []string{
		"Create", "Delete", "Grow", "Shrink", "Attach", "Detach", "InspectVolume", "VolumeForGuest", "ParallelGrow", "ParallelSameCall",
		"OneVolumeOneGuest", "RestartBetweenAny", "FenceVolume",
	}
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		_, name, _ := strings.Cut(t.Name(), "/")
		about := func(prefix string) bool { return strings.HasPrefix(name, prefix) && !strings.Contains(name, "ISO") }
		if !slices.ContainsFunc(volumes, about) || strings.Contains(name, "Cancelled") {
			t.Skip("TestSuite runs it on a directory")
		}
		r := newRig(t, libvirttest.Shared(t))
		pool := r.onCeph(t, c)
		h := r.harness(t, Options{MaxVolumes: 4})
		h.Write, h.Rounds = nil, 4
		h.Read = func(t *testing.T, id string) []byte {
			path := filepath.Join(t.TempDir(), "export")
			c.Rbd(t, "export", "--no-progress", pool+"/"+id, path)
			b, err := os.ReadFile(path)
			ok(t, err)
			return b
		}
		h.Strays = nil
		return h
	})
}

func TestRBD(t *testing.T) {
	c := libvirttest.Ceph(t)
	a, b := libvirttest.Shared(t), libvirttest.Start(t)
	r := newRig(t, a, b)
	pool := r.onCeph(t, c)
	d := r.open(t, Options{})
	ctx := t.Context()
	onA, onB := r.guest(t, 0, libvirttest.GuestOptions{Ports: 4}), r.guest(t, 1, libvirttest.GuestOptions{Ports: 4})

	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "v1", Bytes: testBytes, Ref: onA.UUID}))
	ok(t, d.EnsureAttached(ctx, onA.UUID, "v1"))
	agree(t, d, onA.UUID, "v1", true) // QEMU's name of it is known too
	// Ceph would hand the image's lock to whoever asks.
	if err := d.EnsureAttached(ctx, onB.UUID, "v1"); !errors.Is(err, backend.ErrInUse) {
		t.Errorf("a second guest on another host: %v", err)
	}
	if err := d.DeleteVolume(ctx, "v1"); !errors.Is(err, backend.ErrInUse) {
		t.Errorf("delete: %v", err)
	}
	ok(t, d.GrowVolume(ctx, "v1", 2*testBytes))
	view, err := d.InspectVolume(ctx, "v1")
	ok(t, err)
	if view != (backend.VolumeView{ID: "v1", Bytes: 2 * testBytes, Ref: onA.UUID}) {
		t.Errorf("it is %+v", view)
	}
	ok(t, d.EnsureDetached(ctx, onA.UUID, "v1", backend.DetachOptions{}))
	agree(t, d, onA.UUID, "v1", false)
	ok(t, d.EnsureAttached(ctx, onB.UUID, "v1")) // every host reaches it
	ok(t, d.EnsureDetached(ctx, onB.UUID, "v1", backend.DetachOptions{}))
	all, err := d.InspectAll(ctx)
	ok(t, err)
	if len(all.Volumes) != 1 {
		t.Errorf("the volumes are %+v", all.Volumes)
	}

	r.onlyCephKnows(t, c, d, pool)

	key := importISO(t, d, "image")
	ok(t, d.SetMedia(ctx, onB.UUID, key, false))
	ok(t, d.SetMedia(ctx, onB.UUID, "", false))
	ok(t, d.DeleteISO(ctx, key))
	r.hosts[0].ISOPool, r.hosts[1].ISOPool = "", ""
	path := filepath.Join(t.TempDir(), "image")
	ok(t, os.WriteFile(path, []byte("image"), 0o600))
	err = r.open(t, Options{}).ImportISO(ctx, backend.ISOSpec{Key: key, Bytes: 5}, path)
	if !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("an image on Ceph: %v", err)
	}
}

// onlyCephKnows wants a delete to wait for what no definition tells: a guest
// on a host that is none of the facility's, a snapshot.
func (r *rig) onlyCephKnows(t *testing.T, c *libvirttest.Cluster, d *Driver, pool string) {
	t.Helper()
	ctx := t.Context()
	other := libvirttest.Start(t)
	far := other.NewGuest(t, libvirttest.GuestOptions{Ports: 4})
	otherRig := newRig(t, other)
	otherRig.hosts[0].Pool = other.NewRBDPool(t, c, pool)
	od := otherRig.open(t, Options{})
	ok(t, od.EnsureAttached(ctx, far.UUID, "v1"))
	if err := d.DeleteVolume(ctx, "v1"); !errors.Is(err, backend.ErrHeld) || backend.IsPermanent(err) {
		t.Errorf("delete of what another watches: %v", err)
	}
	ok(t, od.EnsureDetached(ctx, far.UUID, "v1", backend.DetachOptions{}))
	c.Rbd(t, "snap", "create", "--no-progress", pool+"/v1@s")
	if err := d.DeleteVolume(ctx, "v1"); !errors.Is(err, backend.ErrHeld) || backend.IsPermanent(err) {
		t.Errorf("delete of what has a snapshot: %v", err)
	}
	c.Rbd(t, "snap", "rm", "--no-progress", pool+"/v1@s")
	ok(t, d.DeleteVolume(ctx, "v1"))
	if left := strings.TrimSpace(c.Rbd(t, "ls", pool)); left != "" {
		t.Errorf("left on Ceph: %q", left)
	}
}
