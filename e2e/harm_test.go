package e2e

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// harms are ways to spoil a folder in which everything holds: SQL, or a change
// to files. check must see each; says is a part of what it then says.
var harms = []struct {
	name, says string
	sql        string
	files      func(dir string) error
}{
	{name: "task not ended", says: "has not ended", sql: `UPDATE task SET state = 'ready', reason = '', error = '' WHERE seq = (SELECT max(seq) FROM task WHERE client_id > 0)`},
	{name: "task without known reason", says: "no known reason", sql: `UPDATE task SET state = 'failed', reason = 'internal', error = 'x' WHERE kind = 'volume.detach'`},
	{name: "event lost", says: "not Scheduled, Started, Completed", sql: `DELETE FROM event WHERE state = 'Completed' AND type = 'VOLUME.DETACH'`},
	{name: "event twice", says: "not Scheduled, Started, Completed", sql: `INSERT INTO event SELECT NULL, id || 'x', at, client_id, device_id, volume_id,
		iso_id, task_id, type, level, state, text FROM event WHERE state = 'Started' AND type = 'VOLUME.DETACH'`},
	{name: "tasks at once", says: "had ended", sql: `UPDATE event SET seq = seq + 100000 WHERE state = 'Completed' AND task_id = (
		SELECT t.id FROM task t WHERE kind = 'volume.create' ORDER BY seq LIMIT 1)`},
	{name: "volume file lost", says: "is missing", files: each("volumes", os.Remove)},
	{name: "volume file short", says: "bytes, want", files: each("volumes", func(p string) error { return os.Truncate(p, 4096) })},
	{name: "volume file left", says: "belongs to nothing", files: beside("volumes", "01a2088f-0000-7000-8000-000000000000.raw")},
	{name: "volume not at rest", says: "not at rest", sql: `UPDATE volume SET state = 'resizing' WHERE type = 'DATADISK'`},
	{name: "attachment lost", says: "has the volumes", sql: `UPDATE volume SET device_id = NULL WHERE type = 'DATADISK'`},
	{name: "guest lost", says: "guest", files: each("vms", os.Remove)},
	{name: "drive", says: "in its drive", sql: `UPDATE device SET iso_id = NULL`},
	{name: "ISO file spoilt", says: "has the SHA-256", files: each("isos", func(p string) error {
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte("x"), 5000)
		return err
	})},
	{name: "ISO file left", says: "belongs to nothing", files: beside("isos", strings.Repeat("0", 64)+".iso")},
	{name: "content lost", says: "no content", sql: `DELETE FROM iso_content`},
	{name: "service lost", says: "no open service", sql: `UPDATE service SET status = 'cancelled', cancelled_at = 1 WHERE status = 'active'`},
	{name: "service left", says: "service", sql: `UPDATE service SET status = 'active', cancelled_at = NULL`},
	{name: "price", says: "and its service differ", sql: `UPDATE volume SET monthly_cents = 1 WHERE type = 'DATADISK'`},
	{name: "charged too much", says: "cents for a create", sql: `DROP TRIGGER charge_no_update; UPDATE charge SET amount_cents = amount_cents + 1 WHERE kind = 'create'`},
	{name: "resize charged wrongly", says: "cents for a resize", sql: `DROP TRIGGER charge_no_update; UPDATE charge SET amount_cents = amount_cents - 1 WHERE kind = 'resize'`},
	{name: "charge lost", says: "charged", sql: `DROP TRIGGER charge_no_delete; DELETE FROM charge WHERE kind = 'resize'`},
	{name: "download left", says: "left behind", files: func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "imports", "x.part"), nil, 0o600)
	}},
	{name: "temporary file left", says: "left behind", files: beside("tmp", "x")},
	{name: "strange file left", says: "left behind", files: func(dir string) error {
		return os.WriteFile(filepath.Join(dir, ".demo.json.123"), nil, 0o600)
	}},
}

// each changes the files of a folder of the facility TPA1.
func each(folder string, change func(path string) error) func(string) error {
	return func(dir string) error {
		paths, err := filepath.Glob(filepath.Join(dir, "facilities", "TPA1", folder, "*"))
		if err == nil && len(paths) == 0 {
			err = fs.ErrNotExist
		}
		for _, p := range paths {
			if err == nil {
				err = change(p)
			}
		}
		return err
	}
}

// beside adds an empty file to a folder of the facility TPA1.
func beside(folder, name string) func(string) error {
	return func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "facilities", "TPA1", folder, name), nil, 0o600)
	}
}

// TestCheck holds that the checker sees what is wrong: a checker that never
// fails proves nothing.
func TestCheck(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	link := o.serve("/image.iso", newImage("IMAGE", 256<<10, true))
	s := startDemo(t, allow)
	c := s.client()
	a, b := c.newVolume(1001, 50), c.newVolume(1001, 50)
	c.succeed("PUT", "/vps/volume/"+a, map[string]any{"deviceId": 1001, "size": 100})
	c.succeed("POST", "/vps/1001/volume/"+b+"/detach", nil)
	c.succeed("DELETE", "/vps/volume/"+b, nil)
	iso := c.importISO("TPA1", link, true)
	c.ended(*iso.TaskID)
	c.succeed("POST", "/vps/1001/attachiso", map[string]any{"isoId": iso.ISOID})
	c.want(http.StatusOK, "GET", "/vps/1001", nil, nil)
	s.stop()
	check(t, s.dir)
	for _, h := range harms {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := copySparse(dir, s.dir); err != nil {
				t.Fatal(err)
			}
			if h.files != nil {
				if err := h.files(dir); err != nil {
					t.Fatal(err)
				}
			}
			if h.sql != "" {
				db := writeDB(t, dir)
				if _, err := db.Exec(h.sql); err != nil {
					t.Fatal(err)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			r := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				check(r, dir)
			}()
			<-done
			if !strings.Contains(r.said, h.says) {
				t.Errorf("the check says %q, want %q in it", r.said, h.says)
			}
		})
	}
}

// recorder is a test that only notes what it is told.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Helper()                        {}
func (r *recorder) Errorf(format string, a ...any) { r.said += fmt.Sprintf(format, a...) + "\n" }
func (r *recorder) Fatalf(format string, a ...any) { r.Errorf(format, a...); runtime.Goexit() }
func (r *recorder) Fatal(a ...any)                 { r.Fatalf("%s", fmt.Sprint(a...)) }

// copySparse copies a data folder. Volumes are copied by their length only.
func copySparse(to, from string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		if e.IsDir() {
			return os.MkdirAll(dest, 0o700)
		}
		if filepath.Ext(path) != ".raw" {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(dest, b, 0o600)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := os.WriteFile(dest, nil, 0o600); err != nil {
			return err
		}
		return os.Truncate(dest, info.Size())
	})
}
