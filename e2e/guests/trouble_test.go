package guests

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	libvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/libvirttest"
	"github.com/drivebay/drivebay/internal/testneed"
)

// TestGuestKeepsVolume: without an OS in the guest nothing lets go of a virtio
// disk. That is said, and cutting the power ends it.
func TestGuestKeepsVolume(t *testing.T) {
	need(t)
	d := libvirttest.Shared(t)
	g := d.NewGuest(t, libvirttest.GuestOptions{Root: libvirttest.BootDisk(t, "from-disk")})
	s := newSite(t, d, d.NewPool(t, ""), d.NewPool(t, ""), "--libvirt-disk-bus=virtio", "--libvirt-detach-timeout=2s")
	device := s.device(g)
	g.WaitSerial("started from-disk")
	id := s.newVolume(device, 50)
	s.fails(s.detach(device, id), "guest_did_not_release")
	s.agree(g, device)
	s.fails(s.remove(id, device), "guest_did_not_release")
	s.agree(g, device)
	g.Destroy()
	testneed.Eventually(t, "the device is shown as off", func() bool { return s.vps(device).Status == "Stopped" })
	s.done(s.remove(id, device))
	s.healthy()
}

// TestGuestGone is a guest that vanishes with a volume and an ISO. It is shown,
// and nothing waits for it.
func TestGuestGone(t *testing.T) {
	need(t)
	d := libvirttest.Shared(t)
	g := d.NewGuest(t, libvirttest.GuestOptions{Off: true})
	s := newSite(t, d, d.NewPool(t, ""), d.NewPool(t, ""))
	device := s.device(g)
	kept, deleted := s.newVolume(device, 50), s.newVolume(device, 50)
	iso := s.readyISO(libvirttest.BootISO(t, "GONE", "not-started"), true)
	s.done(s.insert(device, iso.ISOID, false))
	conn := d.Connect(t)
	if err := conn.DomainUndefineFlags(libvirt.Domain{Name: g.Name, UUID: libvirt.UUID(uuid.MustParse(g.UUID))}, 0); err != nil {
		t.Fatal(err)
	}
	if status, said := s.operator("doctor", "--grace", "0s"); status != 1 || !strings.Contains(said, "missing_guest") {
		t.Errorf("doctor: exit status %d\n%s", status, said)
	}
	if status := s.vps(device).Status; status != "Missing" {
		t.Errorf("the device is %s", status)
	}
	s.done(s.detach(device, kept))
	s.done(s.remove(deleted, device))
	s.done(s.remove(kept, 0))
	s.done(s.eject(device, false))
	if status, said := s.operator("device", "delete", strconv.FormatInt(device, 10)); status != 0 {
		t.Errorf("device delete: exit status %d\n%s", status, said)
	}
	s.healthy()
}

// TestPoolFull is an ISO that its pool has no room for.
func TestPoolFull(t *testing.T) {
	need(t)
	small := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", small, "tmpfs", 0, "size=128k"); err != nil {
		t.Skipf("a file system that is full cannot be had: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	d := libvirttest.Start(t) // it sees what was mounted before
	s := newSite(t, d, d.NewPool(t, ""), d.NewPool(t, small))
	path := libvirttest.BootISO(t, "LARGE", "not-started")
	image, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = image.Write(bytes.Repeat([]byte("no hole"), 1<<16))
	if err = errors.Join(err, image.Close()); err != nil {
		t.Fatal(err)
	}
	iso := s.importISO(path, true)
	if iso.Ready || iso.Reason == nil || *iso.Reason != "storage_full" {
		t.Errorf("the ISO is %+v", iso)
	}
	if left, err := os.ReadDir(small); err != nil || len(left) > 0 {
		t.Errorf("the failed import left %v, %v", left, err)
	}
	s.healthy()
}

// TestHostAway is a host that does not answer for a while: tasks wait and go on.
func TestHostAway(t *testing.T) {
	need(t)
	d := libvirttest.Start(t)
	g := d.NewGuest(t, libvirttest.GuestOptions{})
	s := newSite(t, d, d.NewPool(t, ""), d.NewPool(t, ""))
	device := s.device(g)
	id := s.newVolume(device, 50)
	d.Kill(t)
	tasks := []api.Task{s.resize(id, device, 100), s.detach(device, id), s.create(device, 50)}
	testneed.Eventually(t, "the first task has met the host's silence", func() bool {
		return strings.Contains(s.task(tasks[0].TaskID, "0s").Message, "does not answer")
	})
	if status, said := s.operator("doctor", "--grace", "0s"); status != 1 || !strings.Contains(said, "backend_unavailable") {
		t.Errorf("doctor: exit status %d\n%s", status, said)
	}
	for _, task := range tasks {
		if now := s.task(task.TaskID, "0s"); now.Result != api.TaskResultPending {
			t.Errorf("without its host a task ended as %+v", now)
		}
	}
	d.Restart(t)
	for _, task := range tasks {
		s.done(task)
	}
	s.agree(g, device)
	s.healthy()
}
