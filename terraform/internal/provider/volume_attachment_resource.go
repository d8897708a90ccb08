package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/drivebay/drivebay/client"
)

type volumeAttachmentResource struct{ resourceBase }

type volumeAttachmentModel struct {
	ID       types.String   `tfsdk:"id"`
	VolumeID types.String   `tfsdk:"volume_id"`
	DeviceID types.Int64    `tfsdk:"device_id"`
	Timeouts timeouts.Value `tfsdk:"timeouts"`
}

func (r *volumeAttachmentResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "drivebay_volume_attachment"
}

func (r *volumeAttachmentResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Attaches a volume that was made elsewhere: by hand, or by another configuration. Destroying it detaches the volume, " +
			"which keeps its data and stays billed.\n\n" +
			"Do not use it for a `drivebay_volume` of Terraform's: that one has its own `device_id`, and both would say where the volume is.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{Computed: true, PlanModifiers: fixed, MarkdownDescription: "The volume's id: a volume has one attachment at most."},
			"volume_id": schema.StringAttribute{
				Required: true, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
				MarkdownDescription: "The volume. One that is attached to this device already is taken over; one that is attached to another device is refused.",
			},
			"device_id": schema.Int64Attribute{
				Required: true, Validators: []validator.Int64{int64validator.AtLeast(1)},
				MarkdownDescription: "The device, in the facility of the volume. A change moves the volume: it is detached, then attached.",
			},
		},
		Blocks: map[string]schema.Block{"timeouts": timeouts.Block(ctx, timeouts.Opts{
			Create: true, Update: true, Delete: true,
			CreateDescription: timeText("attaching", changeTime), UpdateDescription: timeText("moving", changeTime), DeleteDescription: timeText("detaching", changeTime),
		})},
	}
}

func (r *volumeAttachmentResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m volumeAttachmentModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Create(ctx, changeTime)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	id, deviceID := m.VolumeID.ValueString(), m.DeviceID.ValueInt64()
	v, err := r.api.Volume.Get(ctx, id)
	switch {
	case err != nil:
		diagnose(&resp.Diagnostics, "The volume cannot be read", err, "volume_id")
		return
	case v.DeviceID != nil && *v.DeviceID != deviceID:
		resp.Diagnostics.AddAttributeError(path.Root("volume_id"), "The volume is attached elsewhere", fmt.Sprintf(
			"Volume %s is on device %d, where it may be in use. Detach it there first, or import the attachment (terraform import), which can then be moved.", id, *v.DeviceID))
		return
	}
	m.ID = types.StringValue(id)
	if resp.Diagnostics.Append(resp.State.Set(ctx, m)...); resp.Diagnostics.HasError() {
		return
	}
	if _, err := r.bring(ctx, id, wish{deviceID: deviceID}); err != nil {
		diagnose(&resp.Diagnostics, "The volume was not attached, or not seen to be", err, "volume_id", "device_id")
	}
}

func (r *volumeAttachmentResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m volumeAttachmentModel
	if resp.Diagnostics.Append(req.State.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	v, err := r.api.Volume.Get(ctx, m.ID.ValueString())
	switch {
	case isGone(err), err == nil && v.DeviceID == nil:
		resp.State.RemoveResource(ctx)
	case err != nil:
		diagnose(&resp.Diagnostics, "The volume cannot be read", err)
	default:
		m.VolumeID, m.DeviceID = types.StringValue(v.ID), types.Int64PointerValue(v.DeviceID)
		resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	}
}

func (r *volumeAttachmentResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m volumeAttachmentModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Update(ctx, changeTime)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := r.bring(ctx, m.ID.ValueString(), wish{deviceID: m.DeviceID.ValueInt64()}); err != nil {
		diagnose(&resp.Diagnostics, "The volume was not moved, or not seen to be", err, "device_id")
		return // the state stays as it was; the next refresh finds where the volume is
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *volumeAttachmentResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m volumeAttachmentModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Delete(ctx, changeTime)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	id := m.ID.ValueString()
	err := r.pursue(ctx, aboutVolume(id), func() (done bool, err error) {
		v, err := r.api.Volume.Get(ctx, id)
		if err != nil || v.DeviceID == nil || *v.DeviceID != m.DeviceID.ValueInt64() {
			return true, err // wherever else it is, it is not our attachment
		}
		return false, r.finish(ctx, func(opts ...client.CallOption) (client.Task, error) {
			return r.api.Volume.Detach(ctx, id, *v.DeviceID, opts...)
		})
	})
	if err != nil && !isGone(err) {
		diagnose(&resp.Diagnostics, "The volume was not detached, or not seen to be", err)
	}
}

// ImportState takes the id of a volume that is attached.
func (r *volumeAttachmentResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	resource.ImportStatePassthroughID(ctx, path.Root("id"), req, resp)
}
