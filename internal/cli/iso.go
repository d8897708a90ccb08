package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

func (s *shell) iso() *cobra.Command {
	return s.noun("iso", "Images for the CD drives of devices", s.isoList(), s.isoGet(), s.isoCreate(), s.isoWait(), s.isoDelete(), s.isoAttach(), s.isoDetach())
}

var isoColumns = columns[client.ISO]{
	{head: "ISO", cell: func(i client.ISO) string { return i.ID }},
	{head: "NAME", flex: true, cell: func(i client.ISO) string { return i.Name }},
	{head: "STATUS", flex: true, cell: func(i client.ISO) string { return i.Status }},
	{head: "SIZE", cell: func(i client.ISO) string { return optBytes(i.SizeBytes) }},
	{head: "FACILITY", cell: func(i client.ISO) string { return i.FacilityCode }},
	{head: "READY", more: true, cell: func(i client.ISO) string { return yesNo(i.Ready) }},
	{head: "REASON", more: true, cell: func(i client.ISO) string { return i.Reason }},
	{head: "DESCRIPTION", more: true, cell: func(i client.ISO) string { return i.Description }},
	{head: "URL", more: true, cell: func(i client.ISO) string { return i.URL }},
	{head: "BYTES", more: true, cell: func(i client.ISO) string { return number(i.SizeBytes) }},
	{head: "BOOTABLE", more: true, cell: func(i client.ISO) string { return yesNo(i.Bootable) }},
	{head: "BIOS", more: true, cell: func(i client.ISO) string { return optYesNo(i.BIOS) }},
	{head: "UEFI", more: true, cell: func(i client.ISO) string { return optYesNo(i.UEFI) }},
	{head: "LABEL", more: true, cell: func(i client.ISO) string { return i.Label }},
	{head: "SHA256", more: true, cell: func(i client.ISO) string { return i.SHA256 }},
	{head: "DEVICES", more: true, cell: func(i client.ISO) string { return numbers(i.DeviceIDs) }},
	{head: "CREATED", more: true, cell: func(i client.ISO) string { return date(i.CreatedAt) }},
}

func (s *shell) isoList() *cobra.Command {
	var o client.ISOListOptions
	cmd := isoColumns.lists(s, "list", "List ISOs, newest first", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.ISO, []byte, error) {
		return everywhere(ctx, c, o.FacilityCode, func(code string, body client.CallOption) ([]client.ISO, error) {
			return c.ISO.List(ctx, client.ISOListOptions{FacilityCode: code, ClientID: o.ClientID}, body)
		})
	})
	cmd.Long = "List ISOs, newest first: those of a facility, or of all facilities one after the other."
	cmd.Example = "  drivebay iso list --facility TPA1\n  drivebay iso list -o columns=iso,name,devices"
	cmd.Flags().StringVar(&o.FacilityCode, "facility", "", "only this facility's")
	cmd.Flags().Int64Var(&o.ClientID, "client", 0, "only this client's")
	complete(cmd, "facility", s.facilityCodes)
	return cmd
}

func (s *shell) isoGet() *cobra.Command {
	var ref client.ISORef
	cmd := isoColumns.shows(s, "get ISO", "Show an ISO", exact("ISO"), func(ctx context.Context, c *client.Client, args []string) (client.ISO, []byte, error) {
		return whole(func(body client.CallOption) (client.ISO, error) { return c.ISO.Get(ctx, args[0], ref, body) })
	})
	cmd.Example = "  drivebay iso get 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10"
	s.isoRefFlags(cmd, &ref)
	return cmd
}

// isoRefFlags are the flags of commands that take the id of an ISO.
func (s *shell) isoRefFlags(cmd *cobra.Command, ref *client.ISORef) {
	cmd.Flags().StringVar(&ref.FacilityCode, "facility", "", "its facility; other servers than drivebay need it")
	cmd.Flags().Int64Var(&ref.ClientID, "client", 0, "the client it belongs to (default: the key's own)")
	complete(cmd, "facility", s.facilityCodes)
	cmd.ValidArgsFunction = completed(s.isoIDs)
}

func (s *shell) isoCreate() *cobra.Command {
	n := new(image)
	cmd := s.verb("create", "Import an image from an address, or upload it from a file", exact(), func(cmd *cobra.Command, _ []string) error {
		return s.createISO(cmd.Context(), n)
	})
	cmd.Long = `Import an image from an address, or upload it from a file: it is brought to the facility, verified, and ready to
be attached then. An upload that was broken off is gone on with by the same command. Exit status 6 means that the
import failed; the ISO stays listed with its reason until it is deleted.

Here --url is the image's address; the server is the one of --context, DRIVEBAY_URL or the context in use.`
	cmd.Example = "  drivebay iso create --facility TPA1 --name netboot --bootable --url https://boot.netboot.xyz/ipxe/netboot.xyz.iso\n" +
		"  drivebay iso create --facility TPA1 --name rescue --file rescue.iso\n" +
		"  ISO=$(drivebay iso create --facility TPA1 --name rescue --file rescue.iso --quiet)"
	f := cmd.Flags()
	f.StringVar(&n.FacilityCode, "facility", "", "the facility to bring it to")
	f.StringVar(&n.Name, "name", "", "its name")
	f.StringVar(&n.Description, "description", "", "what it is for")
	f.StringVar(&n.URL, "url", "", "the image's http or https address")
	f.StringVar(&n.file, "file", "", "the file to upload")
	f.BoolVar(&n.Bootable, "bootable", false, "it has to be bootable; the import fails if it is not")
	f.StringVar(&n.Checksum, "checksum", "", "the digest it must have: sha256:, sha512: or md5: and hexadecimal digits (default: an uploaded file's own)")
	f.Int64Var(&n.ClientID, "client", 0, "whose it becomes (default: the key's own client)")
	f.BoolVarP(&n.quiet, "quiet", "q", false, "print its id alone")
	must(cmd, "facility", "name")
	cmd.MarkFlagsOneRequired("url", "file")
	cmd.MarkFlagsMutuallyExclusive("url", "file")
	complete(cmd, "facility", s.facilityCodes)
	waitFlags(cmd, &n.waiting, 6*time.Hour)
	note(cmd, taskNote, "") // the ISO is there at once, and has more to say
	return offers(cmd, isoColumns.names())
}

// createISO makes the ISO, waits for it and prints it.
func (s *shell) createISO(ctx context.Context, n *image) error {
	c, err := s.remote()
	if err != nil {
		return err
	}
	var i client.ISO
	var raw []byte
	if n.file != "" {
		i, raw, err = s.uploadISO(ctx, c, n)
	} else {
		i, raw, err = change(n.key, func(opts ...client.CallOption) (client.ISO, error) { return c.ISO.Create(ctx, n.ISOCreate, opts...) })
	}
	if err != nil {
		return err
	}
	if !n.noWait {
		if i, raw, err = s.awaitISO(ctx, c, i, raw, n.timeout); err != nil {
			return err
		}
	}
	switch {
	case n.quiet:
		return s.line(i.ID)
	case n.noWait && !s.structured() && s.chosen == nil:
		s.say("ISO %s", i.ID)
		return s.line(i.TaskID)
	}
	return isoColumns.list(s, raw, i)
}

func (s *shell) isoWait() *cobra.Command {
	var ref client.ISORef
	var timeout time.Duration
	cmd := s.verb("wait ISO", "Wait until an ISO is ready", exact("ISO"), func(cmd *cobra.Command, args []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		var raw []byte
		i, err := c.ISO.Get(cmd.Context(), args[0], ref, client.WithBody(&raw))
		if err != nil {
			return err
		}
		if i, raw, err = s.awaitISO(cmd.Context(), c, i, raw, timeout); err != nil {
			return err
		}
		return isoColumns.list(s, raw, i)
	})
	cmd.Long = "Wait until an ISO is ready. Exit status 6 means that its import failed, 8 that it still went on at --timeout."
	cmd.Example = "  drivebay iso wait 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10"
	s.isoRefFlags(cmd, &ref)
	timeoutFlag(cmd, &timeout, 6*time.Hour)
	return offers(cmd, isoColumns.names())
}

func (s *shell) isoDelete() *cobra.Command {
	var ref client.ISORef
	var w waiting
	cmd := s.verb("delete ISO", "Delete an ISO, or stop its import", exact("ISO"), func(cmd *cobra.Command, args []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		t, raw, err := change(w.key, func(opts ...client.CallOption) (client.Task, error) {
			return c.ISO.Delete(cmd.Context(), args[0], ref, opts...)
		})
		if err != nil {
			return err
		}
		return s.finish(cmd.Context(), c, t, raw, w, "ISO "+args[0]+" is deleted.")
	})
	cmd.Long = "Delete an ISO, and stop its import if that still goes on. It must be in no device's drive."
	cmd.Example = "  drivebay iso delete 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10"
	s.isoRefFlags(cmd, &ref)
	waitFlags(cmd, &w, 15*time.Minute)
	return offers(cmd, taskColumns.names())
}

func (s *shell) isoAttach() *cobra.Command {
	var device int64
	var once bool
	var w waiting
	cmd := s.verb("attach ISO", "Put an ISO into a device's drive", exact("ISO"), func(cmd *cobra.Command, args []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		t, raw, err := change(w.key, func(opts ...client.CallOption) (client.Task, error) {
			return c.VPS.AttachISO(cmd.Context(), device, client.ISOAttach{ISOID: args[0], BootOnce: once}, opts...)
		})
		if err != nil {
			return err
		}
		return s.finish(cmd.Context(), c, t, raw, w, fmt.Sprintf("ISO %s is in the drive of device %d.", args[0], device))
	})
	cmd.Example = "  drivebay iso attach 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10 --device 1001\n" +
		"  drivebay iso attach 0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10 --device 1001 --boot-once"
	cmd.Flags().Int64Var(&device, "device", 0, "the device")
	cmd.Flags().BoolVar(&once, "boot-once", false, "take it out again when the device restarts after it has started from it")
	must(cmd, "device")
	complete(cmd, "device", s.deviceIDs)
	cmd.ValidArgsFunction = completed(s.isoIDs)
	waitFlags(cmd, &w, 15*time.Minute)
	return offers(cmd, taskColumns.names())
}

func (s *shell) isoDetach() *cobra.Command {
	var device int64
	var force bool
	var w waiting
	cmd := s.verb("detach", "Take the ISO out of a device's drive", exact(), func(cmd *cobra.Command, _ []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		t, raw, err := change(w.key, func(opts ...client.CallOption) (client.Task, error) {
			return c.VPS.DetachISO(cmd.Context(), device, client.ISODetach{Force: force}, opts...)
		})
		if err != nil {
			return err
		}
		return s.finish(cmd.Context(), c, t, raw, w, fmt.Sprintf("The drive of device %d is empty.", device))
	})
	cmd.Example = "  drivebay iso detach --device 1001"
	cmd.Flags().Int64Var(&device, "device", 0, "the device")
	cmd.Flags().BoolVar(&force, "force", false, "open a tray that the guest locks")
	must(cmd, "device")
	complete(cmd, "device", s.deviceIDs)
	waitFlags(cmd, &w, 15*time.Minute)
	return offers(cmd, taskColumns.names())
}
