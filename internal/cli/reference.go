package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// reasons are those of the command line itself.
var reasons = [][2]string{
	{"usage", "The command line is wrong, or a change that has to be confirmed was not. Nothing was changed."},
	{"failed", "Something on this machine does not work, such as a file; the message says what."},
	{"interrupted", "It was interrupted. A task that was accepted goes on."},
	{"timeout", "It took longer than `--timeout`. The task goes on."},
	{"task_failed", "The task failed, and the server does not say why."},
	{"unreachable", "The server does not answer."},
	{"bad_answer", "What the server answers is not of this API."},
	{"no_quotes", "The server cannot say what a change would do, or hold a highest price."},
	{"declined", "The answer to the question was no. Nothing was changed."},
	{"not_found", "What was made is not listed."},
	{"not_ready", "The server says that it is not ready."},
	{"volume_detached", "The volume is attached to no device."},
	{"findings_remain", "`doctor` found differences that remain."},
	{"guests_refused", "Some guests were not imported; the others were."},
	{"context_exists", "There is a context of this name."},
	{"context_not_found", "There is no context of this name."},
	{"schema_older", "Migrations are missing."},
	{"schema_newer", "The schema is newer than this program."},
}

// Reference returns docs/reference/cli.md.
func Reference() string {
	s := &shell{getenv: func(string) string { return "" }}
	root := s.root()
	var b strings.Builder
	b.WriteString(`# Commands

<!-- Made from internal/cli by make generate. Do not edit. -->

How the command line is used: [the guide](../guide/cli.md). The settings of ` + "`serve`, `migrate`, `export` and `import`" + ` are
in [config.md](config.md).

## Exit status

| status | meaning |
| --- | --- |
| 0 | done |
| 1 | failed; any status that is not listed here too |
| 2 | wrong usage; nothing was changed |
| 3 | not found |
| 4 | refused: wrong input, no permission, or over a limit |
| 5 | conflict with the present state |
| 6 | the task failed |
| 8 | the task was still running at ` + "`--timeout`" + `; it goes on |
| 130 | interrupted; a task that was accepted goes on |

`)
	b.WriteString("## Reasons\n\nWith `-o json` an error has the server's `reason` ([reasons.md](reasons.md)), or one of the command line itself:\n\n| reason | meaning |\n| --- | --- |\n")
	for _, r := range reasons {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r[0], r[1])
	}
	b.WriteString("\n## Flags of all commands that talk to a server\n\n")
	flagTable(&b, s.noun("", "").PersistentFlags())
	for _, cmd := range root.Commands() {
		describe(&b, cmd, 2)
	}
	return b.String()
}

// describe writes what there is to say of a command and those below it.
func describe(b *strings.Builder, cmd *cobra.Command, depth int) {
	if !cmd.IsAvailableCommand() || cmd.Name() == "help" || depth > 3 {
		return
	}
	fmt.Fprintf(b, "%s %s\n\n%s.\n\n", strings.Repeat("#", depth), cmd.CommandPath(), cmd.Short)
	if cmd.Long != "" && cmd.Name() != "completion" && cmd.Parent().Name() != "completion" {
		b.WriteString(cmd.Long + "\n\n")
	}
	if cmd.HasSubCommands() && depth == 2 {
		for _, c := range cmd.Commands() {
			describe(b, c, depth+1)
		}
		return
	}
	b.WriteString("    " + strings.TrimSuffix(cmd.UseLine(), " [flags]") + "\n\n")
	if cmd.Annotations[columnsNote] != "" {
		fmt.Fprintf(b, "Columns: %s.\n\n", strings.ReplaceAll(cmd.Annotations[columnsNote], ",", ", "))
	}
	if cmd.Annotations[quoteNote] != "" {
		fmt.Fprintf(b, "With `--dry-run`: %s.\n\n", strings.Join(quoteColumns.names(), ", "))
	}
	own := cmd.LocalNonPersistentFlags()
	if cmd.Name() == "serve" || cmd.Name() == "export" || cmd.Name() == "import" && depth == 2 {
		own = pflag.NewFlagSet("", pflag.ContinueOnError) // config.md has them
	}
	flagTable(b, own)
	if cmd.Example != "" {
		b.WriteString("Example:\n\n```sh\n" + strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n") + "\n```\n\n")
	}
}

func flagTable(b *strings.Builder, flags *pflag.FlagSet) {
	var rows strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0s" {
			usage += " (default `" + f.DefValue + "`)"
		}
		if _, must := f.Annotations[cobra.BashCompOneRequiredFlag]; must {
			usage += "; required"
		}
		fmt.Fprintf(&rows, "| `%s` | %s |\n", strings.TrimSpace(name+" "+kind), strings.ReplaceAll(usage, "|", "\\|"))
	})
	if rows.Len() == 0 {
		return
	}
	b.WriteString("| flag | meaning |\n| --- | --- |\n" + rows.String() + "\n")
}
