// Command terraform-provider-drivebay lets Terraform manage volumes and ISO
// images of a drivebay server, or of any other server of the same API. Terraform
// starts it; docs/guide/terraform.md of the repository shows how.
package main

import (
	"context"
	"flag"
	"log"
	"runtime/debug"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/drivebay/drivebay/terraform/internal/provider"
)

// address is the provider's name in configurations.
const address = "registry.terraform.io/drivebay/drivebay"

func main() {
	debugging := flag.Bool("debug", false, "serve one debugger instead of Terraform, and print how Terraform is told")
	flag.Parse()
	err := providerserver.Serve(context.Background(), provider.New(version()), providerserver.ServeOpts{Address: address, Debug: *debugging})
	if err != nil {
		log.Fatal(err)
	}
}

// version is what the Go tool knows of this build.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
