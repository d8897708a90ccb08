package libvirttest

import (
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	libvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"libvirt.org/go/libvirtxml"

	"github.com/drivebay/drivebay/internal/testneed"
)

//go:embed ceph.sh
var cephScript string

// ceph is the cluster of this process.
var ceph struct {
	once    sync.Once
	cluster *Cluster
	err     error
}

// cephUser is whom libvirt is to Ceph.
const cephUser = "libvirt"

// Cluster is a Ceph of one monitor and one disk of 8 GiB that takes the room
// of what is written to it. It listens on 127.0.0.1 alone.
type Cluster struct {
	dir  string
	jail *jail
	port int    // of the monitor
	key  []byte // of cephUser
	last atomic.Int64

	mu   sync.Mutex
	free []string // pools that tests have left, empty
}

// Ceph is the cluster that the tests of a process share. Where Ceph is not
// installed the test is skipped, or fails if "ceph" is required.
func Ceph(t testing.TB) *Cluster {
	t.Helper()
	Need(t)
	ask(t, "ceph")
	for _, name := range []string{"ceph-mon", "ceph-osd", "ceph", "rbd", "monmaptool", "ceph-authtool"} {
		testneed.Need(t, "ceph", binary(name) != "", name+" is not installed (scripts/test-deps installs Ceph on Debian)")
	}
	for _, name := range []string{"libvirt/storage-backend/libvirt_storage_backend_rbd.so", "qemu/block-rbd.so"} {
		testneed.Need(t, "ceph", library(name) != "", name+" is not installed (scripts/test-deps installs it on Debian)")
	}
	ceph.once.Do(func() { ceph.cluster, ceph.err = startCeph() })
	if ceph.err != nil {
		t.Fatalf("start Ceph: %v", ceph.err)
	}
	return ceph.cluster
}

func startCeph() (*Cluster, error) {
	dir, err := os.MkdirTemp("", "libvirttest-ceph")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	if err := c.begin(); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *Cluster) begin() error {
	v2, err := testneed.FreePort()
	if err != nil {
		return err
	}
	for c.port = v2; c.port == v2; {
		if c.port, err = testneed.FreePort(); err != nil {
			return err
		}
	}
	fsid, disk := uuid.NewString(), uuid.NewString()
	monitor := fmt.Sprintf("[v2:127.0.0.1:%d,v1:127.0.0.1:%d]", v2, c.port)
	if err := c.configure(fsid, monitor); err != nil {
		return err
	}
	path := func(name string) string { return filepath.Join(c.dir, name) }
	for _, command := range [][]string{
		{"ceph-authtool", "--create-keyring", path("keyring"), "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"},
		{"ceph-authtool", path("keyring"), "--gen-key", "-n", "client.admin", "--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"},
		{"ceph-authtool", path("keyring"), "--gen-key", "-n", "osd.0", "--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"},
		{"ceph-authtool", path("keyring"), "--gen-key", "-n", "client." + cephUser, "--cap", "mon", "profile rbd", "--cap", "osd", "profile rbd"},
		{"monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitor, path("monmap")},
		{"ceph-mon", "--mkfs", "-i", "a", "--monmap", path("monmap"), "--keyring", path("keyring")},
	} {
		if _, err := c.run(command...); err != nil {
			return err
		}
	}
	if c.jail, err = newJail(cephScript, c.dir); err != nil {
		return err
	}
	if err := c.jail.order("mon"); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"ceph", "--connect-timeout", "120", "osd", "new", disk},
		{"ceph", "auth", "import", "-i", path("keyring")},
		{"ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk, "--no-mon-config"},
	} {
		if _, err := c.run(command...); err != nil {
			return err
		}
	}
	if err := c.jail.order("osd"); err != nil {
		return err
	}
	return c.settle()
}

// configure writes ceph.conf: a cluster of one of everything is healthy, and
// nothing is kept outside the folder.
func (c *Cluster) configure(fsid, monitor string) error {
	text := `[global]
fsid = ` + fsid + `
mon host = ` + monitor + `
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = DIR/keyring
run dir = DIR
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 10000
mon warn on pool no redundancy = false
mon data avail warn = 2
mon data avail crit = 1
[mon]
mon data = DIR/mon
log file = DIR/mon.log
admin socket = DIR/mon.asok
pid file = DIR/mon.pid
[osd]
osd data = DIR/osd
osd objectstore = bluestore
osd memory target = 939524096
bluestore block size = 8589934592
bluestore block create = true
log file = DIR/osd.log
admin socket = DIR/osd.asok
pid file = DIR/osd.pid
`
	for _, name := range []string{"mon", "osd"} {
		if err := os.Mkdir(filepath.Join(c.dir, name), 0o700); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(c.dir, "ceph.conf"), []byte(strings.ReplaceAll(text, "DIR", c.dir)), 0o600)
}

// settle returns once the disk takes part, with the key of cephUser read.
func (c *Cluster) settle() error {
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		stat, err := c.run("ceph", "osd", "stat")
		if err == nil && strings.Contains(stat, "1 up") {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the disk does not come up: %s %w", stat, err)
		}
	}
	text, err := c.run("ceph-authtool", filepath.Join(c.dir, "keyring"), "-n", "client."+cephUser, "--print-key")
	if err != nil {
		return err
	}
	c.key, err = base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	return err
}

// stop ends the cluster and deletes its folder.
func (c *Cluster) stop() error {
	var said error
	if c.jail != nil {
		said = c.jail.end()
	}
	return errors.Join(said, os.RemoveAll(c.dir))
}

// run runs a command of Ceph's as its administrator.
func (c *Cluster) run(command ...string) (string, error) {
	cmd := exec.Command(binary(command[0]), command[1:]...)
	cmd.Env = append(os.Environ(), "CEPH_CONF="+filepath.Join(c.dir, "ceph.conf"))
	return finish(cmd)
}

// Rbd runs rbd as the administrator and returns what it prints.
func (c *Cluster) Rbd(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.run(append([]string{"rbd"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// NewPool is an empty pool of Ceph's for this test, by its name. To make one takes
// Ceph longer than most tests: one that a test has left is used again.
func (c *Cluster) NewPool(t testing.TB) string {
	t.Helper()
	name := c.leftPool()
	if name == "" {
		name = fmt.Sprintf("pool%d", c.last.Add(1))
		for _, command := range [][]string{
			{"ceph", "osd", "pool", "create", name, "1", "1"},
			{"rbd", "pool", "init", name},
		} {
			if _, err := c.run(command...); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() {
		for _, image := range strings.Fields(c.Rbd(t, "ls", name)) {
			if _, err := c.run("rbd", "rm", "--no-progress", name+"/"+image); err != nil {
				return // a guest of another test's may watch it still
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.free = append(c.free, name)
	})
	return name
}

func (c *Cluster) leftPool() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.free) == 0 {
		return ""
	}
	name := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	return name
}

// NewRBDPool makes a pool of libvirt's on one of Ceph's, gone after the test
// with what is in Ceph left as it is. Several daemons may have pools on one.
func (d *Daemon) NewRBDPool(t testing.TB, c *Cluster, cephPool string) (name string) {
	t.Helper()
	secret := d.secret(t, c)
	name = d.next("rbd")
	d.definePool(t, &libvirtxml.StoragePool{
		Type: "rbd", Name: name,
		Source: &libvirtxml.StoragePoolSource{
			Name: cephPool,
			Host: []libvirtxml.StoragePoolSourceHost{{Name: "127.0.0.1", Port: strconv.Itoa(c.port)}},
			Auth: &libvirtxml.StoragePoolSourceAuth{
				Type: "ceph", Username: cephUser,
				Secret: &libvirtxml.StoragePoolSourceAuthSecret{UUID: secret},
			},
		},
	})
	return name
}

// secret tells the daemon the key of cephUser, and returns the UUID by which
// pools and disks name it.
func (d *Daemon) secret(t testing.TB, c *Cluster) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.secretUUID != "" {
		return d.secretUUID
	}
	id := uuid.NewString()
	d.must(t, "keep the key of Ceph", func(conn *libvirt.Libvirt) error {
		secret, err := conn.SecretDefineXML(`<secret ephemeral='no' private='yes'><uuid>`+id+`</uuid><usage type='ceph'><name>`+cephUser+`</name></usage></secret>`, 0)
		if err != nil {
			return err
		}
		return conn.SecretSetValue(secret, c.key, 0)
	})
	d.secretUUID = id
	return id
}
