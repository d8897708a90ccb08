package libvirttest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// linux is what guests with an OS start from: made once in a process, copied
// once to each daemon, where QEMU's user reaches it.
var linux struct {
	once   sync.Once
	initrd []byte
	err    error
}

// install puts kernel and initrd into a folder of the daemon.
func (d *Daemon) install(kernelDir string) (kernel, initrd string, err error) {
	linux.once.Do(func() { linux.initrd, linux.err = makeInitrd(kernelDir) })
	if linux.err != nil {
		return "", "", linux.err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	dir := filepath.Join(d.dir, "linux")
	kernel, initrd = filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd")
	if _, err := os.Stat(dir); err == nil {
		return kernel, initrd, nil
	}
	image, err := os.ReadFile(filepath.Join(kernelDir, "vmlinuz"))
	if err != nil {
		return "", "", err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", "", err
	}
	for path, content := range map[string][]byte{kernel: image, initrd: linux.initrd} {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return "", "", err
		}
	}
	return kernel, initrd, nil
}

// makeInitrd makes a file system with the program that runs in the guests and
// the modules it loads.
func makeInitrd(kernelDir string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "guestinit")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "github.com/drivebay/drivebay/internal/libvirttest/guestinit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build guestinit: %w\n%s", err, out)
	}
	init, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	entry(&b, "dev", 0o40755, nil)
	entry(&b, "modules", 0o40755, nil)
	modules, err := os.ReadDir(filepath.Join(kernelDir, "modules"))
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		code, err := os.ReadFile(filepath.Join(kernelDir, "modules", m.Name()))
		if err != nil {
			return nil, err
		}
		entry(&b, "modules/"+m.Name(), 0o100644, code)
	}
	entry(&b, "init", 0o100755, init)
	entry(&b, "TRAILER!!!", 0, nil)
	return b.Bytes(), nil
}

// entry writes a file to an archive of the kernel's format (buffer-format.rst
// in its documentation): a head of 8-digit numbers, the name and the content,
// both filled up to 4 bytes.
func entry(w *bytes.Buffer, name string, mode int, content []byte) {
	links := 1
	number := w.Len() + 1 // differs for each
	fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	io.WriteString(w, name+"\x00")
	fill(w)
	w.Write(content)
	fill(w)
}

func fill(w *bytes.Buffer) { w.Write(make([]byte, -w.Len()&3)) }
