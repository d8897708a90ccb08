// Command drivebay is the server and the tool to set it up with.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/drivebay/drivebay/internal/app"
	"github.com/drivebay/drivebay/internal/cli"
	"github.com/drivebay/drivebay/internal/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks to finish; the second one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, work))
}

// work is what the commands cannot do by themselves.
var work = cli.Work{
	Serve: func(ctx context.Context, cfg config.Config, stdout io.Writer) error {
		return app.Run(ctx, cfg, cli.Version(), stdout)
	},
	Schema: app.Schema, Migrate: app.Migrate, Export: app.Export, Import: app.Import,
}
