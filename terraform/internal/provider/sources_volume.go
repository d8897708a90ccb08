package provider

import (
	"context"
	"iter"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/drivebay/drivebay/client"
)

type volumeSource struct{ sourceBase }

type volumeDataModel struct {
	ID           types.String  `tfsdk:"id"`
	Type         types.String  `tfsdk:"type"`
	DeviceID     types.Int64   `tfsdk:"device_id"`
	Size         types.Int64   `tfsdk:"size"`
	FacilityCode types.String  `tfsdk:"facility_code"`
	State        types.String  `tfsdk:"state"`
	MonthlyPrice types.Float64 `tfsdk:"monthly_price"`
	CreatedAt    types.String  `tfsdk:"created_at"`
}

func toVolumeData(v client.Volume) volumeDataModel {
	return volumeDataModel{
		ID: types.StringValue(v.ID), Type: textOrNull(v.Type), DeviceID: types.Int64PointerValue(v.DeviceID), Size: types.Int64Value(v.SizeGiB),
		FacilityCode: textOrNull(v.FacilityCode), State: textOrNull(string(v.State)),
		MonthlyPrice: types.Float64PointerValue(v.MonthlyPrice), CreatedAt: timeOrNull(v.CreatedAt),
	}
}

// volumeAttributes describe a volume; its id is id.
func volumeAttributes(id schema.StringAttribute) map[string]schema.Attribute {
	id.MarkdownDescription = "The volume's id."
	return map[string]schema.Attribute{
		"id":            id,
		"type":          schema.StringAttribute{Computed: true, MarkdownDescription: "`ROOT` for the device's own disk, `DATADISK` for any other."},
		"device_id":     schema.Int64Attribute{Computed: true, MarkdownDescription: "The device it is attached to; null for none."},
		"size":          schema.Int64Attribute{Computed: true, MarkdownDescription: "The size in GiB."},
		"facility_code": schema.StringAttribute{Computed: true, MarkdownDescription: "The facility it is in."},
		"state":         schema.StringAttribute{Computed: true, MarkdownDescription: "What goes on with it: `attached`, `detached`, `resizing` or `deleting`."},
		"monthly_price": schema.Float64Attribute{Computed: true, MarkdownDescription: "What it costs a month; null for a ROOT volume, and where the server does not say."},
		"created_at":    schema.StringAttribute{Computed: true, MarkdownDescription: "When it was made, in RFC 3339."},
	}
}

func (s *volumeSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "drivebay_volume"
}

func (s *volumeSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{MarkdownDescription: "A volume, by its id.", Attributes: volumeAttributes(schema.StringAttribute{Required: true})}
}

func (s *volumeSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	load(ctx, req, resp, "The volume cannot be read", func(m *volumeDataModel) error {
		v, err := s.api.Volume.Get(ctx, m.ID.ValueString())
		*m = toVolumeData(v)
		return err
	})
}

type volumesSource struct{ sourceBase }

type volumesModel struct {
	DeviceID     types.Int64       `tfsdk:"device_id"`
	FacilityCode types.String      `tfsdk:"facility_code"`
	Volumes      []volumeDataModel `tfsdk:"volumes"`
}

func (s *volumesSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "drivebay_volumes"
}

func (s *volumesSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Volumes, ROOT ones included: of a device, of a facility, or all of them.",
		Attributes: map[string]schema.Attribute{
			"device_id":     schema.Int64Attribute{Optional: true, MarkdownDescription: "Only those on this device."},
			"facility_code": schema.StringAttribute{Optional: true, MarkdownDescription: "Only those in this facility."},
			"volumes": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The volumes, newest first in each facility.",
				NestedObject: schema.NestedAttributeObject{Attributes: volumeAttributes(schema.StringAttribute{Computed: true})},
			},
		},
	}
}

func (s *volumesSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	load(ctx, req, resp, "The volumes cannot be read", func(m *volumesModel) error {
		all, err := collect(s.api.Volume.All(ctx, client.VolumeListOptions{DeviceID: m.DeviceID.ValueInt64(), FacilityCode: m.FacilityCode.ValueString()}))
		m.Volumes = gather(all, toVolumeData)
		return err
	})
}

// collect is all that seq has, or its error.
func collect[T any](seq iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range seq {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

type volumeSizesSource struct{ sourceBase }

type volumeSizesModel struct {
	FacilityCode types.String      `tfsdk:"facility_code"`
	Sizes        []volumeSizeModel `tfsdk:"sizes"`
}

type volumeSizeModel struct {
	Size         types.Int64   `tfsdk:"size"`
	MonthlyPrice types.Float64 `tfsdk:"monthly_price"`
}

func (s *volumeSizesSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "drivebay_volume_sizes"
}

func (s *volumeSizesSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The sizes of volumes on sale, and their prices.",
		Attributes: map[string]schema.Attribute{
			"facility_code": schema.StringAttribute{Optional: true, MarkdownDescription: "The facility whose prices are meant. Without it, each size at the highest price asked anywhere."},
			"sizes": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The sizes, smallest first.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"size":          schema.Int64Attribute{Computed: true, MarkdownDescription: "The size in GiB."},
					"monthly_price": schema.Float64Attribute{Computed: true, MarkdownDescription: "What a volume of this size costs a month."},
				}},
			},
		},
	}
}

func (s *volumeSizesSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	load(ctx, req, resp, "The sizes cannot be read", func(m *volumeSizesModel) error {
		all, err := s.api.Volume.Sizes(ctx, m.FacilityCode.ValueString())
		m.Sizes = gather(all, func(v client.VolumeSize) volumeSizeModel {
			return volumeSizeModel{Size: types.Int64Value(v.SizeGiB), MonthlyPrice: types.Float64Value(v.MonthlyPrice)}
		})
		return err
	})
}
