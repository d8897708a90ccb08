package compat

import (
	"context"
	"reflect"
	"strings"
	"testing"

	swagger "github.com/hivelocity/hivelocity-client-go/client"
)

// groups are the parts of the generated client that have to do with volumes,
// ISOs, VPS, events, locations, services and task status. Each of their methods
// is served, or stands in notServed.
var groups = []string{"VPSApi", "NetworkApi", "InventoryApi", "ServiceApi", "TokenApi", "WebhookApi"}

const (
	snapshots = "snapshots are not served today"
	networks  = "networks of devices are not the business of volumes and ISOs"
	machines  = "devices are the operator's; the API shows them"
	tokens    = "keys are made by the operator today"
	webhooks  = "webhooks are not served today"
	products  = "there are no products but volume sizes"
	options   = "volume services have no options, coupons or managed parts"
)

// notServed says why a method of groups is refused. docs/reference/contract.md
// has the same list by paths.
var notServed = map[string]string{
	"VPSApi.GetVpsSnapshotResource":              snapshots,
	"VPSApi.PostVpsSnapshotResource":             snapshots,
	"VPSApi.GetVpsSnapshotIdResource":            snapshots,
	"VPSApi.PostVpsSnapshotIdResource":           snapshots,
	"VPSApi.DeleteVpsSnapshotIdResource":         snapshots,
	"VPSApi.GetVpsSnapshotScheduleResource":      snapshots,
	"VPSApi.PostVpsSnapshotScheduleResource":     snapshots,
	"VPSApi.GetVpsSnapshotScheduleIdResource":    snapshots,
	"VPSApi.DeleteVpsSnapshotScheduleIdResource": snapshots,

	"VPSApi.PutVpsIdResource":             machines,
	"VPSApi.PostVpsConsoleAccessResource": machines,
	"VPSApi.GetVpsMetricsResource":        machines,
	"VPSApi.GetVpsSelfMetadataResource":   machines,
	"VPSApi.PostVpsResetPasswordResource": machines,
	"VPSApi.PutVpsResetPasswordResource":  machines,

	"VPSApi.GetVpsNetworkResource":              networks,
	"VPSApi.PostVpsNetworkResource":             networks,
	"VPSApi.GetVpsNetworkIdResource":            networks,
	"VPSApi.PutVpsNetworkIdResource":            networks,
	"VPSApi.DeleteVpsNetworkIdResource":         networks,
	"VPSApi.PostVpsIdNetworkAddResource":        networks,
	"VPSApi.DeleteVpsIdNetworkRemoveResource":   networks,
	"VPSApi.GetVpsSecondaryIpAddResource":       networks,
	"VPSApi.PostVpsSecondaryIpAddResource":      networks,
	"VPSApi.DeleteVpsSecondaryIpRemoveResource": networks,

	"NetworkApi.GetDeviceNetworkPortResource": networks,
	"NetworkApi.GetNullRoutesResource":        networks,
	"NetworkApi.PostNullRoutesResource":       networks,
	"NetworkApi.GetNullRoutesIdResource":      networks,
	"NetworkApi.DeleteNullRoutesIdResource":   networks,

	"InventoryApi.GetStockResource":          products,
	"InventoryApi.GetStockByProductResource": products,

	"ServiceApi.GetServiceManagedReqResource":        options,
	"ServiceApi.GetServiceManageableResource":        options,
	"ServiceApi.PostServiceIdApplyCouponResource":    options,
	"ServiceApi.PostServiceIdValidateCouponResource": options,

	"TokenApi.GetTokenResource":    tokens,
	"TokenApi.PostTokenResource":   tokens,
	"TokenApi.PutTokenResource":    tokens,
	"TokenApi.DeleteTokenResource": tokens,

	"WebhookApi.GetWebhookResource":                   webhooks,
	"WebhookApi.PostWebhookResource":                  webhooks,
	"WebhookApi.GetWebhookIdResource":                 webhooks,
	"WebhookApi.PutWebhookIdResource":                 webhooks,
	"WebhookApi.DeleteWebhookIdResource":              webhooks,
	"WebhookApi.GetWebhookEventResource":              webhooks,
	"WebhookApi.PostEventScriptActionTriggerResource": webhooks,
}

// methods lists the client's methods of groups by their names.
func methods(t *testing.T, c *swagger.APIClient) map[string]reflect.Value {
	t.Helper()
	all := map[string]reflect.Value{}
	for _, g := range groups {
		api := reflect.ValueOf(c).Elem().FieldByName(g)
		if !api.IsValid() {
			t.Fatalf("the client has no %s", g)
		}
		for m := range api.Type().NumMethod() {
			all[g+"."+api.Type().Method(m).Name] = api.Method(m)
		}
	}
	for name := range notServed {
		if _, ok := all[name]; !ok {
			t.Errorf("notServed names %s, which the client does not have", name)
		}
	}
	return all
}

// call calls a generated method with a value for each of its arguments. The
// objects it names do not exist, device 1001 apart.
func call(ctx context.Context, method reflect.Value) reply[any] {
	kind := method.Type()
	args := []reflect.Value{reflect.ValueOf(ctx)}
	for n := 1; n < kind.NumIn(); n++ {
		arg := reflect.New(kind.In(n)).Elem()
		switch arg.Kind() {
		case reflect.String:
			arg.SetString("none")
		case reflect.Int32:
			arg.SetInt(1001)
		}
		args = append(args, arg)
	}
	out := method.Call(args)
	err, _ := out[len(out)-1].Interface().(error)
	a := reply[any]{err: err}
	if r := out[len(out)-2]; !r.IsNil() {
		a.status = int(r.Elem().FieldByName("StatusCode").Int())
	}
	return a
}

// checkCovered holds that each method of groups has succeeded, or is known not
// to be served.
func checkCovered(t *testing.T, w *world) {
	for name := range methods(t, w.APIClient) {
		reason, absent := notServed[name]
		switch called := w.calls.has(name); {
		case called && absent:
			t.Errorf("%s works, but is listed as not served: %s", name, reason)
		case !called && !absent:
			t.Errorf("%s was never called with success, and is not listed as not served", name)
		}
	}
}

// TestNotServed holds that what is not served says so as JSON. A method that begins to answer must be moved to the tests that use it.
func TestNotServed(t *testing.T) {
	t.Parallel()
	w := start(t)
	all := methods(t, w.APIClient)
	for name := range notServed {
		t.Run(name, func(t *testing.T) {
			if name == "VPSApi.PutVpsIdResource" { // its path is served for GET
				call(w.ctx, all[name]).refused(t, 405, "method_not_allowed")
				return
			}
			call(w.ctx, all[name]).refused(t, 404, "route_not_found")
		})
	}
}

// TestKeyNeeded holds that no served method answers without a valid key.
func TestKeyNeeded(t *testing.T) {
	t.Parallel()
	w := start(t)
	const sentence = "You have not been granted permission to complete this action."
	for _, k := range []struct {
		name, reason string
		ctx          context.Context
	}{
		{"no key", "key_missing", context.Background()},
		{"unknown key", "key_invalid", withKey(w.APIKey + "x")},
		{"unknown token", "key_invalid", withToken(w.APIKey + "x")},
	} {
		t.Run(k.name, func(t *testing.T) {
			for name, method := range methods(t, w.APIClient) {
				if notServed[name] != "" {
					continue
				}
				t.Run(name, func(t *testing.T) {
					got := call(k.ctx, method).refused(t, 403, k.reason)
					if !strings.HasPrefix(got.Message, sentence) {
						t.Errorf("message %q", got.Message)
					}
				})
			}
		})
	}
}
