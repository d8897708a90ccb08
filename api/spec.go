// Package api is the contract: openapi.yaml, edited by hand, and what is made
// from it, which is the wire types, the server's interface and routes, and the client.
//
// The generated code knows success answers only. Errors have one shape for
// every operation: Error, or ValidationError for wrong fields (status 400).
package api

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/getkin/kin-openapi/openapi3"
)

//go:generate env GOWORK=off go -C ../tools tool oapi-codegen -config ../api/types.cfg.yaml ../api/openapi.yaml
//go:generate env GOWORK=off go -C ../tools tool oapi-codegen -config ../api/server.cfg.yaml ../api/openapi.yaml
//go:generate env GOWORK=off go -C ../tools tool oapi-codegen -config ../api/client.cfg.yaml ../api/openapi.yaml

// specYAML is the contract as it was written.
//
//go:embed openapi.yaml
var specYAML []byte

// SpecYAML returns a copy of openapi.yaml.
func SpecYAML() []byte { return append([]byte(nil), specYAML...) }

// Spec parses and validates openapi.yaml. Each call returns a document of its
// own, which the caller may change.
func Spec() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(specYAML)
	if err != nil {
		return nil, fmt.Errorf("parse openapi.yaml: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("validate openapi.yaml: %w", err)
	}
	return doc, nil
}
