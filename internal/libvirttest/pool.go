package libvirttest

import (
	"os"
	"path/filepath"
	"testing"

	libvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"
)

// NewPool makes and starts a directory pool, gone after the test with its
// folder left as it is. The folder is made if it is not there, and QEMU's user
// let through to it; "" is one of the daemon's own.
func (d *Daemon) NewPool(t testing.TB, dir string) (name string) {
	t.Helper()
	name = d.next("pool")
	if dir == "" {
		dir = filepath.Join(d.dir, "pools", name)
	}
	if err := reachable(dir); err != nil {
		t.Fatal(err)
	}
	d.definePool(t, &libvirtxml.StoragePool{
		Type: "dir", Name: name, Target: &libvirtxml.StoragePoolTarget{Path: dir},
	})
	return name
}

// PoolDir is the folder NewPool made for a pool of the daemon's own.
func (d *Daemon) PoolDir(name string) string { return filepath.Join(d.dir, "pools", name) }

// reachable makes a folder in the temporary one that every user may reach.
func reachable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for up := dir; up != os.TempDir() && up != "/" && up != "."; up = filepath.Dir(up) {
		info, err := os.Stat(up)
		if err != nil {
			return err
		}
		if err := os.Chmod(up, info.Mode().Perm()|0o111); err != nil {
			return err
		}
	}
	return nil
}

func (d *Daemon) definePool(t testing.TB, pool *libvirtxml.StoragePool) {
	t.Helper()
	text, err := pool.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	d.must(t, "make pool "+pool.Name, func(conn *libvirt.Libvirt) error {
		made, err := conn.StoragePoolDefineXML(text, 0)
		if err != nil {
			return err
		}
		return conn.StoragePoolCreate(made, 0)
	})
	t.Cleanup(func() {
		if d.down.Load() {
			return // nothing of it outlives the daemon
		}
		d.must(t, "remove pool "+pool.Name, func(conn *libvirt.Libvirt) error {
			made, err := conn.StoragePoolLookupByName(pool.Name)
			if err != nil {
				return err
			}
			if err := conn.StoragePoolDestroy(made); err != nil {
				return err
			}
			return conn.StoragePoolUndefine(made)
		})
	})
}
