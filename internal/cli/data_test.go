package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"

	"github.com/drivebay/drivebay/internal/config"
)

// desk is a database that is not there: it has a version, and notes what it
// was asked.
type desk struct {
	have, want int64
	err        error
	asked      []string
}

func (d *desk) ask(what, path string, cfg config.Config) {
	d.asked = append(d.asked, fmt.Sprintf("%s %s %s", what, path, cfg.DatabaseAddress()))
}

func (d *desk) work() Work {
	return Work{
		Schema: func(_ context.Context, cfg config.Config) (int64, int64, error) { return d.have, d.want, d.err },
		Migrate: func(_ context.Context, cfg config.Config) (int64, error) {
			d.ask("migrate", "", cfg)
			from := d.have
			if d.err == nil {
				d.have = d.want
			}
			return from, d.err
		},
		Export: func(_ context.Context, cfg config.Config, path string, out io.Writer) (int64, error) {
			d.ask("export", path, cfg)
			if path == "-" && d.err == nil {
				_, err := io.WriteString(out, "rows")
				return 3, err
			}
			return 3, d.err
		},
		Import: func(_ context.Context, cfg config.Config, path string, in io.Reader) (int64, error) {
			b, err := io.ReadAll(in)
			d.ask("import "+string(b), path, cfg)
			return 3, errors.Join(err, d.err)
		},
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	const head = "SCHEMA  PROGRAM  UP TO DATE\n"
	for _, c := range []struct {
		have, want int64
		args       []string
		result     result
	}{
		{5, 5, []string{"status"}, result{Done, head + "5       5        yes\n", ""}},
		{3, 5, []string{"status"}, result{Failed, head + "3       5        no\n",
			"Error: Migrations are missing; drivebay migrate up brings the schema up to date. (schema_older)\n"}},
		{6, 5, []string{"status"}, result{Failed, head + "6       5        no\n",
			"Error: The schema is newer than this program; use a newer program. (schema_newer)\n"}},
		{0, 5, []string{"status", "-o", "json"}, result{Failed, "{\n  \"schema\": 0,\n  \"program\": 5,\n  \"upToDate\": false\n}\n",
			`{"message":"Migrations are missing; drivebay migrate up brings the schema up to date.","reason":"schema_older"}` + "\n"}},
		{3, 5, []string{"up"}, result{Done, head + "5       5        yes\n", "The schema was at version 3.\n"}},
		{5, 5, []string{"up"}, result{Done, head + "5       5        yes\n", ""}},
		{3, 5, []string{"up", "-o", "json"}, result{Done, "{\n  \"schema\": 5,\n  \"program\": 5,\n  \"upToDate\": true\n}\n", ""}},
	} {
		d := &desk{have: c.have, want: c.want}
		if got := commandWith(t.Context(), "", nil, d.work(), "", append([]string{"migrate"}, c.args...)...); got != c.result {
			t.Errorf("%v of %d to %d: %+v", c.args, c.have, c.want, got)
		}
	}
	d := &desk{err: errors.New("it does not answer")}
	for _, verb := range []string{"status", "up"} {
		if got := commandWith(t.Context(), "", nil, d.work(), "", "migrate", verb); got != (result{Failed, "", "Error: It does not answer.\n"}) {
			t.Errorf("%s: %+v", verb, got)
		}
	}
}

func TestExportImport(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DRIVEBAY_DATA_DIR": "d"}
	const pg = "postgres://u@h/n"
	for _, c := range []struct {
		args   []string
		asked  string
		result result
	}{
		{[]string{"export"}, "export drivebay-20300101T000000Z.jsonl.gz sqlite:d/drivebay.db", result{Done, "drivebay-20300101T000000Z.jsonl.gz\n", "Exported 3 rows.\n"}},
		{[]string{"export", "f"}, "export f sqlite:d/drivebay.db", result{Done, "f\n", "Exported 3 rows.\n"}},
		{[]string{"export", "-", "--database", pg}, "export - " + pg, result{Done, "rows", "Exported 3 rows.\n"}},
		{[]string{"import", "--data-dir", "e", "f"}, "import given f sqlite:e/drivebay.db", result{Done, "", "Imported 3 rows.\n"}},
		{[]string{"import", "-"}, "import given - sqlite:d/drivebay.db", result{Done, "", "Imported 3 rows.\n"}},
	} {
		d := &desk{}
		got := commandWith(t.Context(), "", env, d.work(), "given", c.args...)
		if got != c.result || len(d.asked) != 1 || d.asked[0] != c.asked {
			t.Errorf("%v: %+v, asked %q", c.args, got, d.asked)
		}
	}
	d := &desk{err: &fs.PathError{Op: "open", Path: "f", Err: fs.ErrNotExist}}
	for _, verb := range []string{"export", "import"} {
		if got := commandWith(t.Context(), "", nil, d.work(), "", verb, "f"); got != (result{Failed, "", "Error: The file f cannot be used: file does not exist.\n"}) {
			t.Errorf("%s: %+v", verb, got)
		}
	}
}
