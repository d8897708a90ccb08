package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/float64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/drivebay/drivebay/client"
)

type volumeResource struct{ resourceBase }

type volumeModel struct {
	ID           types.String   `tfsdk:"id"`
	DeviceID     types.Int64    `tfsdk:"device_id"`
	Size         types.Int64    `tfsdk:"size"`
	MaxPrice     types.Float64  `tfsdk:"max_monthly_price"`
	FacilityCode types.String   `tfsdk:"facility_code"`
	State        types.String   `tfsdk:"state"`
	MonthlyPrice types.Float64  `tfsdk:"monthly_price"`
	CreatedAt    types.String   `tfsdk:"created_at"`
	Timeouts     timeouts.Value `tfsdk:"timeouts"`
}

// show sets what the server tells of the volume.
func (m *volumeModel) show(v client.Volume) {
	m.ID = types.StringValue(v.ID)
	m.DeviceID = types.Int64PointerValue(v.DeviceID)
	m.Size = types.Int64Value(v.SizeGiB)
	m.FacilityCode = textOrNull(v.FacilityCode)
	m.State = types.StringValue(string(v.State))
	m.MonthlyPrice = types.Float64PointerValue(v.MonthlyPrice)
	m.CreatedAt = timeOrNull(v.CreatedAt)
}

func textOrNull(s string) types.String {
	if s == "" {
		return types.StringNull()
	}
	return types.StringValue(s)
}

func timeOrNull(t time.Time) types.String {
	if t.IsZero() {
		return types.StringNull()
	}
	return types.StringValue(t.Format(time.RFC3339Nano))
}

// fixed is for what never changes once it is known.
var fixed = []planmodifier.String{stringplanmodifier.UseStateForUnknown()}

func (r *volumeResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "drivebay_volume"
}

func (r *volumeResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A block volume on a VPS. It is made on its device, grows in place, moves to another device of the same " +
			"facility in place (detached, then attached), and is replaced where the new device is in another facility. " +
			"A volume that was detached by hand is attached again; one that was deleted by hand is made anew, empty.\n\n" +
			"Do not use `drivebay_volume_attachment` for the same volume: both would say where it is.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{Computed: true, PlanModifiers: fixed, MarkdownDescription: "The volume's id."},
			"device_id": schema.Int64Attribute{
				Required: true, Validators: []validator.Int64{int64validator.AtLeast(1)},
				MarkdownDescription: "The device it is attached to. A change moves it, with its data, unless the new device is in another facility.",
			},
			"size": schema.Int64Attribute{
				Required: true, Validators: []validator.Int64{int64validator.Between(1, 1<<20)},
				MarkdownDescription: "The size in GiB, one of those on sale in the facility (`drivebay_volume_sizes`). It grows in place and never shrinks: a smaller size is an error of the plan.",
			},
			"max_monthly_price": schema.Float64Attribute{
				Optional: true, Validators: []validator.Float64{float64validator.AtLeast(0)},
				MarkdownDescription: "What it may cost a month at most. It is not made, and does not grow, where it would cost more. A drivebay server knows this, others may not.",
			},
			"facility_code": schema.StringAttribute{Computed: true, PlanModifiers: fixed, MarkdownDescription: "The facility of its device."},
			"state":         schema.StringAttribute{Computed: true, MarkdownDescription: "What goes on with it: `attached`, `detached`, `resizing` or `deleting`; `creating` where its making was interrupted."},
			"monthly_price": schema.Float64Attribute{Computed: true, MarkdownDescription: "What it costs a month; null where the server does not say."},
			"created_at":    schema.StringAttribute{Computed: true, PlanModifiers: fixed, MarkdownDescription: "When it was made, in RFC 3339."},
		},
		Blocks: map[string]schema.Block{"timeouts": timeouts.Block(ctx, timeouts.Opts{
			Create: true, Update: true, Delete: true,
			CreateDescription: timeText("making it", changeTime), UpdateDescription: timeText("moving and growing it", changeTime), DeleteDescription: timeText("deleting it", changeTime),
		})},
	}
}

// timeText describes an entry of the block timeouts.
func timeText(what string, otherwise time.Duration) string {
	return fmt.Sprintf("How long %s may take, such as `90s` or `1h`; %d minutes if not set. What the server has accepted by then goes on.", what, int(otherwise.Minutes()))
}

// ModifyPlan refuses to shrink, and finds out whether a move can be made in place.
func (r *volumeResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.State.Raw.IsNull() || req.Plan.Raw.IsNull() {
		return
	}
	var state, plan volumeModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if away, err := r.isElsewhere(ctx, state, plan); err != nil {
		diagnose(&resp.Diagnostics, "The device cannot be read", err, "device_id")
		return
	} else if away {
		resp.RequiresReplace = append(resp.RequiresReplace, path.Root("device_id"))
		return
	}
	if !plan.Size.IsUnknown() && !state.Size.IsNull() && plan.Size.ValueInt64() < state.Size.ValueInt64() {
		resp.Diagnostics.AddAttributeError(path.Root("size"), "A volume never shrinks", fmt.Sprintf(
			"Volume %s has %d GiB; %d GiB would be less. To start anew with a smaller one, and without its data, replace it (-replace).",
			state.ID.ValueString(), state.Size.ValueInt64(), plan.Size.ValueInt64()))
	}
}

// isElsewhere reports whether plan has another device than state, in another
// facility. A device that is not known yet is taken for one of the same.
func (r *volumeResource) isElsewhere(ctx context.Context, state, plan volumeModel) (bool, error) {
	if r.api == nil || plan.DeviceID.IsUnknown() || plan.DeviceID.Equal(state.DeviceID) || state.FacilityCode.IsNull() {
		return false, nil
	}
	d, err := r.api.VPS.Get(ctx, plan.DeviceID.ValueInt64())
	return err == nil && d.FacilityCode != state.FacilityCode.ValueString(), err
}

func (r *volumeResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m volumeModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Create(ctx, changeTime)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	o := client.VolumeCreate{DeviceID: m.DeviceID.ValueInt64(), SizeGiB: m.Size.ValueInt64(), MaxMonthlyPrice: m.MaxPrice.ValueFloat64Pointer()}
	t, err := insist(ctx, func(opts ...client.CallOption) (client.Task, error) { return r.api.Volume.Create(ctx, o, opts...) })
	if err != nil {
		diagnose(&resp.Diagnostics, "The volume was not created", err, "device_id", "size", "max_monthly_price")
		return
	}
	id := t.VolumeID()
	if id != "" { // before the wait: what is billed must not be lost
		m.show(client.Volume{ID: id, DeviceID: &o.DeviceID, SizeGiB: o.SizeGiB, State: "creating"})
		resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
		resp.Diagnostics.Append(noteCreation(ctx, resp.Private, t.ID)...)
	}
	t, err = r.api.Task.Wait(ctx, t, nil)
	if errors.Is(err, client.ErrTaskFailed) {
		resp.State.RemoveResource(ctx) // a create that failed leaves nothing
	}
	if err == nil && id == "" {
		id, err = r.madeVolume(ctx, t, o)
	}
	var v client.Volume
	if err == nil {
		v, err = r.api.Volume.Get(ctx, id)
	}
	if err != nil {
		diagnose(&resp.Diagnostics, "The volume was not created, or not seen to be", err)
		return
	}
	m.show(v)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(noteCreation(ctx, resp.Private, "")...)
}

func (r *volumeResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m volumeModel
	if resp.Diagnostics.Append(req.State.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	id := m.ID.ValueString()
	v, err := r.api.Volume.Get(ctx, id)
	if isGone(err) {
		var t client.Task
		if t, err = r.creating(ctx, req.Private, &resp.Diagnostics); err == nil && t.ID != "" && !t.Ended() {
			resp.Diagnostics.AddWarning("The volume is still being created", fmt.Sprintf(
				"Volume %s is made by task %s, which has not ended. It stays in the state; plan again once it has.", id, t.ID))
			return
		}
		if err == nil { // it may have ended between our two questions
			v, err = r.api.Volume.Get(ctx, id)
		}
	}
	switch {
	case isGone(err):
		resp.State.RemoveResource(ctx)
	case err != nil:
		diagnose(&resp.Diagnostics, "The volume cannot be read", err)
	default:
		m.show(v)
		resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	}
}

// creating is the task that makes the volume; the zero task where none is
// noted, or it is forgotten.
func (r *volumeResource) creating(ctx context.Context, p privateReader, diags *diag.Diagnostics) (client.Task, error) {
	id, found := creationOf(ctx, p)
	if diags.Append(found...); id == "" {
		return client.Task{}, nil
	}
	t, err := r.api.Task.Get(ctx, id)
	if isGone(err) {
		return client.Task{}, nil
	}
	return t, err
}

func (r *volumeResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m volumeModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Update(ctx, changeTime)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	want := wish{deviceID: m.DeviceID.ValueInt64(), sizeGiB: m.Size.ValueInt64(), maxPrice: m.MaxPrice.ValueFloat64Pointer()}
	v, err := r.bring(ctx, m.ID.ValueString(), want)
	switch {
	case err != nil:
		diagnose(&resp.Diagnostics, "The volume was not changed as planned", err, "device_id", "size", "max_monthly_price")
	case v.SizeGiB > want.sizeGiB:
		diagnose(&resp.Diagnostics, "The volume was not changed as planned", fmt.Errorf("volume %s has grown to %d GiB meanwhile", v.ID, v.SizeGiB))
	}
	if v.ID == "" {
		return // nothing is known: the state stays as it was
	}
	m.show(v)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *volumeResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m volumeModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Delete(ctx, changeTime)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// One that is still being made cannot be seen yet, but will be billed.
	t, err := r.creating(ctx, req.Private, &resp.Diagnostics)
	if err == nil && t.ID != "" {
		if _, err = r.api.Task.Wait(ctx, t, nil); errors.Is(err, client.ErrTaskFailed) || isGone(err) {
			err = nil
		}
	}
	if err == nil {
		err = r.removeVolume(ctx, m.ID.ValueString())
	}
	if err != nil {
		diagnose(&resp.Diagnostics, "The volume was not deleted", err)
	}
}

// ImportState takes a volume's id.
func (r *volumeResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	v, err := r.api.Volume.Get(ctx, req.ID)
	switch {
	case err != nil:
		diagnose(&resp.Diagnostics, "The volume cannot be imported", err)
	case v.Root():
		resp.Diagnostics.AddError("The volume cannot be imported", fmt.Sprintf("Volume %s is a device's ROOT volume, which comes and goes with the device.", v.ID))
	default:
		resource.ImportStatePassthroughID(ctx, path.Root("id"), req, resp)
	}
}
