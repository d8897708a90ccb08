package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
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
	complete(cmd, "facility", s.facilityCodes)
	timeoutFlag(cmd, &n.timeout, 30*time.Minute)
	return offers(cmd, findingColumns.names())
}

var findingColumns = columns[client.Finding]{
	{head: "CLASS", cell: func(f client.Finding) string { return string(f.Class) }},
	{head: "FACILITY", cell: func(f client.Finding) string { return optText(f.FacilityCode) }},
	{head: "OBJECT", cell: func(f client.Finding) string { return f.ObjectID }},
	{head: "SINCE", cell: func(f client.Finding) string { return date(f.FirstSeen) }},
	{head: "CONFIRMED", cell: func(f client.Finding) string { return strconv.FormatBool(f.Confirmed) }},
	{head: "WHAT", cell: func(f client.Finding) string { return f.Detail }},
	{head: "WAY OUT", cell: func(f client.Finding) string { return f.Remedy }},
}

// examine asks for a look, waits for it, and prints what is open then.
func (s *shell) examine(ctx context.Context, n *checkup) error {
	c, err := s.remote()
	if err != nil {
		return err
	}
	q := client.Reconcile{Repair: n.repair, FacilityCode: n.facility}
	if n.graceSet {
		seconds := int((n.grace + time.Second - 1) / time.Second)
		q.GraceSeconds = &seconds
	}
	t, raw, err := whole(func(body client.CallOption) (client.Task, error) { return c.Admin.Doctor.Reconcile(ctx, q, body) })
	if err != nil {
		return err
	}
	if t, _, err = s.await(ctx, c, t, raw, n.timeout); err != nil {
		return err
	}
	list, raw, err := pages(func(p client.Page, body client.CallOption) ([]client.Finding, error) {
		return c.Admin.Doctor.Findings(ctx, client.FindingListOptions{FacilityCode: n.facility}, p, body)
	}, func(f client.Finding) int64 { return f.FindingID })
	if err != nil {
		return err
	}
	if len(list) > 0 || s.structured() {
		if err := findingColumns.list(s, raw, list...); err != nil {
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

var quarantineColumns = columns[client.Quarantined]{
	{head: "ID", cell: func(q client.Quarantined) string { return number(q.QuarantineID) }},
	{head: "FACILITY", cell: func(q client.Quarantined) string { return q.FacilityCode }},
	{head: "KIND", cell: func(q client.Quarantined) string { return string(q.Kind) }},
	{head: "OBJECT", flex: true, cell: func(q client.Quarantined) string { return q.ObjectID }},
	{head: "BYTES", cell: func(q client.Quarantined) string { return number(q.SizeBytes) }},
	{head: "SEEN", more: true, cell: func(q client.Quarantined) string { return date(q.FirstSeen) }},
	{head: "QUARANTINED", more: true, cell: func(q client.Quarantined) string { return date(q.QuarantinedAt) }},
	{head: "DELETABLE", cell: func(q client.Quarantined) string { return date(q.DeletableAt) }},
}

func (s *shell) quarantineList() *cobra.Command {
	var facility string
	cmd := quarantineColumns.lists(s, "list", "List what is in quarantine", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Quarantined, []byte, error) {
		return pages(func(p client.Page, body client.CallOption) ([]client.Quarantined, error) {
			return c.Admin.Quarantine.List(ctx, facility, p, body)
		}, func(q client.Quarantined) int64 { return q.QuarantineID })
	})
	cmd.Example = "  drivebay quarantine list --facility TPA1"
	cmd.Flags().StringVar(&facility, "facility", "", "only this facility's")
	complete(cmd, "facility", s.facilityCodes)
	return cmd
}

func (s *shell) quarantineDelete() *cobra.Command {
	var timeout time.Duration
	cmd := s.verb("delete ID", "Delete a disk or image from quarantine, for good", exact("ID"), func(cmd *cobra.Command, args []string) error {
		id, err := idArg("what is in quarantine", args[0])
		if err != nil {
			return err
		}
		c, err := s.remote()
		if err != nil {
			return err
		}
		t, raw, err := whole(func(body client.CallOption) (client.Task, error) {
			return c.Admin.Quarantine.Delete(cmd.Context(), id, body)
		})
		if err != nil {
			return err
		}
		if _, _, err := s.await(cmd.Context(), c, t, raw, timeout); err != nil {
			return err
		}
		s.say("Deleted %d from quarantine.", id)
		return nil
	})
	cmd.Long = "Delete a disk or image from quarantine, for good. It is refused before the retention time is over."
	cmd.Example = "  drivebay quarantine delete 12"
	timeoutFlag(cmd, &timeout, 15*time.Minute)
	return cmd
}
