package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/api"
)

// facilities are the demo's.
var facilities = []string{"TPA1", "LAX3"}

// agree fails the test where the API says something else than the database of
// the folder. Nothing may be under way.
func agree(t testing.TB, s *server) {
	t.Helper()
	c := open(t, s.dir)
	defer c.db.Close()
	for id, caller := range map[int64]*client{s.demo.ClientID: s.client(), s.demo.Other.ClientID: s.other()} {
		c.agree(fmt.Sprintf("volumes of client %d", id), shownVolumes(caller), id, `
			SELECT v.id, v.type || ' ' || v.bytes || ' ' || (v.bytes / 1073741824) || ' ' || v.facility_code || ' ' || v.state || ' '
				|| coalesce(v.device_id, 0) || ' ' || v.monthly_cents
			FROM volume v WHERE v.client_id = ?`)
		c.agree(fmt.Sprintf("ISOs of client %d", id), shownISOs(caller), id, `
			SELECT id, facility_code || ' ' || size_bytes || ' ' || (state = 'ready') || ' ' || coalesce(sha256, '') || ' ' || reason || ' '
				|| coalesce((SELECT group_concat(id, ',' ORDER BY id) FROM device WHERE iso_id = iso.id), '')
			FROM iso WHERE client_id = ?`)
		c.agree(fmt.Sprintf("services of client %d", id), shownServices(caller), id, `
			SELECT id, volume_id || ' ' || status || ' ' || monthly_cents || ' ' || (started_at / 1000000) FROM service WHERE client_id = ?`)
		c.agree(fmt.Sprintf("devices of client %d", id), shownDevices(caller), id, `
			SELECT id, facility_code || ' ' || status || ' ' || coalesce(iso_id, '') || ' ' || (SELECT count(*) FROM volume v
				WHERE v.device_id = device.id AND v.type = 'DATADISK')
			FROM device WHERE client_id = ?`)
	}
}

// agree compares what was shown with the rows of a query for a client: a name
// and what is said of it.
func (c *checker) agree(what string, shown map[string]string, clientID int64, query string) {
	c.t.Helper()
	type row struct{ name, says string }
	stored := map[string]string{}
	for _, r := range rows(c, func(r *row) []any { return []any{&r.name, &r.says} }, query, clientID) {
		stored[r.name] = r.says
	}
	names := map[string]bool{}
	for name := range shown {
		names[name] = true
	}
	for name := range stored {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if shown[name] != stored[name] {
			c.t.Errorf("%s: %s is shown as %q and stored as %q", what, name, shown[name], stored[name])
		}
	}
}

func shownVolumes(c *client) map[string]string {
	out := map[string]string{}
	for _, f := range facilities {
		var list []api.Volume
		c.want(http.StatusOK, "GET", "/vps/volume?facilityCode="+f, nil, &list)
		for _, v := range list {
			out[v.VolumeID] = fmt.Sprintf("%s %d %d %s %s %d %d", v.Type, v.SizeBytes, v.Size, v.FacilityCode, v.State, zero(v.DeviceID), cents(zero(v.MonthlyPrice)))
		}
	}
	return out
}

func shownISOs(c *client) map[string]string {
	out := map[string]string{}
	for _, f := range facilities {
		var list []api.ISO
		c.want(http.StatusOK, "GET", "/vps/iso?facilityCode="+f, nil, &list)
		for _, i := range list {
			ready := 0
			if i.Ready {
				ready = 1
			}
			slices.Sort(i.DeviceIds)
			devices := strings.ReplaceAll(strings.Trim(fmt.Sprint(i.DeviceIds), "[]"), " ", ",")
			out[i.ISOID] = fmt.Sprintf("%s %d %d %s %s %s", i.FacilityCode, zero(i.Size), ready, zero(i.SHA256), zero(i.Reason), devices)
		}
	}
	return out
}

func shownServices(c *client) map[string]string {
	var list []api.Service
	c.want(http.StatusOK, "GET", "/service/", nil, &list)
	out := map[string]string{}
	for _, s := range list {
		out[fmt.Sprint(s.ServiceID)] = fmt.Sprintf("%s %s %d %d", zero(s.VolumeID), s.Status, cents(s.ServiceCost), s.StartDate)
	}
	return out
}

func shownDevices(c *client) map[string]string {
	var list []api.VPS
	c.want(http.StatusOK, "GET", "/vps/", nil, &list)
	out := map[string]string{}
	for _, d := range list {
		out[fmt.Sprint(d.DeviceID)] = fmt.Sprintf("%s %s %s %d", d.FacilityCode, d.Status, zero(d.ISOID), d.AttachedVolumes)
	}
	return out
}

// zero is what p points to, or the zero value.
func zero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// cents is a price in whole cents.
func cents(price float64) int64 { return int64(price*100 + 0.5) }
