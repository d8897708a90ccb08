package provider

import (
	"context"
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/boolplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/drivebay/drivebay/client"
)

type isoAttachmentResource struct{ resourceBase }

type isoAttachmentModel struct {
	ID          types.String   `tfsdk:"id"`
	DeviceID    types.Int64    `tfsdk:"device_id"`
	ISOID       types.String   `tfsdk:"iso_id"`
	BootOnce    types.Bool     `tfsdk:"boot_once"`
	ForceDetach types.Bool     `tfsdk:"force_detach"`
	Attached    types.Bool     `tfsdk:"attached"`
	Timeouts    timeouts.Value `tfsdk:"timeouts"`
}

func (r *isoAttachmentResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "drivebay_iso_attachment"
}

func (r *isoAttachmentResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "An ISO in a device's CD drive. A device has one drive, so it has one of these at most. " +
			"An ISO that was taken out by hand is put in again.\n\n" +
			"With `boot_once` it is different: once the device has started from the ISO and restarts, the server ejects it. " +
			"That is how it is meant to end, so Terraform leaves the drive empty then, and `attached` is false.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{Computed: true, PlanModifiers: fixed, MarkdownDescription: "The device's id as a string."},
			"device_id": schema.Int64Attribute{
				Required: true, Validators: []validator.Int64{int64validator.AtLeast(1)},
				PlanModifiers: []planmodifier.Int64{int64planmodifier.RequiresReplace()}, MarkdownDescription: "The device, in the facility of the ISO.",
			},
			"iso_id": schema.StringAttribute{
				Required: true, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
				MarkdownDescription: "The ISO, which must be ready. A change takes it out of the drive and puts the new one in.",
			},
			"boot_once": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				PlanModifiers:       []planmodifier.Bool{boolplanmodifier.RequiresReplace()},
				MarkdownDescription: "Starts the device from the ISO once, for installers; the ISO must be bootable. `false` if not set.",
			},
			"force_detach": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Opens the tray when the ISO is taken out, also if the guest locks it. `false` if not set: a locked tray is an error then.",
			},
			"attached": schema.BoolAttribute{Computed: true, MarkdownDescription: "That the ISO is in the drive; false only once a `boot_once` has ended."},
		},
		Blocks: map[string]schema.Block{"timeouts": timeouts.Block(ctx, timeouts.Opts{
			Create: true, Delete: true,
			CreateDescription: timeText("attaching", changeTime), DeleteDescription: timeText("detaching", changeTime),
		})},
	}
}

// insert puts m's ISO into the drive. It takes no other one out.
func (r *isoAttachmentResource) insert(ctx context.Context, m isoAttachmentModel) error {
	deviceID, want := m.DeviceID.ValueInt64(), m.ISOID.ValueString()
	return r.pursue(ctx, aboutDevice(deviceID), func() (done bool, err error) {
		d, err := r.api.VPS.Get(ctx, deviceID)
		if err != nil || d.ISOID == want {
			return true, err
		}
		return false, r.finish(ctx, func(opts ...client.CallOption) (client.Task, error) {
			return r.api.VPS.AttachISO(ctx, deviceID, client.ISOAttach{ISOID: want, BootOnce: m.BootOnce.ValueBool()}, opts...)
		})
	})
}

func (r *isoAttachmentResource) eject(ctx context.Context, m isoAttachmentModel) error {
	return r.finish(ctx, func(opts ...client.CallOption) (client.Task, error) {
		return r.api.VPS.DetachISO(ctx, m.DeviceID.ValueInt64(), client.ISODetach{Force: m.ForceDetach.ValueBool()}, opts...)
	})
}

func (r *isoAttachmentResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m isoAttachmentModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Create(ctx, changeTime)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.insert(ctx, m); err != nil {
		diagnose(&resp.Diagnostics, "The ISO was not attached, or not seen to be", err, "device_id", "iso_id", "boot_once")
		return
	}
	m.ID, m.Attached = types.StringValue(strconv.FormatInt(m.DeviceID.ValueInt64(), 10)), types.BoolValue(true)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *isoAttachmentResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m isoAttachmentModel
	if resp.Diagnostics.Append(req.State.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	d, err := r.api.VPS.Get(ctx, m.DeviceID.ValueInt64())
	if err != nil && !isGone(err) {
		diagnose(&resp.Diagnostics, "The device cannot be read", err)
		return
	}
	m.Attached = types.BoolValue(d.ISOID != "" && (m.ISOID.IsNull() || d.ISOID == m.ISOID.ValueString()))
	switch {
	case isGone(err), d.ISOID == "" && !m.BootOnce.ValueBool():
		resp.State.RemoveResource(ctx)
		return
	case !m.BootOnce.ValueBool():
		m.ISOID, m.Attached = types.StringValue(d.ISOID), types.BoolValue(true)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Update changes nothing at the server: how to detach counts when it is done.
func (r *isoAttachmentResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old isoAttachmentModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.Append(req.State.Get(ctx, &old)...); resp.Diagnostics.HasError() {
		return
	}
	m.Attached = old.Attached
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *isoAttachmentResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m isoAttachmentModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Delete(ctx, changeTime)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	deviceID := m.DeviceID.ValueInt64()
	err := r.pursue(ctx, aboutDevice(deviceID), func() (done bool, err error) {
		d, err := r.api.VPS.Get(ctx, deviceID)
		if err != nil || d.ISOID != m.ISOID.ValueString() {
			return true, err
		}
		return false, r.eject(ctx, m)
	})
	if err != nil && !isGone(err) {
		diagnose(&resp.Diagnostics, "The ISO was not detached, or not seen to be", err)
	}
}

// ImportState takes the id of a device that has an ISO in its drive.
func (r *isoAttachmentResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id, err := strconv.ParseInt(req.ID, 10, 64)
	if err != nil {
		resp.Diagnostics.AddError("The attachment cannot be imported", "Its id is the device's, a number such as 1001.")
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("id"), req.ID)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("device_id"), id)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("boot_once"), false)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("force_detach"), false)...)
}
