package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/rivo/uniseg"
	"github.com/spf13/cobra"
)

// The values of --output. The last one is followed by names of columns.
const (
	formatTable   = "table"
	formatJSON    = "json"
	formatYAML    = "yaml"
	formatColumns = "columns="
)

func (s *shell) outputFlag(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVarP(&s.format, "output", "o", formatTable, "table, json, yaml, or columns=NAME,... to choose columns")
	f.BoolVar(&s.noHeader, "no-header", false, "print tables without their first line")
	complete(cmd, "output", func(cmd *cobra.Command, typed string) []string {
		out := []string{formatTable, formatJSON, formatYAML}
		before, _, more := strings.Cut(typed, formatColumns)
		if !more || before != "" {
			return append(out, formatColumns)
		}
		out = out[:0]
		for _, name := range columnsOf(cmd) {
			out = append(out, typed[:strings.LastIndexAny(typed, "=,")+1]+name)
		}
		return out
	})
}

// readFormat looks at --output before anything is done.
func (s *shell) readFormat(cmd *cobra.Command) error {
	names, choose := strings.CutPrefix(s.format, formatColumns)
	switch {
	case choose:
		known := columnsOf(cmd)
		if len(known) == 0 {
			return fmt.Errorf("%s has no columns to choose from", cmd.CommandPath())
		}
		s.chosen = strings.Split(strings.ToLower(names), ",")
		for _, name := range s.chosen {
			if !slices.Contains(known, name) {
				return fmt.Errorf("%s has no column %q, but %s", cmd.CommandPath(), name, strings.Join(known, ", "))
			}
		}
	case s.format != "" && s.format != formatTable && s.format != formatJSON && s.format != formatYAML:
		return fmt.Errorf("--output is table, json, yaml or columns=NAME,..., not %q", s.format)
	}
	return nil
}

// structured reports whether the output is the server's answer, and no table.
func (s *shell) structured() bool { return s.format == formatJSON || s.format == formatYAML }

// columnsNote is the annotation of a command that has its columns.
const columnsNote = "columns"

// offers notes which columns a command prints.
func offers(cmd *cobra.Command, names []string) *cobra.Command {
	note(cmd, columnsNote, strings.Join(names, ","))
	return cmd
}

func note(cmd *cobra.Command, name, value string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[name] = value
}

// The annotations of commands that print their task with --no-wait, and a quote
// with --dry-run.
const (
	taskNote  = "task"
	quoteNote = "quote"
)

// columnsOf are the columns that cmd prints.
func columnsOf(cmd *cobra.Command) []string {
	given := func(note, flag string) bool {
		f := cmd.Flags().Lookup(flag)
		return f != nil && f.Value.String() == "true" && cmd.Annotations[note] != ""
	}
	switch {
	case given(quoteNote, "dry-run"):
		return quoteColumns.names()
	case given(taskNote, "no-wait"):
		return taskColumns.names()
	}
	if names := cmd.Annotations[columnsNote]; names != "" {
		return strings.Split(names, ",")
	}
	return nil
}

// column is one fact of a T.
type column[T any] struct {
	head string
	cell func(T) string
	more bool // in a list only if it is asked for
	flex bool // may be cut to fit a terminal
}

type columns[T any] []column[T]

// names are what the columns are called in --output columns=.
func (c columns[T]) names() []string {
	out := make([]string, len(c))
	for i := range c {
		out[i] = columnName(c[i].head)
	}
	return out
}

func columnName(head string) string { return strings.ReplaceAll(strings.ToLower(head), " ", "-") }

// list prints values as a table, or as raw, which is what the server sent.
func (c columns[T]) list(s *shell, raw []byte, values ...T) error {
	g := grid{}
	for _, col := range c {
		g.heads, g.more, g.flex = append(g.heads, col.head), append(g.more, col.more), append(g.flex, col.flex)
	}
	for _, v := range values {
		row := make([]string, len(c))
		for i, col := range c {
			row[i] = col.cell(v)
		}
		g.rows = append(g.rows, row)
	}
	return s.show(raw, g)
}

// one prints all there is to say of a value, a line for each column.
func (c columns[T]) one(s *shell, raw []byte, v T) error {
	if s.structured() || s.chosen != nil {
		return c.list(s, raw, v)
	}
	g := grid{heads: []string{"", ""}}
	for _, col := range c {
		g.rows = append(g.rows, []string{label(col.head) + ":", col.cell(v)})
	}
	return s.put(g.lines(0, false))
}

// asWritten are words that keep their form.
var asWritten = map[string]string{"GIB": "GiB", "ISO": "ISO", "URL": "URL", "BIOS": "BIOS", "UEFI": "UEFI", "SHA256": "SHA256", "VCPU": "vCPU", "MB": "MB"}

// label is a column's head in front of a value.
func label(head string) string {
	list := strings.Fields(head)
	for i, word := range list {
		switch {
		case asWritten[word] != "":
			list[i] = asWritten[word]
		case i == 0:
			list[i] = word[:1] + strings.ToLower(word[1:])
		default:
			list[i] = strings.ToLower(word)
		}
	}
	return strings.Join(list, " ")
}

// grid is a table to print.
type grid struct {
	heads []string
	more  []bool // columns in a list only if asked for; nil for none
	flex  []bool // columns that may be cut; nil for none
	rows  [][]string
}

// names are what the columns are called in --output columns=.
func (g grid) names() []string {
	out := make([]string, len(g.heads))
	for i, head := range g.heads {
		out[i] = columnName(head)
	}
	return out
}

// choose returns the columns of these names, in this order.
func (g grid) choose(names []string) grid {
	var out grid
	out.rows = make([][]string, len(g.rows))
	for _, name := range names {
		i := slices.IndexFunc(g.heads, func(h string) bool { return columnName(h) == name })
		if i < 0 {
			continue // readFormat knows the command's columns
		}
		out.heads = append(out.heads, g.heads[i])
		for r, row := range g.rows {
			out.rows[r] = append(out.rows[r], row[i])
		}
	}
	return out
}

// usual returns the columns that are shown unless others are asked for.
func (g grid) usual() grid {
	out := grid{rows: make([][]string, len(g.rows))}
	for i, head := range g.heads {
		if g.more != nil && g.more[i] {
			continue
		}
		out.heads, out.flex = append(out.heads, head), append(out.flex, g.flex != nil && g.flex[i])
		for r, row := range g.rows {
			out.rows[r] = append(out.rows[r], row[i])
		}
	}
	return out
}

const (
	gap      = "  "
	shortest = 8 // columns that a cut cell keeps
)

// lines lays the table out. Where width is not 0, the longest cells of columns
// that may be cut are cut until it fits, if it can.
func (g grid) lines(width int, heads bool) string {
	all := [][]string{}
	if heads {
		all = append(all, g.heads)
	}
	widths := make([]int, len(g.heads))
	for _, row := range g.rows {
		clean := cleanRow(row)
		all = append(all, clean)
	}
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], uniseg.StringWidth(cell))
		}
	}
	if width > 0 {
		g.squeeze(widths, width)
	}
	var b strings.Builder
	for _, row := range all {
		line := ""
		for i, cell := range row {
			cell = cut(cell, widths[i])
			if i < len(row)-1 {
				cell += strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell)) + gap
			}
			line += cell
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// squeeze takes columns off the widest flexible cells.
func (g grid) squeeze(widths []int, width int) {
	total := len(gap) * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; total > width; total-- {
		widest := -1
		for i, w := range widths {
			if g.flex != nil && g.flex[i] && w > shortest && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

// cut shortens a cell to width columns.
func cut(cell string, width int) string {
	if uniseg.StringWidth(cell) <= width {
		return cell
	}
	out, used := "", 0
	for rest, state := cell, -1; rest != ""; {
		var cluster string
		var w int
		cluster, rest, w, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if used += w; used > width-1 {
			break
		}
		out += cluster
	}
	return out + "…"
}

func cleanRow(row []string) []string {
	out := make([]string, len(row))
	for i, cell := range row {
		if out[i] = clean(cell); out[i] == "" {
			out[i] = "-"
		}
	}
	return out
}

// show prints a table, or with --output json or yaml what the server sent, so
// that nothing it adds is lost.
func (s *shell) show(raw []byte, g grid) error {
	switch {
	case s.format == formatJSON:
		var b bytes.Buffer
		if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
			return fmt.Errorf("print JSON: %w", err)
		}
		return s.put(escape(b.String()) + "\n")
	case s.format == formatYAML:
		text, err := toYAML(raw)
		if err != nil {
			return fmt.Errorf("print YAML: %w", err)
		}
		return s.put(text)
	case s.chosen != nil:
		return s.put(g.choose(s.chosen).lines(0, !s.noHeader))
	}
	return s.put(g.usual().lines(s.width, !s.noHeader))
}

// put writes what is asked for.
func (s *shell) put(text string) error {
	if _, err := io.WriteString(s.out, text); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// line prints one value alone, for scripts.
func (s *shell) line(value string) error { return s.put(clean(value) + "\n") }

// escape writes what could steer a terminal as JSON escapes. Outside of strings
// JSON has nothing of the kind but line ends.
func escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || !steers(r):
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// say tells a person something that is not data. With --output json standard
// error is for an error in JSON alone.
func (s *shell) say(format string, args ...any) {
	if s.format == formatJSON {
		return
	}
	s.tell(format, args...)
}

// tell is say for what a person has to see in any case.
func (s *shell) tell(format string, args ...any) {
	fmt.Fprintln(s.err, clean(fmt.Sprintf(format, args...)))
}

var errOneEntry = errors.New("it does not have one entry")

// only takes the single entry out of a list in JSON.
func only(list []byte) ([]byte, error) {
	var entries []json.RawMessage
	err := json.Unmarshal(list, &entries)
	if err == nil && len(entries) != 1 {
		err = errOneEntry
	}
	if err != nil {
		return nil, failed(Failed, "bad_answer", "The server's list does not have one entry.")
	}
	return entries[0], nil
}
