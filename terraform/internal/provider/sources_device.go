package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/drivebay/drivebay/client"
)

// load reads a data source: its configuration, then what get makes of it.
func load[M any](ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse, summary string, get func(*M) error) {
	var m M
	if resp.Diagnostics.Append(req.Config.Get(ctx, &m)...); resp.Diagnostics.HasError() {
		return
	}
	if err := get(&m); err != nil {
		diagnose(&resp.Diagnostics, summary, err, "device_id", "facility_code")
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// gather is a list of a data source, in the server's order. It is never nil,
// which would be null.
func gather[A, B any](from []A, convert func(A) B) []B {
	to := make([]B, 0, len(from))
	for _, v := range from {
		to = append(to, convert(v))
	}
	return to
}

type vpsSource struct{ sourceBase }

type vpsModel struct {
	DeviceID        types.Int64  `tfsdk:"device_id"`
	FacilityCode    types.String `tfsdk:"facility_code"`
	Status          types.String `tfsdk:"status"`
	VCPU            types.Int64  `tfsdk:"vcpu"`
	MemoryMiB       types.Int64  `tfsdk:"memory_mib"`
	ISOID           types.String `tfsdk:"iso_id"`
	MaxVolumes      types.Int64  `tfsdk:"max_volumes"`
	AttachedVolumes types.Int64  `tfsdk:"attached_volumes"`
	Interfaces      []nicModel   `tfsdk:"interfaces"`
}

type nicModel struct {
	Name        types.String `tfsdk:"name"`
	MACAddress  types.String `tfsdk:"mac_address"`
	IPAddress   types.String `tfsdk:"ip_address"`
	IPV6Address types.String `tfsdk:"ipv6_address"`
}

func (s *vpsSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "drivebay_vps"
}

func (s *vpsSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A VPS, which volumes and ISOs are attached to.",
		Attributes: map[string]schema.Attribute{
			"device_id":        schema.Int64Attribute{Required: true, MarkdownDescription: "The device's id."},
			"facility_code":    schema.StringAttribute{Computed: true, MarkdownDescription: "The facility it is in."},
			"status":           schema.StringAttribute{Computed: true, MarkdownDescription: "`Running`, `Stopped`, or a step between; `Missing` while no host has its guest."},
			"vcpu":             schema.Int64Attribute{Computed: true, MarkdownDescription: "How many processors it has."},
			"memory_mib":       schema.Int64Attribute{Computed: true, MarkdownDescription: "Its memory in MiB."},
			"iso_id":           schema.StringAttribute{Computed: true, MarkdownDescription: "The ISO in its drive; null for none."},
			"max_volumes":      schema.Int64Attribute{Computed: true, MarkdownDescription: "How many volumes it can take, ROOT not counted; null where the server does not say."},
			"attached_volumes": schema.Int64Attribute{Computed: true, MarkdownDescription: "How many volumes it has, ROOT not counted; null where the server does not say."},
			"interfaces": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "Its network interfaces. What is not known is null.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"name":         schema.StringAttribute{Computed: true, MarkdownDescription: "The interface's name."},
					"mac_address":  schema.StringAttribute{Computed: true, MarkdownDescription: "Its MAC address."},
					"ip_address":   schema.StringAttribute{Computed: true, MarkdownDescription: "Its IPv4 address."},
					"ipv6_address": schema.StringAttribute{Computed: true, MarkdownDescription: "Its IPv6 address."},
				}},
			},
		},
	}
}

func (s *vpsSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	load(ctx, req, resp, "The device cannot be read", func(m *vpsModel) error {
		d, err := s.api.VPS.Get(ctx, m.DeviceID.ValueInt64())
		if err != nil {
			return err
		}
		*m = vpsModel{
			DeviceID: types.Int64Value(d.DeviceID), FacilityCode: textOrNull(d.FacilityCode), Status: textOrNull(d.Status),
			VCPU: types.Int64Value(d.VCPU), MemoryMiB: types.Int64Value(d.MemoryMiB), ISOID: textOrNull(d.ISOID),
			MaxVolumes: types.Int64PointerValue(d.MaxVolumes), AttachedVolumes: types.Int64PointerValue(d.AttachedVolumes),
			Interfaces: gather(d.Interfaces, func(n client.NetworkInterface) nicModel {
				return nicModel{Name: textOrNull(n.Name), MACAddress: textOrNull(n.MACAddress), IPAddress: textOrNull(n.IPAddress), IPV6Address: textOrNull(n.IPV6Address)}
			}),
		}
		return nil
	})
}

type locationsSource struct{ sourceBase }

type locationsModel struct {
	Locations []locationModel `tfsdk:"locations"`
}

type locationModel struct {
	Code    types.String `tfsdk:"code"`
	Title   types.String `tfsdk:"title"`
	City    types.String `tfsdk:"city"`
	State   types.String `tfsdk:"state"`
	Country types.String `tfsdk:"country"`
}

func (s *locationsSource) Metadata(_ context.Context, _ datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = "drivebay_locations"
}

func (s *locationsSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The facilities.",
		Attributes: map[string]schema.Attribute{"locations": schema.ListNestedAttribute{
			Computed: true, MarkdownDescription: "All facilities, by code.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"code":    schema.StringAttribute{Computed: true, MarkdownDescription: "The `facility_code` of other resources."},
				"title":   schema.StringAttribute{Computed: true, MarkdownDescription: "Its name for people."},
				"city":    schema.StringAttribute{Computed: true, MarkdownDescription: "The city it is in; null where the server does not say."},
				"state":   schema.StringAttribute{Computed: true, MarkdownDescription: "The state it is in; null where the server does not say."},
				"country": schema.StringAttribute{Computed: true, MarkdownDescription: "The country it is in; null where the server does not say."},
			}},
		}},
	}
}

func (s *locationsSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	load(ctx, req, resp, "The facilities cannot be read", func(m *locationsModel) error {
		all, err := s.api.Location.List(ctx)
		m.Locations = gather(all, func(l client.Location) locationModel {
			return locationModel{
				Code: textOrNull(l.Code), Title: textOrNull(l.Title),
				City: textOrNull(l.Location.City), State: textOrNull(l.Location.State), Country: textOrNull(l.Location.Country),
			}
		})
		return err
	})
}
