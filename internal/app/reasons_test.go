package app_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestReasons holds docs/reference/reasons.md to the reasons in the code, both
// ways: clients rely on the list.
func TestReasons(t *testing.T) {
	inCode := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "cli" || d.Name() == "backendtest" || d.Name() == "storetest" || d.Name() == "worldtest" || d.Name() == "testdata"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, r := range reasonsIn(f) {
			inCode[r] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/reference/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	onPage := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllSubmatch(page, -1) {
		onPage[string(m[1])] = true
	}
	for _, r := range slices.Sorted(maps.Keys(inCode)) {
		if !onPage[r] {
			t.Errorf("reason %q of %s is not in docs/reference/reasons.md", r, inCode[r])
		}
	}
	for r := range onPage {
		if inCode[r] == "" {
			t.Errorf("docs/reference/reasons.md lists %q, which no code has", r)
		}
	}
	if len(inCode) < 50 {
		t.Errorf("found %d reasons in the code: the search no longer works", len(inCode))
	}
}

// reasonsIn finds the string literals of a file that are reasons: arguments of
// fault.New and fault.Field, fields named Reason, and constants of that type.
func reasonsIn(f *ast.File) (out []string) {
	literal := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if s, err := strconv.Unquote(l.Value); err == nil && s != "" {
				out = append(out, s)
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && ident(sel.X) == "fault" {
				switch sel.Sel.Name {
				case "New":
					literal(n.Args[1])
				case "Field":
					literal(n.Args[0])
				}
			}
		case *ast.KeyValueExpr:
			if k := ident(n.Key); k == "Reason" || k == "reason" {
				literal(n.Value)
			}
		case *ast.ValueSpec:
			if sel, ok := n.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Reason" {
				for _, v := range n.Values {
					literal(v)
				}
			}
		}
		return true
	})
	return out
}

func ident(e ast.Expr) string {
	if i, ok := e.(*ast.Ident); ok {
		return i.Name
	}
	return ""
}
