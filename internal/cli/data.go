package cli

import (
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/internal/config"
)

// The commands that work on the database themselves, with the settings that a
// server has for it.

// settings reads the settings of a command that has flags of package config.
func (s *shell) settings(cmd *cobra.Command) (config.Config, error) {
	cfg, err := config.Load(cmd.Flags(), s.getenv)
	if err != nil {
		return cfg, misuse("The settings cannot be used.").with(err)
	}
	return cfg, nil
}

const databaseHelp = `The database is the one a server with the same settings uses: --database, else
drivebay.db in --data-dir; DRIVEBAY_DATABASE, DRIVEBAY_DATA_DIR and the settings file count too.`

func (s *shell) migrate() *cobra.Command {
	cmd := &cobra.Command{Use: "migrate", Short: "The schema of the database", Long: "Look at the schema of the database, and bring it up to date. A server does so at its start too.\n\n" + databaseHelp}
	nounOnly(cmd)
	s.outputFlag(cmd)
	config.AddDatabaseFlags(cmd.PersistentFlags())
	cmd.AddCommand(s.migrateStatus(), s.migrateUp())
	return cmd
}

func (s *shell) migrateStatus() *cobra.Command {
	cmd := s.verb("status", "Show whether the schema is up to date (exit status 1: it is not)", exact(), func(cmd *cobra.Command, _ []string) error {
		cfg, err := s.settings(cmd)
		if err != nil {
			return err
		}
		have, want, err := s.work.Schema(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		if err := s.showSchema(have, want); err != nil {
			return err
		}
		switch {
		case have > want:
			return failed(Failed, "schema_newer", "The schema is newer than this program; use a newer program.")
		case have < want:
			return failed(Failed, "schema_older", "Migrations are missing; drivebay migrate up brings the schema up to date.")
		}
		return nil
	})
	cmd.Example = "  drivebay migrate status --data-dir /var/lib/drivebay"
	return offers(cmd, grid{heads: schemaHeads}.names())
}

func (s *shell) migrateUp() *cobra.Command {
	cmd := s.verb("up", "Bring the schema up to date", exact(), func(cmd *cobra.Command, _ []string) error {
		cfg, err := s.settings(cmd)
		if err != nil {
			return err
		}
		from, err := s.work.Migrate(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		have, want, err := s.work.Schema(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		if from != have {
			s.say("The schema was at version %d.", from)
		}
		return s.showSchema(have, want)
	})
	cmd.Example = "  drivebay migrate up --data-dir /var/lib/drivebay"
	return offers(cmd, grid{heads: schemaHeads}.names())
}

var schemaHeads = []string{"SCHEMA", "PROGRAM", "UP TO DATE"}

func (s *shell) showSchema(have, want int64) error {
	raw, err := json.Marshal(struct {
		Schema   int64 `json:"schema"`
		Program  int64 `json:"program"`
		UpToDate bool  `json:"upToDate"`
	}{have, want, have == want})
	if err != nil {
		return err
	}
	return s.show(raw, grid{heads: schemaHeads, rows: [][]string{{number(have), number(want), yesNo(have == want)}}})
}

func (s *shell) export() *cobra.Command {
	cmd := s.verb("export [FILE]", "Write the whole database to a file", cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
		cfg, err := s.settings(cmd)
		if err != nil {
			return err
		}
		path := "drivebay-" + s.now().UTC().Format("20060102T150405Z") + ".jsonl.gz"
		if len(args) > 0 {
			path = args[0]
		}
		rows, err := s.work.Export(cmd.Context(), cfg, path, s.out)
		if err != nil {
			return noFile(err)
		}
		s.say("Exported %d rows.", rows)
		if path == "-" {
			return nil
		}
		return s.line(path)
	})
	cmd.Long = `Write the whole database to a file: a backup, or the way to another database. Servers may run.

The file is only for its owner to read: it holds the hashes of keys, and addresses of images with
their passwords. Disks and images are not in it. Without FILE it is named after the time, in the
working folder; - is standard output.

` + databaseHelp
	cmd.Example = "  drivebay export --data-dir /var/lib/drivebay drivebay.jsonl.gz\n  drivebay export - | ssh backup 'cat > drivebay.jsonl.gz'"
	config.AddDatabaseFlags(cmd.Flags())
	return cmd
}

func (s *shell) load() *cobra.Command {
	cmd := s.verb("import FILE", "Fill an empty database from an exported file", exact("FILE"), func(cmd *cobra.Command, args []string) error {
		cfg, err := s.settings(cmd)
		if err != nil {
			return err
		}
		rows, err := s.work.Import(cmd.Context(), cfg, args[0], s.in)
		if err != nil {
			return noFile(err)
		}
		s.say("Imported %d rows.", rows)
		return nil
	})
	cmd.Long = `Fill an empty database from a file that drivebay export has written, with SQLite or PostgreSQL.

Import before any server has run on the database. All of the file is imported or nothing: one that is
damaged, or of another version of the schema, leaves the database empty. - is standard input.

` + databaseHelp
	cmd.Example = "  drivebay import --database postgres://drivebay@db.example/drivebay drivebay.jsonl.gz"
	config.AddDatabaseFlags(cmd.Flags())
	return cmd
}

// noFile says what is wrong with a path without the name of the system call.
func noFile(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return failed(Failed, "failed", "The file %s cannot be used: %s.", p.Path, p.Err)
	}
	return err
}
