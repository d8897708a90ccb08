package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

func (s *shell) volume() *cobra.Command {
	return s.noun("volume", "The disks of devices", s.volumeList(), s.volumeGet(), s.volumeCreate(), s.volumeResize(), s.volumeDelete(),
		s.volumeAttach(), s.volumeDetach(), s.volumeSizes())
}

var volumeColumns = columns[client.Volume]{
	{head: "VOLUME", cell: func(v client.Volume) string { return v.ID }},
	{head: "TYPE", cell: func(v client.Volume) string { return v.Type }},
	{head: "GIB", cell: func(v client.Volume) string { return number(v.SizeGiB) }},
	{head: "DEVICE", cell: func(v client.Volume) string { return optNumber(v.DeviceID) }},
	{head: "FACILITY", cell: func(v client.Volume) string { return v.FacilityCode }},
	{head: "MONTHLY", cell: func(v client.Volume) string { return optMoney(v.MonthlyPrice) }},
	{head: "STATE", more: true, cell: func(v client.Volume) string { return string(v.State) }},
	{head: "BYTES", more: true, cell: func(v client.Volume) string { return number(v.SizeBytes) }},
	{head: "CREATED", more: true, cell: func(v client.Volume) string { return date(v.CreatedAt) }},
}

func (s *shell) volumeList() *cobra.Command {
	var o client.VolumeListOptions
	cmd := volumeColumns.lists(s, "list", "List volumes, newest first", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Volume, []byte, error) {
		if o.DeviceID != 0 && o.FacilityCode == "" {
			return whole(func(body client.CallOption) ([]client.Volume, error) { return c.Volume.List(ctx, o, body) })
		}
		return everywhere(ctx, c, o.FacilityCode, func(code string, body client.CallOption) ([]client.Volume, error) {
			o := o
			o.FacilityCode = code
			return c.Volume.List(ctx, o, body)
		})
	})
	cmd.Long = "List volumes, newest first: those of a device, of a facility, or of all facilities one after the other."
	cmd.Example = "  drivebay volume list\n  drivebay volume list --device 1001 -o columns=volume,gib,state\n  drivebay volume list -o json"
	f := cmd.Flags()
	f.Int64Var(&o.DeviceID, "device", 0, "only this device's")
	f.StringVar(&o.FacilityCode, "facility", "", "only this facility's")
	f.Int64Var(&o.ClientID, "client", 0, "only this client's")
	complete(cmd, "device", s.deviceIDs)
	complete(cmd, "facility", s.facilityCodes)
	return cmd
}

func (s *shell) volumeGet() *cobra.Command {
	cmd := volumeColumns.shows(s, "get VOLUME", "Show a volume", exact("VOLUME"), func(ctx context.Context, c *client.Client, args []string) (client.Volume, []byte, error) {
		return whole(func(body client.CallOption) (client.Volume, error) { return c.Volume.Get(ctx, args[0], body) })
	})
	cmd.Example = "  drivebay volume get 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10"
	cmd.ValidArgsFunction = completed(s.volumeIDs)
	return cmd
}

// volumeChange is what the commands that make or grow a volume have in common.
type volumeChange struct {
	device int64
	size   int64
	quiet  bool
	waiting
	spending
}

func (s *shell) volumeCreate() *cobra.Command {
	n := new(volumeChange)
	cmd := s.verb("create", "Make a volume and attach it to a device", exact(), func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		c, err := s.remote()
		if err != nil {
			return err
		}
		v := client.VolumeCreate{DeviceID: n.device, SizeGiB: n.size}
		o := order{
			what: fmt.Sprintf("A volume of %d GiB on device %d", n.size, n.device),
			quote: func(most *float64, opts ...client.CallOption) (client.Quote, error) {
				v.MaxMonthlyPrice = most
				return c.Volume.QuoteCreate(ctx, v, opts...)
			},
			place: func(most *float64, opts ...client.CallOption) (client.Task, error) {
				v.MaxMonthlyPrice = most
				return c.Volume.Create(ctx, v, opts...)
			},
			price: func() (float64, bool, error) {
				d, err := c.VPS.Get(ctx, n.device)
				if err != nil {
					return 0, false, err
				}
				sizes, err := c.Volume.Sizes(ctx, d.FacilityCode)
				return priceOf(sizes, n.size, err)
			},
		}
		t, raw, ok, err := s.spend(ctx, c, o, n.spending, n.key)
		if err != nil || !ok {
			return err
		}
		return s.showVolume(ctx, c, t, raw, t.VolumeID(), n)
	})
	cmd.Long = `Make a volume of one of the sizes on sale and attach it to a device. What it costs is shown before, and
asked for on a terminal.`
	cmd.Example = "  drivebay volume create --device 1001 --size 100\n  drivebay volume create --device 1001 --size 100 --dry-run\n" +
		"  VOLUME=$(drivebay volume create --device 1001 --size 100 --yes --quiet)"
	f := cmd.Flags()
	f.Int64Var(&n.device, "device", 0, "the device to attach it to")
	f.Int64Var(&n.size, "size", 0, "its size in GiB")
	f.BoolVarP(&n.quiet, "quiet", "q", false, "print its id alone")
	must(cmd, "device", "size")
	complete(cmd, "device", s.deviceIDs)
	complete(cmd, "size", s.sizesOnSale)
	spendFlags(cmd, &n.spending)
	mostFlag(cmd, &n.spending)
	waitFlags(cmd, &n.waiting, 15*time.Minute)
	return offers(cmd, volumeColumns.names())
}

func (s *shell) volumeResize() *cobra.Command {
	n := new(volumeChange)
	cmd := s.verb("resize VOLUME", "Grow a volume", exact("VOLUME"), func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		c, v, err := s.remoteVolume(ctx, args[0])
		if err != nil {
			return err
		}
		to := client.VolumeResize{SizeGiB: n.size, DeviceID: deviceOf(v)}
		o := order{
			what: fmt.Sprintf("Volume %s of %d instead of %d GiB", v.ID, n.size, v.SizeGiB),
			quote: func(most *float64, opts ...client.CallOption) (client.Quote, error) {
				to.MaxMonthlyPrice = most
				return c.Volume.QuoteResize(ctx, v.ID, to, opts...)
			},
			place: func(most *float64, opts ...client.CallOption) (client.Task, error) {
				to.MaxMonthlyPrice = most
				return c.Volume.Resize(ctx, v.ID, to, opts...)
			},
			price: func() (float64, bool, error) {
				sizes, err := c.Volume.AvailableSizes(ctx, v.ID)
				return priceOf(sizes, n.size, err)
			},
		}
		t, raw, ok, err := s.spend(ctx, c, o, n.spending, n.key)
		if err != nil || !ok {
			return err
		}
		return s.showVolume(ctx, c, t, raw, v.ID, n)
	})
	cmd.Long = "Grow a volume to one of the larger sizes on sale. It never shrinks. What it costs is shown before, and asked for on a terminal."
	cmd.Example = "  drivebay volume resize 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10 --size 200"
	f := cmd.Flags()
	f.Int64Var(&n.size, "size", 0, "its new size in GiB")
	f.BoolVarP(&n.quiet, "quiet", "q", false, "print its id alone")
	must(cmd, "size")
	cmd.ValidArgsFunction = completed(s.volumeIDs)
	complete(cmd, "size", s.sizesOnSale)
	spendFlags(cmd, &n.spending)
	mostFlag(cmd, &n.spending)
	waitFlags(cmd, &n.waiting, 15*time.Minute)
	return offers(cmd, volumeColumns.names())
}

// remoteVolume is the server, and a volume as it has it.
func (s *shell) remoteVolume(ctx context.Context, id string) (*client.Client, client.Volume, error) {
	c, err := s.remote()
	if err != nil {
		return nil, client.Volume{}, err
	}
	v, err := c.Volume.Get(ctx, id)
	return c, v, err
}

// deviceOf is the device that a volume is attached to; 0 for none.
func deviceOf(v client.Volume) int64 {
	if v.DeviceID == nil {
		return 0
	}
	return *v.DeviceID
}

// priceOf finds a size in a price list.
func priceOf(sizes []client.VolumeSize, size int64, err error) (float64, bool, error) {
	for _, p := range sizes {
		if p.SizeGiB == size {
			return p.MonthlyPrice, true, err
		}
	}
	return 0, false, err
}

// showVolume waits for the task of a change and prints the volume as it is
// then; id is "" where the server does not tell it.
func (s *shell) showVolume(ctx context.Context, c *client.Client, t client.Task, raw []byte, id string, n *volumeChange) error {
	about := ""
	if id != "" {
		about = "Volume " + id
	}
	if n.noWait {
		return s.accepted(t, raw, about)
	}
	t, raw, err := s.await(ctx, c, t, raw, n.timeout)
	if err != nil {
		return err
	}
	if id == "" {
		return failed(Failed, "bad_answer", "Task %s is done, but the server does not say which volume it made; see drivebay volume list.", t.ID)
	}
	if n.quiet {
		return s.line(id)
	}
	v, err := c.Volume.Get(ctx, id, client.WithBody(&raw))
	if err != nil {
		return err
	}
	return volumeColumns.list(s, raw, v)
}

func (s *shell) volumeDelete() *cobra.Command {
	n := new(volumeChange)
	cmd := s.verb("delete VOLUME", "Delete a volume and its data", exact("VOLUME"), func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		c, v, err := s.remoteVolume(ctx, args[0])
		if err != nil {
			return err
		}
		from := client.VolumeDelete{DeviceID: deviceOf(v)}
		o := order{
			what: fmt.Sprintf("Volume %s of %d GiB", v.ID, v.SizeGiB),
			quote: func(_ *float64, opts ...client.CallOption) (client.Quote, error) {
				return c.Volume.QuoteDelete(ctx, v.ID, from, opts...)
			},
			place: func(_ *float64, opts ...client.CallOption) (client.Task, error) {
				return c.Volume.Delete(ctx, v.ID, from, opts...)
			},
		}
		if v.DeviceID != nil {
			o.what += fmt.Sprintf(" on device %d", *v.DeviceID)
		}
		t, raw, ok, err := s.spend(ctx, c, o, n.spending, n.key)
		if err != nil || !ok {
			return err
		}
		return s.finish(ctx, c, t, raw, n.waiting, "Volume "+v.ID+" is deleted.")
	})
	cmd.Long = "Delete a volume and its data, and cancel its service. It is detached before, where it is attached. Nothing is refunded."
	cmd.Example = "  drivebay volume delete 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10\n  drivebay volume delete 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10 --yes --no-wait"
	cmd.ValidArgsFunction = completed(s.volumeIDs)
	spendFlags(cmd, &n.spending)
	waitFlags(cmd, &n.waiting, 15*time.Minute)
	return offers(cmd, taskColumns.names())
}

func (s *shell) volumeAttach() *cobra.Command {
	n := new(volumeChange)
	cmd := s.verb("attach VOLUME", "Attach a volume to a device of its facility", exact("VOLUME"), func(cmd *cobra.Command, args []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		t, raw, err := change(n.key, func(opts ...client.CallOption) (client.Task, error) {
			return c.Volume.Attach(cmd.Context(), args[0], n.device, opts...)
		})
		if err != nil {
			return err
		}
		return s.finish(cmd.Context(), c, t, raw, n.waiting, fmt.Sprintf("Volume %s is attached to device %d.", args[0], n.device))
	})
	cmd.Example = "  drivebay volume attach 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10 --device 1002"
	cmd.Flags().Int64Var(&n.device, "device", 0, "the device")
	must(cmd, "device")
	complete(cmd, "device", s.deviceIDs)
	cmd.ValidArgsFunction = completed(s.volumeIDs)
	waitFlags(cmd, &n.waiting, 15*time.Minute)
	return offers(cmd, taskColumns.names())
}

func (s *shell) volumeDetach() *cobra.Command {
	n := new(volumeChange)
	cmd := s.verb("detach VOLUME", "Detach a volume from its device", exact("VOLUME"), func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		c, v, err := s.remoteVolume(ctx, args[0])
		if err != nil {
			return err
		}
		if v.DeviceID == nil {
			return failed(Conflict, "volume_detached", "Volume %s is attached to no device.", v.ID)
		}
		t, raw, err := change(n.key, func(opts ...client.CallOption) (client.Task, error) {
			return c.Volume.Detach(ctx, v.ID, *v.DeviceID, opts...)
		})
		if err != nil {
			return err
		}
		return s.finish(ctx, c, t, raw, n.waiting, fmt.Sprintf("Volume %s is detached from device %d.", v.ID, *v.DeviceID))
	})
	cmd.Long = "Detach a volume from its device. It keeps its data and stays billed."
	cmd.Example = "  drivebay volume detach 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10"
	cmd.ValidArgsFunction = completed(s.volumeIDs)
	waitFlags(cmd, &n.waiting, 15*time.Minute)
	return offers(cmd, taskColumns.names())
}

var sizeColumns = columns[client.VolumeSize]{
	{head: "GIB", cell: func(v client.VolumeSize) string { return number(v.SizeGiB) }},
	{head: "MONTHLY", cell: func(v client.VolumeSize) string { return money(v.MonthlyPrice) }},
}

func (s *shell) volumeSizes() *cobra.Command {
	var facility string
	cmd := sizeColumns.lists(s, "sizes [VOLUME]", "List the sizes on sale, or those a volume can grow to", atMost("VOLUME"),
		func(ctx context.Context, c *client.Client, args []string) ([]client.VolumeSize, []byte, error) {
			return whole(func(body client.CallOption) ([]client.VolumeSize, error) {
				if len(args) > 0 {
					return c.Volume.AvailableSizes(ctx, args[0], body)
				}
				return c.Volume.Sizes(ctx, facility, body)
			})
		})
	cmd.Long = "List the sizes on sale with the price of a month, or those that a volume can grow to. Without a facility, each size at the\nhighest price asked anywhere."
	cmd.Example = "  drivebay volume sizes --facility TPA1\n  drivebay volume sizes 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10"
	cmd.Flags().StringVar(&facility, "facility", "", "of this facility")
	complete(cmd, "facility", s.facilityCodes)
	cmd.ValidArgsFunction = completed(s.volumeIDs)
	return cmd
}
