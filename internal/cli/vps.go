package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/api"
)

func (s *shell) vps() *cobra.Command {
	return s.noun("vps", "The guests on a facility's hosts", s.vpsImport())
}

// guestImport is what the flags of `vps import` say.
type guestImport struct {
	api.VPSImport
	host        string
	all, dryRun bool
}

func (s *shell) vpsImport() *cobra.Command {
	n := new(guestImport)
	cmd := s.verb("import [DOMAIN...]", "Make devices and volumes of guests that are there already", cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
		switch {
		case n.all && len(args) > 0:
			return misuse("Name the guests to import, or give --all, but not both.")
		case n.all:
			n.All = &n.all
		case len(args) == 0:
			return misuse("%s needs the name or UUID of a guest, or --all.", cmd.CommandPath())
		default:
			n.Domains = &args
		}
		n.Host, n.DryRun = given(n.host), given(n.dryRun)
		return s.importGuests(cmd.Context(), n.VPSImport)
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
	f.StringVar(&n.host, "host", "", "only the guests of this host")
	f.Int64Var(&n.ClientID, "client", 0, "whose the devices become")
	f.BoolVar(&n.all, "all", false, "all guests")
	f.BoolVar(&n.dryRun, "dry-run", false, "say what would be done, and do nothing")
	must(cmd, "facility", "client")
	return cmd
}

var importColumns = []string{"GUEST", "HOST", "RESULT", "DEVICE", "DISK", "BYTES", "TYPE", "MONTHLY", "VOLUME", "WHY"}

// importRows has a row for each disk, with the guest in the first of them.
func importRows(list []api.ImportedGuest) (rows [][]string) {
	for _, g := range list {
		row := []string{g.Name, optText(g.Host), string(g.Result), optNumber(g.DeviceID), "", "", "", "", "", optText(g.Message)}
		for i, d := range g.Disks {
			if i > 0 {
				row = []string{"", "", "", "", "", "", "", "", "", ""}
			}
			row[4], row[5], row[6], row[8] = d.Target, number(d.SizeBytes), string(d.Type), optText(d.VolumeID)
			if d.MonthlyPrice != nil {
				row[7] = money(*d.MonthlyPrice)
			}
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
func (s *shell) importGuests(ctx context.Context, n api.VPSImport) error {
	c, err := s.remote()
	if err != nil {
		return err
	}
	list, raw, err := read[[]api.ImportedGuest](c.AdminImportVPS(ctx, n))
	if err != nil {
		return err
	}
	if err := s.show(raw, importColumns, importRows(list)); err != nil {
		return err
	}
	refused := 0
	for _, g := range list {
		if g.Result == api.ImportedGuestResultRefused {
			refused++
		}
	}
	if refused > 0 {
		return failed(Conflict, "guests_refused", "%d of %d guests were refused.", refused, len(list))
	}
	return nil
}

func (s *shell) deviceDelete() *cobra.Command {
	cmd := s.verb("delete DEVICE", "Forget a device whose guest was made elsewhere", exact("DEVICE"), func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || id < 1 {
			return misuse("The id of a device is a number, not %q.", args[0])
		}
		c, err := s.remote()
		if err != nil {
			return err
		}
		if _, _, err := read[struct{}](c.AdminDeleteDevice(cmd.Context(), id)); err != nil {
			return err
		}
		s.say("Device %d is forgotten. Its guest stays as it is.", id)
		return nil
	})
	cmd.Long = "Forget a device whose guest was made elsewhere. The guest stays as it is, or is gone already. Its volumes and its ISO have to be\ndetached before."
	return cmd
}
