package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/internal/config"
)

func (s *shell) serve() *cobra.Command {
	cmd := s.verb("serve", "Run a server", exact(), func(cmd *cobra.Command, _ []string) error {
		cfg, err := s.settings(cmd)
		if err != nil {
			return err
		}
		return s.work.Serve(cmd.Context(), cfg, s.out)
	})
	cmd.Long = `Run a server until it is told to stop (SIGTERM, or Ctrl-C); then it finishes what it is doing.

Each flag is an environment variable (DRIVEBAY_LISTEN) and a key of the settings file (listen) too.`
	cmd.Example = "  drivebay serve --demo\n  drivebay serve --config drivebay.yaml"
	config.AddFlags(cmd.Flags())
	return cmd
}

// with adds one line for each problem in err, which the user wrote himself.
func (f *failure) with(err error) *failure {
	f.hint = "  " + strings.ReplaceAll(err.Error(), "\n", "\n  ")
	f.Message = strings.TrimSuffix(f.Message, ".") + ":"
	return f
}

// release and revision are set by the build of a release:
// -ldflags "-X .../cli.release=v1.2.3 -X .../cli.revision=COMMIT".
var release, revision string

// build is what `version` tells.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readBuild() build {
	b := build{Version: release, Commit: revision, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			switch {
			case revision != "":
			case s.Key == "vcs.revision":
				b.Commit = s.Value[:min(12, len(s.Value))] + b.Commit
			case s.Key == "vcs.modified" && s.Value == "true":
				b.Commit += "+changes"
			}
		}
		if b.Version == "" && info.Main.Version != "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

// Version names this build: a release such as v1.2.3, else what the Go tool
// makes of the commit, else "devel".
func Version() string { return readBuild().Version }

func (s *shell) version() *cobra.Command {
	cmd := s.verb("version", "Show the version of this program", exact(), func(*cobra.Command, []string) error {
		b := readBuild()
		if s.format == formatJSON {
			raw, err := json.Marshal(b)
			if err != nil {
				return err
			}
			return s.show(raw, nil, nil)
		}
		commit := b.Commit
		if commit != "" {
			commit += ", "
		}
		return s.line(fmt.Sprintf("drivebay %s (%s%s, %s)", b.Version, commit, b.Go, b.Platform))
	})
	s.outputFlag(cmd)
	return cmd
}
