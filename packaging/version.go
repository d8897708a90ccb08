package main

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/module"
)

// name settles version, commit and time. The time is SOURCE_DATE_EPOCH, else
// the commit's. A version that was not given is the commit's tag, else the
// one the Go tool would give it: v1.2.4-0.TIME-COMMIT after the tag v1.2.3.
func (r *release) name() error {
	git := func(args ...string) (string, error) {
		out, err := output(r.root, nil, append([]string{"git"}, args...)...)
		return strings.TrimSpace(out), err
	}
	head, err := git("log", "-1", "--format=%H %ct")
	if err != nil {
		return fmt.Errorf("read the commit: %w", err)
	}
	hash, seconds, _ := strings.Cut(head, " ")
	changes, err := git("status", "--porcelain")
	if err != nil {
		return fmt.Errorf("read the state of the tree: %w", err)
	}
	committed, err := unix(seconds)
	if err != nil {
		return err
	}
	if r.at, err = unix(cmp.Or(os.Getenv("SOURCE_DATE_EPOCH"), seconds)); err != nil {
		return err
	}
	r.commit = hash[:12]
	if changes != "" {
		r.commit += "+changes"
	}
	if r.version == "" {
		exact, _ := git("describe", "--tags", "--exact-match", "--match", "v[0-9]*") // it fails where there is none
		last, _ := git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
		r.version = commitVersion(exact, last, committed, hash, changes != "")
	}
	_, err = debianVersion(r.version)
	return err
}

func unix(seconds string) (time.Time, error) {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, fmt.Errorf("%q is no time in seconds", seconds)
	}
	return time.Unix(n, 0).UTC(), nil
}

// commitVersion names a commit. exact is its tag and last the newest tag up to
// it, each empty when there is none.
func commitVersion(exact, last string, at time.Time, hash string, changed bool) string {
	version := exact
	if version == "" || changed {
		version = module.PseudoVersion("v0", last, at, hash[:12])
	}
	if changed {
		version += "+dirty"
	}
	return version
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
