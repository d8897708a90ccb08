package provider

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	sourceschema "github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

var update = flag.Bool("update", false, "write the pages of terraform/docs anew")

const (
	docs     = "../../docs"
	examples = "../../examples"
)

// described is what all attributes of all schemas tell of themselves.
type described interface {
	IsRequired() bool
	IsOptional() bool
	IsComputed() bool
	IsSensitive() bool
	GetMarkdownDescription() string
	GetDescription() string
}

// entry is an attribute in a page, with those nested in it.
type entry struct {
	name, kind string
	described
	nested []entry
}

func (e entry) text() string { return cmp.Or(e.GetMarkdownDescription(), e.GetDescription()) }

func entries[A described](attributes map[string]A, kind func(A) (string, []entry)) []entry {
	var all []entry
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		a := attributes[name]
		k, nested := kind(a)
		all = append(all, entry{name, k, a, nested})
	}
	return all
}

// kinds are the words for Terraform's types.
var kinds = map[string]string{
	types.StringType.String(): "string", types.Int64Type.String(): "number", types.Float64Type.String(): "number",
	types.BoolType.String(): "bool", types.ListType{ElemType: types.Int64Type}.String(): "list of numbers",
}

func resourceKind(a schema.Attribute) (string, []entry) { return kinds[a.GetType().String()], nil }

func sourceKind(a sourceschema.Attribute) (string, []entry) {
	if list, ok := a.(sourceschema.ListNestedAttribute); ok {
		return "list of objects", entries(list.NestedObject.Attributes, sourceKind)
	}
	return kinds[a.GetType().String()], nil
}

// page is one page of the reference.
type page struct {
	title, intro, example string // example is a file below examples
	imports               string // an id to import by, of a resource
	all                   []entry
	timeouts              []entry
}

func (p page) text(t *testing.T) string {
	t.Helper()
	code, err := os.ReadFile(filepath.Join(examples, p.example))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Made from terraform/internal/provider by make generate. Do not edit. -->\n\n%s\n\n", p.title, p.intro)
	fmt.Fprintf(&b, "## Example\n\n```terraform\n%s```\n", code)
	section(&b, "Required", p.all, func(e entry) bool { return e.IsRequired() })
	section(&b, "Optional", p.all, func(e entry) bool { return e.IsOptional() })
	section(&b, "Read-only", p.all, func(e entry) bool { return e.IsComputed() && !e.IsOptional() })
	section(&b, "Block `timeouts`", p.timeouts, func(entry) bool { return true })
	if p.imports != "" {
		fmt.Fprintf(&b, "\n## Import\n\n```sh\nterraform import %s.example %s\n```\n", p.title, p.imports)
	}
	return b.String()
}

func section(b *strings.Builder, heading string, all []entry, belongs func(entry) bool) {
	begun := false
	for _, e := range all {
		if !belongs(e) {
			continue
		}
		if !begun {
			fmt.Fprintf(b, "\n## %s\n\n", heading)
			begun = true
		}
		line(b, "", e)
	}
}

func line(b *strings.Builder, indent string, e entry) {
	kind := e.kind
	if e.IsSensitive() {
		kind += ", sensitive"
	}
	fmt.Fprintf(b, "%s- `%s` (%s): %s\n", indent, e.name, kind, e.text())
	for _, n := range e.nested {
		line(b, indent+"  ", n)
	}
}

// importIDs are what resources are imported by.
var importIDs = map[string]string{
	"drivebay_volume":            "VOLUME_ID",
	"drivebay_volume_attachment": "VOLUME_ID",
	"drivebay_iso":               "ISO_ID",
	"drivebay_iso_attachment":    "DEVICE_ID",
}

// pages are all pages, by their path below docs.
func pages(t *testing.T) map[string]page {
	t.Helper()
	ctx := t.Context()
	p := New("test")()
	var ps provider.SchemaResponse
	p.Schema(ctx, provider.SchemaRequest{}, &ps)
	all := map[string]page{"index.md": {title: "Provider drivebay", intro: ps.Schema.MarkdownDescription, example: "provider/provider.tf", all: providerEntries(ps)}}
	for _, make := range p.Resources(ctx) {
		r := make()
		var name resource.MetadataResponse
		r.Metadata(ctx, resource.MetadataRequest{}, &name)
		var s resource.SchemaResponse
		r.Schema(ctx, resource.SchemaRequest{}, &s)
		if diags := s.Schema.ValidateImplementation(ctx); diags.HasError() {
			t.Errorf("%s: %v", name.TypeName, diags)
		}
		block := s.Schema.Blocks["timeouts"].(schema.SingleNestedBlock)
		all["resources/"+strings.TrimPrefix(name.TypeName, "drivebay_")+".md"] = page{
			title: name.TypeName, intro: s.Schema.MarkdownDescription, example: "resources/" + name.TypeName + "/resource.tf",
			imports: importIDs[name.TypeName], all: entries(s.Schema.Attributes, resourceKind), timeouts: entries(block.Attributes, resourceKind),
		}
	}
	for _, make := range p.DataSources(ctx) {
		d := make()
		var name datasource.MetadataResponse
		d.Metadata(ctx, datasource.MetadataRequest{}, &name)
		var s datasource.SchemaResponse
		d.Schema(ctx, datasource.SchemaRequest{}, &s)
		if diags := s.Schema.ValidateImplementation(ctx); diags.HasError() {
			t.Errorf("%s: %v", name.TypeName, diags)
		}
		all["data-sources/"+strings.TrimPrefix(name.TypeName, "drivebay_")+".md"] = page{
			title: name.TypeName + " (data source)", intro: s.Schema.MarkdownDescription, example: "data-sources/" + name.TypeName + "/data-source.tf",
			all: entries(s.Schema.Attributes, sourceKind),
		}
	}
	return all
}

func providerEntries(s provider.SchemaResponse) []entry {
	var all []entry
	for _, name := range slices.Sorted(maps.Keys(s.Schema.Attributes)) {
		a := s.Schema.Attributes[name]
		all = append(all, entry{name, kinds[a.GetType().String()], a, nil})
	}
	return all
}

// undescribed are the attributes that a page says nothing of, or not what kind
// they are.
func undescribed(all []entry) []string {
	var names []string
	for _, e := range all {
		if e.text() == "" || e.kind == "" {
			names = append(names, e.name)
		}
		names = append(names, undescribed(e.nested)...)
	}
	return names
}

// TestGenerated holds that terraform/docs has what the schemas say, and nothing
// else.
func TestGenerated(t *testing.T) {
	t.Parallel()
	all := pages(t)
	for path, p := range all {
		if names := undescribed(slices.Concat(p.all, p.timeouts)); len(names) > 0 {
			t.Errorf("%s says nothing of %v", path, names)
		}
		file, want := filepath.Join(docs, path), p.text(t)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("terraform/docs/%s is out of step; run make generate", path)
		}
	}
	for _, pattern := range []string{"*.md", "*/*.md"} {
		files, err := filepath.Glob(filepath.Join(docs, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			path, err := filepath.Rel(docs, file)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := all[filepath.ToSlash(path)]; !ok {
				t.Errorf("terraform/docs/%s is about nothing that exists", path)
			}
		}
	}
}
