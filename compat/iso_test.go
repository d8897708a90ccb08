package compat

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/antihax/optional"
	swagger "github.com/hivelocity/hivelocity-client-go/client"
)

// newISO registers an ISO in TPA1.
func (w *world) newISO(t *testing.T, url string) swagger.Vpsiso {
	t.Helper()
	got := answer(w.VPSApi.PostVpsisoResource(w.ctx, swagger.VpsisoCreate{
		FacilityCode: "TPA1", Bootable: true, Name: "compat", Description: "made by a test", Url: url,
	}, nil)).ok(t, 200)
	if got.IsoId == "" || got.Name != "compat" || got.Description != "made by a test" || got.Url != url ||
		!got.Bootable || got.FacilityCode != "TPA1" || got.Status == "" {
		t.Fatalf("new ISO %+v", got)
	}
	return got
}

func (w *world) readISO(t *testing.T, id string) swagger.Vpsiso {
	t.Helper()
	return answer(w.VPSApi.GetVpsisoIdResource(w.ctx, id, nil)).ok(t, 200)
}

// imported waits until the import has ended, well or not. The published answer
// names no task, so the ISO itself is polled.
func (w *world) imported(t *testing.T, id string) swagger.Vpsiso {
	t.Helper()
	limit, look := time.After(taskLimit), time.NewTicker(tick)
	defer look.Stop()
	for {
		got := w.readISO(t, id)
		under := got.Status == "Queued" || got.Status == "Verifying" || strings.HasSuffix(got.Status, "% Downloaded")
		if got.Ready != (got.Status == "Ready") {
			t.Errorf("ready %v with status %q", got.Ready, got.Status)
		}
		if !under {
			return got
		}
		select {
		case <-limit:
			t.Fatalf("the import did not end within %v: %+v", taskLimit, got)
		case <-look.C:
		}
	}
}

func (w *world) attachISO(id string, device int32) reply[swagger.NetworkTaskDump] {
	return answer(w.VPSApi.PostVpsAttachIsoResource(w.ctx, device, swagger.VpsisoAttach{IsoId: id}, nil))
}

func (w *world) detachISO(device int32) reply[swagger.NetworkTaskDump] {
	return answer(w.VPSApi.PostVpsDetachIsoResource(w.ctx, device, nil))
}

func (w *world) deleteISO(id string) reply[swagger.NetworkTaskDump] {
	return answer(w.VPSApi.DeleteVpsisoIdResource(w.ctx, id, nil))
}

// isoIDs lists the ISOs of a facility.
func (w *world) isoIDs(t *testing.T, facility string) []string {
	t.Helper()
	var ids []string
	for _, i := range answer(w.VPSApi.GetVpsisoResource(w.ctx, &swagger.VPSApiGetVpsisoResourceOpts{
		FacilityCode: optional.NewString(facility), ClientId: optional.NewInt32(w.ClientID),
	})).ok(t, 200) {
		ids = append(ids, i.IsoId)
	}
	return ids
}

// iso takes one ISO through its life.
func (w *world) iso(t *testing.T) {
	images := serveImages(t)
	device := w.DeviceIDs[0]
	id := w.newISO(t, images.URL+"/small.iso").IsoId
	got := w.imported(t, id)
	if !got.Ready || got.Status != "Ready" || int(got.Size) != len(images.image) || len(got.DeviceIds) != 0 {
		t.Fatalf("imported ISO %+v", got)
	}
	if here, there := w.isoIDs(t, "TPA1"), w.isoIDs(t, "LAX3"); !slices.Contains(here, id) || len(there) != 0 {
		t.Errorf("ISOs of TPA1 %v, of LAX3 %v", here, there)
	}

	m := w.succeed(t, w.attachISO(id, device).ok(t, 201))
	if m.Action != "iso.attach" || m.ISOID != id {
		t.Errorf("metaData %+v", m)
	}
	if in := w.readISO(t, id).DeviceIds; !slices.Equal(in, []int32{device}) {
		t.Errorf("the ISO is in %v", in)
	}
	if d := answer(w.VPSApi.GetVpsIdResource(w.ctx, device, nil)).ok(t, 200); d.IsoId != id {
		t.Errorf("the device has ISO %q", d.IsoId)
	}
	w.succeed(t, w.detachISO(device).ok(t, 201))
	if d := answer(w.VPSApi.GetVpsIdResource(w.ctx, device, nil)).ok(t, 200); d.IsoId != "" {
		t.Errorf("the device still has ISO %q", d.IsoId)
	}
	begun := answer(w.VPSApi.DeleteVpsisoIdResource(w.ctx, id, &swagger.VPSApiDeleteVpsisoIdResourceOpts{
		FacilityCode: optional.NewString("TPA1"), ClientId: optional.NewInt32(w.ClientID),
	})).ok(t, 201)
	if begun.DeviceId != 0 {
		t.Errorf("the task has device %d", begun.DeviceId)
	}
	w.succeed(t, begun)
	answer(w.VPSApi.GetVpsisoIdResource(w.ctx, id, nil)).refused(t, 404, "iso_not_found")
}

// isoRefusals tries what must not work.
func (w *world) isoRefusals(t *testing.T) {
	images := serveImages(t)
	device, far := w.DeviceIDs[0], w.DeviceIDs[2]
	id := w.newISO(t, images.URL+"/gated.iso").IsoId
	w.attachISO(id, device).refused(t, 409, "iso_not_ready")
	close(images.open)
	if got := w.imported(t, id); !got.Ready {
		t.Fatalf("imported ISO %+v", got)
	}

	t.Run("400", func(t *testing.T) {
		answer(w.VPSApi.GetVpsisoResource(w.ctx, nil)).invalid(t, "facilityCode")
		wrong := func(c swagger.VpsisoCreate, fields ...string) {
			t.Helper()
			answer(w.VPSApi.PostVpsisoResource(w.ctx, c, nil)).invalid(t, fields...)
		}
		wrong(swagger.VpsisoCreate{}, "facilityCode", "name", "url")
		wrong(swagger.VpsisoCreate{FacilityCode: "TPA1", Name: "x", Url: "ftp://127.0.0.1/x.iso"}, "url")
		wrong(swagger.VpsisoCreate{FacilityCode: "NONE1", Name: "x", Url: images.URL}, "facilityCode")
		w.attachISO("", device).invalid(t, "isoId")
		w.attachISO(id, far).refused(t, 400, "other_facility")
	})
	t.Run("403", func(t *testing.T) {
		answer(w.VPSApi.PostVpsisoResource(w.ctx, swagger.VpsisoCreate{
			FacilityCode: "TPA1", Name: "x", Url: images.URL + "/small.iso", ClientId: w.Other.ClientID,
		}, nil)).refused(t, 403, "client_not_allowed")
	})
	t.Run("404", func(t *testing.T) {
		w.attachISO("none", device).refused(t, 404, "iso_not_found")
		w.attachISO(id, 4242).refused(t, 404, "device_not_found")
		w.detachISO(w.Other.DeviceIDs[0]).refused(t, 404, "device_not_found")
		w.deleteISO("none").refused(t, 404, "iso_not_found")
		elsewhere := optional.NewString("LAX3")
		answer(w.VPSApi.GetVpsisoIdResource(w.ctx, id, &swagger.VPSApiGetVpsisoIdResourceOpts{
			FacilityCode: elsewhere,
		})).refused(t, 404, "iso_not_found")
		answer(w.VPSApi.DeleteVpsisoIdResource(w.ctx, id, &swagger.VPSApiDeleteVpsisoIdResourceOpts{
			FacilityCode: elsewhere,
		})).refused(t, 404, "iso_not_found")
		answer(w.VPSApi.GetVpsisoIdResource(withKey(w.Other.APIKey), id, nil)).refused(t, 404, "iso_not_found")
	})
	t.Run("409", func(t *testing.T) {
		w.detachISO(device).refused(t, 409, "device_has_no_iso")
		w.succeed(t, w.attachISO(id, device).ok(t, 201))
		w.attachISO(id, device).refused(t, 409, "device_has_iso")
		got := w.deleteISO(id).refused(t, 409, "iso_attached")
		if !strings.Contains(got.Message, "1001") {
			t.Errorf("%q does not name the device", got.Message)
		}
		w.succeed(t, w.detachISO(device).ok(t, 201))
	})
	w.succeed(t, w.deleteISO(id).ok(t, 201))
}

// isoFailures imports what is no image, and what is not there. Both stay
// listed with the reason until they are deleted.
func (w *world) isoFailures(t *testing.T) {
	images := serveImages(t)
	for _, tt := range []struct{ path, code string }{
		{"/page.iso", "source_is_html"},
		{"/missing.iso", "source_status"},
	} {
		id := w.newISO(t, images.URL+tt.path).IsoId
		failed := w.imported(t, id)
		if failed.Ready || failed.Status == "" {
			t.Errorf("%s: %+v", tt.path, failed)
		}
		// Imports have no device: the client's task list has the reason.
		var why meta
		for _, k := range answer(w.NetworkApi.GetNetworkTaskClientResource(w.ctx, nil)).ok(t, 200) {
			if m := metaOf(t, k); m.ISOID == id && k.Result == "Failed" && k.DeviceId == 0 {
				why = m
			}
		}
		if why.ErrorCode != tt.code || why.Error != failed.Status {
			t.Errorf("%s: status %q, task %+v, want %s", tt.path, failed.Status, why, tt.code)
		}
		if !slices.Contains(w.isoIDs(t, "TPA1"), id) {
			t.Errorf("%s: the failed ISO is not listed", tt.path)
		}
		w.attachISO(id, w.DeviceIDs[0]).refused(t, 409, "iso_not_ready")
		w.succeed(t, w.deleteISO(id).ok(t, 201))
	}
}
