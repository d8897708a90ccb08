package libvirttest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/drivebay/drivebay/internal/testneed"
)

// wanted are the drivers a guest needs for its disks and its drive, those they
// need come with them.
var wanted = []string{"virtio_pci", "virtio_blk", "virtio_scsi", "ata_piix", "sd_mod", "sr_mod"}

// kernel is Debian's for machines in a cloud, fetched and not installed.
var kernel struct {
	once sync.Once
	dir  string // holds vmlinuz, and modules/NN-NAME.ko in the order to load
	err  error
}

// kernelDir is where the kernel is; a machine without one skips the test.
func kernelDir(t testing.TB) string {
	t.Helper()
	kernel.once.Do(func() { kernel.dir, kernel.err = fetchKernel() })
	if kernel.err != nil {
		testneed.Need(t, "libvirt", false, "there is no kernel for guests: "+kernel.err.Error())
	}
	return kernel.dir
}

// fetchKernel returns the folder of the user's cache that has the kernel, and
// fills it first where that has not been done.
func fetchKernel() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "drivebay", "guest-kernel")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".guest-kernel")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := unpackKernel(work); err != nil {
		return "", err
	}
	// Whole or not at all; another process may have been first.
	if err := os.Rename(filepath.Join(work, "kernel"), dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return "", err
		}
	}
	return dir, nil
}

// unpackKernel fetches the package and leaves what is of use in work/kernel.
func unpackKernel(work string) error {
	name, err := kernelPackage()
	if err != nil {
		return err
	}
	for _, command := range [][]string{
		{"apt-get", "-qq", "download", name},
		{"sh", "-c", "dpkg-deb -x *.deb tree"},
	} {
		if _, err := output(work, command...); err != nil {
			return err
		}
	}
	images, _ := filepath.Glob(filepath.Join(work, "tree", "boot", "vmlinuz-*"))
	if len(images) != 1 {
		return fmt.Errorf("package %s has %d kernels", name, len(images))
	}
	if err := os.MkdirAll(filepath.Join(work, "kernel", "modules"), 0o755); err != nil {
		return err
	}
	if err := os.Rename(images[0], filepath.Join(work, "kernel", "vmlinuz")); err != nil {
		return err
	}
	return collectModules(filepath.Join(work, "tree"), filepath.Join(work, "kernel", "modules"))
}

// kernelPackage is the one behind linux-image-cloud-amd64. Lists of packages
// that do not know it are fetched once.
func kernelPackage() (string, error) {
	var failed error
	for range 2 {
		text, err := output("", "apt-cache", "depends", "linux-image-cloud-amd64")
		if err == nil {
			for line := range strings.Lines(text) {
				if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
					return "linux-image-" + name, nil
				}
			}
			err = fmt.Errorf("linux-image-cloud-amd64 names no kernel")
		}
		if failed != nil {
			return "", err
		}
		failed = err
		if _, err := output("", "apt-get", "-qq", "update"); err != nil {
			return "", err
		}
	}
	return "", failed
}

// output runs a command in a folder.
func output(dir string, command ...string) (string, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	return finish(cmd)
}

// finish runs a command; its error holds what the command complained of.
func finish(cmd *exec.Cmd) (string, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w %s", strings.Join(cmd.Args, " "), err, &said)
	}
	return out.String(), nil
}

// collectModules copies the wanted modules, and before each those it depends
// on, to a folder, where their names sort in the order to load.
func collectModules(tree, to string) error {
	files := map[string]string{} // by name
	err := filepath.WalkDir(tree, func(path string, e os.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok && err == nil {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	var take func(name string) error
	take = func(name string) error {
		if taken[name] {
			return nil
		}
		taken[name] = true
		path, ok := files[name]
		if !ok {
			return fmt.Errorf("the kernel has no module %s", name)
		}
		code, err := readModule(path)
		if err != nil {
			return err
		}
		below, err := dependencies(code)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, b := range below {
			if err := take(b); err != nil {
				return err
			}
		}
		done, err := os.ReadDir(to)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, fmt.Sprintf("%02d-%s.ko", len(done), name)), code, 0o644)
	}
	for _, name := range wanted {
		if err := take(name); err != nil {
			return err
		}
	}
	return nil
}

// readModule reads a module, compressed or not.
func readModule(path string) ([]byte, error) {
	if strings.HasSuffix(path, ".xz") {
		text, err := output("", "xz", "-dc", path)
		return []byte(text), err
	}
	return os.ReadFile(path)
}

// dependencies are the modules that one names as needed before it.
func dependencies(code []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(code))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no module")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, entry := range strings.Split(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
