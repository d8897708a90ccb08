package archive_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/internal/archive"
)

var columns = []string{"a", "b", "c"}

// written is a file with the given rows of table "one", and one of "two".
func written(t testing.TB, rows ...[]any) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, archive.Header{
		Schema: 5, Time: time.Date(2026, 11, 25, 16, 0, 0, 0, time.UTC),
		Tables: []archive.Table{{Name: "one", Rows: int64(len(rows)), Last: 9}, {Name: "none"}, {Name: "two", Rows: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := w.Row("one", columns, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Row("two", columns[:1], []any{true}), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// all reads a file to its end.
func all(file []byte) (rows [][]any, err error) {
	r, err := archive.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	for {
		row, err := r.Next()
		if err != nil {
			if _, again := r.Next(); again != err {
				return rows, fmt.Errorf("%w, and then %w", err, again)
			}
			if err == io.EOF {
				err = nil
			}
			return rows, err
		}
		rows = append(rows, append([]any{row.Table, strings.Join(row.Columns, " ")}, row.Values...))
	}
}

func TestRoundTrip(t *testing.T) {
	file := written(t,
		[]any{nil, int64(math.MaxInt64), int64(math.MinInt64)},
		[]any{"", "größe \"\\\n\u2028<&>", strings.Repeat("x", 200_000)},
		[]any{[]byte{}, []byte{0, 255, 254}, []byte(nil)},
		[]any{"a\x00b", "\xff", false},
	)
	got, err := all(file)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]any{
		{"one", "a b c", nil, int64(math.MaxInt64), int64(math.MinInt64)},
		{"one", "a b c", "", "größe \"\\\n\u2028<&>", strings.Repeat("x", 200_000)},
		{"one", "a b c", "", "AP/+", ""},
		{"one", "a b c", "a\ufffdb", "\ufffd", false},
		{"two", "a", true},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	r, err := archive.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if h := r.Header(); h.Schema != 5 || h.Rows() != 5 || h.Tables[0].Last != 9 || h.Version != archive.Version {
		t.Errorf("header %+v", h)
	}
	if !bytes.Equal(file, written(t, want[0][2:], want[1][2:], want[2][2:], want[3][2:])) {
		t.Error("the same rows are other bytes")
	}
}

func TestWriterHoldsToItsHeader(t *testing.T) {
	w, err := archive.NewWriter(io.Discard, archive.Header{Tables: []archive.Table{{Name: "one", Rows: 1}, {Name: "two"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("a row is missing, and the file was closed")
	}
	if err := w.Row("two", nil, nil); err != nil {
		t.Error(err)
	}
	if err := w.Row("one", nil, nil); err == nil {
		t.Error("a table came too late")
	}
	if _, err := archive.NewWriter(io.Discard, archive.Header{Tables: []archive.Table{{Name: "one"}, {Name: "one"}}}); err == nil {
		t.Error("a table is there twice")
	}
}

// TestDamaged cuts the file everywhere, flips each bit of it, and adds to it.
func TestDamaged(t *testing.T) {
	file := written(t, []any{int64(1), "b", nil}, []any{int64(2), strings.Repeat("long ", 50), false})
	for n := range file {
		if _, err := all(file[:n]); !errors.Is(err, archive.ErrDamaged) && !errors.Is(err, archive.ErrForeign) {
			t.Fatalf("cut at %d of %d: %v", n, len(file), err)
		}
	}
	want, err := all(file)
	if err != nil {
		t.Fatal(err)
	}
	silent := 0
	for i := range len(file) * 8 {
		bad := bytes.Clone(file)
		bad[i/8] ^= 1 << (i % 8)
		got, err := all(bad)
		switch {
		case err == nil: // a bit that says nothing, such as gzip's time
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("bit %d of byte %d: %s", i%8, i/8, d)
			}
			silent++
		case !errors.Is(err, archive.ErrDamaged) && !errors.Is(err, archive.ErrForeign) && !errors.Is(err, archive.ErrNewer):
			t.Errorf("bit %d of byte %d of %d: %v", i%8, i/8, len(file), err)
		}
	}
	if silent > 80 {
		t.Errorf("%d bits say nothing", silent)
	}
	for _, more := range [][]byte{{0}, []byte("x"), file} {
		if _, err := all(append(bytes.Clone(file), more...)); !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("%d bytes behind the end: %v", len(more), err)
		}
	}
}

// packed packs lines as an export does.
func packed(lines string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, lines) // a Buffer takes everything
	_ = z.Close()
	return b.Bytes()
}

// sealed packs lines behind the header and puts the trailer that belongs to
// them behind them.
func sealed(header, lines, counts string) []byte {
	sum := sha256.Sum256([]byte(header + lines))
	return packed(header + lines + `{"tables":` + counts + `,"sha256":"` + hex.EncodeToString(sum[:]) + `"}` + "\n")
}

const (
	header = `{"format":"drivebay","version":1,"schema":5,"time":"2026-11-25T16:00:00Z","tables":[{"name":"a","rows":1},{"name":"b","rows":1}]}` + "\n"
	counts = `[{"name":"a","rows":1},{"name":"b","rows":1}]`
	rowA   = `{"table":"a","row":{"x":1}}` + "\n"
	rowB   = `{"table":"b","row":{"y":null,"z":"1"}}` + "\n"
)

// TestAltered has files whose checksum is right.
func TestAltered(t *testing.T) {
	if got, err := all(sealed(header, rowA+rowB, counts)); err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	for name, c := range map[string]struct {
		file []byte
		want error
		text string
	}{
		"empty":           {nil, archive.ErrForeign, ""},
		"not packed":      {[]byte(header), archive.ErrForeign, ""},
		"other JSON":      {packed("{}\n"), archive.ErrForeign, ""},
		"other text":      {packed("hello\n"), archive.ErrForeign, ""},
		"no line":         {packed("hello"), archive.ErrDamaged, "line 1"},
		"newer format":    {sealed(strings.Replace(header, `"version":1`, `"version":2`, 1), "", counts), archive.ErrNewer, "its format is 2, and this program knows 1"},
		"format 0":        {sealed(strings.Replace(header, `"version":1`, `"version":0`, 1), "", counts), archive.ErrDamaged, ""},
		"table twice":     {sealed(strings.Replace(header, `"b"`, `"a"`, 1), rowA, counts), archive.ErrDamaged, ""},
		"header alone":    {packed(header), archive.ErrDamaged, "line 2"},
		"no trailer":      {packed(header + rowA + rowB), archive.ErrDamaged, "line 4"},
		"row missing":     {sealed(header, rowA, counts), archive.ErrDamaged, "not as many"},
		"row too much":    {sealed(header, rowA+rowA+rowB, counts), archive.ErrDamaged, "not as many"},
		"counts of its":   {sealed(header, rowA, `[{"name":"a","rows":1},{"name":"b","rows":0}]`), archive.ErrDamaged, "not as many"},
		"other order":     {sealed(header, rowB+rowA, counts), archive.ErrDamaged, "line 3"},
		"unknown table":   {sealed(header, rowA+strings.Replace(rowB, `"b"`, `"c"`, 1), counts), archive.ErrDamaged, "table c"},
		"two trailers":    {packed(header + rowA + rowB + "{}\n"), archive.ErrDamaged, "checksum"},
		"other trailer":   {packed(header + rowA + rowB + `{"x":1}` + "\n"), archive.ErrDamaged, "neither a row nor the end"},
		"space in a row":  {sealed(header, strings.Replace(rowA, ":1", ": 1", 1)+rowB, counts), archive.ErrDamaged, "line 2"},
		"column twice":    {sealed(header, rowA+`{"table":"b","row":{"y":null,"y":"1"}`+"\n", counts), archive.ErrDamaged, "line 3"},
		"fraction":        {sealed(header, strings.Replace(rowA, ":1", ":1.5", 1)+rowB, counts), archive.ErrDamaged, "line 2"},
		"large number":    {sealed(header, strings.Replace(rowA, ":1", ":9223372036854775808", 1)+rowB, counts), archive.ErrDamaged, "line 2"},
		"list":            {sealed(header, strings.Replace(rowA, ":1", ":[1]", 1)+rowB, counts), archive.ErrDamaged, "line 2"},
		"not a row":       {sealed(header, `{"table":"a"}`+"\n"+rowB, counts), archive.ErrDamaged, "line 2"},
		"more in the row": {sealed(header, strings.Replace(rowA, "}}", `},"more":1}`, 1)+rowB, counts), archive.ErrDamaged, "line 2"},
	} {
		if _, err := all(c.file); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnreadable passes on what the disk says: the file may be whole.
func TestUnreadable(t *testing.T) {
	broken := errors.New("input/output error")
	file := written(t, []any{int64(1), "b", nil})
	r, err := archive.NewReader(io.MultiReader(bytes.NewReader(file[:len(file)/2]), failing{broken}))
	for err == nil {
		_, err = r.Next()
	}
	if !errors.Is(err, broken) || errors.Is(err, archive.ErrDamaged) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

// Read is in io.Reader.
func (f failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzReader reads lines behind a header, with the checksum that belongs to
// them, and the same bytes as a file. What it takes is what Writer writes.
func FuzzReader(f *testing.F) {
	f.Add([]byte(rowA + rowB))
	f.Add([]byte(rowA + `{"table":"b","row":{"b":"AP/+","n":-9223372036854775808,"t":"\u0001\"\\ü","x":true}}` + "\n"))
	f.Add(written(f, []any{int64(1), "b", nil}))
	f.Add(packed(header + rowA + rowB))
	f.Fuzz(func(t *testing.T, lines []byte) {
		_, _ = all(lines)
		file := sealed(header, string(lines), counts)
		r, err := archive.NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err) // the header is right
		}
		var again bytes.Buffer
		w, err := archive.NewWriter(&again, r.Header())
		if err != nil {
			t.Fatal(err)
		}
		row, err := r.Next()
		for ; err == nil; row, err = r.Next() {
			if err := w.Row(row.Table, row.Columns, row.Values); err != nil {
				t.Fatal(err)
			}
		}
		if err != io.EOF {
			return
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(&again)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(z)
		if err != nil || !bytes.HasPrefix(b, append([]byte(header), lines...)) {
			t.Errorf("%q was taken and is written as %q, %v", lines, b, err)
		}
	})
}
