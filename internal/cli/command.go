package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

// whole makes a call and returns its result and how the server wrote it.
func whole[T any](call func(body client.CallOption) (T, error)) (T, []byte, error) {
	var raw []byte
	v, err := call(client.WithBody(&raw))
	return v, raw, err
}

// lists makes a command that prints what get returns as a table.
func (c columns[T]) lists(s *shell, use, short string, args cobra.PositionalArgs, get func(context.Context, *client.Client, []string) ([]T, []byte, error)) *cobra.Command {
	cmd := s.verb(use, short, args, func(cmd *cobra.Command, args []string) error {
		api, err := s.remote()
		if err != nil {
			return err
		}
		list, raw, err := get(cmd.Context(), api, args)
		if err != nil {
			return err
		}
		return c.list(s, raw, list...)
	})
	return offers(cmd, c.names())
}

// shows makes a command that prints all of the one value that get returns.
func (c columns[T]) shows(s *shell, use, short string, args cobra.PositionalArgs, get func(context.Context, *client.Client, []string) (T, []byte, error)) *cobra.Command {
	cmd := s.verb(use, short, args, func(cmd *cobra.Command, args []string) error {
		api, err := s.remote()
		if err != nil {
			return err
		}
		v, raw, err := get(cmd.Context(), api, args)
		if err != nil {
			return err
		}
		return c.one(s, raw, v)
	})
	cmd.Aliases = []string{"describe"}
	return offers(cmd, c.names())
}

// puts makes a command that changes something at once and prints it as it is
// then, in a table.
func (c columns[T]) puts(s *shell, use, short string, args cobra.PositionalArgs, put func(context.Context, *client.Client, []string) (T, []byte, error)) *cobra.Command {
	return c.lists(s, use, short, args, func(ctx context.Context, api *client.Client, args []string) ([]T, []byte, error) {
		v, raw, err := put(ctx, api, args)
		return []T{v}, raw, err
	})
}
