package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// show prints rows below their columns, or with --output json what the server
// sent, so that nothing it adds is lost.
func (s *shell) show(raw []byte, columns []string, rows [][]string) error {
	var b bytes.Buffer
	if s.format == formatJSON {
		if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
			return fmt.Errorf("print JSON: %w", err)
		}
		b.WriteByte('\n')
	} else {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{columns}, rows...) {
			for i, cell := range row {
				if cell = clean(cell); cell == "" {
					cell = "-"
				}
				if i > 0 {
					cell = "\t" + cell
				}
				_, _ = io.WriteString(w, cell) // a Buffer takes everything
			}
			_, _ = io.WriteString(w, "\n")
		}
		_ = w.Flush()
	}
	if _, err := s.out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// line prints one value alone, for scripts.
func (s *shell) line(value string) error {
	if _, err := io.WriteString(s.out, clean(value)+"\n"); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// say tells a person something that is not data. With --output json standard
// error is for an error in JSON alone.
func (s *shell) say(format string, args ...any) {
	if s.format == formatJSON {
		return
	}
	fmt.Fprintln(s.err, clean(fmt.Sprintf(format, args...)))
}

// table turns values into rows.
func table[T any](list []T, row func(T) []string) [][]string {
	rows := make([][]string, len(list))
	for i, v := range list {
		rows[i] = row(v)
	}
	return rows
}

func number[T ~int | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

func optNumber(n *int64) string {
	if n == nil {
		return ""
	}
	return number(*n)
}

func optText(v *string) string {
	if v == nil {
		return ""
	}
	return *v
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func optDate(t *time.Time) string {
	if t == nil {
		return ""
	}
	return date(*t)
}

func money(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

func words[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return strings.Join(out, ",")
}

// given returns a pointer to v if it is not its type's zero value, for fields
// that are left out of a request otherwise.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// only takes the single entry out of a list in JSON.
func only(list []byte) ([]byte, error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(list, &entries); err != nil || len(entries) != 1 {
		return nil, failed(Failed, "bad_answer", "The server's list does not have one entry.")
	}
	return entries[0], nil
}
