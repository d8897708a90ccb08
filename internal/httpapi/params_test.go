package httpapi

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/api"
)

func TestWrongParameters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		target string
		want   map[string]string
	}{
		{"/vps/volume?deviceId=x", map[string]string{"deviceId": "invalid literal for int() with base 10: 'x'"}},
		{"/vps/volume?deviceId=", map[string]string{"deviceId": "invalid literal for int() with base 10: ''"}},
		{"/vps/volume?deviceId=1.0", map[string]string{"deviceId": "invalid literal for int() with base 10: '1.0'"}},
		{"/vps/volume?deviceId=0x10", map[string]string{"deviceId": "invalid literal for int() with base 10: '0x10'"}},
		{"/vps/volume?deviceId=true&clientId=%22&facilityCode=", map[string]string{
			"deviceId": "invalid literal for int() with base 10: 'true'", "clientId": "invalid literal for int() with base 10: '\"'",
			"facilityCode": "'' is too short: it must not be empty"}},
		{"/vps/volume?deviceId=0", map[string]string{"deviceId": "0 is less than the minimum of 1"}},
		{"/vps/volume?deviceId=-5", map[string]string{"deviceId": "-5 is less than the minimum of 1"}},
		{"/vps/volume?deviceId=4294968297", map[string]string{"deviceId": "4294968297 is greater than the maximum of 2147483647"}},
		{"/vps/volume?deviceId=99999999999999999999", map[string]string{"deviceId": "99999999999999999999 is greater than the maximum of 2147483647"}},
		{"/vps/volume?deviceId=-99999999999999999999", map[string]string{"deviceId": "-99999999999999999999 is less than the minimum of 1"}},
		{"/vps/volume?deviceId=1&deviceId=2", map[string]string{"deviceId": "given more than once in the query string"}},
		{"/vps/volume?facilityCode=" + strings.Repeat("x", 17), map[string]string{"facilityCode": "'" + strings.Repeat("x", 17) + "' is too long: at most 16 characters"}},
		{"/vps/volume?facilityCode=%00", map[string]string{"facilityCode": "'\x00' has a character U+0000"}},
		{"/vps/volume?facilityCode=%ff", map[string]string{"facilityCode": "is not UTF-8"}},
		{"/vps/iso", map[string]string{"facilityCode": "Missing required parameter in the query string"}},
		{"/vps/iso?clientId=x", map[string]string{
			"facilityCode": "Missing required parameter in the query string", "clientId": "invalid literal for int() with base 10: 'x'"}},
		{"/service?status=gone&orderId=x", map[string]string{
			"status": "'gone' is not one of ['all', 'active', 'deactivated', 'pending', 'suspended', 'cancelled']", "orderId": "invalid literal for int() with base 10: 'x'"}},
		{"/service/3?includeZeroPriceOptions=maybe", map[string]string{"includeZeroPriceOptions": "Invalid literal for boolean(): 'maybe'"}},
		{"/network/status?createdInLast=0&limit=1001", map[string]string{
			"createdInLast": "0 is less than the minimum of 1", "limit": "1001 is greater than the maximum of 1000"}},
	} {
		b := refused(t, r.do("GET", base+c.target, ""), 400, "validation_failed")
		if diff := cmp.Diff(c.want, b.Errors); diff != "" {
			t.Errorf("%s: %s", c.target, diff)
		}
	}
	for _, q := range []string{"?deviceId=%zz", "?a;b", "?%"} {
		refused(t, r.do("GET", base+"/vps/volume"+q, ""), 400, "query_malformed")
	}
	if r.stub.last() != nil {
		t.Error("a bad request reached its handler")
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ok(t, r.do("GET", base+"/vps/volume?deviceId=007&unknown=%20x&facilityCode=TPA%31&deviceID=9", ""), 200)
	p := r.stub.last().(api.ListVolumesRequestObject).Params
	if *p.DeviceID != 7 || *p.FacilityCode != "TPA1" || p.ClientID != nil {
		t.Errorf("got %+v", p)
	}
	ok(t, r.do("GET", base+"/vps/volume/v1?q=%zz;", ""), 200) // it has no query to read
	for text, want := range map[string]bool{"true": true, "TRUE": true, "tRuE": true, "1": true, "False": false, "0": false} {
		ok(t, r.do("GET", base+"/service/3?includeZeroPriceOptions="+text, ""), 200)
		if got := r.stub.last().(api.GetServiceRequestObject); *got.Params.IncludeZeroPriceOptions != want || got.ServiceID != 3 {
			t.Errorf("%s: %+v", text, got)
		}
	}
	ok(t, r.do("GET", base+"/service?orderId=0&status=all&type_code=", ""), 200)
	if got := r.stub.last().(api.ListServicesRequestObject).Params; *got.Status != "all" || *got.OrderID != 0 || *got.TypeCode != "" {
		t.Errorf("got %+v", got)
	}
}

// TestNamesToBeMade holds that the name of something new is refused as a wrong
// field, while the id of what must be there is just not found.
func TestNamesToBeMade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := refused(t, r.do("PUT", base+"/admin/facilities/tpa1", `{"title":1}`), 400, "validation_failed")
	want := map[string]string{
		"code": "'tpa1' does not match '^[A-Z][A-Z0-9]+$'", "title": "1 is not of type 'string'",
		"city": "'city' is a required property", "country": "'country' is a required property"}
	if diff := cmp.Diff(want, b.Errors); diff != "" {
		t.Error(diff)
	}
	refused(t, r.send("PUT", base+"/admin/facilities/tpa1", `{}`), 403, "key_missing")
	refused(t, r.do("PUT", base+"/admin/facilities/a%2Fb", `{}`), 400, "validation_failed")
	refused(t, r.do("PUT", base+"/admin/prices/TPA1/big", `{}`), 404, "route_not_found")
}
