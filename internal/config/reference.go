package config

import (
	"fmt"
	"strings"
)

// inWords is the default as a person reads it.
func (s *setting) inWords() string {
	if s.shown != "" {
		return s.shown
	}
	return strings.Join(s.defaults, ",")
}

func (s *setting) meaning() string {
	if s.more == "" {
		return s.usage
	}
	return s.usage + " " + s.more
}

// Reference returns docs/reference/config.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Settings

<!-- Made from internal/config/settings.go by make generate. Do not edit. -->

` + "`drivebay serve`" + ` takes its settings from four places. A later one wins over an earlier one:

1. the defaults below;
2. a YAML file, named by ` + "`--config` or `DRIVEBAY_CONFIG`" + ` (` + "[`drivebay.example.yaml`](../../drivebay.example.yaml)" + ` has every key);
3. environment variables; an empty one counts as not set;
4. flags.

` + "`drivebay migrate`, `export` and `import`" + ` take the same, with ` + "`--config`, `--data-dir` and `--database`" + ` for flags.

A key in the file that is not in this table is an error. All problems are reported at once, and nothing is started.

| key in the file | flag | environment | default | meaning |
| --- | --- | --- | --- | --- |
`)
	fmt.Fprintf(&b, "| | `--%s path` | `%s` | | %s |\n", fileFlag, fileEnv, fileUsage)
	for i := range settings {
		s := &settings[i]
		key, env, flag, def := code(s.key), code(s.env()), "--"+s.flag(), s.inWords()
		if s.flagOnly {
			key, env = "", ""
		}
		if s.arg != "" {
			flag += " " + s.arg
		}
		if def != "" && (s.shown == "" || strings.Contains(s.shown, ":")) {
			def = code(def)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", key, code(flag), env, def, s.meaning())
	}
	return b.String()
}

func code(s string) string { return "`" + s + "`" }

// Example returns drivebay.example.yaml: every key with its default.
func Example() string {
	var b strings.Builder
	b.WriteString(`# Settings of a drivebay server, each with its default.
#
#   drivebay serve --config drivebay.yaml
#
# Environment variables (DRIVEBAY_LISTEN and so on) and flags (--listen) win over
# this file. What each one means at length: docs/reference/config.md.
`)
	for i := range settings {
		s := &settings[i]
		if s.flagOnly {
			continue
		}
		b.WriteString("\n")
		for _, line := range wrap(s.meaning(), 98) {
			b.WriteString("# " + line + "\n")
		}
		value := strings.Join(s.defaults, "")
		switch {
		case s.many:
			value = "[]"
		case value == "":
			value = `""`
		}
		fmt.Fprintf(&b, "%s: %s\n", s.key, value)
	}
	return b.String()
}

// wrap breaks a text into lines of at most width letters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
