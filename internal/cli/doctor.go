package cli

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/api"
)

// checkup is what the flags of `doctor` say.
type checkup struct {
	repair   bool
	facility string
	grace    time.Duration
	graceSet bool
	timeout  time.Duration
}

func (s *shell) doctor() *cobra.Command {
	n := new(checkup)
	cmd := s.verb("doctor", "Compare the database with the storage, the guests and the charges", exact(), func(cmd *cobra.Command, _ []string) error {
		n.graceSet = cmd.Flags().Changed("grace")
		return s.examine(cmd.Context(), n)
	})
	cmd.Long = `Compare the database with the storage, the guests and the charges, and list what differs with the way out.

A difference counts once two looks have seen it, the grace time apart. With --repair what is safe is repaired then, in order
with the other work on the device or volume; nothing is deleted. Exit status 1 means that something remains.`
	cmd.Example = "  drivebay doctor\n  drivebay doctor --repair --facility TPA1"
	s.outputFlag(cmd)
	s.urlFlag(cmd)
	f := cmd.Flags()
	f.BoolVar(&n.repair, "repair", false, "repair what is safe to repair")
	f.StringVar(&n.facility, "facility", "", "only this facility")
	f.DurationVar(&n.grace, "grace", 0, "how long a difference must have been seen (default: the server's setting)")
	f.DurationVar(&n.timeout, "timeout", 30*time.Minute, "how long to wait for it")
	return cmd
}

var findingColumns = []string{"CLASS", "FACILITY", "OBJECT", "SINCE", "CONFIRMED", "WHAT", "WAY OUT"}

func findingRow(f api.Finding) []string {
	return []string{
		string(f.Class), optText(f.FacilityCode), f.ObjectID, date(f.FirstSeen), strconv.FormatBool(f.Confirmed), f.Detail, f.Remedy,
	}
}

// examine asks for a look, waits for it, and prints what is open then.
func (s *shell) examine(ctx context.Context, n *checkup) error {
	c, err := s.remote()
	if err != nil {
		return err
	}
	q := api.ReconcileRequest{Repair: n.repair, FacilityCode: given(n.facility)}
	if n.graceSet {
		seconds := int((n.grace + time.Second - 1) / time.Second)
		q.GraceSeconds = &seconds
	}
	t, _, err := read[api.Task](c.AdminReconcile(ctx, q))
	if err != nil {
		return err
	}
	if t, err = s.wait(ctx, c, t, n.timeout); err != nil {
		return err
	}
	list, raw, err := pages(func(after int64, limit int) (*http.Response, error) {
		return c.AdminListFindings(ctx, &api.AdminListFindingsParams{FacilityCode: given(n.facility), After: &after, Limit: &limit})
	}, func(f api.Finding) int64 { return f.FindingID })
	if err != nil {
		return err
	}
	if len(list) > 0 || s.format == formatJSON {
		if err := s.show(raw, findingColumns, table(list, findingRow)); err != nil {
			return err
		}
	}
	s.say("%s", t.Message)
	if len(list) > 0 {
		return failed(Failed, "findings_remain", "%d findings remain.", len(list))
	}
	return nil
}

func (s *shell) quarantine() *cobra.Command {
	return s.noun("quarantine", "Disks and images on the storage that belong to nothing", s.quarantineList(), s.quarantineDelete())
}

var quarantineColumns = []string{"ID", "FACILITY", "KIND", "OBJECT", "BYTES", "SEEN", "QUARANTINED", "DELETABLE"}

func quarantineRow(q api.Quarantined) []string {
	return []string{
		number(q.QuarantineID), q.FacilityCode, string(q.Kind), q.ObjectID, number(q.SizeBytes),
		date(q.FirstSeen), date(q.QuarantinedAt), date(q.DeletableAt),
	}
}

func (s *shell) quarantineList() *cobra.Command {
	var facility string
	cmd := s.verb("list", "List what is in quarantine", exact(), func(cmd *cobra.Command, _ []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		list, raw, err := pages(func(after int64, limit int) (*http.Response, error) {
			return c.AdminListQuarantine(cmd.Context(), &api.AdminListQuarantineParams{FacilityCode: given(facility), After: &after, Limit: &limit})
		}, func(q api.Quarantined) int64 { return q.QuarantineID })
		if err != nil {
			return err
		}
		return s.show(raw, quarantineColumns, table(list, quarantineRow))
	})
	cmd.Flags().StringVar(&facility, "facility", "", "only this facility's")
	return cmd
}

func (s *shell) quarantineDelete() *cobra.Command {
	var timeout time.Duration
	cmd := s.verb("delete ID", "Delete a disk or image from quarantine, for good", exact("ID"), func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || id < 1 {
			return misuse("An id in quarantine is a number, not %q.", args[0])
		}
		c, err := s.remote()
		if err != nil {
			return err
		}
		t, _, err := read[api.Task](c.AdminDeleteQuarantine(cmd.Context(), id))
		if err != nil {
			return err
		}
		if _, err := s.wait(cmd.Context(), c, t, timeout); err != nil {
			return err
		}
		s.say("Deleted %d from quarantine.", id)
		return nil
	})
	cmd.Long = "Delete a disk or image from quarantine, for good. It is refused before the retention time is over."
	cmd.Flags().DurationVar(&timeout, "timeout", 15*time.Minute, "how long to wait for it")
	return cmd
}
