package cli

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/api"
)

// unlimited is the word for no bound.
const unlimited = "unlimited"

func (s *shell) clientQuota() *cobra.Command {
	var volumes, gib, isos, bytes string
	cmd := s.verb("quota CLIENT", "Show or change what a client may have", exact("CLIENT"), func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return misuse("CLIENT is a number, not %q.", args[0])
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
		q, raw, err := read[api.QuotaUsage](c.GetQuota(cmd.Context(), &api.GetQuotaParams{ClientID: &id}))
		if err != nil {
			return err
		}
		row := func(what string, limit *int64, used int64) []string {
			if limit == nil {
				return []string{what, unlimited, number(used)}
			}
			return []string{what, number(*limit), number(used)}
		}
		return s.show(raw, []string{"WHAT", "LIMIT", "USED"}, [][]string{
			row("volumes", q.Limits.Volumes, q.Used.Volumes), row("gib", q.Limits.Gib, q.Used.Gib),
			row("isos", q.Limits.Isos, q.Used.Isos), row("iso-bytes", q.Limits.ISOBytes, q.Used.ISOBytes),
		})
	})
	cmd.Example = "  drivebay client quota 7 --volumes 20 --gib 2000 --isos unlimited"
	f := cmd.Flags()
	f.StringVar(&volumes, "volumes", "", "data volumes, or unlimited; as it is, if left out")
	f.StringVar(&gib, "gib", "", "the sum of their sizes in GiB, or unlimited")
	f.StringVar(&isos, "isos", "", "ISOs, or unlimited")
	f.StringVar(&bytes, "iso-bytes", "", "the sum of their sizes in bytes, or unlimited")
	return cmd
}

// limits reads the flags that are given: null for unlimited.
func limits(volumes, gib, isos, bytes string) (map[string]*int64, error) {
	out := map[string]*int64{}
	for _, l := range []struct{ flag, field, v string }{
		{"volumes", "volumes", volumes}, {"gib", "gib", gib}, {"isos", "isos", isos}, {"iso-bytes", "isoBytes", bytes},
	} {
		if l.v == "" {
			continue
		}
		if l.v == unlimited {
			out[l.field] = nil
			continue
		}
		n, err := strconv.ParseInt(l.v, 10, 64)
		if err != nil || n < 0 {
			return nil, misuse("--%s is a number from 0 or %s, not %q.", l.flag, unlimited, l.v)
		}
		out[l.field] = &n
	}
	return out, nil
}

// changeQuota replaces the limits given and keeps the others.
func changeQuota(ctx context.Context, c *api.Client, id int64, changes map[string]*int64) error {
	_, raw, err := read[api.Quota](c.AdminGetClientQuota(ctx, id))
	if err != nil {
		return err
	}
	all := map[string]*int64{}
	if err := json.Unmarshal(raw, &all); err != nil {
		return err
	}
	for field, n := range changes {
		all[field] = n
	}
	put := api.QuotaPut{Volumes: all["volumes"], Gib: all["gib"], Isos: all["isos"], ISOBytes: all["isoBytes"]}
	_, _, err = read[api.Quota](c.AdminPutClientQuota(ctx, id, put))
	return err
}
