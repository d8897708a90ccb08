package compat

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/antihax/optional"
	swagger "github.com/hivelocity/hivelocity-client-go/client"
)

// withoutSize is the mask that lets a client with 32-bit sizes read volumes of
// a server that shows bytes.
const withoutSize = "{volumeId,type,deviceId,createdAt,facilityCode}"

// TestEveryOperation drives each operation the client has, with each way to
// show sizes and each way to send a key.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		mask optional.String
		auth func(key string) context.Context
	}{
		{"as it comes", nil, optional.EmptyString(), withKey},
		{"bearer token", nil, optional.EmptyString(), withToken},
		{"sizes in bytes", []string{"--volume-size-unit", "bytes"}, optional.NewString(withoutSize), withKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, tt.args...)
			w.mask, w.ctx = tt.mask, tt.auth(w.APIKey)
			t.Run("inventory", w.inventory)
			t.Run("volume", w.volume)
			t.Run("volume refusals", w.volumeRefusals)
			t.Run("iso", w.iso)
			t.Run("iso refusals", w.isoRefusals)
			t.Run("iso failures", w.isoFailures)
			t.Run("tasks", w.tasks)
			t.Run("services", w.services)
			t.Run("covered", func(t *testing.T) { checkCovered(t, w) })
		})
	}
}

// TestBytesOverflow holds what docs/reference/contract.md says of sizes in
// bytes: this client cannot read 50 GiB, but for a mask that leaves sizes out.
func TestBytesOverflow(t *testing.T) {
	t.Parallel()
	w := start(t, "--volume-size-unit", "bytes")
	id := w.newVolume(t, w.DeviceIDs[0], 50)

	overflows := func(t *testing.T, err error) {
		t.Helper()
		var wrong *json.UnmarshalTypeError
		if !errors.As(err, &wrong) || wrong.Field != "size" || wrong.Value != "number 53687091200" {
			t.Errorf("error %v, want one about 53687091200 as a size", err)
		}
	}
	_, _, err := w.VPSApi.GetVpsVolumeIdResource(w.ctx, id, nil)
	overflows(t, err)
	all := &swagger.VPSApiGetVpsVolumeResourceOpts{DeviceId: optional.NewInt32(w.DeviceIDs[0])}
	_, _, err = w.VPSApi.GetVpsVolumeResource(w.ctx, all)
	if !errors.As(err, new(*json.UnmarshalTypeError)) { // the ROOT volume may come first
		t.Errorf("list: error %v, want one about a size", err)
	}

	w.mask = optional.NewString(withoutSize)
	if v := w.readVolume(t, id); v.Size != 0 || v.VolumeId != id || v.Type_ != "DATADISK" || v.CreatedAt.IsZero() {
		t.Errorf("through the mask: %+v", v)
	}
	all.XFields = w.mask
	if list := answer(w.VPSApi.GetVpsVolumeResource(w.ctx, all)).ok(t, 200); len(list) != 2 {
		t.Errorf("through the mask: %+v", list)
	}
}

// inventory reads what the demo has from its start.
func (w *world) inventory(t *testing.T) {
	places := answer(w.InventoryApi.GetLocationResource(w.ctx, nil)).ok(t, 200)
	var codes []string
	for _, p := range places {
		codes = append(codes, p.Code)
		if p.Title == "" || p.Id == 0 || p.Location == nil {
			t.Errorf("location %+v", p)
		}
	}
	if slices.Sort(codes); !slices.Equal(codes, []string{"LAX3", "TPA1"}) {
		t.Errorf("locations %v", codes)
	}
	some := answer(w.InventoryApi.GetLocationResource(w.ctx, &swagger.InventoryApiGetLocationResourceOpts{
		VpsLocations: optional.NewString("true"), XFields: optional.NewString("code"),
	})).ok(t, 200)
	if len(some) != 2 || some[0].Code == "" || some[0].Title != "" {
		t.Errorf("locations through a mask: %+v", some)
	}

	w.devices(t)
	sizes := answer(w.VPSApi.GetVpsAvailableNewVolumesResource(w.ctx, nil)).ok(t, 200)
	var sold []int32
	for _, p := range sizes.VolumeProducts {
		sold = append(sold, p.Size)
		if p.MonthlyPrice <= 0 {
			t.Errorf("%d GiB cost %v", p.Size, p.MonthlyPrice)
		}
	}
	if !slices.Equal(sold, []int32{50, 100, 200, 500}) {
		t.Errorf("sizes on sale %v", sold)
	}
}

// devices reads the VPS.
func (w *world) devices(t *testing.T) {
	all := answer(w.VPSApi.GetVpsResource(w.ctx, nil)).ok(t, 200)
	if ids := deviceIDs(all); !slices.Equal(ids, w.DeviceIDs) {
		t.Errorf("devices %v, want %v", ids, w.DeviceIDs)
	}
	for _, filter := range []struct {
		opts swagger.VPSApiGetVpsResourceOpts
		want []int32
	}{
		{swagger.VPSApiGetVpsResourceOpts{FacilityCode: optional.NewString("LAX3")}, w.DeviceIDs[2:]},
		{swagger.VPSApiGetVpsResourceOpts{ClientId: optional.NewInt32(w.ClientID)}, w.DeviceIDs},
		{swagger.VPSApiGetVpsResourceOpts{NetworkId: optional.NewString("none")}, nil},
		{swagger.VPSApiGetVpsResourceOpts{HostId: optional.NewString("none")}, nil},
		{swagger.VPSApiGetVpsResourceOpts{StorageId: optional.NewString("none")}, nil},
		{swagger.VPSApiGetVpsResourceOpts{XFields: optional.NewString("deviceId")}, w.DeviceIDs},
	} {
		if ids := deviceIDs(answer(w.VPSApi.GetVpsResource(w.ctx, &filter.opts)).ok(t, 200)); !slices.Equal(ids, filter.want) {
			t.Errorf("devices for %+v: %v, want %v", filter.opts, ids, filter.want)
		}
	}
	answer(w.VPSApi.GetVpsResource(w.ctx, &swagger.VPSApiGetVpsResourceOpts{
		ClientId: optional.NewInt32(w.Other.ClientID),
	})).refused(t, 403, "client_not_allowed")

	one := answer(w.VPSApi.GetVpsIdResource(w.ctx, w.DeviceIDs[0], nil)).ok(t, 200)
	if one.DeviceId != w.DeviceIDs[0] || one.Status != "Running" || one.FacilityCode != "TPA1" || one.Vcpu < 1 || one.Memory < 1 {
		t.Errorf("device %+v", one)
	}
	for _, id := range []int32{4242, w.Other.DeviceIDs[0]} { // another client's is as good as none
		got := answer(w.VPSApi.GetVpsIdResource(w.ctx, id, nil)).refused(t, 404, "device_not_found")
		if got.Message != "Device not found" { // clients compare with it
			t.Errorf("message %q", got.Message)
		}
		answer(w.VPSApi.GetVpsIdEventsResource(w.ctx, id, nil)).refused(t, 404, "device_not_found")
	}
}

func deviceIDs(list []swagger.Vps) []int32 {
	var ids []int32
	for _, d := range list {
		ids = append(ids, d.DeviceId)
	}
	slices.Sort(ids)
	return ids
}

// tasks reads what the tests before it have left.
func (w *world) tasks(t *testing.T) {
	device := w.DeviceIDs[1]
	begun := w.create(device, 50).ok(t, 201)
	for _, opts := range []*swagger.NetworkApiGetNetworkTaskClientResourceOpts{
		nil,
		{CreatedInLast: optional.NewInt32(1)},
		{ClientId: optional.NewInt32(w.ClientID)},
	} {
		list := answer(w.NetworkApi.GetNetworkTaskClientResource(w.ctx, opts)).ok(t, 200)
		if len(list) == 0 || list[0].TaskId != begun.TaskId {
			t.Errorf("the new task %s is not first of %d", begun.TaskId, len(list))
		}
	}
	newest := answer(w.NetworkApi.GetNetworkTaskIdResource(w.ctx, "1002", nil)).ok(t, 200)
	if newest.TaskId != begun.TaskId || newest.DeviceId != device {
		t.Errorf("newest task of the device: %+v", newest)
	}
	w.succeed(t, begun)
	some := answer(w.NetworkApi.GetNetworkTaskIdResource(w.ctx, begun.TaskId, &swagger.NetworkApiGetNetworkTaskIdResourceOpts{
		XFields: optional.NewString("{taskId,result}"),
	})).ok(t, 200)
	if want := (swagger.NetworkTaskDump{TaskId: begun.TaskId, Result: "Success"}); some != want {
		t.Errorf("through a mask: %+v", some)
	}
	w.events(t, device)

	answer(w.NetworkApi.GetNetworkTaskIdResource(w.ctx, "none", nil)).refused(t, 404, "task_not_found")
	answer(w.NetworkApi.GetNetworkTaskIdResource(w.ctx, "4242", nil)).refused(t, 404, "device_not_found")
	answer(w.NetworkApi.GetNetworkTaskIdResource(withKey(w.Other.APIKey), begun.TaskId, nil)).refused(t, 404, "task_not_found")
	answer(w.NetworkApi.GetNetworkTaskClientResource(w.ctx, &swagger.NetworkApiGetNetworkTaskClientResourceOpts{
		CreatedInLast: optional.NewInt32(-1),
	})).invalid(t, "createdInLast")
	answer(w.NetworkApi.GetNetworkTaskClientResource(w.ctx, &swagger.NetworkApiGetNetworkTaskClientResourceOpts{
		ClientId: optional.NewInt32(w.Other.ClientID),
	})).refused(t, 403, "client_not_allowed")
}

// events reads what the creation of a volume has left, newest first.
func (w *world) events(t *testing.T, device int32) {
	t.Helper()
	var steps []string
	for _, e := range answer(w.VPSApi.GetVpsIdEventsResource(w.ctx, device, nil)).ok(t, 200) {
		if e.EventId == "" || e.Level != "INFO" && e.Level != "ERROR" || e.CreatedAt.IsZero() {
			t.Errorf("event %+v", e)
		}
		if e.Type_ == "VOLUME.CREATE" && len(steps) < 3 {
			steps = append(steps, e.State)
		}
	}
	if want := []string{"Completed", "Started", "Scheduled"}; !slices.Equal(steps, want) {
		t.Errorf("events of a new volume: %v, want %v", steps, want)
	}
}
