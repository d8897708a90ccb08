package cli

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/api"
)

func (s *shell) client() *cobra.Command {
	return s.noun("client", "The tenants of this installation", s.clientList(), s.clientCreate(), s.clientQuota())
}

var clientColumns = []string{"CLIENT", "NAME", "PARENT", "CREATED"}

func clientRow(a api.ClientAccount) []string {
	return []string{number(a.ClientID), a.Name, optNumber(a.ParentID), date(a.CreatedAt)}
}

func (s *shell) clientList() *cobra.Command {
	return s.verb("list", "List clients", exact(), func(cmd *cobra.Command, _ []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		list, raw, err := pages(func(after int64, limit int) (*http.Response, error) {
			return c.AdminListClients(cmd.Context(), &api.AdminListClientsParams{After: &after, Limit: &limit})
		}, func(a api.ClientAccount) int64 { return a.ClientID })
		if err != nil {
			return err
		}
		return s.show(raw, clientColumns, table(list, clientRow))
	})
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
		a, raw, err := read[api.ClientAccount](c.AdminCreateClient(cmd.Context(), api.ClientCreate{Name: name, ParentID: given(parent)}))
		if err != nil {
			return err
		}
		if quiet {
			return s.line(number(a.ClientID))
		}
		return s.show(raw, clientColumns, [][]string{clientRow(a)})
	})
	cmd.Example = "  drivebay client create --name 'Example Ltd'"
	cmd.Flags().StringVar(&name, "name", "", "its name")
	cmd.Flags().Int64Var(&parent, "parent", 0, "the client that may act for it")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print its id alone")
	must(cmd, "name")
	return cmd
}

func (s *shell) key() *cobra.Command {
	return s.noun("key", "API keys", s.keyList(), s.keyCreate(), s.keyRevoke())
}

func (s *shell) keyList() *cobra.Command {
	var client int64
	cmd := s.verb("list", "List API keys, newest first", exact(), func(cmd *cobra.Command, _ []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		limit := pageSize
		list, raw, err := read[[]api.APIKey](c.AdminListKeys(cmd.Context(), &api.AdminListKeysParams{ClientID: given(client), Limit: &limit}))
		if err != nil {
			return err
		}
		if len(list) == limit {
			s.say("Only the newest %d keys are listed.", limit)
		}
		columns := []string{"KEY", "BEGINS", "CLIENT", "NAME", "PERMISSIONS", "FROM", "EXPIRES", "LAST USED", "REVOKED"}
		return s.show(raw, columns, table(list, func(k api.APIKey) []string {
			return []string{
				k.KeyID, k.Prefix, optNumber(k.ClientID), k.Name, words(k.Permissions), words(k.AllowedAddresses),
				optDate(k.ExpiresAt), optDate(k.LastUsedAt), optDate(k.RevokedAt),
			}
		}))
	})
	cmd.Flags().Int64Var(&client, "client", 0, "only this client's")
	return cmd
}

func (s *shell) keyCreate() *cobra.Command {
	var name, expires string
	var client int64
	var permissions, allow []string
	var quiet bool
	cmd := s.verb("create", "Make an API key", exact(), func(cmd *cobra.Command, _ []string) error {
		req := api.KeyCreate{Name: name, ClientID: given(client)}
		for _, p := range permissions {
			req.Permissions = append(req.Permissions, api.Permission(p))
		}
		if len(allow) > 0 {
			req.AllowedAddresses = &allow
		}
		var err error
		if req.ExpiresAt, err = expiry(expires, s.now()); err != nil {
			return err
		}
		c, err := s.remote()
		if err != nil {
			return err
		}
		k, raw, err := read[api.NewAPIKey](c.AdminCreateKey(cmd.Context(), req))
		if err != nil {
			return err
		}
		if quiet {
			return s.line(k.Key)
		}
		s.say("The key is shown this once only.")
		return s.show(raw, []string{"KEY", "CLIENT", "NAME", "PERMISSIONS", "EXPIRES", "API KEY"}, [][]string{
			{k.KeyID, optNumber(k.ClientID), k.Name, words(k.Permissions), optDate(k.ExpiresAt), k.Key},
		})
	})
	cmd.Example = "  drivebay key create --client 7 --name ci --permission read,volumes --expires 720h"
	cmd.Flags().StringVar(&name, "name", "", "what it is for")
	cmd.Flags().Int64Var(&client, "client", 0, "the client it speaks for (default: an operator's key)")
	cmd.Flags().StringSliceVar(&permissions, "permission", nil, "read, volumes, isos, billing or admin; repeat it, or use commas")
	cmd.Flags().StringVar(&expires, "expires", "", "a time (2030-01-31T00:00:00Z) or a span (720h); never, if left out")
	cmd.Flags().StringSliceVar(&allow, "allow", nil, "an address or network it may be used from; repeat it, or use commas")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the key alone")
	must(cmd, "name", "permission")
	return cmd
}

// expiry reads --expires: a time, or a span from now. An empty one is never.
func expiry(v string, now time.Time) (*time.Time, error) {
	if v == "" {
		return nil, nil
	}
	if t, err := time.Parse(time.RFC3339, v); err == nil {
		return new(t.UTC()), nil
	}
	if d, err := time.ParseDuration(v); err == nil && d > 0 {
		return new(now.Add(d).UTC().Truncate(time.Second)), nil
	}
	return nil, misuse("--expires is a time such as 2030-01-31T00:00:00Z or a span such as 720h, not %q.", v)
}

func (s *shell) keyRevoke() *cobra.Command {
	return s.verb("revoke KEY", "Revoke an API key, by its id", exact("KEY"), func(cmd *cobra.Command, args []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		if _, _, err := read[struct{}](c.AdminRevokeKey(cmd.Context(), args[0])); err != nil {
			return err
		}
		s.say("Key %s is revoked.", args[0])
		return nil
	})
}
