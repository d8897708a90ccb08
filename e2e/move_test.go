package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/pgtest"
)

// TestMoveGuide pastes the move from SQLite to PostgreSQL of the backup guide,
// works there, and goes back.
func TestMoveGuide(t *testing.T) {
	needBinary(t)
	pgtest.Need(t)
	t.Parallel()
	pg, err := pgtest.Start(filepath.Join(t.TempDir(), "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Remove(); err != nil {
			t.Error(err)
		}
	})
	s := startDemo(t)
	s.client().newVolume(1001, 50)
	if code := s.stop(); code != 0 {
		t.Fatalf("SIGTERM: exit code %d", code)
	}
	s.cmd = nil
	before := s.demo

	work := t.TempDir()
	if err := os.Symlink(program, filepath.Join(work, "drivebay")); err != nil {
		t.Fatal(err)
	}
	sh := newShell(t, work, "PATH="+work+string(os.PathListSeparator)+os.Getenv("PATH"))
	address := pg.Address("postgres")
	replace := strings.NewReplacer("postgres://drivebay@db.example:5432/drivebay", address, "/var/lib/drivebay", s.dir)
	served := false
	for _, line := range section(t, "docs/guide/backup.md", "From SQLite to PostgreSQL") {
		if strings.HasPrefix(line, "drivebay serve ") {
			served = true // by start
			continue
		}
		out, _ := sh.run(replace.Replace(line))
		if strings.Contains(line, "migrate status") && !strings.Contains(out, "yes") {
			t.Errorf("%s\nsays %s", line, out)
		}
	}
	if !served {
		t.Fatal("the guide does not start the server again")
	}
	s.args = append(s.args, "--database", address)
	s.start()
	if after := s.awaitDemo(); after.APIKey != before.APIKey || after.AdminKey != before.AdminKey {
		t.Error("the keys are others")
	}
	c := s.client()
	c.newVolume(1001, 100)
	var list []api.Volume
	c.want(http.StatusOK, "GET", "/vps/volume?deviceId=1001", nil, &list)
	if len(list) != 3 {
		t.Errorf("%d volumes, want ROOT and two", len(list))
	}
	if _, err := os.Stat(filepath.Join(s.dir, "drivebay.db")); err == nil {
		t.Error("the server made a SQLite database")
	}
	sh.run(replace.Replace(`drivebay export --database "$DATABASE" back.jsonl.gz`)) // while it runs
	if code := s.stop(); code != 0 {
		t.Fatalf("SIGTERM: exit code %d", code)
	}
	s.cmd = nil
	sh.run(replace.Replace(`drivebay import --data-dir /var/lib/drivebay back.jsonl.gz`))
	if err := os.Remove(filepath.Join(s.dir, "drivebay.db.before")); err != nil {
		t.Error(err) // the guide makes it
	}
	s.args = s.args[:len(s.args)-2]
	s.start()
	s.awaitDemo()
	s.client().newVolume(1001, 50)
	check(t, s.dir)
}

// section returns the lines of the first code block below a heading.
func section(t *testing.T, path, heading string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(b), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", path, heading)
	}
	var out []string
	for _, line := range strings.Split(text, "\n") {
		code, is := strings.CutPrefix(line, "    ")
		switch {
		case is:
			out = append(out, code)
		case len(out) > 0:
			return out
		}
	}
	return out
}
