package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// book is the file with the servers that a person uses.
type book struct {
	Current  string            `yaml:"current"`
	Contexts map[string]access `yaml:"contexts"`
}

// bookPath is where the file is: config.yaml in the folder drivebay of
// $XDG_CONFIG_HOME, else of ~/.config. It is "" where there is no home.
func (s *shell) bookPath() string {
	dir := s.getenv("XDG_CONFIG_HOME")
	for _, home := range []string{s.getenv("HOME"), s.getenv("USERPROFILE")} {
		if dir == "" && home != "" {
			dir = filepath.Join(home, ".config")
		}
	}
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "drivebay", "config.yaml")
}

// readBook reads the file; one that is not there is empty. It has keys, so one
// that others may read is refused.
func (s *shell) readBook() (book, error) {
	b := book{Contexts: map[string]access{}}
	path := s.bookPath()
	if path == "" {
		return b, nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, noFile(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		f := failed(Failed, "failed", "Others can read %s, which has keys.", path)
		f.hint = "chmod 600 " + path
		return b, f
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return b, noFile(err)
	}
	if err := yaml.UnmarshalWithOptions(data, &b, yaml.Strict()); err != nil {
		return b, failed(Failed, "failed", "The file %s cannot be read.", path) // the text of the error may hold a key
	}
	if b.Contexts == nil {
		b.Contexts = map[string]access{}
	}
	return b, nil
}

// writeBook replaces the file as a whole.
func (s *shell) writeBook(b book) error {
	path := s.bookPath()
	if path == "" {
		return failed(Failed, "failed", "There is no place for the file: HOME is not set.")
	}
	data, err := yaml.Marshal(b)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return noFile(err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".config-*.yaml") // with mode 0600
	if err != nil {
		return noFile(err)
	}
	defer os.Remove(f.Name()) // gone, if all went well
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return noFile(err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return noFile(err)
	}
	return nil
}

// savedTarget is the server of the context in use, if there is one.
func (s *shell) savedTarget() (access, bool, error) {
	b, err := s.readBook()
	if err != nil {
		return access{}, false, err
	}
	name := s.context
	if name == "" {
		name = s.getenv("DRIVEBAY_CONTEXT")
	}
	if name == "" {
		name = b.Current
	}
	if name == "" {
		return access{}, false, nil
	}
	a, ok := b.Contexts[name]
	if !ok {
		return a, false, noContext(name, b)
	}
	return a, true, nil
}

func noContext(name string, b book) *failure {
	f := failed(NotFound, "context_not_found", "There is no context %q.", name)
	if len(b.Contexts) > 0 {
		f.hint = "There are: " + strings.Join(slices.Sorted(maps.Keys(b.Contexts)), ", ")
	}
	return f
}

func (s *shell) contextNames(*cobra.Command, string) []string {
	b, err := s.readBook()
	if err != nil {
		return nil
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(b.Contexts)) {
		out = append(out, name+"\t"+b.Contexts[name].URL)
	}
	return out
}

func (s *shell) contexts() *cobra.Command {
	cmd := s.group("context", "The servers that you use", s.contextList(), s.contextUse(), s.contextCreate(), s.contextDelete())
	cmd.Long = `The servers that you use, each with its key, under a name. The one in use is where commands go unless --context,
DRIVEBAY_CONTEXT, --url, DRIVEBAY_URL or DRIVEBAY_API_KEY say otherwise. They are kept in drivebay/config.yaml
in $XDG_CONFIG_HOME or ~/.config, for you alone to read.`
	return cmd
}

// contextRow is a context without its key.
type contextRow struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Current bool   `json:"current"`
}

var contextColumns = columns[contextRow]{
	{head: "NAME", cell: func(c contextRow) string { return c.Name }},
	{head: "CURRENT", cell: func(c contextRow) string { return yesNo(c.Current) }},
	{head: "SERVER", cell: func(c contextRow) string { return c.URL }},
}

func (s *shell) contextList() *cobra.Command {
	cmd := s.verb("list", "List contexts", exact(), func(*cobra.Command, []string) error {
		b, err := s.readBook()
		if err != nil {
			return err
		}
		rows := []contextRow{}
		for _, name := range slices.Sorted(maps.Keys(b.Contexts)) {
			rows = append(rows, contextRow{name, b.Contexts[name].URL, name == b.Current})
		}
		raw, err := json.Marshal(rows)
		if err != nil {
			return err
		}
		return contextColumns.list(s, raw, rows...)
	})
	cmd.Example = "  drivebay context list"
	return offers(cmd, contextColumns.names())
}

func (s *shell) contextUse() *cobra.Command {
	cmd := s.verb("use NAME", "Use a context from now on", exact("NAME"), func(_ *cobra.Command, args []string) error {
		b, err := s.readBook()
		if err != nil {
			return err
		}
		if _, ok := b.Contexts[args[0]]; !ok {
			return noContext(args[0], b)
		}
		b.Current = args[0]
		if err := s.writeBook(b); err != nil {
			return err
		}
		s.say("Commands go to %s from now on: %s", args[0], b.Contexts[args[0]].URL)
		return nil
	})
	cmd.Example = "  drivebay context use production"
	cmd.ValidArgsFunction = completed(s.contextNames)
	return cmd
}

// contextForm is what the name of a context looks like.
var contextForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (s *shell) contextCreate() *cobra.Command {
	var a access
	var keyFile string
	var use, replace bool
	cmd := s.verb("create NAME", "Keep a server and its key under a name", exact("NAME"), func(_ *cobra.Command, args []string) error {
		name := args[0]
		if !contextForm.MatchString(name) {
			return misuse("A name has letters, digits, dots, underscores and hyphens, at most 64, not %q.", name)
		}
		if !isAddress(a.URL) {
			return misuse("--url is not an address of the form http://host:port.")
		}
		b, err := s.readBook()
		if err != nil {
			return err
		}
		if _, ok := b.Contexts[name]; ok && !replace {
			return failed(Conflict, "context_exists", "There is a context %s; --replace changes it.", name)
		}
		if a.Key, err = s.newContextKey(keyFile); err != nil {
			return err
		}
		if a.Key == "" || !isKey(a.Key) {
			return misuse("The API key is empty, or holds a character that no key has.")
		}
		b.Contexts[name] = a
		if use || b.Current == "" {
			b.Current = name
		}
		if err := s.writeBook(b); err != nil {
			return err
		}
		s.say("The context %s is kept in %s.", name, s.bookPath())
		return nil
	})
	cmd.Long = `Keep a server and its key under a name. The key is the one in DRIVEBAY_API_KEY or DRIVEBAY_API_KEY_FILE, or in
--key-file; else it is asked for on a terminal, or read from standard input. The first context is in use at once.`
	cmd.Example = "  drivebay context create production --url https://cloud.example.com --key-file key.txt\n  drivebay context create demo --url http://127.0.0.1:8080 --use"
	cmd.Flags().StringVar(&a.URL, "url", "", "the server's address")
	cmd.Flags().StringVar(&keyFile, "key-file", "", "a file that holds the key")
	cmd.Flags().BoolVar(&use, "use", false, "use it from now on")
	cmd.Flags().BoolVar(&replace, "replace", false, "change one that there is")
	must(cmd, "url")
	return cmd
}

// newContextKey finds the key for a new context.
func (s *shell) newContextKey(file string) (string, error) {
	if file != "" {
		return readKeyFile(file)
	}
	if key, err := s.envKey(); key != "" || err != nil {
		return key, err
	}
	if f, ok := s.in.(*os.File); ok && s.typed {
		fmt.Fprint(s.err, "API key: ")
		key, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(s.err)
		return strings.TrimSpace(string(key)), err
	}
	return readKey(s.in)
}

func (s *shell) contextDelete() *cobra.Command {
	cmd := s.verb("delete NAME", "Forget a context", exact("NAME"), func(_ *cobra.Command, args []string) error {
		b, err := s.readBook()
		if err != nil {
			return err
		}
		if _, ok := b.Contexts[args[0]]; !ok {
			return noContext(args[0], b)
		}
		delete(b.Contexts, args[0])
		if b.Current == args[0] {
			b.Current = ""
		}
		if err := s.writeBook(b); err != nil {
			return err
		}
		s.say("The context %s is forgotten. Its key stays valid.", args[0])
		return nil
	})
	cmd.Example = "  drivebay context delete demo"
	cmd.ValidArgsFunction = completed(s.contextNames)
	return cmd
}
