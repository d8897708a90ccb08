package cli

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/api"
)

func (s *shell) device() *cobra.Command {
	return s.noun("device", "The VPS that volumes and ISO images are attached to", s.deviceList(), s.deviceCreate(), s.deviceDelete())
}

var deviceColumns = []string{"DEVICE", "CLIENT", "FACILITY", "HOSTNAME", "STATUS", "VCPU", "MEMORY MB", "VOLUMES", "CREATED"}

func deviceRow(d api.Device) []string {
	return []string{
		number(d.DeviceID), number(d.ClientID), d.FacilityCode, optText(d.Hostname), d.Status, number(d.VCPU), number(d.Memory),
		number(d.AttachedVolumes) + "/" + number(d.MaxVolumes), date(d.CreatedAt),
	}
}

func (s *shell) deviceList() *cobra.Command {
	var client int64
	cmd := s.verb("list", "List devices", exact(), func(cmd *cobra.Command, _ []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		list, raw, err := pages(func(after int64, limit int) (*http.Response, error) {
			return c.AdminListDevices(cmd.Context(), &api.AdminListDevicesParams{ClientID: given(client), After: &after, Limit: &limit})
		}, func(d api.Device) int64 { return d.DeviceID })
		if err != nil {
			return err
		}
		return s.show(raw, deviceColumns, table(list, deviceRow))
	})
	cmd.Flags().Int64Var(&client, "client", 0, "only this client's")
	return cmd
}

// newDevice is what the flags of `device create` say.
type newDevice struct {
	api.DeviceCreate
	id              int64
	host, ref       string
	cpus, ram, root int
	volumes         int
	timeout         time.Duration
	noWait, quiet   bool
}

func (s *shell) deviceCreate() *cobra.Command {
	n := new(newDevice)
	cmd := s.verb("create", "Give a client a device", exact(), func(cmd *cobra.Command, _ []string) error {
		n.DeviceID, n.Hostname, n.VCPU, n.Memory, n.RootGiB = given(n.id), given(n.host), given(n.cpus), given(n.ram), given(n.root)
		n.Ref = given(n.ref)
		if cmd.Flags().Changed("max-volumes") { // 0 is a number of volumes
			n.MaxVolumes = &n.volumes
		}
		return s.createDevice(cmd.Context(), n)
	})
	cmd.Example = "  drivebay device create --client 7 --facility TPA1 --hostname web1\n  drivebay device create --client 7 --facility LAX3 --ref web1"
	f := cmd.Flags()
	f.Int64Var(&n.ClientID, "client", 0, "whose it is")
	f.StringVar(&n.FacilityCode, "facility", "", "the facility it is in")
	f.Int64Var(&n.id, "id", 0, "its id (default: the next free one)")
	f.StringVar(&n.ref, "ref", "", "the guest that it is, by name or UUID, where guests are made elsewhere; none of its disks becomes a volume")
	f.StringVar(&n.host, "hostname", "", "its host name")
	f.IntVar(&n.cpus, "vcpu", 0, "how many virtual processors it has (default: the server's)")
	f.IntVar(&n.ram, "memory", 0, "its memory in MB (default: the server's)")
	f.IntVar(&n.root, "root", 0, "the size of its ROOT volume in GiB (default: the server's)")
	f.IntVar(&n.volumes, "max-volumes", 0, "how many volumes it can take (default: the server's)")
	f.DurationVar(&n.timeout, "timeout", 5*time.Minute, "how long to wait for it")
	f.BoolVar(&n.noWait, "no-wait", false, "do not wait: print the id of the task")
	f.BoolVarP(&n.quiet, "quiet", "q", false, "print its id alone")
	must(cmd, "client", "facility")
	return cmd
}

// createDevice asks for the device, waits for its task and prints it.
func (s *shell) createDevice(ctx context.Context, n *newDevice) error {
	c, err := s.remote()
	if err != nil {
		return err
	}
	t, raw, err := read[api.Task](c.AdminCreateDevice(ctx, n.DeviceCreate))
	if err != nil {
		return err
	}
	if n.noWait {
		if s.format == formatJSON && !n.quiet {
			return s.show(raw, nil, nil)
		}
		return s.line(t.TaskID)
	}
	if t, err = s.wait(ctx, c, t, n.timeout); err != nil {
		return err
	}
	if t.DeviceID == nil {
		return failed(Failed, "bad_answer", "Task %s is done, but names no device.", t.TaskID)
	}
	if n.quiet {
		return s.line(number(*t.DeviceID))
	}
	before, one := *t.DeviceID-1, 1
	list, raw, err := read[[]api.Device](c.AdminListDevices(ctx, &api.AdminListDevicesParams{After: &before, Limit: &one}))
	if err != nil {
		return err
	}
	if len(list) != 1 || list[0].DeviceID != *t.DeviceID {
		return failed(NotFound, "not_found", "Device %d was made, but is not listed.", *t.DeviceID)
	}
	if s.format == formatJSON {
		if raw, err = only(raw); err != nil {
			return err
		}
	}
	return s.show(raw, deviceColumns, [][]string{deviceRow(list[0])})
}
