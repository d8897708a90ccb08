package cli

import (
	"strings"
	"testing"
)

const (
	noSize   = `{"errors":{"deviceId":"'deviceId' is a required property","size":"'size' is a required property"},"message":"Input payload validation failed"}`
	noDryRun = `{"errors":{"deviceId":"'deviceId' is a required property","dryRun":"must be a boolean"},"message":"Input payload validation failed"}`
	quoted50 = `{"at":"2029-01-01T00:00:00Z","action":"volume.create","volumeId":null,"deviceId":1001,"facilityCode":"TPA1","sizeBefore":0,"sizeAfter":50,` +
		`"online":false,"monthlyPriceBefore":0,"monthlyPriceAfter":5,"chargedNow":5,"renewalsDue":0,"paidUntil":"2029-02-01T00:00:00Z","nextRenewalAt":"2029-02-01T00:00:00Z","nextRenewalAmount":5}`
	volumeJSON = `{"volumeId":"v1","type":"DATADISK","size":50,"sizeBytes":53687091200,"deviceId":1001,"facilityCode":"TPA1","createdAt":"2029-01-01T00:00:00Z","state":"attached","monthlyPrice":5}`
	vpsJSON    = `{"deviceId":1001,"facilityCode":"TPA1","status":"Running"}`
	sizesJSON  = `{"volumeProducts":[{"size":50,"monthlyPrice":5}]}`
)

var (
	probe     = `POST /api/v2/vps/volume?dryRun=unknown {}`
	dry       = `POST /api/v2/vps/volume?dryRun=true {"deviceId":1001,"size":50}`
	agreed50  = `POST /api/v2/vps/volume {"deviceId":1001,"maxMonthlyPrice":5,"size":50}`
	order50   = `POST /api/v2/vps/volume {"deviceId":1001,"size":50}`
	createdV1 = taskJSON("Success", "", `{"action":"volume.create","volumeId":"v1"}`)
)

// TestQuotes: a server that gives quotes is asked for one before; one that does
// not is never sent anything that it could carry out by mistake.
func TestQuotes(t *testing.T) {
	t.Parallel()
	ok := canned{status: 201, body: createdV1}
	volume := map[string][]canned{
		"GET /api/v2/vps/volume/v1": {{status: 200, body: volumeJSON}}, "GET /api/v2/vps/1001": {{status: 200, body: vpsJSON}},
		"GET /api/v2/vps/available-volume-sizes": {{status: 200, body: sizesJSON}},
	}
	for _, c := range []struct {
		name   string
		args   string
		posts  []canned
		status int
		asked  []string // the POSTs
		out    string   // part of it
		err    []string // parts of it
	}{
		{"quoted", "--yes", []canned{{status: 400, body: noDryRun}, {status: 200, body: quoted50}, ok}, Done, []string{probe, dry, agreed50}, "v1  ",
			[]string{"costs 5.00 a month.\n", "Charged now: 5.00; next: 5.00 on 2029-02-01.\n", "powered off and on"}},
		{"quoted, not confirmed", "", []canned{{status: 400, body: noDryRun}, {status: 200, body: quoted50}}, Usage, []string{probe, dry}, "",
			[]string{"costs 5.00 a month.", "give --yes"}},
		{"dry run", "--dry-run", []canned{{status: 400, body: noDryRun}, {status: 200, body: quoted50}}, Done, []string{probe, dry}, "Charged now:     5.00\n", nil},
		{"dry run in JSON", "--dry-run -o json", []canned{{status: 400, body: noDryRun}, {status: 200, body: quoted50}}, Done, []string{probe, dry}, `"chargedNow": 5,`, nil},
		{"refused", "--yes", []canned{{status: 400, body: noDryRun}, {status: 409, body: `{"code":409,"message":"Full.","reason":"quota_exceeded","requestId":"R"}`}}, Conflict,
			[]string{probe, dry}, "", []string{"Full. (quota_exceeded)"}},
		{"highest price", "--yes --max-price 4.50", []canned{{status: 400, body: noDryRun}, {status: 409, body: `{"code":409,"message":"Dear.","reason":"price_changed","requestId":"R"}`}}, Conflict,
			[]string{probe, `POST /api/v2/vps/volume?dryRun=true {"deviceId":1001,"maxMonthlyPrice":4.5,"size":50}`}, "", []string{"(price_changed)"}},
		{"an old server among new ones", "--yes", []canned{{status: 400, body: noDryRun}, ok}, Failed, []string{probe, dry}, "", []string{"task T1", "(no_quotes)"}},
		{"no quotes", "--yes", []canned{{status: 400, body: noSize}, ok}, Done, []string{probe, order50}, "v1  ", []string{"costs 5.00 a month.\n"}},
		{"no quotes, not confirmed", "", []canned{{status: 400, body: noSize}}, Usage, []string{probe}, "", []string{"costs 5.00 a month.", "give --yes"}},
		{"no quotes, dry run", "--dry-run", []canned{{status: 400, body: noSize}}, Failed, []string{probe}, "", []string{"(no_quotes)"}},
		{"no quotes, highest price", "--yes --max-price 9", []canned{{status: 400, body: noSize}}, Failed, []string{probe}, "", []string{"(no_quotes)"}},
		{"a key of one's own", "--yes --idempotency-key K1", []canned{ok}, Done, []string{order50}, "v1  ", nil},
		{"no permission", "--yes", []canned{{status: 403, body: `{"code":403,"message":"No.","reason":"permission_missing","requestId":"R"}`}}, Refused, []string{probe}, "", []string{"(permission_missing)"}},
		{"not JSON", "--yes", []canned{{status: 200, body: "hello"}, ok}, Done, []string{probe, order50}, "v1  ", nil},
	} {
		answers := map[string][]canned{"POST /api/v2/vps/volume": c.posts}
		for route, a := range volume {
			answers[route] = a
		}
		r := newRemote(t, answers)
		got := command(t.Context(), r.URL, nil, nil, strings.Fields("volume create --device 1001 --size 50 "+c.args)...)
		if got.status != c.status || !strings.Contains(got.out, c.out) || (c.out == "") != (got.out == "") {
			t.Errorf("%s: %+v", c.name, got)
		}
		for _, want := range c.err {
			if !strings.Contains(got.err, want) {
				t.Errorf("%s: %q is not in %q", c.name, want, got.err)
			}
		}
		var posts []string
		for _, a := range r.requests() {
			if strings.HasPrefix(a, "POST") {
				posts = append(posts, a)
			}
		}
		if strings.Join(posts, "\n") != strings.Join(c.asked, "\n") {
			t.Errorf("%s: asked\n%s", c.name, strings.Join(posts, "\n"))
		}
	}
}

// TestQuotedDelete: what a delete ends is said, and the device goes along.
func TestQuotedDelete(t *testing.T) {
	t.Parallel()
	gone := `{"at":"2029-01-01T00:00:00Z","action":"volume.delete","volumeId":"v1","deviceId":1001,"facilityCode":"TPA1","sizeBefore":50,"sizeAfter":0,` +
		`"online":true,"monthlyPriceBefore":5,"monthlyPriceAfter":0,"chargedNow":0,"renewalsDue":5,"paidUntil":"2029-02-01T00:00:00Z","nextRenewalAt":null,"nextRenewalAmount":null}`
	r := newRemote(t, map[string][]canned{
		"POST /api/v2/vps/volume": {{status: 400, body: noDryRun}}, "GET /api/v2/vps/volume/v1": {{status: 200, body: volumeJSON}},
		"DELETE /api/v2/vps/volume/v1": {{status: 200, body: gone}, {status: 201, body: taskJSON("Success", "", "{}")}},
	})
	got := command(t.Context(), r.URL, nil, nil, "volume", "delete", "v1", "--yes")
	for _, want := range []string{"on device 1001 is deleted with its data.\n", "Nothing is refunded; it is paid until 2029-02-01.\n", "in any case: 5.00.\n", "Volume v1 is deleted.\n"} {
		if got.status != Done || !strings.Contains(got.err, want) {
			t.Errorf("%q is not in %+v", want, got)
		}
	}
	asked := r.requests()
	if last := asked[len(asked)-1]; last != `DELETE /api/v2/vps/volume/v1?deviceId=1001 {"deviceId":1001}` {
		t.Errorf("asked %v", asked)
	}
}

// TestUncertain: a change whose answer is lost is sent again to no server that
// would do it twice, and the user hears that it may have been made.
func TestUncertain(t *testing.T) {
	t.Parallel()
	r := newRemote(t, map[string][]canned{
		"POST /api/v2/vps/volume":                {{status: 400, body: noSize}, {status: 502, body: "<html>"}},
		"GET /api/v2/vps/1001":                   {{status: 200, body: vpsJSON}},
		"GET /api/v2/vps/available-volume-sizes": {{status: 200, body: sizesJSON}},
		"GET /api/v2/quota":                      {{status: 404, body: `{"code":404,"message":"Not found."}`}},
	})
	got := command(t.Context(), r.URL, nil, nil, strings.Fields("volume create --device 1001 --size 50 --yes")...)
	if got.status != Failed || !strings.Contains(got.err, "may have been made all the same; look before you repeat it.") {
		t.Errorf("%+v", got)
	}
	n := 0
	for _, a := range r.requests() {
		if a == order50 {
			n++
		}
	}
	if n != 1 {
		t.Errorf("it was ordered %d times", n)
	}
}
