package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// settled holds what could change the bytes of a build; an empty value is the
// Go tool's default.
var settled = []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0"}

// build makes the binary for t, once for each folder, and returns its path.
func (r *release) build(t target, folder string) (binary string, err error) {
	binary, err = filepath.Abs(filepath.Join(folder, t.os+"-"+t.arch))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	fmt.Fprintln(r.log, "building", r.version, "for", t)
	const cli = "github.com/drivebay/drivebay/internal/cli"
	linker := fmt.Sprintf("-s -w -X %s.release=%s -X %s.revision=%s", cli, r.version, cli, r.commit)
	env := append(settled, "GOOS="+t.os, "GOARCH="+t.arch)
	// The Go tool's own stamp depends on how the commit was checked out.
	_, err = output(r.root, env, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", linker, "-o", binary, "./cmd/drivebay")
	return binary, err
}

// output runs a command in dir and returns what it prints.
func output(dir string, env []string, command ...string) (string, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(failed.Stderr)))
	}
	return string(out), err
}
