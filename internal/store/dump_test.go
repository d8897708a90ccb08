package store_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // looks into PostgreSQL

	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/pgtest"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/store/storetest"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/worldtest"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func newFile(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") }

// withSchema is a database without rows.
func withSchema(t testing.TB) string { return "sqlite:" + storetest.File(t) }

func export(t testing.TB, address string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := store.Export(context.Background(), address, &b, noon); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func load(t testing.TB, address string, exported []byte) {
	t.Helper()
	if _, err := store.Import(context.Background(), address, bytes.NewReader(exported)); err != nil {
		t.Fatal(err)
	}
}

// lines unpacks an exported file.
func lines(t testing.TB, exported []byte) []string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(exported))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// rawDB looks into a database past the store.
func rawDB(t testing.TB, address string) *sql.DB {
	t.Helper()
	driver, name := "pgx", address
	if !store.IsPostgres(address) {
		driver, name = "sqlite", "file:"+strings.TrimPrefix(address, "sqlite:")+"?_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestExportRoundTrip takes random rows of every table from SQLite to
// PostgreSQL and back: all three files are the same to the byte, and numbers
// are not handed out twice.
func TestExportRoundTrip(t *testing.T) {
	pgtest.Need(t)
	for range testneed.Rounds(1, 3) {
		seed := rand.Uint64()
		first := withSchema(t)
		fill(t, first, rand.New(rand.NewPCG(seed, 0)))
		exported := export(t, first)
		second, third := pgtest.New(t), newFile(t)
		load(t, second, exported)
		again := export(t, second)
		load(t, third, again)
		if back := export(t, third); !bytes.Equal(exported, again) || !bytes.Equal(exported, back) {
			t.Fatalf("seed %d: %s", seed, firstOther(t, exported, again, back))
		}
		for _, address := range []string{second, third} {
			numbersGoOn(t, address)
		}
	}
}

// firstOther names the first line in which files differ.
func firstOther(t testing.TB, files ...[]byte) string {
	first := lines(t, files[0])
	for _, f := range files[1:] {
		for i, l := range lines(t, f) {
			if i >= len(first) || l != first[i] {
				return l + "\n is not\n" + first[min(i, len(first)-1)]
			}
		}
	}
	return "only the packing differs"
}

// numbersGoOn adds an event, of which the highest was deleted, and a facility.
func numbersGoOn(t *testing.T, address string) {
	t.Helper()
	db := rawDB(t, address)
	var most, next, facility int64
	err := errors.Join(
		db.QueryRow(`INSERT INTO event (id, at, client_id, type, level, state, text) VALUES ('e', 1, 1, 't', 'l', 's', '') RETURNING seq`).Scan(&next),
		db.QueryRow(`SELECT max(id) FROM facility`).Scan(&most),
		db.QueryRow(`INSERT INTO facility (code, title, city, state, country) VALUES ('NEW', '', '', '', '') RETURNING id`).Scan(&facility),
	)
	if err != nil || next != deleted+1 || facility != most+1 {
		t.Errorf("%s: the next event has number %d, want %d; the next facility has %d behind %d, %v", address, next, deleted+1, facility, most, err)
	}
	if _, err := db.Exec(`UPDATE charge SET amount_cents = 0`); err == nil {
		t.Errorf("%s: the ledger can be changed", address)
	}
}

// deleted is the number of an event that has been deleted.
const deleted = 1 << 60

// fill writes random rows to every table of the schema, whatever is in it.
// Rows that the schema refuses are left out.
func fill(t testing.TB, address string, r *rand.Rand) {
	t.Helper()
	if _, err := store.Migrate(context.Background(), address); err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, address)
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`PRAGMA synchronous = OFF`); err != nil { // each row is a commit
		t.Fatal(err)
	}
	for _, table := range store.TableNames() {
		f := &filler{r: r, db: db, table: table}
		f.read(t)
		for range 40 {
			f.insert(t)
		}
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil || n == 0 {
			t.Fatalf("the schema takes no random row of %s (%v): teach value what it wants", table, err)
		}
	}
	for _, s := range []string{
		`UPDATE client SET parent_id = (SELECT max(id) FROM client) WHERE id = (SELECT min(id) FROM client)`,
		`INSERT INTO event (seq, id, at, client_id, type, level, state, text) VALUES (1 << 60, 'e', 1, 1, 't', 'l', 's', '')`,
		`DELETE FROM event WHERE seq = 1 << 60`,
	} {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// filler writes random rows to one table.
type filler struct {
	r       *rand.Rand
	db      *sql.DB
	table   string
	columns []string
	types   map[string]string
	bools   []string
	refs    map[string]string // column -> a query of what it may be
	need    map[string]bool   // columns that take no NULL
}

func (f *filler) read(t testing.TB) {
	t.Helper()
	f.types, f.refs, f.need, f.bools = map[string]string{}, map[string]string{}, map[string]bool{}, store.Booleans(f.table)
	rows, err := f.db.Query(`SELECT i.name, i.type, i."notnull", coalesce(k."table", ''), coalesce(k."to", '')
		FROM pragma_table_info($1) i LEFT JOIN pragma_foreign_key_list($1) k ON k."from" = i.name`, f.table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, typ, table, to string
		var need bool
		if err := rows.Scan(&name, &typ, &need, &table, &to); err != nil {
			t.Fatal(err)
		}
		f.columns, f.types[name], f.need[name] = append(f.columns, name), typ, need
		if table != "" {
			f.refs[name] = `SELECT "` + to + `" FROM "` + table + `" ORDER BY random() LIMIT 1`
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

func (f *filler) insert(t testing.TB) {
	t.Helper()
	var values []any
	var marks []string
	for i, c := range f.columns {
		values, marks = append(values, f.value(t, c)), append(marks, fmt.Sprint("$", i+1))
	}
	query := fmt.Sprintf(`INSERT OR IGNORE INTO %s ("%s") VALUES (%s)`, f.table, strings.Join(f.columns, `", "`), strings.Join(marks, ", "))
	if _, err := f.db.Exec(query, values...); err != nil {
		t.Fatalf("%s %v: %v", query, values, err)
	}
}

var texts = []string{"", "a", "B", "größe", "z\u0301", "日本", "😀", `"quoted" \ / <&>`, "line\nfeed\ttab\u2028\u0001", "running", "ready", "active", "%s ${x} 'x'"}

func (f *filler) value(t testing.TB, column string) any {
	t.Helper()
	if !f.need[column] && f.r.IntN(4) == 0 {
		return nil
	}
	if query := f.refs[column]; query != "" {
		var v any
		if err := f.db.QueryRow(query).Scan(&v); err != nil && !errors.Is(err, sql.ErrNoRows) {
			t.Fatal(err)
		}
		return v
	}
	switch f.types[column] {
	case "INTEGER":
		for _, b := range f.bools {
			if b == column {
				return f.r.IntN(2)
			}
		}
		return [...]int64{f.r.Int64N(1000), 1 << 53, 1<<53 + 1, 9_007_199_254_740_993, f.r.Int64N(3_000_000_000) + 1}[f.r.IntN(5)]
	case "BLOB":
		b := make([]byte, f.r.IntN(40))
		for i := range b {
			b[i] = byte(f.r.Uint32())
		}
		return b
	}
	text := texts[f.r.IntN(len(texts))] + texts[f.r.IntN(len(texts))]
	if column == "args" { // JSON
		b, err := json.Marshal(map[string]any{text: text, "n": 1})
		if err != nil {
			t.Fatal(err)
		}
		return "  " + string(b) // kept as it is
	}
	return text
}

// TestExportRunningTask takes a world in the middle of its work to another
// database: what ran is ready there, and the run of before is fenced off.
func TestExportRunningTask(t *testing.T) {
	w := worldtest.New(t, worldtest.Options{})
	runs, dying := make(chan struct{}, 1), w.Dying()
	w.Drivers["TPA1"].On("EnsureVolume").Before(func(fake.Call) error {
		runs <- struct{}{}
		<-dying
		return nil
	})
	running, err := w.Volumes.Create(t.Context(), everyone, 1001, 50)
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := w.Volumes.Create(t.Context(), everyone, 1001, 100)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-runs:
	case <-time.After(worldtest.Patience):
		t.Fatal("the first task does not run")
	}
	exported := export(t, w.Database())
	for name, address := range engines(t) {
		t.Run(name, func(t *testing.T) {
			load(t, address, exported)
			db, err := store.Open(t.Context(), address, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			checkGivenBack(t, db, running.ID, waiting.ID)
		})
	}
}

// engines are new databases, one of each engine that is there.
func engines(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"SQLite": newFile(t)}
	if !testing.Short() {
		all["PostgreSQL"] = pgtest.New(t)
	}
	return all
}

func checkGivenBack(t *testing.T, db *store.DB, running, waiting string) {
	t.Helper()
	ctx := t.Context()
	got, err := db.Tasks().Get(ctx, everyone, running)
	if err != nil || got.State != task.Ready || got.Attempt != 1 {
		t.Fatalf("the task that ran is %+v, %v", got, err)
	}
	if got, err := db.Tasks().Get(ctx, everyone, waiting); err != nil || got.State != task.Waiting {
		t.Fatalf("the task behind it is %+v, %v", got, err)
	}
	claimed, err := db.Tasks().Claim(ctx, task.Quick, "other/1", time.Minute, 10)
	if err != nil || len(claimed) != 1 || claimed[0].ID != running || claimed[0].Attempt != 2 {
		t.Fatalf("claimed %+v, %v", claimed, err)
	}
	if err := db.Tasks().Finish(ctx, task.Lease{TaskID: running, Owner: "one/1", Attempt: 1}, task.Outcome{}); !errors.Is(err, task.ErrLeaseLost) {
		t.Errorf("the run of before can still write: %v", err)
	}
	if err := db.Tasks().Finish(ctx, task.Lease{TaskID: running, Owner: "other/1", Attempt: 2}, task.Outcome{}); err != nil {
		t.Error(err)
	}
	if got, err := db.Tasks().Get(ctx, everyone, waiting); err != nil || got.State != task.Ready {
		t.Errorf("then the task behind it is %+v, %v", got, err)
	}
}

// TestExportWhileWriting holds that the file is of one moment: each volume has
// its attachment and its service.
func TestExportWhileWriting(t *testing.T) {
	for name, address := range engines(t) {
		t.Run(name, func(t *testing.T) {
			db, err := store.Open(t.Context(), address, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			seedRows(t, db)
			ctx, stop := context.WithCancel(t.Context())
			stopped := make(chan error)
			begun := make(chan struct{})
			go func() {
				for i := 0; ; i++ {
					if err := pair(ctx, db, i); err != nil || ctx.Err() != nil {
						stopped <- err
						return
					}
					if i == 3 {
						close(begun)
					}
				}
			}()
			<-begun
			for range 5 {
				counts := countRows(t, export(t, address))
				if counts["volume"] < 3 || counts["volume"] != counts["service"] {
					t.Errorf("the file has %v", counts)
				}
			}
			stop()
			if err := <-stopped; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// pair writes a volume and its service in one transaction.
func pair(ctx context.Context, db *store.DB, i int) error {
	v := volume.Volume{
		ID: fmt.Sprintf("v%06d", i), ClientID: 7, FacilityCode: "TPA1", Type: volume.DataDisk, State: volume.Detached,
		Bytes: 50 * volume.GiB, ProductID: 1050, Monthly: 500, CreatedAt: noon,
	}
	return db.Volumes().Tx(ctx, func(tx volume.Tx) error {
		if err := tx.PutVolume(ctx, v); err != nil {
			return err
		}
		_, err := tx.PutService(ctx, serviceOf(v))
		return err
	})
}

// countRows counts the rows of each table in a file.
func countRows(t testing.TB, exported []byte) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, l := range lines(t, exported) {
		var row struct{ Table string }
		if err := json.Unmarshal([]byte(l), &row); err != nil {
			t.Fatal(err)
		}
		counts[row.Table]++
	}
	return counts
}

// TestExportRefuses has nothing to export.
func TestExportRefuses(t *testing.T) {
	none, newer := newFile(t), withSchema(t)
	fill(t, newer, rand.New(rand.NewPCG(1, 1)))
	if _, err := rawDB(t, newer).Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`); err != nil {
		t.Fatal(err)
	}
	older := withSchema(t)
	fill(t, older, rand.New(rand.NewPCG(1, 1)))
	if _, err := rawDB(t, older).Exec(`DELETE FROM goose_db_version WHERE version_id > 1`); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{none: "no database yet", newer: "newer than", older: "drivebay migrate up"} {
		var b bytes.Buffer
		if _, err := store.Export(t.Context(), address, &b, noon); err == nil || !strings.Contains(err.Error(), want) || b.Len() > 0 {
			t.Errorf("%s: %v, and %d bytes", want, err, b.Len())
		}
	}
	if s, err := store.ReadSchema(t.Context(), none); err != nil || s.Have != 0 || s.Want == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if found, _ := filepath.Glob(strings.TrimPrefix(none, "sqlite:") + "*"); len(found) > 0 {
		t.Errorf("looking made %v", found)
	}
}
