// Command bench measures the server: the real binary in a process of its own,
// loaded over loopback. Every figure is printed beside a baseline measured in
// the same run, by turns, so that a busy machine slows both sides alike: trust
// the ratios more than the numbers.
//
//	go run ./e2e/bench [-only NAME[,NAME]] [-rounds N] [-short] [-dir PATH] [-binary PATH]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	ctx    context.Context
	dir    string // scratch, on the disk that is measured
	binary string // the server
	self   string // this program, for baselines and the node that is killed
	rounds int
	short  bool
	out    io.Writer
}

// row is one line of the result.
type row struct {
	figure, ours, baseline, ratio, target string
	met                                   bool
}

// figures are all that can be measured, in the order of the result.
var figures = []struct {
	name string
	run  func(*bench) ([]row, error)
}{
	{"list", (*bench).list},
	{"get", (*bench).get},
	{"create", (*bench).create},
	{"throughput", (*bench).throughput},
	{"million", (*bench).million},
	{"import", (*bench).imports},
	{"memory", (*bench).memory},
	{"start", (*bench).start},
	{"postgres", (*bench).pgReads},
	{"engine", (*bench).engines},
	{"takeover", (*bench).takeover},
	{"guests", (*bench).guests},
	{"scale", (*bench).scale},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch args := os.Args[1:]; {
	case len(args) > 0 && args[0] == "baseline":
		err = baseline(ctx, args[1:])
	case len(args) == 2 && args[0] == "node":
		err = holdTasks(ctx, args[1], os.Stdout)
	default:
		err = run(ctx, args, os.Stdout)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	b := &bench{ctx: ctx, out: out}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := set.String("only", "", "measure only these, separated by commas: "+strings.Join(names(), ", "))
	set.IntVar(&b.rounds, "rounds", 5, "how often both sides of a figure are measured; the median counts")
	set.BoolVar(&b.short, "short", false, "shorter rounds, a smaller database and a smaller image")
	set.StringVar(&b.binary, "binary", "", "measure this server instead of one built now")
	parent := set.String("dir", "", "where to keep what is needed meanwhile; it decides which disk is measured (default: the system's temporary folder)")
	if err := set.Parse(args); err != nil {
		return err
	}
	chosen := names()
	if *only != "" {
		chosen = strings.Split(*only, ",")
	}
	for _, n := range chosen {
		if !slices.Contains(names(), n) {
			return fmt.Errorf("there is no figure %q; there are %s", n, strings.Join(names(), ", "))
		}
	}
	if b.rounds < 1 {
		return errors.New("-rounds must be at least 1")
	}
	if b.dir, err = os.MkdirTemp(*parent, "drivebay-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.binary == "" {
		if err := b.build(); err != nil {
			return err
		}
	}
	return b.measure(chosen)
}

func names() []string {
	var out []string
	for _, f := range figures {
		out = append(out, f.name)
	}
	return out
}

// build makes the server as a release is made: static, without debug tables.
func (b *bench) build() error {
	b.binary = filepath.Join(b.dir, "drivebay")
	cmd := exec.CommandContext(b.ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", b.binary, "github.com/drivebay/drivebay/cmd/drivebay")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the server: %w", err)
	}
	return nil
}

func (b *bench) measure(chosen []string) error {
	m, err := b.machine()
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%s\n%d rounds, %s\n\n", m, b.rounds, time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(b.out, "| figure | ours | baseline | ratio | target | met |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, f := range figures {
		if !slices.Contains(chosen, f.name) {
			continue
		}
		rows, err := f.run(b)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		for _, r := range rows {
			met := "no"
			switch {
			case r.target == "":
				met = ""
			case r.met:
				met = "yes"
			}
			fmt.Fprintf(b.out, "| %s | %s | %s | %s | %s | %s |\n", r.figure, r.ours, r.baseline, r.ratio, r.target, met)
		}
	}
	return nil
}

// sub makes a scratch folder.
func (b *bench) sub(name string) (string, error) {
	return os.MkdirTemp(b.dir, name+"-")
}

// span is how long one side is loaded in one round.
func (b *bench) span() time.Duration {
	if b.short {
		return 500 * time.Millisecond
	}
	return 2 * time.Second
}

// turns calls the sides by turns, round after round, and returns what each
// gave in each round.
func turns[T any](rounds int, sides ...func() (T, error)) ([][]T, error) {
	out := make([][]T, len(sides))
	for range rounds {
		for i, side := range sides {
			v, err := side()
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], v)
		}
	}
	return out, nil
}

// median is the middle of the numbers, without changing their order.
func median(of []float64) float64 {
	s := slices.Sorted(slices.Values(of))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratio is the median over rounds of a by b.
func ratio(a, b []float64) float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return median(out)
}

// each takes one number out of every sample.
func each[T any](samples []T, number func(T) float64) []float64 {
	out := make([]float64, len(samples))
	for i, s := range samples {
		out[i] = number(s)
	}
	return out
}

func ms(d float64) string { return fmt.Sprintf("%.2f ms", d) }
