//go:build unix

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/drivebay/drivebay/e2e/built"
)

// TestUnreadableFolder starts the server as a user who may not open the data
// folder.
func TestUnreadableFolder(t *testing.T) {
	needBinary(t)
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, patience), program, "serve", "--demo", "--listen=127.0.0.1:0", "--data-dir", dir)
	cmd.Env, cmd.Dir = built.Env(), "/"
	var said bytes.Buffer
	cmd.Stderr = &said
	if os.Getuid() == 0 { // who may do everything
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	_ = cmd.Run() // the code tells
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(said.String(), "permission denied") {
		t.Errorf("exit code %d, said %q", code, said.String())
	}
}
