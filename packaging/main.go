// Command packaging builds what a release consists of, into an empty folder:
// for each system an archive with the static binary, Debian packages for Linux,
// and SHA256SUMS. Manual pages and completions are in all of them. The same
// commit gives the same bytes with the same Go version, wherever and whenever it
// is built.
//
// It is a module of its own, so that nobody inherits what it needs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// target is a system that binaries are built for, in the Go tool's words.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

const allTargets = "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64"

// release is one run of this program.
type release struct {
	root       string // the repository
	out        string
	version    string // v1.2.3
	commit     string // its first twelve digits; with +changes when the tree has some
	maintainer string
	targets    []target
	at         time.Time // the time all files bear
	log        io.Writer
}

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("packaging", flag.ContinueOnError)
	flags.SetOutput(stderr)
	r := release{log: stderr}
	flags.StringVar(&r.root, "root", "..", "the repository")
	flags.StringVar(&r.out, "out", "../dist", "the folder to fill; it must be empty, or not there")
	flags.StringVar(&r.version, "version", "", "the version, as v1.2.3 (default the commit's tag, else a name for the commit)")
	flags.StringVar(&r.maintainer, "maintainer", "drivebay <maintainers@drivebay.invalid>", "whom the Debian packages name")
	names := flags.String("targets", allTargets, "the systems, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if r.targets, err = parseTargets(*names); err != nil {
		return err
	}
	if err := r.name(); err != nil {
		return err
	}
	return r.make()
}

func parseTargets(names string) (all []target, err error) {
	for name := range strings.SplitSeq(names, ",") {
		if !strings.Contains(","+allTargets+",", ","+name+",") {
			return nil, fmt.Errorf("%q is none of %s", name, allTargets)
		}
		system, arch, _ := strings.Cut(name, "/")
		all = append(all, target{system, arch})
	}
	return all, nil
}

// make fills the folder. After an error what it holds is of no use.
func (r *release) make() error {
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if there, err := os.ReadDir(r.out); err != nil {
		return err
	} else if len(there) > 0 {
		return fmt.Errorf("%s is not empty", r.out)
	}
	work, err := os.MkdirTemp("", "drivebay-packaging-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	documents, err := r.document(work)
	if err != nil {
		return fmt.Errorf("manual pages and completions: %w", err)
	}
	for _, t := range r.targets {
		binary, err := r.build(t, work)
		if err != nil {
			return fmt.Errorf("build for %s: %w", t, err)
		}
		if err := r.archive(t, binary, documents); err != nil {
			return fmt.Errorf("archive for %s: %w", t, err)
		}
		if t.os != "linux" {
			continue
		}
		if err := r.debian(t, binary, documents, work); err != nil {
			return fmt.Errorf("debian package for %s: %w", t, err)
		}
	}
	return writeSums(r.out)
}
