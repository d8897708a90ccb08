// Package cli is the command line: it reads arguments, calls the server's API
// and prints. Data goes to standard output, everything else to standard error.
//
// The commands know the server by its contract only (package api).
package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/internal/config"
)

// Work is what some commands do without a server's API. It is given to them,
// since they know nothing of a server's parts. A path "-" stands for the
// standard stream.
type Work struct {
	// Serve runs a server until ctx ends.
	Serve func(ctx context.Context, cfg config.Config, stdout io.Writer) error
	// Schema reads the version of the database's schema, 0 for none, and the
	// newest that the program knows.
	Schema func(ctx context.Context, cfg config.Config) (have, want int64, err error)
	// Migrate brings the schema up to date and returns the version it had.
	Migrate func(ctx context.Context, cfg config.Config) (from int64, err error)
	// Export writes the database to a file and returns how many rows it has.
	Export func(ctx context.Context, cfg config.Config, path string, stdout io.Writer) (rows int64, err error)
	// Import fills the empty database from a file.
	Import func(ctx context.Context, cfg config.Config, path string, stdin io.Reader) (rows int64, err error)
}

// Main runs one command and returns the exit status: one of the constants
// Done to Interrupted. It returns when the command ends or soon after ctx does.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, work Work) int {
	s := &shell{
		in: stdin, out: stdout, err: stderr, getenv: os.Getenv, now: time.Now, work: work,
		http: http.DefaultTransport, poll: backoff{first: 50 * time.Millisecond, most: 2 * time.Second},
	}
	return s.main(ctx, args)
}

// shell is what commands share: the streams, the surroundings and the flags
// that all of them have.
type shell struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	now      func() time.Time
	http     http.RoundTripper
	poll     backoff
	work     Work

	format string // --output
	url    string // --url
	ran    bool   // the command line was in order and its command has begun
}

// The values of --output.
const (
	formatTable = "table"
	formatJSON  = "json"
)

func (s *shell) main(ctx context.Context, args []string) int {
	root := s.root()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return Done
	}
	if !s.ran {
		err = &failure{status: Usage, Reason: "usage", Message: sentence(err.Error()), hint: "See '" + cmd.CommandPath() + " --help'."}
	}
	f := asFailure(ctx, err)
	f.print(s.err, s.format)
	return f.status
}

func (s *shell) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "drivebay",
		Short: "A self-hosted control plane for VPS volumes and ISO images",
		Long: `drivebay runs a control plane for VPS volumes and ISO images, and sets one up.

Commands other than serve, migrate, export and import talk to a server:
  DRIVEBAY_URL           where it is (http://127.0.0.1:8080)
  DRIVEBAY_API_KEY       the API key; it needs the permission admin
  DRIVEBAY_API_KEY_FILE  a file that holds the key instead

Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 conflict,
6 the task failed, 8 still running at --timeout, 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	nounOnly(root)
	root.AddCommand(s.serve(), s.migrate(), s.export(), s.load(), s.version(), s.ready(), s.facility(), s.node(), s.client(), s.key(), s.device(),
		s.vps(), s.price(), s.doctor(), s.quarantine())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// verb makes a command that does something. Once do is called, an error is no
// longer one of usage.
func (s *shell) verb(use, short string, args cobra.PositionalArgs, do func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.format != "" && s.format != formatTable && s.format != formatJSON {
				return fmt.Errorf("--output is table or json, not %q", s.format)
			}
			s.ran = true
			return do(cmd, args)
		},
	}
}

// noun groups commands that talk to the server.
func (s *shell) noun(name, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short}
	nounOnly(cmd)
	s.outputFlag(cmd)
	s.urlFlag(cmd)
	cmd.AddCommand(verbs...)
	return cmd
}

func (s *shell) urlFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&s.url, "url", "", "the server (default $DRIVEBAY_URL, else "+defaultURL+")")
}

func (s *shell) outputFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVarP(&s.format, "output", "o", formatTable, "table or json")
}

// nounOnly makes cmd refuse to be called without a verb, or with one it does
// not know.
func nounOnly(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var known []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				known = append(known, c.Name())
			}
		}
		if len(args) == 0 {
			return fmt.Errorf("%s needs one of: %s", cmd.CommandPath(), strings.Join(known, ", "))
		}
		return fmt.Errorf("%s has no command %q, but %s", cmd.CommandPath(), args[0], strings.Join(known, ", "))
	}
}

// exact is cobra.ExactArgs with a sentence that names what is missing.
func exact(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):], " and "))
		case len(args) > len(names):
			return fmt.Errorf("%s: %q is one argument too many", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}

// must marks flags that have to be given.
func must(cmd *cobra.Command, flags ...string) {
	for _, f := range flags {
		if err := cmd.MarkFlagRequired(f); err != nil {
			panic("cli: " + cmd.Name() + ": " + err.Error()) // no such flag: every test would see it
		}
	}
}
