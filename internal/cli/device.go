package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

func (s *shell) device() *cobra.Command {
	return s.noun("device", "The VPS that volumes and ISO images are attached to", s.deviceList(), s.deviceCreate(), s.deviceDelete())
}

var deviceColumns = columns[client.Device]{
	{head: "DEVICE", cell: func(d client.Device) string { return number(d.DeviceID) }},
	{head: "CLIENT", cell: func(d client.Device) string { return number(d.ClientID) }},
	{head: "FACILITY", cell: func(d client.Device) string { return d.FacilityCode }},
	{head: "HOSTNAME", flex: true, cell: func(d client.Device) string { return optText(d.Hostname) }},
	{head: "STATUS", cell: func(d client.Device) string { return d.Status }},
	{head: "VCPU", cell: func(d client.Device) string { return number(d.VCPU) }},
	{head: "MEMORY MB", cell: func(d client.Device) string { return number(d.Memory) }},
	{head: "VOLUMES", cell: func(d client.Device) string { return number(d.AttachedVolumes) + "/" + number(d.MaxVolumes) }},
	{head: "CREATED", more: true, cell: func(d client.Device) string { return date(d.CreatedAt) }},
}

func (s *shell) deviceList() *cobra.Command {
	var owner int64
	cmd := deviceColumns.lists(s, "list", "List devices", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Device, []byte, error) {
		return pages(func(p client.Page, body client.CallOption) ([]client.Device, error) {
			return c.Admin.Device.List(ctx, owner, p, body)
		},
			func(d client.Device) int64 { return d.DeviceID })
	})
	cmd.Example = "  drivebay device list --client 7"
	cmd.Flags().Int64Var(&owner, "client", 0, "only this client's")
	return cmd
}

// newDevice is what the flags of `device create` say.
type newDevice struct {
	client.DeviceCreate
	volumes int
	quiet   bool
	waiting
}

func (s *shell) deviceCreate() *cobra.Command {
	n := new(newDevice)
	cmd := s.verb("create", "Give a client a device", exact(), func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("max-volumes") { // 0 is a number of volumes
			n.MaxVolumes = &n.volumes
		}
		return s.createDevice(cmd.Context(), n)
	})
	cmd.Example = "  drivebay device create --client 7 --facility TPA1 --hostname web1\n  drivebay device create --client 7 --facility LAX3 --ref web1"
	f := cmd.Flags()
	f.Int64Var(&n.ClientID, "client", 0, "whose it is")
	f.StringVar(&n.FacilityCode, "facility", "", "the facility it is in")
	f.Int64Var(&n.DeviceID, "id", 0, "its id (default: the next free one)")
	f.StringVar(&n.Ref, "ref", "", "the guest that it is, by name or UUID, where guests are made elsewhere; none of its disks becomes a volume")
	f.StringVar(&n.Hostname, "hostname", "", "its host name")
	f.IntVar(&n.VCPU, "vcpu", 0, "how many virtual processors it has (default: the server's)")
	f.IntVar(&n.MemoryMiB, "memory", 0, "its memory in MB (default: the server's)")
	f.IntVar(&n.RootGiB, "root", 0, "the size of its ROOT volume in GiB (default: the server's)")
	f.IntVar(&n.volumes, "max-volumes", 0, "how many volumes it can take (default: the server's)")
	f.BoolVarP(&n.quiet, "quiet", "q", false, "print its id alone")
	must(cmd, "client", "facility")
	complete(cmd, "facility", s.facilityCodes)
	waitFlags(cmd, &n.waiting, 5*time.Minute)
	return offers(cmd, deviceColumns.names())
}

// createDevice asks for the device, waits for its task and prints it.
func (s *shell) createDevice(ctx context.Context, n *newDevice) error {
	c, err := s.remote()
	if err != nil {
		return err
	}
	t, raw, err := change(n.key, func(opts ...client.CallOption) (client.Task, error) {
		return c.Admin.Device.Create(ctx, n.DeviceCreate, opts...)
	})
	if err != nil {
		return err
	}
	if n.noWait {
		return s.accepted(t, raw, "")
	}
	if t, _, err = s.await(ctx, c, t, raw, n.timeout); err != nil {
		return err
	}
	if t.DeviceID == nil {
		return failed(Failed, "bad_answer", "Task %s is done, but names no device.", t.ID)
	}
	if n.quiet {
		return s.line(number(*t.DeviceID))
	}
	list, raw, err := whole(func(body client.CallOption) ([]client.Device, error) {
		return c.Admin.Device.List(ctx, 0, client.Page{After: *t.DeviceID - 1, Limit: 1}, body)
	})
	if err != nil {
		return err
	}
	if len(list) != 1 || list[0].DeviceID != *t.DeviceID {
		return failed(NotFound, "not_found", "Device %d was made, but is not listed.", *t.DeviceID)
	}
	if raw, err = only(raw); err != nil {
		return err
	}
	return deviceColumns.list(s, raw, list[0])
}

func (s *shell) deviceDelete() *cobra.Command {
	cmd := s.verb("delete DEVICE", "Forget a device whose guest was made elsewhere", exact("DEVICE"), func(cmd *cobra.Command, args []string) error {
		id, err := idArg("a device", args[0])
		if err != nil {
			return err
		}
		c, err := s.remote()
		if err != nil {
			return err
		}
		if err := c.Admin.Device.Delete(cmd.Context(), id); err != nil {
			return err
		}
		s.say("Device %d is forgotten. Its guest stays as it is.", id)
		return nil
	})
	cmd.Long = "Forget a device whose guest was made elsewhere. The guest stays as it is, or is gone already. Its volumes and its ISO have to be\ndetached before."
	cmd.Example = "  drivebay device delete 1004"
	cmd.ValidArgsFunction = completed(s.deviceIDs)
	return cmd
}
