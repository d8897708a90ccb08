package cli

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"pgregory.net/rapid"

	"github.com/drivebay/drivebay/client"
)

var update = flag.Bool("update", false, "write the reference page anew")

// TestGenerated holds that the reference page is in step with the commands.
func TestGenerated(t *testing.T) {
	t.Parallel()
	const path = "../../docs/reference/cli.md"
	want := Reference()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is out of step; run make generate:\n%s", path, diff)
	}
}

// nasty is a server's answer that tries to steer the terminal.
const nasty = `{"volumeId":"v\u001b[2J","type":"DATADISK","size":50,"sizeBytes":53687091200,"deviceId":1001,"facilityCode":"T` + "\u009b\u202e" + `","createdAt":"2029-01-01T00:00:00Z","later":{"list":[1,"yes",null,[true,{"a":"b: c"}]],"none":[],"empty":{}}}`

// TestFormats: whatever the format, nothing but text reaches the terminal, and
// JSON and YAML say what the server said.
func TestFormats(t *testing.T) {
	t.Parallel()
	r := newRemote(t, map[string][]canned{"GET /api/v2/vps/volume": {{status: 200, body: "[" + nasty + "]"}}, "GET /api/v2/vps/volume/v": {{status: 200, body: nasty}}})
	var want any
	if err := json.Unmarshal([]byte(nasty), &want); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"table", "json", "yaml", "columns=volume,facility"} {
		got := command(t.Context(), r.URL, nil, nil, "volume", "get", "v", "-o", format)
		if got.status != Done || strings.ContainsAny(got.out, "\x1b\u009b\u202e") {
			t.Errorf("%s: %+v", format, got)
		}
		var back any
		switch format {
		case "json":
			if err := json.Unmarshal([]byte(got.out), &back); err != nil {
				t.Errorf("%s: %v", format, err)
			}
		case "yaml":
			if err := yaml.Unmarshal([]byte(got.out), &back); err != nil {
				t.Errorf("%s: %v in\n%s", format, err, got.out)
			}
			back = plain(t, back)
		default:
			continue
		}
		if diff := cmp.Diff(want, back); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
	got := command(t.Context(), r.URL, nil, nil, "volume", "list", "--device", "1001", "-o", "columns=gib,volume", "--no-header")
	if want := "50  v [2J\n"; got.out != want {
		t.Errorf("columns: %q, want %q", got.out, want)
	}
}

// plain brings what YAML was read as into the types of JSON.
func plain(t testing.TB, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestYAML reads any JSON back from its YAML.
func TestYAML(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[-a-z0-9:#&*!|>'"%@ {}\[\],~=.]{0,8}`),
		rapid.SampledFrom([]string{"", "yes", "No", "null", "~", "1e3", "0x1f", "1_0", ".inf", "- a", "a: b", "a #b", "2029-01-01", "\u2028", "\u0085", "\U000e0001", "<<", "="}))
	value := rapid.Custom(func(t *rapid.T) any {
		var build func(depth int) any
		build = func(depth int) any {
			switch kind := rapid.IntRange(0, 6).Draw(t, "kind"); {
			case kind == 0 && depth < 4:
				list := []any{}
				for range rapid.IntRange(0, 3).Draw(t, "length") {
					list = append(list, build(depth+1))
				}
				return list
			case kind == 1 && depth < 4:
				object := map[string]any{}
				for range rapid.IntRange(0, 3).Draw(t, "length") {
					object[text.Draw(t, "key")] = build(depth + 1)
				}
				return object
			case kind == 2:
				return float64(rapid.Int32().Draw(t, "number"))
			case kind == 3:
				return rapid.Bool().Draw(t, "bool")
			case kind == 4:
				return nil
			}
			return text.Draw(t, "text")
		}
		return build(0)
	})
	rapid.Check(t, func(t *rapid.T) {
		want := value.Draw(t, "value")
		raw, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		text, err := toYAML(raw)
		if err != nil {
			t.Fatal(err)
		}
		var back any
		if err := yaml.Unmarshal([]byte(text), &back); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		again, err := json.Marshal(back)
		if err != nil {
			t.Fatal(err)
		}
		var got, meant any
		if json.Unmarshal(again, &got) != nil || json.Unmarshal(raw, &meant) != nil {
			t.Fatalf("%s", again)
		}
		if diff := cmp.Diff(meant, got); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
	})
}

// TestNarrow: a table fits its terminal by cutting what may be cut, and letters
// of double width stand in line.
func TestNarrow(t *testing.T) {
	t.Parallel()
	g := grid{heads: []string{"ID", "NAME", "X"}, flex: []bool{false, true, false}, rows: [][]string{{"1", "日本語の名前です", "a"}, {"2", "a long name that goes on", "b"}}}
	if got := g.lines(0, true); !strings.Contains(got, "a long name that goes on  b\n") {
		t.Errorf("without a width: %q", got)
	}
	got := g.lines(22, true)
	if diff := cmp.Diff("ID  NAME             X\n1   日本語の名前で…  a\n2   a long name th…  b\n", got); diff != "" {
		t.Error(diff)
	}
}

// TestHelp: every command says what it does and shows an example of it.
func TestHelp(t *testing.T) {
	t.Parallel()
	root := (&shell{getenv: func(string) string { return "" }}).root()
	n := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			if c.Name() == "help" || c.Name() == "completion" {
				continue
			}
			if c.HasSubCommands() {
				walk(c)
				continue
			}
			n++
			if c.Short == "" || strings.HasSuffix(c.Short, ".") || !strings.Contains(c.Example, c.CommandPath()) {
				t.Errorf("%s: %q, with the example %q", c.CommandPath(), c.Short, c.Example)
			}
		}
	}
	walk(root)
	if n < 50 {
		t.Errorf("%d commands, want all", n)
	}
}

// TestReasons holds that the reference has every reason that the commands give,
// and no other.
func TestReasons(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	given := regexp.MustCompile(`failed\([A-Z][A-Za-z]+, (?:"([a-z_]+)"|client\.(Reason[A-Za-z]+))`)
	named := map[string]string{"ReasonNoQuotes": client.ReasonNoQuotes, "ReasonUnreachable": client.ReasonUnreachable}
	inCode := map[string]bool{client.ReasonBadAnswer: true}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range given.FindAllStringSubmatch(string(text), -1) {
			if !strings.HasSuffix(file, "_test.go") {
				inCode[m[1]+named[m[2]]] = true
			}
		}
	}
	listed := map[string]bool{}
	for _, r := range reasons {
		listed[r[0]] = true
	}
	if diff := cmp.Diff(inCode, listed); diff != "" {
		t.Error(diff)
	}
}
