// Package provider is the Terraform provider: resources and data sources on top
// of the Go client.
//
// Every change is a task of the server. A resource puts its id into the state
// before it waits for the task, so that nothing is lost when the wait fails, and
// every change begins by looking at what is true, so that it can be repeated.
package provider

import (
	"context"
	"os"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/drivebay/drivebay/client"
)

const (
	envURL = "DRIVEBAY_URL"
	envKey = "DRIVEBAY_API_KEY"
)

// New returns what makes a provider that calls itself by version.
func New(version string) func() provider.Provider {
	return func() provider.Provider { return &drivebay{version: version} }
}

type drivebay struct{ version string }

type providerModel struct {
	URL      types.String `tfsdk:"url"`
	APIKey   types.String `tfsdk:"api_key"`
	ClientID types.Int64  `tfsdk:"client_id"`
}

func (p *drivebay) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName, resp.Version = "drivebay", p.version
}

func (p *drivebay) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Manages block volumes and ISO images of VPS on a drivebay server, or on any other server of the same API.",
		Attributes: map[string]schema.Attribute{
			"url": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "The server's address, such as `https://cloud.example.com`, with or without `/api/v2`. Without it, `" + envURL + "` of the environment.",
			},
			"api_key": schema.StringAttribute{
				Optional: true, Sensitive: true,
				MarkdownDescription: "The API key. Without it, `" + envKey + "` of the environment, which keeps it out of files.",
			},
			"client_id": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "Acts for this client when ISOs are made and things are listed. It must be the key's own client, or a child of it.",
			},
		},
	}
}

// Configure makes the client. It makes no call, so that a plan needs no server
// until something has to be read.
func (p *drivebay) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	for name, v := range map[string]interface{ IsUnknown() bool }{"url": m.URL, "api_key": m.APIKey, "client_id": m.ClientID} {
		if v.IsUnknown() {
			resp.Diagnostics.AddAttributeError(path.Root(name), "The provider's settings must be known",
				"This one depends on something that is known after the apply only. Apply that first, with -target, or set it in the environment.")
		}
	}
	url, key := orEnv(m.URL, envURL), orEnv(m.APIKey, envKey)
	if url == "" && !m.URL.IsUnknown() {
		resp.Diagnostics.AddAttributeError(path.Root("url"), "The server's address is missing", "Set url, or "+envURL+" in the environment.")
	}
	if key == "" && !m.APIKey.IsUnknown() {
		resp.Diagnostics.AddAttributeError(path.Root("api_key"), "The API key is missing", "Set "+envKey+" in the environment, or api_key.")
	}
	if resp.Diagnostics.HasError() {
		return
	}
	c, err := client.New(url, key, client.WithUserAgent("terraform-provider-drivebay/"+p.version),
		client.WithClientID(m.ClientID.ValueInt64()), client.WithLogger(logger()))
	if err != nil {
		resp.Diagnostics.AddError("The provider cannot be set up", err.Error())
		return
	}
	resp.ResourceData, resp.DataSourceData = c, c
}

func orEnv(v types.String, name string) string {
	if s := v.ValueString(); s != "" {
		return s
	}
	return os.Getenv(name)
}

func (p *drivebay) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return &volumeResource{} },
		func() resource.Resource { return &volumeAttachmentResource{} },
		func() resource.Resource { return &isoResource{} },
		func() resource.Resource { return &isoAttachmentResource{} },
	}
}

func (p *drivebay) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		func() datasource.DataSource { return &vpsSource{} },
		func() datasource.DataSource { return &volumeSource{} },
		func() datasource.DataSource { return &volumesSource{} },
		func() datasource.DataSource { return &isosSource{} },
		func() datasource.DataSource { return &volumeSizesSource{} },
		func() datasource.DataSource { return &locationsSource{} },
	}
}

// connection is the client that a resource or data source got from Configure.
type connection struct{ api *client.Client }

// take keeps the client. There is none while a configuration is validated only.
func (c *connection) take(data any) {
	if api, ok := data.(*client.Client); ok {
		c.api = api
	}
}

type resourceBase struct{ connection }

func (b *resourceBase) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	b.take(req.ProviderData)
}

type sourceBase struct{ connection }

func (b *sourceBase) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	b.take(req.ProviderData)
}
