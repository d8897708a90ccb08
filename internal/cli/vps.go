package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

func (s *shell) vps() *cobra.Command {
	return s.noun("vps", "The devices: virtual machines that volumes and ISOs are attached to", s.vpsList(), s.vpsGet(), s.vpsEvents(), s.vpsPower(), s.vpsImport())
}

var vpsColumns = columns[client.VPS]{
	{head: "DEVICE", cell: func(v client.VPS) string { return number(v.DeviceID) }},
	{head: "FACILITY", cell: func(v client.VPS) string { return v.FacilityCode }},
	{head: "STATUS", cell: func(v client.VPS) string { return v.Status }},
	{head: "VCPU", cell: func(v client.VPS) string { return number(v.VCPU) }},
	{head: "MEMORY MB", more: true, cell: func(v client.VPS) string { return number(v.MemoryMiB) }},
	{head: "VOLUMES", cell: func(v client.VPS) string {
		switch {
		case v.AttachedVolumes == nil:
			return ""
		case v.MaxVolumes == nil:
			return number(*v.AttachedVolumes)
		}
		return number(*v.AttachedVolumes) + "/" + number(*v.MaxVolumes)
	}},
	{head: "ISO", cell: func(v client.VPS) string { return v.ISOID }},
	{head: "ADDRESSES", more: true, cell: func(v client.VPS) string {
		var out []string
		for _, n := range v.Interfaces {
			for _, a := range []string{n.IPAddress, n.IPV6Address} {
				if a != "" {
					out = append(out, a)
				}
			}
		}
		return strings.Join(out, ",")
	}},
}

func (s *shell) vpsList() *cobra.Command {
	var o client.VPSListOptions
	cmd := vpsColumns.lists(s, "list", "List devices", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.VPS, []byte, error) {
		return whole(func(body client.CallOption) ([]client.VPS, error) { return c.VPS.List(ctx, o, body) })
	})
	cmd.Example = "  drivebay vps list --facility TPA1"
	cmd.Flags().StringVar(&o.FacilityCode, "facility", "", "only this facility's")
	cmd.Flags().Int64Var(&o.ClientID, "client", 0, "only this client's")
	complete(cmd, "facility", s.facilityCodes)
	return cmd
}

func (s *shell) vpsGet() *cobra.Command {
	cmd := vpsColumns.shows(s, "get DEVICE", "Show a device", exact("DEVICE"), func(ctx context.Context, c *client.Client, args []string) (client.VPS, []byte, error) {
		id, err := idArg("a device", args[0])
		if err != nil {
			return client.VPS{}, nil, err
		}
		return whole(func(body client.CallOption) (client.VPS, error) { return c.VPS.Get(ctx, id, body) })
	})
	cmd.Example = "  drivebay vps get 1001"
	cmd.ValidArgsFunction = completed(s.deviceIDs)
	return cmd
}

var eventColumns = columns[client.VPSEvent]{
	{head: "WHEN", cell: func(e client.VPSEvent) string { return date(e.CreatedAt) }},
	{head: "WHAT", cell: func(e client.VPSEvent) string { return e.Type }},
	{head: "STATE", cell: func(e client.VPSEvent) string { return e.State }},
	{head: "LEVEL", cell: func(e client.VPSEvent) string { return e.Level }},
	{head: "EVENT", more: true, cell: func(e client.VPSEvent) string { return e.ID }},
}

func (s *shell) vpsEvents() *cobra.Command {
	var limit int
	cmd := eventColumns.lists(s, "events DEVICE", "List what happened to a device, newest first", exact("DEVICE"),
		func(ctx context.Context, c *client.Client, args []string) ([]client.VPSEvent, []byte, error) {
			id, err := idArg("a device", args[0])
			if err != nil {
				return nil, nil, err
			}
			return whole(func(body client.CallOption) ([]client.VPSEvent, error) { return c.VPS.Events(ctx, id, limit, body) })
		})
	cmd.Example = "  drivebay vps events 1001 --limit 10"
	cmd.Flags().IntVar(&limit, "limit", 0, "how many at most (default: the server's own limit)")
	cmd.ValidArgsFunction = completed(s.deviceIDs)
	return cmd
}

// powerDone says what a device is after a change of its power.
var powerDone = map[client.PowerAction]string{
	client.PowerBoot: "Device %d runs.", client.PowerShutdown: "Device %d is off.",
	client.PowerReboot: "Device %d was restarted.", client.PowerCycle: "Device %d was powered off and on.",
}

func (s *shell) vpsPower() *cobra.Command {
	var w waiting
	cmd := s.verb("power DEVICE ACTION", "Start a device, shut it down, restart it, or cut its power", exact("DEVICE", "ACTION"), func(cmd *cobra.Command, args []string) error {
		id, err := idArg("a device", args[0])
		if err != nil {
			return err
		}
		action := client.PowerAction(args[1])
		done, ok := powerDone[action]
		if !ok {
			return misuse("ACTION is boot, shutdown, reboot or cycle, not %q.", args[1])
		}
		c, err := s.remote()
		if err != nil {
			return err
		}
		t, raw, err := change(w.key, func(opts ...client.CallOption) (client.Task, error) {
			return c.VPS.Power(cmd.Context(), id, action, opts...)
		})
		if err != nil {
			return err
		}
		return s.finish(cmd.Context(), c, t, raw, w, fmt.Sprintf(done, id))
	})
	cmd.Long = `Start a device (boot), have its system shut down (shutdown) or restart (reboot), or cut its power and
start it (cycle). What is so already stays so; reboot and cycle start a device that is off.`
	cmd.Example = "  drivebay vps power 1001 reboot"
	ids, actions := completed(s.deviceIDs), fixed("boot", "shutdown", "reboot", "cycle")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return matching(actions(cmd, typed), typed)
		}
		return ids(cmd, args, typed)
	}
	waitFlags(cmd, &w, 10*time.Minute)
	return offers(cmd, taskColumns.names())
}

func (s *shell) vpsImport() *cobra.Command {
	var n client.GuestImport
	cmd := s.verb("import [DOMAIN...]", "Make devices and volumes of guests that are there already", cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
		switch {
		case n.All && len(args) > 0:
			return misuse("Name the guests to import, or give --all, but not both.")
		case !n.All && len(args) == 0:
			return misuse("%s needs the name or UUID of a guest, or --all.", cmd.CommandPath())
		case !n.All:
			n.Domains = args
		}
		return s.importGuests(cmd.Context(), n)
	})
	cmd.Long = `Make devices and volumes of guests that are there already: each guest becomes a device of the client, its first disk the ROOT
volume and the others data volumes. Nothing on a host is touched.

A data disk of a size on sale gets its price and a service from now on; one of another size costs nothing until it is resized
to a size on sale. A guest that is a device of the client already is left alone, so the command may be repeated. Exit
status 5 means that a guest was refused; the others are imported all the same.`
	cmd.Example = `  drivebay vps import --facility TPA1 --client 7 --all --dry-run
  drivebay vps import --facility TPA1 --host h1 --client 7 web1 db1`
	f := cmd.Flags()
	f.StringVar(&n.FacilityCode, "facility", "", "the facility the guests are in")
	f.StringVar(&n.Host, "host", "", "only the guests of this host")
	f.Int64Var(&n.ClientID, "client", 0, "whose the devices become")
	f.BoolVar(&n.All, "all", false, "all guests")
	f.BoolVar(&n.DryRun, "dry-run", false, "say what would be done, and do nothing")
	must(cmd, "facility", "client")
	complete(cmd, "facility", s.facilityCodes)
	return offers(cmd, grid{heads: importHeads}.names())
}

var importHeads = []string{"GUEST", "HOST", "RESULT", "DEVICE", "DISK", "BYTES", "TYPE", "MONTHLY", "VOLUME", "WHY"}

// importRows has a row for each disk, with the guest in the first of them.
func importRows(list []client.ImportedGuest) (rows [][]string) {
	for _, g := range list {
		row := []string{g.Name, optText(g.Host), string(g.Result), optNumber(g.DeviceID), "", "", "", "", "", optText(g.Message)}
		for i, d := range g.Disks {
			if i > 0 {
				row = []string{"", "", "", "", "", "", "", "", "", ""}
			}
			row[4], row[5], row[6], row[8] = d.Target, number(d.SizeBytes), string(d.Type), optText(d.VolumeID)
			row[7] = optMoney(d.MonthlyPrice)
			if d.Message != nil {
				row[9] = strings.TrimSpace(row[9] + " " + *d.Message)
			}
			if i < len(g.Disks)-1 {
				rows = append(rows, row)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// importGuests asks for the import and prints what became of each guest.
func (s *shell) importGuests(ctx context.Context, n client.GuestImport) error {
	c, err := s.remote()
	if err != nil {
		return err
	}
	list, raw, err := whole(func(body client.CallOption) ([]client.ImportedGuest, error) {
		return c.Admin.Device.Import(ctx, n, body)
	})
	if err != nil {
		return err
	}
	if err := s.show(raw, grid{heads: importHeads, rows: importRows(list)}); err != nil {
		return err
	}
	refused := 0
	for _, g := range list {
		if g.Result == "refused" {
			refused++
		}
	}
	if refused > 0 {
		return failed(Conflict, "guests_refused", "%d of %d guests were refused.", refused, len(list))
	}
	return nil
}
