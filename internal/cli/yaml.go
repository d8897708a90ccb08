package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// toYAML writes JSON as YAML: the same keys in the same order, numbers as they
// stand, and nothing that could steer a terminal.
func toYAML(raw []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	lines, _, err := yamlLines(d)
	if err != nil {
		return "", err
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// yamlLines are the lines of the next value. One that is short can stand behind
// its key.
func yamlLines(d *json.Decoder) (lines []string, short bool, err error) {
	t, err := d.Token()
	if err != nil {
		return nil, false, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return []string{scalar(t)}, true, nil
	}
	for d.More() {
		head := ""
		if delim == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, false, err
			}
			head = scalar(key) + ":"
		}
		below, short, err := yamlLines(d)
		if err != nil {
			return nil, false, err
		}
		switch {
		case delim == '[':
			below[0] = "- " + below[0]
		case short:
			below[0] = head + " " + below[0]
		default:
			lines = append(lines, head)
			below[0] = "  " + below[0]
		}
		for i := range below[1:] {
			below[i+1] = "  " + below[i+1]
		}
		lines = append(lines, below...)
	}
	if _, err := d.Token(); err != nil { // the end of it
		return nil, false, err
	}
	if len(lines) == 0 {
		return []string{string(delim) + map[json.Delim]string{'{': "}", '[': "]"}[delim]}, true, nil
	}
	return lines, false, nil
}

// bare are strings that need no quotes: they read as nothing but a string.
var bare = regexp.MustCompile(`^[A-Za-z/_][A-Za-z0-9_./ %()-]*$`)

// notStrings are words that some readers of YAML take for something else.
var notStrings = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}

func scalar(t json.Token) string {
	switch v := t.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	case string:
		if bare.MatchString(v) && !strings.HasSuffix(v, " ") && !slices.Contains(notStrings, strings.ToLower(v)) {
			return v
		}
		return quoted(v)
	}
	return quoted(fmt.Sprint(t))
}

// quoted is a string between double quotes.
func quoted(v string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range v {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r > 0xffff && steers(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		case steers(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
