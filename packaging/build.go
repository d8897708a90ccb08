package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// settled holds what could change the bytes of a build; an empty value is the
// Go tool's default.
var settled = []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0"}

// build makes the binary for t. It settles the version where none was given.
func (r *release) build(t target, binary string) error {
	fmt.Fprintln(r.log, "building for", t)
	absolute, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	linker := "-s -w"
	if r.version != "" {
		linker += " -X github.com/drivebay/drivebay/internal/cli.release=" + r.version
	}
	env := append(settled, "GOOS="+t.os, "GOARCH="+t.arch)
	if _, err := output(r.root, env, "go", "build", "-trimpath", "-ldflags", linker, "-o", absolute, "./cmd/drivebay"); err != nil {
		return err
	}
	if r.version != "" {
		return nil
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	if info.Main.Version == "" || info.Main.Version == "(devel)" {
		return errors.New("there is no commit to take the version from; name one")
	}
	r.version = info.Main.Version
	return nil
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

var versionForm = regexp.MustCompile(`^v([0-9]+\.[0-9]+\.[0-9]+)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?$`)

// debianVersion writes a version as dpkg orders it: v1.2.3 is 1.2.3, and
// what comes before it, v1.2.3-rc.1 or the Go tool's v1.2.3-0.TIME-COMMIT, has
// a tilde. No version has a hyphen, which would begin a Debian revision.
func debianVersion(version string) (string, error) {
	parts := versionForm.FindStringSubmatch(version)
	if parts == nil {
		return "", fmt.Errorf("version %q is not of the form v1.2.3 or v1.2.3-rc.1", version)
	}
	out := parts[1]
	if before := parts[2]; before != "" {
		out += "~" + strings.ReplaceAll(before, "-", ".")
	}
	if after := parts[3]; after != "" {
		out += "+" + strings.ReplaceAll(after, "-", ".")
	}
	return out, nil
}
