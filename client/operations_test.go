package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/client"
	"github.com/getkin/kin-openapi/openapi3"
)

var (
	ref = client.ISORef{FacilityCode: "TPA1", ClientID: 7}
	two = 2

	price = 9.5
)

// calls has for each operation of the contract a call that gives everything the
// operation takes.
var calls = map[string]func(context.Context, *client.Client) (any, error){
	"listVolumes": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Volume.List(ctx, client.VolumeListOptions{DeviceID: 1001, FacilityCode: "TPA1", ClientID: 7})
	},
	"createVolume": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Volume.Create(ctx, client.VolumeCreate{DeviceID: 1001, SizeGiB: 50, MaxMonthlyPrice: &price})
	},
	"getVolume": func(ctx context.Context, c *client.Client) (any, error) { return c.Volume.Get(ctx, "v") },
	"resizeVolume": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Volume.Resize(ctx, "v", client.VolumeResize{SizeGiB: 100, DeviceID: 1001, MaxMonthlyPrice: &price})
	},
	"deleteVolume": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Volume.Delete(ctx, "v", client.VolumeDelete{DeviceID: 1001})
	},
	"listVolumeUpgradeSizes": func(ctx context.Context, c *client.Client) (any, error) { return c.Volume.AvailableSizes(ctx, "v") },
	"listVolumeSizes":        func(ctx context.Context, c *client.Client) (any, error) { return c.Volume.Sizes(ctx, "TPA1") },
	"attachVolume":           func(ctx context.Context, c *client.Client) (any, error) { return c.Volume.Attach(ctx, "v", 1001) },
	"detachVolume":           func(ctx context.Context, c *client.Client) (any, error) { return c.Volume.Detach(ctx, "v", 1001) },

	"listISOs": func(ctx context.Context, c *client.Client) (any, error) {
		return c.ISO.List(ctx, client.ISOListOptions{FacilityCode: "TPA1", ClientID: 7})
	},
	"createISO": func(ctx context.Context, c *client.Client) (any, error) {
		return c.ISO.Create(ctx, client.ISOCreate{FacilityCode: "TPA1", Name: "n", Description: "d", URL: "https://example.com/a.iso", Bootable: true, Checksum: "md5:" + strings.Repeat("0", 32), ClientID: 7})
	},
	"getISO":    func(ctx context.Context, c *client.Client) (any, error) { return c.ISO.Get(ctx, "i", ref) },
	"deleteISO": func(ctx context.Context, c *client.Client) (any, error) { return c.ISO.Delete(ctx, "i", ref) },
	"attachISO": func(ctx context.Context, c *client.Client) (any, error) {
		return c.VPS.AttachISO(ctx, 1001, client.ISOAttach{ISOID: "i", BootOnce: true})
	},
	"detachISO": func(ctx context.Context, c *client.Client) (any, error) {
		return c.VPS.DetachISO(ctx, 1001, client.ISODetach{Force: true})
	},

	"listVPS": func(ctx context.Context, c *client.Client) (any, error) {
		return c.VPS.List(ctx, client.VPSListOptions{FacilityCode: "TPA1", ClientID: 7, NetworkID: "n", HostID: "h", StorageID: "s"})
	},
	"getVPS":        func(ctx context.Context, c *client.Client) (any, error) { return c.VPS.Get(ctx, 1001) },
	"listVPSEvents": func(ctx context.Context, c *client.Client) (any, error) { return c.VPS.Events(ctx, 1001, 5) },
	"powerVPS": func(ctx context.Context, c *client.Client) (any, error) {
		return c.VPS.Power(ctx, 1001, client.PowerCycle)
	},

	"listTasks": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Task.List(ctx, client.TaskListOptions{CreatedInLast: 90 * time.Minute, DeviceID: 1001, ClientID: 7, Limit: 5})
	},
	"getTask": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Task.Wait(ctx, client.Task{ID: "t"}, nil)
	},
	"listLocations": func(ctx context.Context, c *client.Client) (any, error) { return c.Location.List(ctx) },
	"listServices": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Service.List(ctx, client.ServiceListOptions{Status: "active", TypeCode: "vps_volume", OrderID: 3})
	},
	"getService":       func(ctx context.Context, c *client.Client) (any, error) { return c.Service.Get(ctx, 3) },
	"listServiceTypes": func(ctx context.Context, c *client.Client) (any, error) { return c.Service.Types(ctx) },
	"getQuota":         func(ctx context.Context, c *client.Client) (any, error) { return c.Quota.Get(ctx, 7) },

	"adminListNodes":      func(ctx context.Context, c *client.Client) (any, error) { return c.Admin.Node.List(ctx) },
	"adminListFacilities": func(ctx context.Context, c *client.Client) (any, error) { return c.Admin.Facility.List(ctx) },
	"adminPutFacility": func(ctx context.Context, c *client.Client) (any, error) {
		state := "FL"
		return c.Admin.Facility.Put(ctx, "TPA1", client.FacilityPut{Title: "t", City: "c", Country: "US", State: &state})
	},
	"adminListClients": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Account.List(ctx, client.Page{After: 3, Limit: 5})
	},
	"adminCreateClient": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Account.Create(ctx, client.AccountCreate{Name: "n", ParentID: 7})
	},
	"adminGetClient":      func(ctx context.Context, c *client.Client) (any, error) { return c.Admin.Account.Get(ctx, 7) },
	"adminGetClientQuota": func(ctx context.Context, c *client.Client) (any, error) { return c.Admin.Account.Limits(ctx, 7) },
	"adminPutClientQuota": func(ctx context.Context, c *client.Client) (any, error) {
		n := int64(1)
		return c.Admin.Account.SetLimits(ctx, 7, client.Limits{Volumes: &n, Gib: &n, Isos: &n, ISOBytes: &n})
	},
	"adminListKeys": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Key.List(ctx, client.KeyListOptions{ClientID: 7, Limit: 5})
	},
	"adminCreateKey": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Key.Create(ctx, client.KeyCreate{
			Name: "n", Permissions: []client.Permission{client.PermissionRead, client.PermissionVolumes}, ClientID: 7,
			ExpiresAt: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC), AllowedAddresses: []string{"192.0.2.0/24"},
		})
	},
	"adminRevokeKey": func(ctx context.Context, c *client.Client) (any, error) { return nil, c.Admin.Key.Revoke(ctx, "k") },
	"adminListDevices": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Device.List(ctx, 7, client.Page{After: 3, Limit: 5})
	},
	"adminCreateDevice": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Device.Create(ctx, client.DeviceCreate{ClientID: 7, FacilityCode: "TPA1", DeviceID: 9, Hostname: "h", VCPU: 1, MemoryMiB: 512, RootGiB: 9, MaxVolumes: &two, Ref: "g"})
	},
	"adminDeleteDevice": func(ctx context.Context, c *client.Client) (any, error) { return nil, c.Admin.Device.Delete(ctx, 9) },
	"adminImportVPS": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Device.Import(ctx, client.GuestImport{FacilityCode: "TPA1", ClientID: 7, Host: "h", Domains: []string{"a"}, All: true, DryRun: true})
	},
	"adminListPrices": func(ctx context.Context, c *client.Client) (any, error) { return c.Admin.Price.List(ctx, "TPA1") },
	"adminPutPrice": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Price.Put(ctx, "TPA1", 50, 5.5)
	},
	"adminDeletePrice": func(ctx context.Context, c *client.Client) (any, error) {
		return nil, c.Admin.Price.Delete(ctx, "TPA1", 50)
	},
	"adminListCharges": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Charge.List(ctx, client.ChargeListOptions{ClientID: 7, VolumeID: "v", Before: 9, Limit: 5})
	},
	"adminListFindings": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Doctor.Findings(ctx, client.FindingListOptions{Class: "orphan_disk", FacilityCode: "TPA1"}, client.Page{After: 3, Limit: 5})
	},
	"adminReconcile": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Doctor.Reconcile(ctx, client.Reconcile{Repair: true, FacilityCode: "TPA1", GraceSeconds: &two})
	},
	"adminListQuarantine": func(ctx context.Context, c *client.Client) (any, error) {
		return c.Admin.Quarantine.List(ctx, "TPA1", client.Page{After: 3, Limit: 5})
	},
	"adminDeleteQuarantine": func(ctx context.Context, c *client.Client) (any, error) { return c.Admin.Quarantine.Delete(ctx, 9) },
}

// left has the parameters that calls do not give, and why.
var left = map[string]string{
	"createVolume dryRun":                "a quote's, TestQuotes",
	"resizeVolume dryRun":                "a quote's, TestQuotes",
	"deleteVolume dryRun":                "a quote's, TestQuotes",
	"powerVPS action":                    "it is in the body",
	"listLocations vpsLocations":         "it changes nothing",
	"getService includeZeroPriceOptions": "it changes nothing",
}

// TestOperations holds that every operation of the contract has a call, that
// what the call sends is valid and whole, and that it takes the contract's answer.
func TestOperations(t *testing.T) {
	t.Parallel()
	doc, err := api.Spec()
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			named[op.OperationID] = true
			call := calls[op.OperationID]
			if call == nil {
				t.Errorf("%s %s: %s has no call here, so perhaps none in the package", method, path, op.OperationID)
				continue
			}
			o := operation{op, method, path, append(slices.Clone(item.Parameters), op.Parameters...)}
			for _, nulls := range []bool{false, true} {
				o.check(t, nulls, call)
			}
		}
	}
	for id := range calls {
		if !named[id] {
			t.Errorf("%s is no operation of the contract", id)
		}
	}
}

type operation struct {
	*openapi3.Operation
	method, path string
	params       openapi3.Parameters
}

// check makes the call against a server that answers what the contract says,
// with null wherever that may be if nulls is set.
func (o operation) check(t *testing.T, nulls bool, call func(context.Context, *client.Client) (any, error)) {
	t.Helper()
	var got *http.Request
	var body []byte
	c := newClient(t, func(r *http.Request) (*http.Response, error) {
		got, body = r, readAll(t, r.Body)
		status, schema := o.answer()
		if schema == nil {
			return respond(status, "", ""), nil
		}
		b, err := json.Marshal(sample(schema.Value, nulls))
		if err != nil {
			t.Fatal(err)
		}
		return respond(status, "application/json", string(b)), nil
	})
	if _, err := call(t.Context(), c); err != nil {
		t.Errorf("%s: %v", o.OperationID, err)
	}
	if got == nil {
		t.Errorf("%s: nothing was sent", o.OperationID)
		return
	}
	pattern := regexp.MustCompile(`\{[^}]+\}`).ReplaceAllString("/api/v2"+o.path, "[^/]+")
	if got.Method != o.method || !regexp.MustCompile("^"+pattern+"/?$").MatchString(got.URL.EscapedPath()) {
		t.Errorf("%s: sent %s %s, want %s %s", o.OperationID, got.Method, got.URL.EscapedPath(), o.method, o.path)
	}
	if key := keyOf(got); (key != "") != (o.method != http.MethodGet) {
		t.Errorf("%s: idempotency key %q", o.OperationID, key)
	}
	o.checkQuery(t, got)
	o.checkBody(t, body)
}

func (o operation) checkQuery(t *testing.T, got *http.Request) {
	t.Helper()
	known := map[string]bool{}
	for _, p := range o.params {
		if p.Value.In != "query" {
			continue
		}
		known[p.Value.Name] = true
		if !got.URL.Query().Has(p.Value.Name) && left[o.OperationID+" "+p.Value.Name] == "" {
			t.Errorf("%s: the parameter %s cannot be given", o.OperationID, p.Value.Name)
		}
	}
	for name := range got.URL.Query() {
		if !known[name] {
			t.Errorf("%s: sent the parameter %s, which it does not have", o.OperationID, name)
		}
	}
}

func (o operation) checkBody(t *testing.T, body []byte) {
	t.Helper()
	if o.RequestBody == nil {
		if len(body) > 0 {
			t.Errorf("%s: sent a body: %s", o.OperationID, body)
		}
		return
	}
	var value map[string]any
	if err := json.Unmarshal(body, &value); err != nil {
		t.Errorf("%s: %v in the body %s", o.OperationID, err, body)
		return
	}
	schema := o.RequestBody.Value.Content.Get("application/json").Schema.Value
	if err := schema.VisitJSON(value); err != nil {
		t.Errorf("%s: the body %s is not valid: %v", o.OperationID, body, err)
	}
	for name := range schema.Properties {
		if _, ok := value[name]; !ok {
			t.Errorf("%s: the body's %s cannot be given", o.OperationID, name)
		}
	}
	for name := range value {
		if schema.Properties[name] == nil {
			t.Errorf("%s: the body has %s, which is not in the contract", o.OperationID, name)
		}
	}
}

// answer returns the success status and its schema, nil without a body. The lower
// one of two is that of a quote.
func (o operation) answer() (int, *openapi3.SchemaRef) {
	for _, status := range []int{201, 200, 204} {
		if ref := o.Responses.Status(status); ref != nil {
			if mt := ref.Value.Content.Get("application/json"); mt != nil {
				return status, mt.Schema
			}
			return status, nil
		}
	}
	return 0, nil
}

// sample is a value of the schema.
func sample(s *openapi3.Schema, nulls bool) any {
	switch {
	case s.Nullable && nulls:
		return nil
	case len(s.Enum) > 0:
		return s.Enum[len(s.Enum)/2]
	case s.Type.Is("object"):
		o := map[string]any{}
		for name, prop := range s.Properties {
			o[name] = sample(prop.Value, nulls)
		}
		return o
	case s.Type.Is("array"):
		return []any{sample(s.Items.Value, nulls)}
	case s.Type.Is("integer"), s.Type.Is("number"):
		return 7
	case s.Type.Is("boolean"):
		return true
	case s.Format == "date-time":
		return "2026-01-31T12:00:00Z"
	}
	return "text"
}

func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	if r == nil {
		return nil
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}
