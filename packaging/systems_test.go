package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// TestSystems type-checks the program for the systems that CI does not run on.
// It is much quicker than a build: of what is not ours only the declarations
// are looked at.
func TestSystems(t *testing.T) {
	if testing.Short() {
		t.Skip("not under -short")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, system := range []string{"windows", "darwin"} {
		t.Run(system, func(t *testing.T) {
			own := 0
			for _, p := range load(t, root, system) {
				if !strings.HasPrefix(p.PkgPath, "github.com/drivebay/drivebay/") {
					continue
				}
				own++
				for _, e := range p.Errors {
					t.Error(e)
				}
			}
			if own < 20 {
				t.Errorf("only %d packages of ours were looked at", own)
			}
		})
	}
}

// load returns the packages of the program and all that they import.
func load(t *testing.T, root, system string) (all []*packages.Package) {
	t.Helper()
	first, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps |
			packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesSizes | packages.NeedModule,
		Dir:     root,
		Env:     slices.Concat(os.Environ(), settled, []string{"GOOS=" + system, "GOARCH=arm64"}),
		Context: t.Context(),
		ParseFile: func(set *token.FileSet, name string, text []byte) (*ast.File, error) {
			file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
			if file != nil && !strings.HasPrefix(name, root+string(filepath.Separator)) {
				for _, d := range file.Decls {
					if f, is := d.(*ast.FuncDecl); is {
						f.Body = nil
					}
				}
			}
			return file, err
		},
	}, "./cmd/...")
	if err != nil {
		t.Fatal(err)
	}
	packages.Visit(first, nil, func(p *packages.Package) { all = append(all, p) })
	return all
}
