// Package built builds the real binary for tests that start it.
package built

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Program builds drivebay into a folder and returns the binary's path.
func Program(dir string) (string, error) {
	out := filepath.Join(dir, "drivebay")
	if runtime.GOOS == "windows" {
		out += ".exe"
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, "github.com/drivebay/drivebay/cmd/drivebay")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build drivebay: %w: %s", err, text)
	}
	return out, nil
}

// Env is the environment without settings of drivebay.
func Env() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "DRIVEBAY_") {
			env = append(env, v)
		}
	}
	return env
}
