package packages

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/drivebay/drivebay/internal/testneed"
)

// machine is a copy of this machine's files: what is changed in it lies in a
// folder of the test's. Only one command may run in it at a time.
type machine struct {
	t   *testing.T
	dir string
}

// enter runs "$@" in the copy. The mounts are seen by that command alone.
const enter = `set -e
dir="$1"
shift
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/changed,workdir=$dir/work" "$dir/root"
mount --bind /dev "$dir/root/dev"
mount -t proc proc "$dir/root/proc"
umask 0022
exec chroot "$dir/root" "$@"`

// newMachine is a fresh copy, in which drivebay was never installed.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir()}
	for _, name := range []string{"changed", "work", "root"} {
		if err := os.Mkdir(filepath.Join(m.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, err := m.command("sh", "-c", "command -v dpkg && ! getent passwd drivebay").CombinedOutput()
	testneed.Need(t, "deb", err == nil, fmt.Sprintf("dpkg does not run on a copy of this machine (it takes root, overlayfs and dpkg): %v %s", err, out))
	return m
}

func (m *machine) command(words ...string) *exec.Cmd {
	cmd := exec.CommandContext(m.t.Context(), "sh", append([]string{"-c", enter, "sh", m.dir}, words...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	cmd.Dir = "/"
	return cmd
}

// run runs a command that has to succeed and returns what it printed.
func (m *machine) run(words ...string) string {
	m.t.Helper()
	out, err := m.command(words...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// fails runs a command that has to fail and returns what it printed.
func (m *machine) fails(words ...string) string {
	m.t.Helper()
	out, err := m.command(words...).CombinedOutput()
	if err == nil {
		m.t.Fatalf("%s succeeded\n%s", strings.Join(words, " "), out)
	}
	return string(out)
}

// path is where something that changed in the copy lies outside of it.
func (m *machine) path(name string) string { return filepath.Join(m.dir, "changed", name) }

// there tells whether the copy has a file or folder.
func (m *machine) there(name string) bool {
	return m.command("test", "-e", name).Run() == nil
}

// modes holds mode and owner of files.
func (m *machine) modes(want map[string]string) {
	m.t.Helper()
	for name, mode := range want {
		if got := m.run("stat", "-c", "%a %U:%G", name); got != mode {
			m.t.Errorf("%s is %s, want %s", name, got, mode)
		}
	}
}

// built is a folder that `make dist` filled for this machine alone.
type built struct {
	t   *testing.T
	dir string
}

// packager builds the program that makes packages.
func packager(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "packaging")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	cmd.Dir, cmd.Env = "../../packaging", append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the packager: %v\n%s", err, out)
	}
	return program
}

// pack makes a release in a folder of its own.
func pack(t *testing.T, program, system, version string, env ...string) built {
	t.Helper()
	b := built{t, filepath.Join(t.TempDir(), "dist")}
	cmd := exec.CommandContext(t.Context(), program, "-root", "../..", "-out", b.dir, "-version", version, "-targets", system)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", version, err, out)
	}
	return b
}

// file is the one file with an ending.
func (b built) file(ending string) string {
	b.t.Helper()
	all, err := filepath.Glob(filepath.Join(b.dir, "*"+ending))
	if err != nil || len(all) != 1 {
		b.t.Fatalf("%d files end in %s: %v", len(all), ending, err)
	}
	return all[0]
}

func (b built) sums() []byte {
	b.t.Helper()
	sums, err := os.ReadFile(filepath.Join(b.dir, "SHA256SUMS"))
	if err != nil {
		b.t.Fatal(err)
	}
	return bytes.TrimSpace(sums)
}
