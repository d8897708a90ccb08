package compat

import (
	"testing"
	"time"

	"github.com/antihax/optional"
	swagger "github.com/hivelocity/hivelocity-client-go/client"
)

// listServices lists services in a status by their ids.
func (w *world) listServices(t *testing.T, status string) map[int32]swagger.FastServiceDump {
	t.Helper()
	all := map[int32]swagger.FastServiceDump{}
	for _, s := range answer(w.ServiceApi.GetServiceResource(w.ctx, status, nil)).ok(t, 200) {
		all[s.ServiceId] = s
	}
	return all
}

// services follows what a volume costs through its life.
func (w *world) services(t *testing.T) {
	types := answer(w.ServiceApi.GetServiceTypeResource(w.ctx, nil)).ok(t, 200)
	if len(types) != 1 || types[0].Code == "" || types[0].Name == "" {
		t.Fatalf("types %+v", types)
	}
	price := map[int32]float32{}
	for _, p := range answer(w.VPSApi.GetVpsAvailableNewVolumesResource(w.ctx, nil)).ok(t, 200).VolumeProducts {
		price[p.Size] = p.MonthlyPrice
	}
	device := w.DeviceIDs[2]
	before := w.listServices(t, "all")
	volume := w.newVolume(t, device, 50)
	var id int32
	for n, s := range w.listServices(t, "active") {
		if _, old := before[n]; old {
			continue
		}
		id = n
		if s.Status != "active" || s.BilledPrice != price[50] || s.TypeCode != types[0].Code || s.Period != "monthly" ||
			s.FacilityName != "Los Angeles 3" || s.ProductName != "VPS Volume 50 GiB" || len(s.ServiceDevices) != 1 {
			t.Errorf("service %+v", s)
		}
	}
	if id == 0 {
		t.Fatal("the new volume has no service")
	}
	one := answer(w.ServiceApi.GetServiceIdResource(w.ctx, id, &swagger.ServiceApiGetServiceIdResourceOpts{
		IncludeZeroPriceOptions: optional.NewBool(true),
	})).ok(t, 200)
	begin := time.Unix(int64(one.StartDate), 0).UTC()
	if month := time.Unix(int64(one.RenewDate), 0).Sub(begin); month < 28*24*time.Hour || month > 31*24*time.Hour+time.Second {
		t.Errorf("the month is %v long", month)
	}

	w.succeed(t, w.resize(volume, device, 200).ok(t, 201))
	if s := w.readService(t, id); s.BilledPricePerPeriod != price[200] || s.ProductName != "VPS Volume 200 GiB" {
		t.Errorf("after the resize: %+v", s)
	}
	w.succeed(t, w.remove(volume, device).ok(t, 201))
	if s := w.readService(t, id); s.Status != "cancelled" || s.EndDate < s.StartDate || s.RenewDate != 0 {
		t.Errorf("after the delete: %+v", s)
	}
	if _, ok := w.listServices(t, "active")[id]; ok {
		t.Error("a cancelled service is listed as active")
	}
	if _, ok := w.listServices(t, "cancelled")[id]; !ok {
		t.Error("a cancelled service is not listed as such")
	}
	w.serviceFilters(t, id)
}

func (w *world) readService(t *testing.T, id int32) swagger.Service {
	t.Helper()
	return answer(w.ServiceApi.GetServiceIdResource(w.ctx, id, nil)).ok(t, 200)
}

// serviceFilters tries the other filters, and what is refused.
func (w *world) serviceFilters(t *testing.T, id int32) {
	t.Helper()
	for _, status := range []string{"deactivated", "pending", "suspended"} {
		if list := w.listServices(t, status); len(list) != 0 {
			t.Errorf("%s services: %v", status, list)
		}
	}
	for _, tt := range []struct {
		opts swagger.ServiceApiGetServiceResourceOpts
		some bool
	}{
		{swagger.ServiceApiGetServiceResourceOpts{TypeCode: optional.NewString("vps_volume")}, true},
		{swagger.ServiceApiGetServiceResourceOpts{XFields: optional.NewString("serviceId")}, true},
		{swagger.ServiceApiGetServiceResourceOpts{TypeCode: optional.NewString("none")}, false},
		{swagger.ServiceApiGetServiceResourceOpts{OrderId: optional.NewInt32(1)}, false},
	} {
		list := answer(w.ServiceApi.GetServiceResource(w.ctx, "all", &tt.opts)).ok(t, 200)
		if some := len(list) > 0; some != tt.some {
			t.Errorf("%+v lists %d services", tt.opts, len(list))
		}
	}
	answer(w.ServiceApi.GetServiceResource(w.ctx, "none", nil)).invalid(t, "status")
	answer(w.ServiceApi.GetServiceIdResource(w.ctx, 424242, nil)).refused(t, 404, "service_not_found")
	answer(w.ServiceApi.GetServiceIdResource(withKey(w.Other.APIKey), id, nil)).refused(t, 404, "service_not_found")
}
