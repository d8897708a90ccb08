package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

// unlimited is the word for no bound.
const unlimited = "unlimited"

var quotaHeads = []string{"WHAT", "LIMIT", "USED"}

func (s *shell) clientQuota() *cobra.Command {
	var volumes, gib, isos, bytes string
	cmd := s.verb("quota CLIENT", "Show or change what a client may have", exact("CLIENT"), func(cmd *cobra.Command, args []string) error {
		id, err := idArg("a client", args[0])
		if err != nil {
			return err
		}
		c, err := s.remote()
		if err != nil {
			return err
		}
		changes, err := limits(volumes, gib, isos, bytes)
		if err != nil {
			return err
		}
		if len(changes) > 0 {
			if err := changeQuota(cmd.Context(), c, id, changes); err != nil {
				return err
			}
		}
		q, raw, err := whole(func(body client.CallOption) (client.QuotaUsage, error) { return c.Quota.Get(cmd.Context(), id, body) })
		if err != nil {
			return err
		}
		row := func(what string, limit *int64, used int64) []string {
			if limit == nil {
				return []string{what, unlimited, number(used)}
			}
			return []string{what, number(*limit), number(used)}
		}
		return s.show(raw, grid{heads: quotaHeads, rows: [][]string{
			row("volumes", q.Limits.Volumes, q.Used.Volumes), row("gib", q.Limits.Gib, q.Used.Gib),
			row("isos", q.Limits.Isos, q.Used.Isos), row("iso-bytes", q.Limits.ISOBytes, q.Used.ISOBytes),
		}})
	})
	cmd.Example = "  drivebay client quota 7 --volumes 20 --gib 2000 --isos unlimited"
	f := cmd.Flags()
	f.StringVar(&volumes, "volumes", "", "data volumes, or unlimited; as it is, if left out")
	f.StringVar(&gib, "gib", "", "the sum of their sizes in GiB, or unlimited")
	f.StringVar(&isos, "isos", "", "ISOs, or unlimited")
	f.StringVar(&bytes, "iso-bytes", "", "the sum of their sizes in bytes, or unlimited")
	return offers(cmd, grid{heads: quotaHeads}.names())
}

// limits reads the flags that are given: nil for unlimited.
func limits(volumes, gib, isos, bytes string) (map[string]*int64, error) {
	out := map[string]*int64{}
	for _, l := range []struct{ flag, v string }{{"volumes", volumes}, {"gib", gib}, {"isos", isos}, {"iso-bytes", bytes}} {
		if l.v == "" {
			continue
		}
		if l.v == unlimited {
			out[l.flag] = nil
			continue
		}
		n, err := strconv.ParseInt(l.v, 10, 64)
		if err != nil || n < 0 {
			return nil, misuse("--%s is a number from 0 or %s, not %q.", l.flag, unlimited, l.v)
		}
		out[l.flag] = &n
	}
	return out, nil
}

// changeQuota replaces the limits given and keeps the others.
func changeQuota(ctx context.Context, c *client.Client, id int64, changes map[string]*int64) error {
	all, err := c.Admin.Account.Limits(ctx, id)
	if err != nil {
		return err
	}
	for flag, limit := range map[string]**int64{"volumes": &all.Volumes, "gib": &all.Gib, "isos": &all.Isos, "iso-bytes": &all.ISOBytes} {
		if n, ok := changes[flag]; ok {
			*limit = n
		}
	}
	_, err = c.Admin.Account.SetLimits(ctx, id, all)
	return err
}
