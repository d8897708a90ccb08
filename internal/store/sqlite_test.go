package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/store/storetest"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// file is a SQLite database under test.
type file struct {
	path string
	seen func(statements []string)
}

func (f file) Open(t testing.TB, opt store.Options) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), f.path, opt)
	if err != nil {
		t.Fatal(err)
	}
	if f.seen != nil {
		t.Cleanup(func() { f.seen(db.Statements()) })
	}
	return db
}

func (f file) Exec(t testing.TB, statement string) error {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+f.path+"?_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(statement)
	return err
}

// query returns the rows of a query as text, columns joined by spaces.
func (f file) query(t testing.TB, query string, args ...any) []string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(query, args...)
	if err != nil {
		t.Fatalf("%v in %s", err, query)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		columns, _ := rows.Columns()
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(sql.NullString)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		var line []string
		for _, v := range values {
			line = append(line, v.(*sql.NullString).String)
		}
		out = append(out, strings.Join(line, " "))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%v in %s", err, query)
	}
	return out
}

// TestSQLite runs the suite, then looks at every statement it has prepared:
// that is every statement there is.
func TestSQLite(t *testing.T) {
	var mu sync.Mutex
	statements := map[string]bool{}
	seen := func(list []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range list {
			statements[s] = true
		}
	}
	t.Run("Suite", func(t *testing.T) {
		storetest.Run(t, func(t testing.TB) storetest.Database {
			return file{path: storetest.File(t), seen: seen}
		})
	})
	if t.Failed() || len(statements) < 50 { // a part of the suite was asked for
		return
	}
	f := file{path: storetest.File(t)}
	for s := range statements {
		checkPlan(t, f, s)
	}
	checkHot(t, f, slices.Sorted(maps.Keys(statements)))
}

var (
	control     = regexp.MustCompile(`^(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)`)
	placeholder = regexp.MustCompile(`\$(\d+)`)
	// scan finds a walk over a whole table that grows without end, or over a
	// whole index of it.
	scan = regexp.MustCompile(`SCAN (\w+)( USING (?:COVERING )?INDEX (\w+))?`)
	// small are indexes of what is under way at the moment.
	small = []string{"task_running", "task_ready", "task_lane", "task_head", "volume_discarded", "service_due", "service_open"}
	// cold are statements that may walk: they are asked for by operators, or
	// once at a start.
	cold = []*regexp.Regexp{
		regexp.MustCompile(`(?s)^SELECT .*\sFROM (api_key|charge|service|task|client|facility|price) +WHERE TRUE.* ORDER BY (id|seq) DESC LIMIT`),
		regexp.MustCompile(`^SELECT count\(\*\) FROM api_key`),
		regexp.MustCompile(`^SELECT id FROM iso WHERE state IN`),
		regexp.MustCompile(`FROM device d WHERE TRUE`),
		regexp.MustCompile(`WHERE FALSE`), // never begins
	}
	big = map[string]bool{
		"v": true, "volume": true, "task": true, "t": true, "i": true, "iso": true, "event": true, "service": true, "s": true, "charge": true,
		"task_after": true, "device": true, "d": true, "api_key": true,
		"idempotency_key": true,
	}
)

// plan is how SQLite answers the statement; it prepares it for that.
func (f file) plan(t testing.TB, statement string) []string {
	t.Helper()
	n := 0
	for _, m := range placeholder.FindAllStringSubmatch(statement, -1) {
		i, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		n = max(n, i)
	}
	args := make([]any, n)
	for i := range args {
		args[i] = 1
	}
	return f.query(t, "EXPLAIN QUERY PLAN "+statement, args...)
}

// checkPlan fails the test if the statement reads more than it must.
func checkPlan(t *testing.T, f file, statement string) {
	t.Helper()
	if control.MatchString(statement) {
		return
	}
	plan := f.plan(t, statement)
	if slices.ContainsFunc(cold, func(r *regexp.Regexp) bool { return r.MatchString(statement) }) {
		return
	}
	for _, step := range plan {
		m := scan.FindStringSubmatch(step)
		if m != nil && big[m[1]] && !slices.Contains(small, m[3]) {
			t.Errorf("%s\nin %s", strings.Join(plan, "\n"), statement)
		}
	}
}

// hot pins the way the busiest questions are answered.
var hot = []struct{ name, query, want string }{
	{"volumes of a device", `AND v.device_id = $2 AND v.state NOT IN`, "COVERING INDEX volume_device (device_id=?"},
	{"volume", `FROM volume v WHERE v.id = $1`, "PRIMARY KEY (id=?)"},
	{"claim", `UPDATE task SET state = 'running'`, "task_ready (queue=? AND run_at<?)"},
	{"is anything due", `state = 'ready' AND run_at <= $2)`, "task_ready (queue=? AND run_at<?)"},
	{"is anything due near here", `state = 'ready' AND run_at <= $2 AND facility_code IN`, "task_ready_at (facility_code=? AND queue=? AND run_at<?)"},
	{"tasks of a volume", `FROM task WHERE volume_id = $1 AND state IN`, "task_volume (volume_id=?)"},
	{"tasks of an ISO", `FROM task WHERE iso_id = $1 AND state IN`, "task_iso (iso_id=?)"},
	{"tasks of a lane", `FROM task WHERE lane = $1 AND state IN ('waiting', 'ready', 'running') ORDER BY seq`, "task_lane (lane=?)"},
	{"task list of a client", `FROM task WHERE client_id = $1 AND client_id IS NOT NULL ORDER BY seq DESC`, "task_client (client_id=?)"},
	{"task list of a device", `FROM task WHERE client_id = $1 AND client_id IS NOT NULL AND device_id = $2 ORDER BY seq DESC`, "task_device (device_id=?)"},
	{"newest task of a device", `FROM task WHERE device_id = $1 AND client_id IS NOT NULL`, "task_device (device_id=?)"},
	{"renew", `UPDATE task SET lease_until = $2 WHERE owner = $1`, "task_running (owner=?)"},
	{"who waits for a task", `FROM task_after a JOIN task t`, "task_after_other (after_seq=?)"},
	{"service due", `FROM service WHERE status = 'active' AND period_end <= $1 LIMIT 1`, "service_due (period_end<?)"},
	{"open service", `FROM service WHERE volume_id = $1 AND status = 'active'`, "service_open (volume_id=?)"},
	{"key by prefix", `FROM api_key WHERE prefix = $1`, "(prefix=?)"},
	{"events of a device", `FROM event WHERE device_id = $1`, "event_device (device_id=?)"},
	{"volumes of a facility", `WHERE v.client_id = $1 AND v.facility_code = $2 AND v.state`, "volume_place (facility_code=? AND client_id=?)"},
	{"ISOs of a facility", `WHERE i.facility_code = $1 AND i.client_id = $2 ORDER`, "iso_place (facility_code=? AND client_id=?)"},
	{"key of a request", `FROM idempotency_key WHERE scope = $1 AND key = $2 AND created_at > $3`, "PRIMARY KEY (scope=? AND key=?)"},
	{"keys too old", `DELETE FROM idempotency_key`, "idempotency_key_age (created_at<?)"},
	{"volumes that a client uses", `FROM volume
		WHERE client_id = $1 AND type = 'DATADISK'`, "COVERING INDEX volume_client (client_id=? AND type=?)"},
	{"resizes of a client", `FROM task t JOIN volume v ON v.id = t.volume_id`, "task_resize (client_id=?)"},
	{"ISOs that a client uses", `FROM iso WHERE client_id = $1`, "COVERING INDEX iso_client (client_id=?)"},
	{"devices that boot once", `AND d.boot_stage <> '' ORDER BY d.id`, "device_boot (facility_code=?)"},
	{"sharers of a content", `SELECT count(*) FROM iso WHERE sha256`, "iso_content_share (sha256=? AND facility_code=?)"},
}

// checkHot fails the test unless the hot statements use their indexes.
func checkHot(t *testing.T, f file, statements []string) {
	t.Helper()
	for _, h := range hot {
		i := slices.IndexFunc(statements, func(s string) bool { return strings.Contains(flat(s), flat(h.query)) })
		if i < 0 {
			t.Errorf("%s: no statement has %s", h.name, h.query)
			continue
		}
		plan := strings.Join(f.plan(t, statements[i]), "\n")
		if !strings.Contains(plan, h.want) {
			t.Errorf("%s: the plan lacks %s:\n%s", h.name, h.want, plan)
		}
	}
}

func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

// TestSchema compares what the migrations make with the file kept here. Run
// with -update after adding a migration.
func TestSchema(t *testing.T) {
	f := file{path: filepath.Join(t.TempDir(), "schema.db")}
	if err := f.Open(t, store.Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	got := []byte(strings.Join(f.query(t, `SELECT sql || ';' FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%'
		ORDER BY tbl_name, type <> 'table', type, name`), "\n") + "\n")
	const golden = "testdata/schema.sqlite.sql"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the schema is not that of %s; -update rewrites it:\n%s", golden, got)
	}
}

// TestVolumesKeepTheirDevices: attachments were rows of their own once.
func TestVolumesKeepTheirDevices(t *testing.T) {
	t.Parallel()
	f := file{path: filepath.Join(t.TempDir(), "old.db")}
	if err := store.MigrateTo(t.Context(), f.path, 4); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		`INSERT INTO facility (code, title, city, state, country) VALUES ('TPA1', '', '', '', '')`,
		`INSERT INTO client (id, name, created_at) VALUES (7, '', 0)`,
		`INSERT INTO device (id, client_id, facility_code, hostname, status, vcpu, memory_mb, max_volumes, ref, created_at)
			VALUES (1001, 7, 'TPA1', '', 'Running', 1, 1, 4, '1001', 0)`,
		`INSERT INTO volume (id, client_id, facility_code, type, state, bytes, product_id, monthly_cents, generation, created_at) VALUES
			('on', 7, 'TPA1', 'DATADISK', 'attached', 1, 1, 1, 3, 0), ('off', 7, 'TPA1', 'DATADISK', 'detached', 1, 1, 1, 2, 0)`,
		`INSERT INTO attachment (volume_id, device_id, generation) VALUES ('on', 1001, 3)`,
	} {
		if err := f.Exec(t, q); err != nil {
			t.Fatal(err)
		}
	}
	db := f.Open(t, store.Options{})
	defer db.Close()
	for id, want := range map[string]int64{"on": 1001, "off": 0} {
		v, err := db.Volumes().Get(t.Context(), everyone, id)
		if err != nil || v.DeviceID != want {
			t.Errorf("volume %s is on device %d, want %d: %v", id, v.DeviceID, want, err)
		}
	}
	d, err := db.Volumes().Device(t.Context(), everyone, 1001)
	if err != nil || d.Volumes != 1 {
		t.Errorf("the device has %d volumes: %v", d.Volumes, err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	f := file{path: storetest.File(t)}
	if err := f.Exec(t, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
		t.Fatal(err)
	}
	before := f.query(t, "SELECT count(*) FROM sqlite_schema")
	_, err := store.Open(t.Context(), f.path, store.Options{})
	if err == nil || !strings.Contains(err.Error(), "schema version 9999, newer than") || strings.Contains(err.Error(), f.path) {
		t.Errorf("a newer schema: %v", err)
	}
	if after := f.query(t, "SELECT count(*) FROM sqlite_schema"); after[0] != before[0] {
		t.Error("a refused schema was changed")
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("not a database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"no folder": filepath.Join(dir, "none", "x.db"), "a folder": dir, "not a database": garbage} {
		if db, err := store.Open(t.Context(), path, store.Options{}); err == nil {
			t.Errorf("%s was opened", name)
			_ = db.Close()
		}
	}
}

// TestPath opens files whose names mean something in an address.
func TestPath(t *testing.T) {
	for _, name := range []string{"plain.db", "with space.db", "a?b=c&d.db", "50%.db", "%41.db", "#1.db", "größe.db", "a+b;c:d.db"} {
		path := filepath.Join(t.TempDir(), name)
		db, err := store.Open(t.Context(), path, store.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := db.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
