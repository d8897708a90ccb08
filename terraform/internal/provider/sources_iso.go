package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/drivebay/drivebay/client"
)

type isosSource struct{ sourceBase }

type isosModel struct {
	FacilityCode types.String   `tfsdk:"facility_code"`
	ISOs         []isoDataModel `tfsdk:"isos"`
}

type isoDataModel struct {
	ID           types.String  `tfsdk:"id"`
	Name         types.String  `tfsdk:"name"`
	FacilityCode types.String  `tfsdk:"facility_code"`
	URL          types.String  `tfsdk:"url"`
	Bootable     types.Bool    `tfsdk:"bootable"`
	Description  types.String  `tfsdk:"description"`
	Ready        types.Bool    `tfsdk:"ready"`
	Status       types.String  `tfsdk:"status"`
	SizeBytes    types.Int64   `tfsdk:"size_bytes"`
	SHA256       types.String  `tfsdk:"sha256"`
	DeviceIDs    []types.Int64 `tfsdk:"device_ids"`
}

func toISOData(i client.ISO) isoDataModel {
	m := isoDataModel{
		ID: types.StringValue(i.ID), Name: types.StringValue(i.Name), FacilityCode: textOrNull(i.FacilityCode), URL: textOrNull(i.URL),
		Bootable: types.BoolValue(i.Bootable), Description: types.StringValue(i.Description), Ready: types.BoolValue(i.Ready),
		Status: textOrNull(i.Status), SHA256: textOrNull(i.SHA256), DeviceIDs: gather(i.DeviceIDs, types.Int64Value),
	}
	if i.SizeBytes > 0 {
		m.SizeBytes = types.Int64Value(i.SizeBytes)
	}
	return m
}

func (s *isosSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "drivebay_isos"
}

func (s *isosSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "ISOs, failed ones included: of a facility, or all of them.",
		Attributes: map[string]schema.Attribute{
			"facility_code": schema.StringAttribute{Optional: true, MarkdownDescription: "Only those in this facility."},
			"isos": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The ISOs, newest first in each facility.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"id":            schema.StringAttribute{Computed: true, MarkdownDescription: "The ISO's id."},
					"name":          schema.StringAttribute{Computed: true, MarkdownDescription: "Its name."},
					"facility_code": schema.StringAttribute{Computed: true, MarkdownDescription: "The facility it is in."},
					"url":           schema.StringAttribute{Computed: true, MarkdownDescription: "Where it was downloaded from, without secrets."},
					"bootable":      schema.BoolAttribute{Computed: true, MarkdownDescription: "That it was registered as bootable."},
					"description":   schema.StringAttribute{Computed: true, MarkdownDescription: "Its text for people."},
					"ready":         schema.BoolAttribute{Computed: true, MarkdownDescription: "That it can be attached."},
					"status":        schema.StringAttribute{Computed: true, MarkdownDescription: "How far its import is, or why it failed."},
					"size_bytes":    schema.Int64Attribute{Computed: true, MarkdownDescription: "Its length in bytes; null until it is known."},
					"sha256":        schema.StringAttribute{Computed: true, MarkdownDescription: "Its SHA-256 in hexadecimal digits; null until it is known."},
					"device_ids":    schema.ListAttribute{Computed: true, ElementType: types.Int64Type, MarkdownDescription: "The devices that have it in their drive."},
				}},
			},
		},
	}
}

func (s *isosSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	load(ctx, req, resp, "The ISOs cannot be read", func(m *isosModel) error {
		all, err := collect(s.api.ISO.All(ctx, client.ISOListOptions{FacilityCode: m.FacilityCode.ValueString()}))
		m.ISOs = gather(all, toISOData)
		return err
	})
}
