package config

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile bounds what is read of a settings file, in bytes.
const maxFile = 1 << 20

// readFile puts the settings of the YAML file at path into c.
func readFile(c *Config, path string) []error {
	f, err := os.Open(path)
	if err != nil {
		return []error{fmt.Errorf("read settings: %w", err)}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return []error{fmt.Errorf("read settings: %w", err)}
	}
	if len(data) > maxFile {
		return []error{fmt.Errorf("read settings: %s is larger than 1 MiB", path)}
	}
	return parseYAML(c, data, path)
}

// parseYAML puts the settings written in data into c; name is the file's, for
// the errors. What is wrong is left as it was in c, the rest is applied.
func parseYAML(c *Config, data []byte, name string) []error {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) && syntax.Token != nil {
			return []error{fmt.Errorf("%s:%d: %s", name, syntax.Token.Position.Line, syntax.Message)}
		}
		return []error{fmt.Errorf("%s is not YAML", name)}
	}
	var errs []error
	bodies := 0
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if bodies++; bodies > 1 {
			return append(errs, fmt.Errorf("%s: a second YAML document; settings are one", name))
		}
		settings, ok := doc.Body.(*ast.MappingNode)
		if !ok {
			return append(errs, fmt.Errorf("%s: settings are lines of the form key: value", name))
		}
		for _, entry := range settings.Values {
			if p := applyEntry(c, entry); p != nil {
				line := 0
				if t := entry.GetToken(); t != nil {
					line = t.Position.Line
				}
				if t := entry.Key.GetToken(); t != nil {
					line = t.Position.Line
				}
				p.From = fmt.Sprintf("%s:%d", name, line)
				errs = append(errs, p)
			}
		}
	}
	return errs
}

// applyEntry puts one line of the file into c and says what is wrong with it,
// or nil.
func applyEntry(c *Config, entry *ast.MappingValueNode) *Problem {
	name, ok := entry.Key.(*ast.StringNode)
	if !ok {
		return &Problem{Key: entry.Key.String(), Text: "it is not a key of a setting"}
	}
	s := find(name.Value)
	if s == nil {
		text := "there is no such setting"
		if near := nearest(name.Value); near != "" {
			text += "; did you mean " + near + "?"
		}
		return &Problem{Key: name.Value, Text: text}
	}
	if s.flagOnly {
		return &Problem{Key: s.key, Text: "it is set by the flag --" + s.flag() + " only"}
	}
	values, text := written(s, entry.Value)
	if text == "" && values != nil {
		if err := s.apply(c, values); err != nil {
			text = err.Error()
		}
	}
	if text != "" {
		return &Problem{Key: s.key, Text: text}
	}
	return nil
}

// written returns the values of a node as they stand in the file, so that a
// number is read by the same rules as on the command line. A key without a
// value has nil: it counts as not set.
func written(s *setting, node ast.Node) (values []string, problem string) {
	seq, isList := node.(*ast.SequenceNode)
	switch {
	case isList && !s.many:
		return nil, "it takes one value, not a list"
	case isList:
		values = []string{}
		for _, n := range seq.Values {
			v, ok := scalar(n)
			if !ok {
				return nil, "its list may hold plain values only"
			}
			values = append(values, v)
		}
		return values, ""
	}
	if _, null := node.(*ast.NullNode); null {
		return nil, ""
	}
	v, ok := scalar(node)
	if !ok {
		return nil, "it takes a plain value"
	}
	return s.split(v), ""
}

func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func find(key string) *setting {
	for i := range settings {
		if settings[i].key == key {
			return &settings[i]
		}
	}
	return nil
}

// nearest returns the known key that differs least from key, or "" when none
// is at all like it.
func nearest(key string) string {
	if len(key) > 64 {
		return ""
	}
	best, least := "", 1+len(key)/2
	for i := range settings {
		if d := distance(key, settings[i].key); d < least && !settings[i].flagOnly {
			best, least = settings[i].key, d
		}
	}
	return best
}

// distance is the number of single letters to put in, take out or change to
// make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
