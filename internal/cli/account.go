package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

func (s *shell) client() *cobra.Command {
	return s.noun("client", "The tenants of this installation", s.clientList(), s.clientCreate(), s.clientQuota())
}

var clientColumns = columns[client.Account]{
	{head: "CLIENT", cell: func(a client.Account) string { return number(a.ClientID) }},
	{head: "NAME", flex: true, cell: func(a client.Account) string { return a.Name }},
	{head: "PARENT", cell: func(a client.Account) string { return optNumber(a.ParentID) }},
	{head: "CREATED", cell: func(a client.Account) string { return date(a.CreatedAt) }},
}

func (s *shell) clientList() *cobra.Command {
	cmd := clientColumns.lists(s, "list", "List clients", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Account, []byte, error) {
		return pages(func(p client.Page, body client.CallOption) ([]client.Account, error) {
			return c.Admin.Account.List(ctx, p, body)
		},
			func(a client.Account) int64 { return a.ClientID })
	})
	cmd.Example = "  drivebay client list"
	return cmd
}

func (s *shell) clientCreate() *cobra.Command {
	var name string
	var parent int64
	var quiet bool
	cmd := s.verb("create", "Make a client", exact(), func(cmd *cobra.Command, _ []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		a, raw, err := whole(func(body client.CallOption) (client.Account, error) {
			return c.Admin.Account.Create(cmd.Context(), client.AccountCreate{Name: name, ParentID: parent}, body)
		})
		if err != nil {
			return err
		}
		if quiet {
			return s.line(number(a.ClientID))
		}
		return clientColumns.list(s, raw, a)
	})
	cmd.Example = "  drivebay client create --name 'Example Ltd'"
	cmd.Flags().StringVar(&name, "name", "", "its name")
	cmd.Flags().Int64Var(&parent, "parent", 0, "the client that may act for it")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print its id alone")
	must(cmd, "name")
	return offers(cmd, clientColumns.names())
}

func (s *shell) key() *cobra.Command {
	return s.noun("key", "API keys", s.keyList(), s.keyCreate(), s.keyRevoke())
}

var keyColumns = columns[client.Key]{
	{head: "KEY", cell: func(k client.Key) string { return k.KeyID }},
	{head: "BEGINS", cell: func(k client.Key) string { return k.Prefix }},
	{head: "CLIENT", cell: func(k client.Key) string { return optNumber(k.ClientID) }},
	{head: "NAME", flex: true, cell: func(k client.Key) string { return k.Name }},
	{head: "PERMISSIONS", flex: true, cell: func(k client.Key) string { return words(k.Permissions) }},
	{head: "FROM", more: true, cell: func(k client.Key) string { return words(k.AllowedAddresses) }},
	{head: "EXPIRES", cell: func(k client.Key) string { return optDate(k.ExpiresAt) }},
	{head: "LAST USED", more: true, cell: func(k client.Key) string { return optDate(k.LastUsedAt) }},
	{head: "REVOKED", cell: func(k client.Key) string { return optDate(k.RevokedAt) }},
	{head: "CREATED", more: true, cell: func(k client.Key) string { return date(k.CreatedAt) }},
}

func (s *shell) keyList() *cobra.Command {
	var owner int64
	cmd := keyColumns.lists(s, "list", "List API keys, newest first", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Key, []byte, error) {
		list, raw, err := whole(func(body client.CallOption) ([]client.Key, error) {
			return c.Admin.Key.List(ctx, client.KeyListOptions{ClientID: owner, Limit: pageSize}, body)
		})
		if len(list) == pageSize {
			s.say("Only the newest %d keys are listed.", pageSize)
		}
		return list, raw, err
	})
	cmd.Example = "  drivebay key list --client 7"
	cmd.Flags().Int64Var(&owner, "client", 0, "only this client's")
	return cmd
}

var newKeyColumns = columns[client.NewKey]{
	{head: "KEY", cell: func(k client.NewKey) string { return k.KeyID }},
	{head: "CLIENT", cell: func(k client.NewKey) string { return optNumber(k.ClientID) }},
	{head: "NAME", cell: func(k client.NewKey) string { return k.Name }},
	{head: "PERMISSIONS", cell: func(k client.NewKey) string { return words(k.Permissions) }},
	{head: "EXPIRES", cell: func(k client.NewKey) string { return optDate(k.ExpiresAt) }},
	{head: "API KEY", cell: func(k client.NewKey) string { return k.Key }},
}

func (s *shell) keyCreate() *cobra.Command {
	var o client.KeyCreate
	var expires string
	var permissions []string
	var quiet bool
	cmd := s.verb("create", "Make an API key", exact(), func(cmd *cobra.Command, _ []string) error {
		for _, p := range permissions {
			o.Permissions = append(o.Permissions, client.Permission(p))
		}
		var err error
		if o.ExpiresAt, err = expiry(expires, s.now()); err != nil {
			return err
		}
		c, err := s.remote()
		if err != nil {
			return err
		}
		k, raw, err := whole(func(body client.CallOption) (client.NewKey, error) { return c.Admin.Key.Create(cmd.Context(), o, body) })
		if err != nil {
			return err
		}
		if quiet {
			return s.line(k.Key)
		}
		s.say("The key is shown this once only.")
		return newKeyColumns.list(s, raw, k)
	})
	cmd.Example = "  drivebay key create --client 7 --name ci --permission read,volumes --expires 720h"
	cmd.Flags().StringVar(&o.Name, "name", "", "what it is for")
	cmd.Flags().Int64Var(&o.ClientID, "client", 0, "the client it speaks for (default: an operator's key)")
	cmd.Flags().StringSliceVar(&permissions, "permission", nil, "read, volumes, isos, billing or admin; repeat it, or use commas")
	cmd.Flags().StringVar(&expires, "expires", "", "a time (2030-01-31T00:00:00Z) or a span (720h); never, if left out")
	cmd.Flags().StringSliceVar(&o.AllowedAddresses, "allow", nil, "an address or network it may be used from; repeat it, or use commas")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the key alone")
	must(cmd, "name", "permission")
	complete(cmd, "permission", fixed("read", "volumes", "isos", "billing", "admin"))
	return offers(cmd, newKeyColumns.names())
}

// expiry reads --expires: a time, or a span from now. An empty one
// is never, which is no time.
func expiry(v string, now time.Time) (time.Time, error) {
	if v == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, v); err == nil {
		return t.UTC(), nil
	}
	if d, err := time.ParseDuration(v); err == nil && d > 0 {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	return time.Time{}, misuse("--expires is a time such as 2030-01-31T00:00:00Z or a span such as 720h, not %q.", v)
}

func (s *shell) keyRevoke() *cobra.Command {
	cmd := s.verb("revoke KEY", "Revoke an API key, by its id", exact("KEY"), func(cmd *cobra.Command, args []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		if err := c.Admin.Key.Revoke(cmd.Context(), args[0]); err != nil {
			return err
		}
		s.say("Key %s is revoked.", args[0])
		return nil
	})
	cmd.Example = "  drivebay key revoke 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10"
	cmd.ValidArgsFunction = completed(s.keyIDs)
	return cmd
}
