package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// What must hold of a data folder whenever no task is under way, whatever was
// asked of the server and however often it was killed:
//
//	tasks      every task has ended; none for reason "internal"; each left
//	           Scheduled, Started and Completed once, in that order
//	order      the tasks of a lane, and those of a volume, ran in the order
//	           accepted and never at once
//	volumes    at rest; each has exactly one file of exactly its length, and
//	           there are no other files
//	guests     what a guest's file has connected and in its drive is what the
//	           database says, and nothing more
//	ISOs       ready ones have a file whose content is their SHA-256; contents
//	           in the database, files and ISOs agree
//	services   exactly one open one for each data volume, none else; size,
//	           price and product are the volume's
//	ledger     one charge for each paid month, contiguous; one for each resize,
//	           exact to the cent
//	folder     nothing else: no download, no temporary file
//
// That the API says the same as the database is in agree_test.go.

// checker reads one data folder.
type checker struct {
	t   testing.TB
	dir string
	ctx context.Context
	db  *sql.DB
	past
}

// past is what an earlier check found in order and nobody can change any more.
// With the zero value everything is looked at.
type past struct {
	task, event int64                  // the last of each
	hashed      map[string]os.FileInfo // files whose content was read
}

// open begins a look at a data folder. The caller closes the database.
func open(t testing.TB, dir string) *checker {
	t.Helper()
	return &checker{t: t, dir: dir, ctx: t.Context(), db: openDB(t, dir)}
}

// check fails the test for everything that does not hold. The server may run,
// but nothing may be under way.
func check(t testing.TB, dir string) past {
	t.Helper()
	c := open(t, dir)
	defer c.db.Close()
	c.checkNews()
	c.checkLedger()
	return c.past
}

// checkNews is check without the ledger and without what was in order before.
func checkNews(t testing.TB, dir string, before past) past {
	t.Helper()
	c := open(t, dir)
	defer c.db.Close()
	c.past = before
	c.checkNews()
	return c.past
}

func (c *checker) checkNews() {
	c.t.Helper()
	if c.hashed == nil {
		c.hashed = map[string]os.FileInfo{}
	}
	c.checkTasks()
	c.checkOrder()
	c.checkVolumes()
	c.checkGuests()
	c.checkISOs()
	c.checkServices()
	c.checkFolder()
	// What was accepted by now had ended before anything that comes.
	c.task = rows(c, func(n *int64) []any { return []any{n} }, `SELECT coalesce(max(seq), 0) FROM task`)[0]
	c.event = rows(c, func(n *int64) []any { return []any{n} }, `SELECT coalesce(max(seq), 0) FROM event`)[0]
}

// openDB opens the database of a data folder for reading.
func openDB(t testing.TB, dir string) *sql.DB {
	t.Helper()
	u := url.URL{Path: filepath.ToSlash(filepath.Join(dir, "drivebay.db"))}
	db, err := sql.Open("sqlite", "file:"+u.EscapedPath()+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// rows reads a query into values of T, whose fields are scanned in order.
func rows[T any](c *checker, fields func(*T) []any, query string, args ...any) []T {
	c.t.Helper()
	r, err := c.db.QueryContext(c.ctx, query, args...)
	if err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
	defer r.Close()
	var out []T
	for r.Next() {
		var v T
		if err := r.Scan(fields(&v)...); err != nil {
			c.t.Fatalf("%s: %v", query, err)
		}
		out = append(out, v)
	}
	if err := r.Err(); err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
	return out
}

// none fails the test for every row of a query; its one column names it.
func (c *checker) none(what, query string, args ...any) {
	c.t.Helper()
	for _, row := range rows(c, func(s *string) []any { return []any{s} }, query, args...) {
		c.t.Errorf("%s: %s", what, row)
	}
}

func (c *checker) checkTasks() {
	c.t.Helper()
	c.none("a task has not ended", `SELECT id || ' ' || kind || ' ' || state || ' ' || message FROM task
		WHERE client_id IS NOT NULL AND state NOT IN ('done', 'failed')`)
	c.none("a task failed for no known reason", `SELECT id || ' ' || kind || ' ' || error FROM task WHERE reason = 'internal'`)
	c.none("a task says both that it failed and that it did not", `SELECT id || ' ' || kind FROM task
		WHERE (state = 'failed') <> (reason <> '') OR (state = 'failed') <> (error <> '')`)
	c.none("a task still waits for another", `SELECT seq || ' after ' || after_seq FROM task_after`)
	c.none("the events of a task are not Scheduled, Started, Completed", `
		SELECT t.id || ' ' || t.kind || ': ' || coalesce(group_concat(e.state, ', ' ORDER BY e.seq), 'none')
		FROM task t LEFT JOIN event e ON e.task_id = t.id AND e.seq > $2 WHERE t.client_id IS NOT NULL AND t.seq > $1 GROUP BY t.id
		HAVING coalesce(group_concat(e.state, ', ' ORDER BY e.seq), '') <> 'Scheduled, Started, Completed'`, c.task, c.event)
	c.none("an event and the result of its task differ", `SELECT t.id || ' ' || t.state || ' ' || e.level || ' ' || e.text
		FROM event e JOIN task t ON t.id = e.task_id
		WHERE e.seq > $1 AND e.state = 'Completed' AND ((t.state = 'failed') <> (e.level = 'ERROR') OR t.reason <> e.text)`, c.event)
	c.none("an event is not its task's", `SELECT e.id || ' ' || e.type FROM event e JOIN task t ON t.id = e.task_id
		WHERE e.seq > $1 AND (e.client_id <> t.client_id OR e.device_id IS NOT t.device_id OR e.type <> upper(t.kind))`, c.event)
}

// checkOrder looks at what ran when, by the sequence of events, which is the
// order in which they were committed.
func (c *checker) checkOrder() {
	c.t.Helper()
	type step struct {
		task, lane, volume string
		started, completed int64
	}
	steps := rows(c, func(s *step) []any { return []any{&s.task, &s.lane, &s.volume, &s.started, &s.completed} }, `
		SELECT t.id, t.lane, coalesce(t.volume_id, ''), min(e.seq) FILTER (WHERE e.state = 'Started'),
			max(e.seq) FILTER (WHERE e.state = 'Completed')
		FROM task t JOIN event e ON e.task_id = t.id AND e.seq > $2 WHERE t.seq > $1 GROUP BY t.seq
		HAVING count(*) = 3 ORDER BY t.seq`, c.task, c.event) // checkTasks tells of the others
	last := map[string]step{}
	for _, s := range steps {
		keys := []string{"lane " + s.lane}
		if s.volume != "" {
			keys = append(keys, "volume "+s.volume)
		}
		for _, key := range keys {
			if prev, ok := last[key]; ok && prev.completed > s.started {
				c.t.Errorf("%s: task %s began before task %s, accepted earlier, had ended", key, s.task, prev.task)
			}
			last[key] = s
		}
	}
}

func (c *checker) checkVolumes() {
	c.t.Helper()
	c.none("a volume is not at rest", `SELECT v.id || ' ' || v.state FROM volume v
		WHERE v.state <> iif(v.device_id IS NULL, 'detached', 'attached')`)
	c.none("a volume is attached in another facility or for another client", `SELECT v.id FROM volume v
		JOIN device d ON d.id = v.device_id
		WHERE v.facility_code <> d.facility_code OR v.client_id <> d.client_id`)
	c.none("a device has more volumes than it takes", `SELECT d.id FROM device d
		JOIN volume v ON v.device_id = d.id WHERE v.type = 'DATADISK' GROUP BY d.id HAVING count(*) > d.max_volumes`)
	want := map[string]int64{}
	type volume struct {
		facility, id string
		bytes        int64
	}
	for _, v := range rows(c, func(v *volume) []any { return []any{&v.facility, &v.id, &v.bytes} },
		`SELECT facility_code, id, bytes FROM volume`) {
		want[v.facility+"/volumes/"+v.id+".raw"] = v.bytes
	}
	c.same("volume file", c.files("*/volumes/*"), want)
}

// files returns the lengths of the files in the facilities' folders that match
// the pattern, by their path below.
func (c *checker) files(pattern string) map[string]int64 {
	c.t.Helper()
	root := filepath.Join(c.dir, "facilities")
	paths, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[string]int64{}
	for _, p := range paths {
		info, err := os.Lstat(p)
		if err != nil {
			c.t.Fatal(err)
		}
		if !info.Mode().IsRegular() {
			c.t.Errorf("%s is no regular file", p)
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			c.t.Fatal(err)
		}
		out[filepath.ToSlash(rel)] = info.Size()
	}
	return out
}

// same compares what is on the disk with what the database says should be.
func (c *checker) same(what string, got, want map[string]int64) {
	c.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		switch n, ok := got[name]; {
		case !ok:
			c.t.Errorf("%s %s is missing", what, name)
		case n != want[name]:
			c.t.Errorf("%s %s has %d bytes, want %d", what, name, n, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			c.t.Errorf("%s %s belongs to nothing", what, name)
		}
	}
}

// guest is the file of a simulated VPS.
type guest struct {
	Ref     string   `json:"ref"`
	Running bool     `json:"running"`
	CDFirst bool     `json:"cdFirst"`
	Volumes []string `json:"volumes"`
	ISO     string   `json:"iso"`
}

// readGuest reads the newer of the two halves of a guest's file.
func (c *checker) readGuest(path string) (g guest) {
	c.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		c.t.Errorf("read guest: %v", err)
	}
	newest := int64(-1)
	for _, half := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
		var slot struct {
			Change int64 `json:"change"`
			Guest  guest `json:"guest"`
		}
		if json.Unmarshal(half, &slot) == nil && slot.Change > newest {
			newest, g = slot.Change, slot.Guest
		}
	}
	return g
}

func (c *checker) checkGuests() {
	c.t.Helper()
	type device struct {
		facility, ref, status, volumes, iso string
		cdFirst                             bool
	}
	want := map[string]int64{}
	for _, d := range rows(c, func(d *device) []any { return []any{&d.facility, &d.ref, &d.status, &d.volumes, &d.iso, &d.cdFirst} }, `
		SELECT d.facility_code, d.ref, d.status, coalesce((SELECT group_concat(id, ' ' ORDER BY id)
			FROM volume WHERE device_id = d.id), ''), coalesce(i.sha256, iif(d.iso_id IS NULL, '', 'unknown')),
			coalesce(i.bootable, 0) AND d.boot_stage NOT IN ('done', 'over')
		FROM device d LEFT JOIN iso i ON i.id = d.iso_id`) {
		name := d.facility + "/vms/" + d.ref + ".json"
		want[name] = 0
		g := c.readGuest(filepath.Join(c.dir, "facilities", filepath.FromSlash(name)))
		if got := strings.Join(g.Volumes, " "); got != d.volumes || g.Ref != d.ref {
			c.t.Errorf("guest %s has the volumes\n%s\nwant\n%s", d.ref, got, d.volumes)
		}
		if want := map[bool]string{true: "Running", false: "Stopped"}[g.Running]; d.status != want {
			c.t.Errorf("device %s is %s, its guest %s", d.ref, d.status, want)
		}
		if d.iso != "" && g.CDFirst != d.cdFirst {
			c.t.Errorf("guest %s tries its CD first: %t, want %t", d.ref, g.CDFirst, d.cdFirst)
		}
		if g.ISO != d.iso {
			c.t.Errorf("guest %s has the ISO %q in its drive, want %q", d.ref, g.ISO, d.iso)
		}
	}
	got := c.files("*/vms/*")
	for name := range got {
		got[name] = 0 // its length says nothing
	}
	c.same("guest", got, want)
}

func (c *checker) checkISOs() {
	c.t.Helper()
	c.none("an ISO is not at rest", `SELECT id || ' ' || state FROM iso WHERE state NOT IN ('ready', 'failed')`)
	c.none("a ready ISO has no content, or a failed one no reason", `SELECT id || ' ' || state || ' ' || reason FROM iso
		WHERE state = 'ready' AND (sha256 IS NULL OR size_bytes < 1) OR (state = 'failed') <> (reason <> '')`)
	c.none("an ISO and its content differ in length", `SELECT i.id FROM iso i
		JOIN iso_content c ON c.sha256 = i.sha256 AND c.facility_code = i.facility_code WHERE c.bytes <> i.size_bytes`)
	c.none("an ISO in a drive is not ready, or another client's, or elsewhere", `SELECT i.id FROM device d JOIN iso i ON i.id = d.iso_id
		WHERE i.state <> 'ready' OR i.client_id <> d.client_id OR i.facility_code <> d.facility_code`)
	c.none("an ISO has no content, or a content no ISO", `
		SELECT i.id FROM iso i LEFT JOIN iso_content c ON c.sha256 = i.sha256 AND c.facility_code = i.facility_code
		WHERE i.sha256 IS NOT NULL AND c.sha256 IS NULL
		UNION ALL SELECT c.sha256 FROM iso_content c LEFT JOIN iso i ON i.sha256 = c.sha256 AND i.facility_code = c.facility_code
		WHERE i.id IS NULL OR c.state <> 'present'`)
	type content struct {
		facility, sha256 string
		bytes            int64
	}
	want := map[string]int64{}
	for _, k := range rows(c, func(k *content) []any { return []any{&k.facility, &k.sha256, &k.bytes} },
		`SELECT facility_code, sha256, bytes FROM iso_content`) {
		name := k.facility + "/isos/" + k.sha256 + ".iso"
		want[name] = k.bytes
		if got := c.hash(name, k.sha256); got != k.sha256 {
			c.t.Errorf("the content of %s has the SHA-256 %s", name, got)
		}
	}
	c.same("ISO file", c.files("*/isos/*"), want)
}

// hash is the SHA-256 of a file, named as by files; known is the answer for one
// that was read before and is the same still.
func (c *checker) hash(name, known string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, "facilities", filepath.FromSlash(name))
	now, err := os.Stat(path)
	if err != nil {
		return "" // its absence is reported with the files
	}
	if old := c.hashed[path]; old != nil && os.SameFile(old, now) && old.ModTime().Equal(now.ModTime()) && old.Size() == now.Size() {
		return known
	}
	got := hashFile(c.t, path)
	if got == known {
		c.hashed[path] = now
	}
	return got
}

func (c *checker) checkServices() {
	c.t.Helper()
	c.none("a data volume has no open service, or a service no volume", `
		SELECT 'volume ' || v.id FROM volume v LEFT JOIN service s ON s.volume_id = v.id AND s.status = 'active'
		WHERE v.type = 'DATADISK' AND s.id IS NULL
		UNION ALL SELECT 'service ' || s.id FROM service s LEFT JOIN volume v ON v.id = s.volume_id AND v.type = 'DATADISK'
		WHERE s.status = 'active' AND v.id IS NULL`)
	c.none("a volume and its service differ", `SELECT v.id FROM volume v JOIN service s ON s.volume_id = v.id AND s.status = 'active'
		WHERE v.bytes <> s.size_gib * 1073741824 OR v.monthly_cents <> s.monthly_cents OR v.product_id <> s.product_id
			OR v.client_id <> s.client_id OR v.facility_code <> s.facility_code OR v.created_at <> s.started_at`)
}

// checkFolder looks for what was left behind. The files of the facilities are
// compared elsewhere.
func (c *checker) checkFolder() {
	c.t.Helper()
	for _, left := range []string{"imports/*", "uploads/*.part", "facilities/*/tmp/*", "facilities/*/*/*/*"} {
		paths, err := filepath.Glob(filepath.Join(c.dir, filepath.FromSlash(left)))
		if err != nil {
			c.t.Fatal(err)
		}
		for _, p := range paths {
			c.t.Errorf("%s was left behind", p)
		}
	}
	known := map[string]bool{
		"lock": true, "drivebay.db": true, "drivebay.db-wal": true, "drivebay.db-shm": true,
		"demo.json": true, "node.id": true, "admin.key": true, "imports": true, "uploads": true, "facilities": true,
	}
	c.only(c.dir, known)
	facilities, err := os.ReadDir(filepath.Join(c.dir, "facilities"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range facilities {
		c.only(filepath.Join(c.dir, "facilities", f.Name()),
			map[string]bool{"lock": true, "storage.id": true, "tmp": true, "volumes": true, "isos": true, "vms": true})
	}
}

func (c *checker) only(dir string, known map[string]bool) {
	c.t.Helper()
	entries, err := fs.ReadDir(os.DirFS(dir), ".")
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range entries {
		if !known[e.Name()] {
			c.t.Errorf("%s was left behind", filepath.Join(dir, e.Name()))
		}
	}
}
