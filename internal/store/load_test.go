package store_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/archive"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/pgtest"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// seedRows makes a facility and a client.
func seedRows(t testing.TB, db *store.DB) {
	t.Helper()
	if _, err := db.VPS().PutFacility(context.Background(), vps.Facility{Code: "TPA1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Access().AddClient(context.Background(), access.Client{ID: 7}); err != nil {
		t.Fatal(err)
	}
}

func serviceOf(v volume.Volume) billing.Service {
	s, _ := billing.Open(billing.Opening{
		ClientID: v.ClientID, VolumeID: v.ID, At: v.CreatedAt,
		Price: billing.Price{FacilityCode: v.FacilityCode, SizeGiB: v.SizeGiB(), Monthly: v.Monthly, ProductID: v.ProductID},
	})
	return s
}

// empty fails the test unless the database has a schema at most.
func empty(t testing.TB, address string) {
	t.Helper()
	s, err := store.ReadSchema(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	if s.Have == 0 {
		return
	}
	db := rawDB(t, address)
	for _, name := range store.TableNames() {
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM ` + name).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s has %d rows, %v", name, n, err)
		}
	}
}

// edited is the file with its lines changed, and a checksum that fits.
func edited(t testing.TB, exported []byte, change func(line string) string) []byte {
	t.Helper()
	all := lines(t, exported)
	var text strings.Builder
	for _, l := range all[:len(all)-1] {
		if l = change(l); l != "" {
			text.WriteString(l + "\n")
		}
	}
	sum := sha256.Sum256([]byte(text.String()))
	last := all[len(all)-1]
	at := strings.Index(last, `"sha256":"`) + len(`"sha256":"`)
	text.WriteString(last[:at] + hex.EncodeToString(sum[:]) + `"}` + "\n")
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text.String()) // a Buffer takes everything
	_ = z.Close()
	return b.Bytes()
}

// replace changes each line that has a prefix.
func replace(prefix, old, with string) func(string) string {
	return func(l string) string {
		if strings.HasPrefix(l, prefix) {
			return strings.Replace(l, old, with, 1)
		}
		return l
	}
}

// TestImportRefuses gives damaged and foreign files to both engines. Nothing
// of them stays, and the right file can be imported afterwards.
func TestImportRefuses(t *testing.T) {
	from := withSchema(t)
	fill(t, from, rand.New(rand.NewPCG(7, 7)))
	file := export(t, from)
	flipped := func(at int) []byte {
		b := bytes.Clone(file)
		b[at] ^= 0x20
		return b
	}
	same := func(l string) string { return l }
	if got := edited(t, file, same); !bytes.Equal([]byte(strings.Join(lines(t, got), "\n")), []byte(strings.Join(lines(t, file), "\n"))) {
		t.Fatal("an edit that changes nothing changes something")
	}
	cases := map[string]struct {
		file []byte
		want string
	}{
		"empty":           {nil, "not a file that drivebay export has written"},
		"text":            {[]byte("hello\n"), "not a file that drivebay export has written"},
		"cut early":       {file[:100], "damaged"},
		"cut late":        {file[:len(file)-9], "damaged"},
		"cut":             {file[:len(file)/2], "damaged"},
		"cut once more":   {file[:len(file)*3/4], "damaged"},
		"flipped":         {flipped(len(file) / 2), "damaged"},
		"flipped later":   {flipped(len(file) * 3 / 4), "damaged"},
		"flipped at end":  {flipped(len(file) - 6), "damaged"},
		"newer format":    {edited(t, file, replace(`{"format"`, `"version":1`, `"version":2`)), "written by a newer drivebay"},
		"newer schema":    {edited(t, file, replace(`{"format"`, `"schema":`, `"schema":9`)), "use a newer program"},
		"older schema":    {edited(t, file, replace(`{"format"`, `"schema":`, `"schema":-`)), "import it with the program that wrote it"},
		"other tables":    {edited(t, file, replace(`{"format"`, `"name":"charge"`, `"name":"debit"`)), "does not have the tables"},
		"other column":    {edited(t, file, replace(`{"table":"price"`, `"size_gib"`, `"size_tib"`)), "other columns"},
		"other type":      {edited(t, file, replace(`{"table":"event"`, `"at":`, `"at":"x","at":`)), "other columns"},
		"number for bool": {edited(t, file, replace(`{"table":"iso"`, `"bios":true`, `"bios":1`)), "another type in column bios"},
		"no parents": {edited(t, file, func(l string) string {
			return replace(`{"table":"volume"`, `"client_id":`, `"client_id":-`)(l)
		}), "store volume"},
	}
	for engine, address := range engines(t) {
		t.Run(engine, func(t *testing.T) {
			for name, c := range cases {
				if name == "no parents" && engine == "SQLite" {
					c.want = "FOREIGN KEY" // found out at the end
				}
				_, err := store.Import(t.Context(), address, bytes.NewReader(c.file))
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v, want %q", name, err, c.want)
				}
				empty(t, address)
			}
			broken := errors.New("input/output error")
			if _, err := store.Import(t.Context(), address, io.MultiReader(bytes.NewReader(file[:len(file)/2]), failing{broken})); !errors.Is(err, broken) {
				t.Errorf("an unreadable file: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := store.Import(ctx, address, io.MultiReader(bytes.NewReader(file[:len(file)/2]), &cancels{cancel}, bytes.NewReader(file[len(file)/2:]))); !errors.Is(err, context.Canceled) {
				t.Errorf("interrupted: %v", err)
			}
			empty(t, address)
			load(t, address, file)
			if !bytes.Equal(export(t, address), file) {
				t.Error("what was imported in the end is not what was exported")
			}
			_, err := store.Import(t.Context(), address, bytes.NewReader(file))
			if err == nil || !strings.Contains(err.Error(), "the database is not empty: its table") {
				t.Errorf("a second import: %v", err)
			}
			if !bytes.Equal(export(t, address), file) {
				t.Error("a refused import changed something")
			}
		})
	}
}

type failing struct{ err error }

// Read is in io.Reader.
func (f failing) Read([]byte) (int, error) { return 0, f.err }

// cancels ends a context when it is read.
type cancels struct{ cancel func() }

// Read is in io.Reader.
func (c *cancels) Read([]byte) (int, error) {
	c.cancel()
	return 0, io.EOF
}

// TestImportOfDamage holds that the error says so.
func TestImportOfDamage(t *testing.T) {
	from, to := withSchema(t), newFile(t)
	fill(t, from, rand.New(rand.NewPCG(8, 8)))
	file := export(t, from)
	if _, err := store.Import(t.Context(), to, bytes.NewReader(file[:len(file)-20])); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("%v", err)
	}
}

// TestMigrateTogether starts several migrations and stores at once.
func TestMigrateTogether(t *testing.T) {
	address := pgtest.New(t)
	s, err := store.ReadSchema(t.Context(), address)
	if err != nil || s.Have != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	first := 0
	for i := range 8 {
		wg.Go(func() {
			if i%2 == 0 {
				db, err := store.Open(t.Context(), address, store.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				_ = db.Close()
				return
			}
			from, err := store.Migrate(t.Context(), address)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if from == 0 {
				first++
			}
		})
	}
	wg.Wait()
	if first > 1 {
		t.Errorf("%d of them found no schema", first)
	}
	if s, err := store.ReadSchema(t.Context(), address); err != nil || !s.Current() || s.Have != s.Want {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := rawDB(t, address).Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, TRUE)`); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Migrate(t.Context(), address); err == nil || !strings.Contains(err.Error(), "schema version 9999, newer than") {
		t.Errorf("a newer schema: %v", err)
	}
}
