package libvirttest

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	libvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/google/uuid"
)

// limit is how long anything the rig asks for may take: the machine may be
// small and busy.
const limit = 2 * time.Minute

//go:embed namespace.sh
var namespace string

// Daemon is a libvirtd and a virtlogd in namespaces of their own, with all
// their folders in a temporary one. They and their guests end with the test
// process, however that ends.
type Daemon struct {
	Socket string // reachable from everywhere on this machine

	dir  string
	jail *jail

	down   atomic.Bool // killed, and not by itself
	mu     sync.Mutex
	number int // of the last pool or guest

	secretUUID string // of Ceph's key, "" while it has none
}

// start makes a daemon and returns once it answers.
func start() (*Daemon, error) {
	dir, err := os.MkdirTemp("", "libvirttest")
	if err != nil {
		return nil, err
	}
	d := &Daemon{dir: dir, Socket: filepath.Join(dir, "run", "libvirt-sock")}
	d.down.Store(true)
	if err := d.begin(); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

func (d *Daemon) begin() error {
	if err := d.folders(); err != nil {
		return err
	}
	var err error
	if d.jail, err = newJail(namespace, d.dir); err != nil {
		return err
	}
	return d.up()
}

// folders makes what stands for the folders of the machine. QEMU runs as the
// user of its package, who has to reach images.
func (d *Daemon) folders() error {
	if err := os.Chmod(d.dir, 0o711); err != nil {
		return err
	}
	if err := d.runFolder(); err != nil {
		return err
	}
	for _, name := range []string{"lib", "etc", "cache", "log", "drivers", "pools", "guests"} {
		if err := os.Mkdir(filepath.Join(d.dir, name), 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"libvirtd.conf": "auth_unix_rw = \"none\"\nunix_sock_rw_perms = \"0700\"\nhost_uuid = \"" + uuid.NewString() + "\"\n",
		"qemu.conf":     "security_driver = \"none\"\n",
		"virtlogd.conf": "max_size = 0\n",
	} {
		if err := os.WriteFile(filepath.Join(d.dir, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	// The others would touch the machine's network.
	for _, name := range []string{"qemu", "storage", "secret"} {
		path := driver(name)
		if path == "" {
			return fmt.Errorf("libvirt has no %s driver", name)
		}
		if err := os.Symlink(path, filepath.Join(d.dir, "drivers", filepath.Base(path))); err != nil {
			return err
		}
	}
	return nil
}

// runFolder makes what stands for /run: in memory, as there, if the machine has
// such a folder. libvirtd writes the state of a guest to the disk after each
// change of it.
func (d *Daemon) runFolder() error {
	path := filepath.Join(d.dir, "run")
	memory, err := os.MkdirTemp("/dev/shm", "libvirttest")
	if err != nil {
		return os.Mkdir(path, 0o755)
	}
	return errors.Join(os.Chmod(memory, 0o755), os.Symlink(memory, path))
}

// removeFolders deletes all that folders made.
func (d *Daemon) removeFolders() error {
	var said error
	if memory, err := os.Readlink(filepath.Join(d.dir, "run")); err == nil { // else it is a folder like the others
		said = os.RemoveAll(memory)
	}
	return errors.Join(said, os.RemoveAll(d.dir))
}

// driver is the path of one of libvirtd's modules, "" when it is not there.
func driver(name string) string {
	return library("libvirt/connection-driver/libvirt_driver_" + name + ".so")
}

// library is the path of a file among the machine's libraries, "" when it is
// not there.
func library(name string) string {
	for _, pattern := range []string{"/usr/lib/*", "/usr/lib64", "/usr/lib"} {
		if found, _ := filepath.Glob(filepath.Join(pattern, name)); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// up starts libvirtd and returns once it answers.
func (d *Daemon) up() error {
	if err := d.jail.order("start"); err != nil {
		return err
	}
	d.down.Store(false)
	var last error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		conn := d.client()
		if last = conn.Connect(); last == nil {
			return errors.Join(settled(conn), conn.Disconnect())
		}
	}
	text, _ := os.ReadFile(filepath.Join(d.dir, "libvirtd.log"))
	return fmt.Errorf("libvirtd does not answer: %w\n%s", last, text)
}

// settled returns once libvirtd is back in touch with the guests that outlived
// it: it answers before, and a guest stopped then is one it could not find.
func settled(conn *libvirt.Libvirt) error {
	guests, _, err := conn.ConnectListAllDomains(1, libvirt.ConnectListDomainsActive)
	if err != nil {
		return err
	}
	for _, guest := range guests {
		// A question that waits for its turn with the guest.
		if _, err := conn.DomainMemoryStats(guest, 1, 0); err != nil && !is(err, libvirt.ErrOperationInvalid) {
			return err
		}
	}
	return nil
}

func (d *Daemon) client() *libvirt.Libvirt {
	return libvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(d.Socket), dialers.WithLocalTimeout(limit)))
}

// URI is where a client finds the daemon.
func (d *Daemon) URI() string { return "qemu+unix:///system?socket=" + d.Socket }

// Connect returns a connection that lasts as long as the test.
func (d *Daemon) Connect(t testing.TB) *libvirt.Libvirt {
	t.Helper()
	conn := d.client()
	if err := conn.Connect(); err != nil {
		t.Fatalf("connect to libvirtd: %v", err)
	}
	t.Cleanup(func() { _ = conn.Disconnect() }) // the daemon may be gone
	return conn
}

// call runs f on a connection of its own, and again where libvirtd has crashed
// meanwhile, which its keeper starts anew.
func (d *Daemon) call(f func(*libvirt.Libvirt) error) error {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		err := d.once(f)
		var answer libvirt.Error
		if err == nil || errors.As(err, &answer) || d.down.Load() || time.Now().After(end) {
			return err
		}
	}
}

// once is call without a second try. The library's calls know no deadline, so
// one that takes too long loses its connection.
func (d *Daemon) once(f func(*libvirt.Libvirt) error) error {
	conn := d.client()
	if err := conn.Connect(); err != nil {
		return err
	}
	late := time.AfterFunc(limit, func() { _ = conn.Disconnect() })
	err := f(conn)
	if late.Stop() {
		_ = conn.Disconnect() // the answer is here
	}
	return err
}

// must is call for what has to work.
func (d *Daemon) must(t testing.TB, what string, f func(*libvirt.Libvirt) error) {
	t.Helper()
	if err := d.call(f); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Kill ends libvirtd by SIGKILL and returns when it is gone; guests go on.
// Dead already: nothing.
func (d *Daemon) Kill(t testing.TB) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down.Swap(true) {
		return
	}
	if err := d.jail.order("kill"); err != nil {
		t.Fatal(err)
	}
}

// Restart kills libvirtd if it lives, starts it, and returns once it answers.
func (d *Daemon) Restart(t testing.TB) {
	t.Helper()
	d.Kill(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.up(); err != nil {
		t.Fatal(err)
	}
}

// stop ends all processes, guests too, and deletes the folder.
func (d *Daemon) stop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down.Store(true)
	var said error
	if d.jail != nil {
		said = d.jail.end()
	}
	return errors.Join(said, d.removeFolders())
}

// next is a name no other pool or guest of the daemon has.
func (d *Daemon) next(kind string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.number++
	return fmt.Sprintf("%s%d", kind, d.number)
}
