package api_test

import (
	"os"
	"strings"
	"testing"
)

// TestContractPage holds that docs/reference/contract.md names every operation
// and everything that is additive.
func TestContractPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/reference/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{} // table rows by their first cell
	for line := range strings.Lines(string(page)) {
		if rest, ok := strings.CutPrefix(line, "| "); ok {
			first, _, _ := strings.Cut(rest, " |")
			rows[first] = append(rows[first], line)
		}
	}
	named := func(first, what string) bool {
		for _, row := range rows["`"+first+"`"] {
			if strings.Contains(row, "`"+what+"`") {
				return true
			}
		}
		return false
	}
	doc := load(t)
	for _, op := range operations(t, doc) {
		if !named(op.String(), op.OperationID) {
			t.Errorf("%s (%s) has no row", op, op.OperationID)
		}
		for _, p := range op.params {
			if op.Extensions["x-additive"] != true && p.Value.Extensions["x-additive"] == true && !named(op.OperationID, p.Value.Name) {
				t.Errorf("%s: the additive parameter %s is not listed", op, p.Value.Name)
			}
		}
	}
	for name, schema := range doc.Components.Schemas {
		for prop, ref := range schema.Value.Properties {
			if ref.Value.Extensions["x-additive"] == true && !named(name, prop) {
				t.Errorf("%s.%s is additive and not listed", name, prop)
			}
		}
	}
}
