package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/e2e/built"
	"github.com/drivebay/drivebay/internal/testneed"
)

// These tests run Terraform itself, from the PATH, against a real server that
// they build and start on the loopback. Terraform starts this test's own binary
// as the provider, so that its race detector watches the provider too. Where
// Terraform is missing they are skipped; DRIVEBAY_TEST_REQUIRE=terraform forbids
// that.

const (
	plugin = "terraform-provider-drivebay"
	// patience bounds every wait. It is long, so that only what hangs meets it.
	patience = 2 * time.Minute
)

var (
	program   string // the server
	cliConfig string // tells Terraform where the provider is
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == plugin {
		main()
		return
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run prepares what the tests share, unless they will be skipped.
func run(m *testing.M) (int, error) {
	flag.Parse()
	if _, err := exec.LookPath("terraform"); err != nil || testing.Short() || runtime.GOOS == "windows" {
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "drivebay-terraform-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if program, err = built.Program(dir); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	if err := linkOrCopy(self, filepath.Join(dir, "plugins", plugin)); err != nil {
		return 0, err
	}
	cliConfig = filepath.Join(dir, "terraform.rc")
	text := fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"drivebay/drivebay\" = %q\n  }\n}\ndisable_checkpoint = true\n", filepath.Join(dir, "plugins"))
	if err := os.WriteFile(cliConfig, []byte(text), 0o600); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func linkOrCopy(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from) // on another disk
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// needTerraform skips a test that cannot run here.
func needTerraform(t *testing.T) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("Terraform is not run under -short")
	case runtime.GOOS == "windows":
		t.Skip("these tests interrupt Terraform as Unix does")
	}
	testneed.Need(t, "terraform", cliConfig != "", "terraform is not on the PATH")
}

// eventually waits until done says so. It is for what an outside process does
// not tell; what names the condition.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit, tick := time.NewTimer(patience), time.NewTicker(10*time.Millisecond)
	defer limit.Stop()
	defer tick.Stop()
	for !done() {
		select {
		case <-limit.C:
			t.Fatalf("waited %v in vain: %s", patience, what)
		case <-tick.C:
		}
	}
}

// ownEnv is the environment without what would change Terraform or the server.
func ownEnv(more ...string) []string {
	var env []string
	for _, v := range built.Env() {
		if !strings.HasPrefix(v, "TF_") {
			env = append(env, v)
		}
	}
	return append(env, more...)
}
