package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

// completionTime bounds what a shell waits for when a name is completed.
const completionTime = 3 * time.Second

// names proposes what may stand in a place where typed stands so far. A tab
// separates a name from what is said about it.
type names func(cmd *cobra.Command, typed string) []string

// complete proposes names for a flag.
func complete(cmd *cobra.Command, flag string, n names) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return matching(n(cmd, typed), typed)
	})
	if err != nil {
		panic("cli: " + cmd.Name() + ": " + err.Error()) // no such flag: every test would see it
	}
}

// completed proposes names for the first argument.
func completed(n names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return matching(n(cmd, typed), typed)
	}
}

func matching(list []string, typed string) ([]string, cobra.ShellCompDirective) {
	directive := cobra.ShellCompDirectiveNoFileComp
	var out []string
	for _, name := range list {
		if strings.HasPrefix(name, typed) {
			out = append(out, clean2(name))
			if strings.HasSuffix(name, "=") {
				directive |= cobra.ShellCompDirectiveNoSpace
			}
		}
	}
	return out, directive
}

// clean2 is clean for a name and what is said about it.
func clean2(name string) string {
	name, about, more := strings.Cut(name, "\t")
	if !more {
		return clean(name)
	}
	return clean(name) + "\t" + clean(about)
}

// live asks the server for names, for a short time. Whatever goes wrong, there
// are none.
func live[T any](s *shell, get func(ctx context.Context, cmd *cobra.Command, c *client.Client) ([]T, error), name func(T) string) names {
	return func(cmd *cobra.Command, _ string) []string {
		s.retry = client.RetryPolicy{}
		c, err := s.remote()
		if err != nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		list, err := get(ctx, cmd, c)
		if err != nil {
			return nil
		}
		out := make([]string, len(list))
		for i, v := range list {
			out[i] = name(v)
		}
		return out
	}
}

// flagValue is what a flag that stands on the line already says; "" for none.
func flagValue(cmd *cobra.Command, name string) string {
	if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
		return f.Value.String()
	}
	return ""
}

func (s *shell) volumeIDs(cmd *cobra.Command, typed string) []string {
	return live(s, func(ctx context.Context, _ *cobra.Command, c *client.Client) ([]client.Volume, error) {
		var data []client.Volume
		for v, err := range c.Volume.All(ctx, client.VolumeListOptions{}) {
			if err != nil {
				return nil, err
			}
			if !v.Root() || cmd.Name() == "get" {
				data = append(data, v)
			}
		}
		return data, nil
	}, func(v client.Volume) string {
		about := number(v.SizeGiB) + " GiB in " + v.FacilityCode
		if v.DeviceID != nil {
			about += " on device " + number(*v.DeviceID)
		}
		return v.ID + "\t" + about
	})(cmd, typed)
}

func (s *shell) isoIDs(cmd *cobra.Command, typed string) []string {
	return live(s, func(ctx context.Context, cmd *cobra.Command, c *client.Client) ([]client.ISO, error) {
		var list []client.ISO
		for i, err := range c.ISO.All(ctx, client.ISOListOptions{FacilityCode: flagValue(cmd, "facility")}) {
			if err != nil {
				return nil, err
			}
			list = append(list, i)
		}
		return list, nil
	}, func(i client.ISO) string { return i.ID + "\t" + i.Name + ", " + i.Status })(cmd, typed)
}

func (s *shell) deviceIDs(cmd *cobra.Command, typed string) []string {
	return live(s, func(ctx context.Context, _ *cobra.Command, c *client.Client) ([]client.VPS, error) {
		return c.VPS.List(ctx, client.VPSListOptions{})
	}, func(v client.VPS) string { return number(v.DeviceID) + "\t" + v.Status + " in " + v.FacilityCode })(cmd, typed)
}

func (s *shell) taskIDs(cmd *cobra.Command, typed string) []string {
	return live(s, func(ctx context.Context, _ *cobra.Command, c *client.Client) ([]client.Task, error) {
		return c.Task.List(ctx, client.TaskListOptions{Limit: 50})
	}, func(t client.Task) string { return t.ID + "\t" + t.Meta().Action + " " + string(t.Result) })(cmd, typed)
}

func (s *shell) serviceIDs(cmd *cobra.Command, typed string) []string {
	return live(s, func(ctx context.Context, _ *cobra.Command, c *client.Client) ([]client.Service, error) {
		return c.Service.List(ctx, client.ServiceListOptions{})
	}, func(v client.Service) string { return number(v.ID) + "\t" + v.ProductName + ", " + v.Status })(cmd, typed)
}

func (s *shell) keyIDs(cmd *cobra.Command, typed string) []string {
	return live(s, func(ctx context.Context, _ *cobra.Command, c *client.Client) ([]client.Key, error) {
		return c.Admin.Key.List(ctx, client.KeyListOptions{})
	}, func(k client.Key) string { return k.KeyID + "\t" + k.Name })(cmd, typed)
}

func (s *shell) facilityCodes(cmd *cobra.Command, typed string) []string {
	return live(s, func(ctx context.Context, _ *cobra.Command, c *client.Client) ([]client.Location, error) {
		return c.Location.List(ctx)
	}, func(l client.Location) string { return l.Code + "\t" + l.Title })(cmd, typed)
}

func (s *shell) sizesOnSale(cmd *cobra.Command, typed string) []string {
	return live(s, func(ctx context.Context, _ *cobra.Command, c *client.Client) ([]client.VolumeSize, error) {
		return c.Volume.Sizes(ctx, "")
	}, func(v client.VolumeSize) string { return number(v.SizeGiB) + "\t" + money(v.MonthlyPrice) + " a month" })(cmd, typed)
}

// fixed are names that do not change.
func fixed(list ...string) names {
	return func(*cobra.Command, string) []string { return list }
}
