// Package libvirttest gives tests libvirt: daemons of their own in namespaces,
// storage pools, and guests that QEMU runs without the processor's help. It
// touches nothing of a libvirt the machine itself runs.
package libvirttest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/drivebay/drivebay/internal/testneed"
)

// shared is the daemon of this process.
var shared struct {
	once   sync.Once
	daemon *Daemon
	err    error
}

// Main runs the tests of a package that uses Shared or Ceph, and stops what they
// started. Call it from TestMain.
func Main(m *testing.M) int {
	code := m.Run()
	var err error
	if shared.daemon != nil {
		err = shared.daemon.stop()
	}
	if ceph.cluster != nil {
		err = errors.Join(err, ceph.cluster.stop())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

// Need skips the test unless the run asks for libvirt by its name: guests on a
// simulated processor take many minutes. It is skipped in a short run too, and
// fails where libvirt is asked for and cannot be run.
func Need(t testing.TB) {
	t.Helper()
	ask(t, "libvirt")
	testneed.Need(t, "libvirt", !testing.Short(), "a short run starts no guests")
	why := lacking()
	testneed.Need(t, "libvirt", why == "", why)
}

// ask skips the test unless the run names what it needs.
func ask(t testing.TB, name string) {
	t.Helper()
	testneed.Asked(t, name, "a real guest takes its time")
}

// lacking says what keeps a daemon from running here; "" when nothing does.
func lacking() string {
	if os.Geteuid() != 0 {
		return "libvirt's tests make namespaces, and only root may do so"
	}
	for _, name := range []string{"libvirtd", "virtlogd", "qemu-system-x86_64", "qemu-img", "bash", "mount"} {
		if binary(name) == "" {
			return name + " is not installed (scripts/test-deps installs QEMU and libvirt on Debian)"
		}
	}
	for _, name := range []string{"qemu", "storage", "secret"} {
		if driver(name) == "" {
			return "libvirt has no " + name + " driver (scripts/test-deps installs it on Debian)"
		}
	}
	return ""
}

// binary finds a program, those of the administrator too; "" when it is not
// there.
func binary(name string) string {
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	return ""
}

// Shared is the daemon that the tests of a package share. Nobody kills it.
func Shared(t testing.TB) *Daemon {
	t.Helper()
	Need(t)
	shared.once.Do(func() { shared.daemon, shared.err = start() })
	if shared.err != nil {
		t.Fatalf("start libvirt: %v", shared.err)
	}
	return shared.daemon
}

// Start makes a daemon of the test's own, for one that kills it or that needs
// several. It is gone after the test.
func Start(t testing.TB) *Daemon {
	t.Helper()
	Need(t)
	d, err := start()
	if err != nil {
		t.Fatalf("start libvirt: %v", err)
	}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Errorf("stop libvirt: %v", err)
		}
	})
	return d
}
