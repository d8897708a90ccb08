package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/drivebay/drivebay"
	root   = "../.."
)

// listed is what `go list` tells of a package.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// list runs `go list` in dir as on another system, since files differ between
// them. It asks no network: what is not downloaded is of no interest here.
func list(t *testing.T, dir, goos string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0", "GOWORK=off", "GOPROXY=off", "GOFLAGS=-mod=readonly")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list in %s for %s: %v\n%s", dir, goos, err, errs.String())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("read go list: %v", err)
		}
		all = append(all, p)
	}
}

// ours returns a package's name below the module; "" for a package of others.
func ours(path string) string {
	name, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	return name
}

// TestImports holds the import map for every package, on every system.
func TestImports(t *testing.T) {
	t.Parallel()
	dirs := []string{root}
	nested, err := filepath.Glob(root + "/*/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range nested {
		if dir := filepath.Dir(m); filepath.Base(dir) != "tools" { // which has no code
			dirs = append(dirs, dir)
		}
	}
	seen := map[string]bool{}
	for _, dir := range dirs {
		for _, goos := range []string{"linux", "darwin", "windows"} {
			for _, p := range list(t, dir, goos) {
				from := ours(p.ImportPath)
				if from == "" && p.ImportPath != module {
					t.Errorf("%s is not below %s", p.ImportPath, module)
					continue
				}
				seen[place(from)] = true
				if !known(place(from)) {
					t.Errorf("%s is not in the import map; give it a place", from)
					continue
				}
				complain(t, from, p.Imports, false)
				complain(t, from, slices.Concat(p.TestImports, p.XTestImports), true)
			}
		}
	}
	for _, p := range []string{"api", "internal/fault", "internal/backend", "internal/cli", "cmd/drivebay"} {
		if !seen[p] {
			t.Errorf("go list does not name %s: is this test looking at the right folder?", p)
		}
	}
}

func complain(t *testing.T, from string, imports []string, inTest bool) {
	t.Helper()
	for _, path := range imports {
		if to := ours(path); to != "" {
			if why := forbidden(from, to, inTest); why != "" {
				where := from
				if inTest {
					where = "the tests of " + from
				}
				t.Errorf("%s: import of %s: %s", where, to, why)
			}
		}
	}
}

// TestMap tries the map itself.
func TestMap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to string
		inTest   bool
		ok       bool
	}{
		{"internal/volume", "internal/task", false, true},
		{"internal/task", "internal/volume", false, false},
		{"internal/volume", "internal/iso", false, false},
		{"internal/task", "internal/access", false, true},
		{"internal/access", "internal/task", false, false},
		{"internal/volume", "internal/store", false, false},
		{"internal/volume", "internal/store", true, false},
		{"internal/reconcile", "internal/volume", false, true},
		{"internal/volume", "internal/reconcile", false, false},
		{"internal/reconcile", "internal/store", false, false},
		{"internal/httpapi", "internal/store", false, false},
		{"internal/httpapi", "internal/store", true, true},
		{"internal/app", "internal/store", false, true},
		{"internal/app", "internal/backend/local", false, true},
		{"internal/store", "internal/backend/local", false, false},
		{"internal/task", "internal/backend", false, true},
		{"internal/task", "internal/backend/fake", false, false},
		{"internal/task", "internal/backend/fake", true, true},
		{"internal/volume", "internal/worldtest", true, true},
		{"internal/volume", "internal/worldtest", false, false},
		{"internal/worldtest", "internal/store", false, true},
		{"internal/worldtest", "internal/app", false, false},
		{"internal/backend/local", "internal/backend/backendtest", true, true},
		{"internal/backend/local", "internal/task", false, false},
		{"internal/fault", "internal/config", false, false},
		{"internal/volume", "api", false, false},
		{"internal/httpapi", "api", false, true},
		{"internal/volume", "internal/config", false, false},
		{"internal/volume", "internal/cli", false, false},
		{"internal/cli", "internal/fault", false, false},
		{"internal/cli", "internal/worldtest", true, false},
		{"internal/cli", "internal/app", true, false},
		{"client", "internal/task", false, false},
		{"api", "internal/fault", false, false},
		{"terraform/internal/provider", "client", false, true},
		{"terraform/internal/provider", "internal/volume", false, false},
		{"terraform", "e2e/built", true, true},
		{"terraform", "e2e/built", false, false},
		{"compat", "api", true, false},
		{"e2e", "internal/store", true, true},
		{"internal/util", "internal/fault", false, false},
		{"internal/app", "internal/util", false, false},
	} {
		if why := forbidden(c.from, c.to, c.inTest); (why == "") != c.ok {
			t.Errorf("%s imports %s (test: %v): %q", c.from, c.to, c.inTest, why)
		}
	}
	for _, p := range slices.Concat(levels...) {
		if _, twice := edge[p]; twice || slices.Contains(free, p) {
			t.Errorf("%s has two places", p)
		}
	}
}
