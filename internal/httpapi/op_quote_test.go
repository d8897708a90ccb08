package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/httpapi"
)

func quoteOf(t *testing.T, a answer) (q api.Quote) {
	t.Helper()
	if err := json.Unmarshal(a.body, &q); err != nil || a.status != http.StatusOK {
		t.Fatalf("no quote: %d %s", a.status, a.body)
	}
	return q
}

// quote keeps a dry run that is not refused, whole and masked.
func (g *golden) quote(op, path, body string) {
	g.t.Helper()
	g.say(g.server, g.keys.client, op, "success, a dry run", http.StatusOK, path+"?dryRun=true", body)
	g.say(g.server, g.keys.client, op, "success, a dry run, masked", http.StatusOK, path+"?dryRun=1", body, "X-Fields", "chargedNow,monthlyPriceAfter")
}

// quoteCreate keeps dry runs and refusals of prices; device 1002 is full.
func (g *golden) quoteCreate() {
	g.quote("createVolume", "/vps/volume", `{"size": 500, "deviceId": 1001, "maxMonthlyPrice": 50}`)
	g.no(409, "createVolume", "it costs more", "/vps/volume", `{"size": 100, "deviceId": 1001, "maxMonthlyPrice": 9.99}`)
	g.no(400, "createVolume", "no price", "/vps/volume", `{"size": 100, "deviceId": 1001, "maxMonthlyPrice": 9.999}`)
	g.no(400, "createVolume", "a dry run that is none", "/vps/volume?dryRun=perhaps", `{"size": 50, "deviceId": 1001}`)
	g.no(400, "createVolume", "a dry run in other words", "/vps/volume?dryrun=true", `{"size": 50, "deviceId": 1001}`)
	g.no(400, "createVolume", "a dry run in the body", "/vps/volume", `{"size": 50, "deviceId": 1001, "dryRun": true}`)
	g.no(409, "createVolume", "a dry run, the device is full", "/vps/volume?dryRun=true", `{"size": 50, "deviceId": 1002}`)
}

// quoteResize does the same for a volume of 100 GiB on device 1001.
func (g *golden) quoteResize(path string) {
	g.quote("resizeVolume", path, `{"size": 500, "deviceId": 1001}`)
	g.no(409, "resizeVolume", "it costs more", path, `{"size": 200, "deviceId": 1001, "maxMonthlyPrice": 19}`)
	g.no(400, "resizeVolume", "no price", path, `{"size": 200, "deviceId": 1001, "maxMonthlyPrice": "much"}`)
	g.no(400, "resizeVolume", "a dry run that is none", path+"?dryRun=", `{"size": 200, "deviceId": 1001}`)
}

// A quote's price, sent as the highest, is what the volume then costs; a cent
// less is refused.
func TestQuotedPriceIsAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ask := func(method, path, form string, price float64) answer {
		return w.ask(w.server, w.keys.client, method, path, fmt.Sprintf(form, price))
	}
	path := "/vps/volume"
	for _, c := range []struct{ method, form string }{
		{http.MethodPost, `{"size": 50, "deviceId": 1001, "maxMonthlyPrice": %v}`},
		{http.MethodPut, `{"size": 100, "deviceId": 1001, "maxMonthlyPrice": %v}`},
	} {
		q := quoteOf(t, ask(c.method, path+"?dryRun=true", c.form, 1000))
		for _, query := range []string{"", "?dryRun=true", "?dryRun=false"} {
			if a := ask(c.method, path+query, c.form, q.MonthlyPriceAfter-0.01); a.status != http.StatusConflict || reasonOf(t, a) != "price_changed" {
				t.Errorf("%s %s for a cent less answers %d: %s", c.method, query, a.status, a.body)
			}
		}
		k := w.done(w.keys.client, c.method, path, fmt.Sprintf(c.form, q.MonthlyPriceAfter))
		path = "/vps/volume/" + k.VolumeID
		var v api.Volume
		w.read(w.keys.client, path, &v)
		var charges []api.Charge
		w.read(w.keys.operator, "/admin/charges?volumeId="+k.VolumeID, &charges)
		if *v.MonthlyPrice != q.MonthlyPriceAfter || charges[0].Amount != q.ChargedNow || !charges[0].PeriodEnd.Equal(q.PaidUntil) {
			t.Errorf("%s: a month costs %v, charged was %+v, by the quote %+v", c.method, *v.MonthlyPrice, charges[0], q)
		}
	}
}

// A dry run neither takes an idempotency key nor is answered by one, and makes
// no task.
func TestDryRunKeepsNoKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := len(w.tasks())
	for range 2 {
		if a := w.keyed("k", http.MethodPost, "/vps/volume?dryRun=true", aVolume); a.status != http.StatusOK || a.header.Get("Idempotent-Replayed") != "" {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	}
	if after := len(w.tasks()); after != before {
		t.Errorf("dry runs have made %d tasks", after-before)
	}
	if a := w.keyed("two words", http.MethodPost, "/vps/volume?dryRun=true", aVolume); a.status != http.StatusBadRequest || reasonOf(t, a) != "idempotency_key_malformed" {
		t.Errorf("a key that is none: %d %s", a.status, a.body)
	}
	first := w.keyed("k", http.MethodPost, "/vps/volume", aVolume)
	if first.status != http.StatusCreated {
		t.Fatalf("the real call answers %d: %s", first.status, first.body)
	}
	quoteOf(t, w.keyed("k", http.MethodPost, "/vps/volume?dryRun=true", aVolume))
	isReplay(t, "the real call", first, w.keyed("k", http.MethodPost, "/vps/volume", aVolume))
}

// A dry run counts like any other call, and needs the permission of the real
// one.
func TestDryRunIsNoWayAround(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if a := w.ask(w.server, w.keys.reader, http.MethodPost, "/vps/volume?dryRun=true", aVolume); a.status != http.StatusForbidden {
		t.Errorf("with a key for reading: %d %s", a.status, a.body)
	}
	limited := w.serve(func(d *httpapi.Deps) { d.RateLimit = 1 })
	for _, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
		if a := w.ask(limited, w.keys.client, http.MethodPost, "/vps/volume?dryRun=true", aVolume); a.status != want {
			t.Errorf("answers %d, want %d: %s", a.status, want, a.body)
		}
	}
	// What it selects from is the quote, and a mask is checked against that.
	for mask, want := range map[string]int{"chargedNow": http.StatusOK, "chargedNow{x}": http.StatusBadRequest, "taskId{x}": http.StatusOK} {
		if a := w.ask(w.server, w.keys.client, http.MethodPost, "/vps/volume?dryRun=true", aVolume, "X-Fields", mask); a.status != want {
			t.Errorf("the mask %s: %d %s", mask, a.status, a.body)
		}
	}
}
