package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/boolplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/drivebay/drivebay/client"
)

type isoResource struct{ resourceBase }

type isoModel struct {
	ID           types.String   `tfsdk:"id"`
	Name         types.String   `tfsdk:"name"`
	FacilityCode types.String   `tfsdk:"facility_code"`
	URL          types.String   `tfsdk:"url"`
	Checksum     types.String   `tfsdk:"checksum"`
	Bootable     types.Bool     `tfsdk:"bootable"`
	Description  types.String   `tfsdk:"description"`
	Ready        types.Bool     `tfsdk:"ready"`
	Status       types.String   `tfsdk:"status"`
	Reason       types.String   `tfsdk:"reason"`
	SizeBytes    types.Int64    `tfsdk:"size_bytes"`
	SHA256       types.String   `tfsdk:"sha256"`
	Label        types.String   `tfsdk:"label"`
	BIOS         types.Bool     `tfsdk:"bios"`
	UEFI         types.Bool     `tfsdk:"uefi"`
	CreatedAt    types.String   `tfsdk:"created_at"`
	Timeouts     timeouts.Value `tfsdk:"timeouts"`
}

// show sets what the server tells of the ISO. What was asked for stays as it
// was: it never changes, and answers have no checksum and no secrets of the URL.
func (m *isoModel) show(i client.ISO) {
	if m.Name.IsNull() { // it is being imported into the state
		m.Name, m.FacilityCode, m.URL = types.StringValue(i.Name), types.StringValue(i.FacilityCode), textOrNull(i.URL)
		m.Description, m.Bootable = types.StringValue(i.Description), types.BoolValue(i.Bootable)
	}
	m.ID = types.StringValue(i.ID)
	m.Ready, m.Status, m.Reason = types.BoolValue(i.Ready), textOrNull(i.Status), textOrNull(i.Reason)
	m.SizeBytes = types.Int64Null()
	if i.SizeBytes > 0 {
		m.SizeBytes = types.Int64Value(i.SizeBytes)
	}
	m.SHA256, m.Label = textOrNull(i.SHA256), textOrNull(i.Label)
	m.BIOS, m.UEFI = types.BoolPointerValue(i.BIOS), types.BoolPointerValue(i.UEFI)
	m.CreatedAt = timeOrNull(i.CreatedAt)
}

func (r *isoResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "drivebay_iso"
}

func (r *isoResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	replaces := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	resp.Schema = schema.Schema{
		MarkdownDescription: "An ISO image that a facility downloads and verifies. Terraform waits until it is ready. If its import fails, the " +
			"error has the reason, and the ISO stays in the state; the next apply deletes it and imports anew. " +
			"An ISO cannot be changed: whatever changes, it is replaced.",
		Attributes: map[string]schema.Attribute{
			"id":            schema.StringAttribute{Computed: true, PlanModifiers: fixed, MarkdownDescription: "The ISO's id."},
			"name":          schema.StringAttribute{Required: true, PlanModifiers: replaces, MarkdownDescription: "Its name in lists."},
			"facility_code": schema.StringAttribute{Required: true, PlanModifiers: replaces, MarkdownDescription: "The facility that imports it. Only devices there can have it in their drive."},
			"url":           schema.StringAttribute{Required: true, PlanModifiers: replaces, MarkdownDescription: "Where it is downloaded from, by http or https. The server must be allowed to reach it."},
			"checksum": schema.StringAttribute{
				Optional:            true,
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplaceIf(checksumReplaces, checksumText, checksumText)},
				MarkdownDescription: "The digest it must have: `sha256:`, `sha512:` or `md5:` and hexadecimal digits. " + checksumText,
			},
			"bootable": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				PlanModifiers:       []planmodifier.Bool{boolplanmodifier.RequiresReplace()},
				MarkdownDescription: "That it must be bootable: its import fails if it is not, and a device that has it in its drive starts from it. `false` if not set.",
			},
			"description": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString(""),
				PlanModifiers: replaces, MarkdownDescription: "A text for people. Empty if not set.",
			},
			"ready":      schema.BoolAttribute{Computed: true, MarkdownDescription: "That it can be attached."},
			"status":     schema.StringAttribute{Computed: true, MarkdownDescription: "How far its import is, or why it failed, in words."},
			"reason":     schema.StringAttribute{Computed: true, MarkdownDescription: "The stable reason why its import failed; null unless it did."},
			"size_bytes": schema.Int64Attribute{Computed: true, MarkdownDescription: "Its length in bytes."},
			"sha256":     schema.StringAttribute{Computed: true, MarkdownDescription: "The SHA-256 of what was downloaded, in hexadecimal digits; null where the server does not say."},
			"label":      schema.StringAttribute{Computed: true, MarkdownDescription: "The label inside the image; null where the server does not say."},
			"bios":       schema.BoolAttribute{Computed: true, MarkdownDescription: "That it boots with a BIOS; null where the server does not say."},
			"uefi":       schema.BoolAttribute{Computed: true, MarkdownDescription: "That it boots with UEFI; null where the server does not say."},
			"created_at": schema.StringAttribute{Computed: true, PlanModifiers: fixed, MarkdownDescription: "When it was registered, in RFC 3339."},
		},
		Blocks: map[string]schema.Block{"timeouts": timeouts.Block(ctx, timeouts.Opts{
			Create: true, Delete: true,
			CreateDescription: timeText("its import", importTime), DeleteDescription: timeText("deleting it", changeTime),
		})},
	}
}

const checksumText = "A change replaces the ISO, unless it is removed, or is the SHA-256 that the ISO has."

// checksumReplaces spares an ISO that is what the new checksum wants; so an
// imported one is not downloaded once more.
func checksumReplaces(ctx context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
	var sha256 types.String
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("sha256"), &sha256)...)
	has := "sha256:" + sha256.ValueString()
	resp.RequiresReplace = !req.PlanValue.IsNull() && !strings.EqualFold(req.PlanValue.ValueString(), has)
}

// ModifyPlan replaces an ISO whose import failed after Terraform had stopped
// waiting: it will never be ready.
func (r *isoResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.State.Raw.IsNull() || req.Plan.Raw.IsNull() {
		return
	}
	var reason types.String
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("reason"), &reason)...)
	if reason.ValueString() != "" {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("ready"), types.BoolUnknown())...)
		resp.RequiresReplace = append(resp.RequiresReplace, path.Root("ready"))
	}
}

func (r *isoResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m isoModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Create(ctx, importTime)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	i, err := insist(ctx, func(opts ...client.CallOption) (client.ISO, error) {
		return r.api.ISO.Create(ctx, client.ISOCreate{
			FacilityCode: m.FacilityCode.ValueString(), Name: m.Name.ValueString(), Description: m.Description.ValueString(),
			URL: m.URL.ValueString(), Bootable: m.Bootable.ValueBool(), Checksum: m.Checksum.ValueString(),
		}, opts...)
	})
	if err != nil {
		diagnose(&resp.Diagnostics, "The ISO was not created", err, "name", "facility_code", "url", "checksum", "bootable", "description")
		return
	}
	m.show(i) // before the wait
	if resp.Diagnostics.Append(resp.State.Set(ctx, m)...); resp.Diagnostics.HasError() {
		return
	}
	i, err = r.api.ISO.Wait(ctx, i, nil)
	if err != nil {
		if reasonOf(err) == i.Reason && i.Reason != "" {
			err = fmt.Errorf("ISO %s: %w", i.ID, err)
		}
		diagnose(&resp.Diagnostics, "The ISO is not ready", err)
	}
	m.show(i)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *isoResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m isoModel
	if resp.Diagnostics.Append(req.State.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	i, err := r.api.ISO.Get(ctx, m.ID.ValueString(), client.ISORef{FacilityCode: m.FacilityCode.ValueString()})
	switch {
	case isGone(err):
		resp.State.RemoveResource(ctx)
	case err != nil:
		diagnose(&resp.Diagnostics, "The ISO cannot be read", err)
	default:
		m.show(i)
		resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	}
}

// Update changes nothing at the server: what gets here is a checksum that needs
// no replacement, or timeouts.
func (r *isoResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m isoModel
	if resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	i, err := r.api.ISO.Get(ctx, m.ID.ValueString(), client.ISORef{FacilityCode: m.FacilityCode.ValueString()})
	if err != nil {
		diagnose(&resp.Diagnostics, "The ISO cannot be read", err)
		return
	}
	m.show(i)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *isoResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m isoModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	limit, diags := m.Timeouts.Delete(ctx, changeTime)
	if resp.Diagnostics.Append(diags...); resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	id, ref := m.ID.ValueString(), client.ISORef{FacilityCode: m.FacilityCode.ValueString()}
	err := r.pursue(ctx, aboutISO(id), func() (done bool, err error) {
		err = r.finish(ctx, func(opts ...client.CallOption) (client.Task, error) {
			return r.api.ISO.Delete(ctx, id, ref, opts...)
		})
		return err == nil, err
	})
	if err != nil && !isGone(err) {
		diagnose(&resp.Diagnostics, "The ISO was not deleted, or not seen to be", err)
	}
}

// ImportState takes an ISO's id.
func (r *isoResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	resource.ImportStatePassthroughID(ctx, path.Root("id"), req, resp)
}
