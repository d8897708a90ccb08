// Package archive is the file that an export writes and an import reads: the
// rows of a database, whatever its engine. It knows no table and no SQL.
//
// The file is gzip'd lines of JSON:
//
//	{"format":"drivebay","version":1,"schema":5,"time":"2026-11-25T16:00:00Z","tables":[{"name":"client","rows":2},{"name":"task","rows":1,"last":12}]}
//	{"table":"client","row":{"created_at":1764086400000000,"id":7,"name":"Example","parent_id":null}}
//	...
//	{"tables":[{"name":"client","rows":2},{"name":"task","rows":1}],"sha256":"..."}
//
// The header names the tables in their order in the file, their rows, and the
// last number handed out where the database numbers the rows and never uses a
// number again. A row is NULL, a boolean, a whole number of 64 bits, or text;
// bytes are text in base64. The trailer counts once more and has the SHA-256
// of all bytes before it. The same rows are always the same bytes: a line that
// Writer would have written otherwise is not accepted.
package archive

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-faster/jx"
)

// Version is that of the format written here, and the newest one read.
const Version = 1

// format marks the first line of every file.
const format = "drivebay"

// Bounds of what is read, far above anything that is written.
const (
	maxLine   = 64 << 20 // bytes
	maxTables = 1000
)

// Header is the first line.
type Header struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Schema  int64     `json:"schema"` // version of the database's schema
	Time    time.Time `json:"time"`   // of the state the rows are of
	Tables  []Table   `json:"tables"`
}

// Table is what the header and the trailer tell of a table.
type Table struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
	// Last is the last number handed out; 0 where numbers are not kept track
	// of. Only the header has it.
	Last int64 `json:"last,omitempty"`
}

// trailer is the last line.
type trailer struct {
	Tables []Table `json:"tables"`
	SHA256 string  `json:"sha256"`
}

// Rows is how many rows all tables have together.
func (h Header) Rows() (n int64) {
	for _, t := range h.Tables {
		n += t.Rows
	}
	return n
}

// The ways in which a file is refused.
var (
	ErrForeign = errors.New("this is not a file that drivebay export has written, or its beginning is damaged")
	ErrNewer   = errors.New("the file was written by a newer drivebay")
	// ErrDamaged is a file that is not whole, or not as it was written.
	ErrDamaged = errors.New("the file is damaged or not whole")
)

func damaged(text string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(text, args...))
}

// check says whether h can be read here.
func (h Header) check() error {
	switch {
	case h.Format != format:
		return ErrForeign
	case h.Version > Version:
		return fmt.Errorf("%w: its format is %d, and this program knows %d", ErrNewer, h.Version, Version)
	case h.Version < 1 || len(h.Tables) > maxTables:
		return damaged("line 1 is no header")
	}
	seen := map[string]bool{}
	for _, t := range h.Tables {
		if t.Name == "" || seen[t.Name] || t.Rows < 0 || t.Last < 0 {
			return damaged("line 1 is no header")
		}
		seen[t.Name] = true
	}
	return nil
}

// encodeRow appends the line of a row, without its end. Values are nil, bool,
// int64, string or []byte.
func encodeRow(e *jx.Writer, table string, columns []string, values []any) error {
	e.RawStr(`{"table":`)
	e.Str(table)
	e.RawStr(`,"row":{`)
	for i, c := range columns {
		if i > 0 {
			e.RawStr(",")
		}
		e.Str(c)
		e.RawStr(":")
		switch v := values[i].(type) {
		case nil:
			e.Null()
		case bool:
			e.Bool(v)
		case int64:
			e.Int64(v)
		case string:
			e.Str(plain(v))
		case []byte:
			if len(v) == 0 {
				v = []byte{} // nil would be NULL
			}
			e.Base64(v)
		default:
			return fmt.Errorf("table %s: column %s has a %T, which the file cannot hold", table, c, v)
		}
	}
	e.RawStr("}}")
	return nil
}

// plain is text that every engine takes: what is not UTF-8, or a NUL, is
// replaced as it is where the API shows it.
func plain(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// sameCounts reports whether both tell of the same rows.
func sameCounts(a, b []Table) bool {
	return slices.EqualFunc(a, b, func(a, b Table) bool { return a.Name == b.Name && a.Rows == b.Rows })
}
