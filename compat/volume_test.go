package compat

import (
	"slices"
	"testing"
	"time"

	"github.com/antihax/optional"
	swagger "github.com/hivelocity/hivelocity-client-go/client"
)

// newVolume makes a volume and returns its id.
func (w *world) newVolume(t *testing.T, device, size int32) string {
	t.Helper()
	begun := w.create(device, size).ok(t, 201)
	if begun.DeviceId != device {
		t.Errorf("the task's device is %d", begun.DeviceId)
	}
	m := w.succeed(t, begun)
	if m.VolumeID == "" || m.Action != "volume.create" {
		t.Fatalf("metaData %+v", m)
	}
	return m.VolumeID
}

// readVolume reads a volume through the world's mask.
func (w *world) readVolume(t *testing.T, id string) swagger.VpsVolume {
	t.Helper()
	return answer(w.VPSApi.GetVpsVolumeIdResource(w.ctx, id, &swagger.VPSApiGetVpsVolumeIdResourceOpts{XFields: w.mask})).ok(t, 200)
}

// checkVolume reads a volume and compares it. Its size counts only where the
// world's mask shows it.
func (w *world) checkVolume(t *testing.T, id string, device, size int32) {
	t.Helper()
	if w.mask.IsSet() {
		size = 0
	}
	got := w.readVolume(t, id)
	if age := time.Since(got.CreatedAt); age < -time.Minute || age > time.Hour {
		t.Errorf("createdAt %v", got.CreatedAt)
	}
	got.CreatedAt = time.Time{}
	want := swagger.VpsVolume{VolumeId: id, Type_: "DATADISK", Size: size, DeviceId: device, FacilityCode: "TPA1"}
	if got != want {
		t.Errorf("volume %+v, want %+v", got, want)
	}
}

// listed returns the ids of data volumes, and the id of the last ROOT volume.
func (w *world) listed(t *testing.T, opts swagger.VPSApiGetVpsVolumeResourceOpts) (data []string, root string) {
	t.Helper()
	opts.XFields = w.mask
	for _, v := range answer(w.VPSApi.GetVpsVolumeResource(w.ctx, &opts)).ok(t, 200) {
		if v.Type_ == "ROOT" {
			root = v.VolumeId
		} else {
			data = append(data, v.VolumeId)
		}
	}
	return data, root
}

// ofDevice filters volumes by their device.
func ofDevice(id int32) swagger.VPSApiGetVpsVolumeResourceOpts {
	return swagger.VPSApiGetVpsVolumeResourceOpts{DeviceId: optional.NewInt32(id)}
}

// volume takes one volume through its life.
func (w *world) volume(t *testing.T) {
	home, away := w.DeviceIDs[0], w.DeviceIDs[1]
	id := w.newVolume(t, home, 50)
	w.checkVolume(t, id, home, 50)
	inPlace := swagger.VPSApiGetVpsVolumeResourceOpts{
		FacilityCode: optional.NewString("TPA1"), ClientId: optional.NewInt32(w.ClientID),
	}
	for _, opts := range []swagger.VPSApiGetVpsVolumeResourceOpts{ofDevice(home), inPlace} {
		if data, root := w.listed(t, opts); !slices.Contains(data, id) || root == "" {
			t.Errorf("list %v, ROOT %q", data, root)
		}
	}
	if data, _ := w.listed(t, ofDevice(w.DeviceIDs[2])); len(data) != 0 {
		t.Errorf("another device has volumes: %v", data)
	}

	var larger []int32
	for _, p := range answer(w.VPSApi.GetVpsAvailableUpgradeSizesResource(w.ctx, id, nil)).ok(t, 200).VolumeProducts {
		larger = append(larger, p.Size)
	}
	if !slices.Equal(larger, []int32{100, 200, 500}) {
		t.Errorf("larger sizes %v", larger)
	}
	w.succeed(t, w.resize(id, home, 100).ok(t, 201))
	w.checkVolume(t, id, home, 100)

	w.moveVolume(t, id, home, away)

	m := w.succeed(t, w.remove(id, away).ok(t, 201))
	if m.Action != "volume.delete" || m.VolumeID != id {
		t.Errorf("metaData %+v", m)
	}
	answer(w.VPSApi.GetVpsVolumeIdResource(w.ctx, id, nil)).refused(t, 404, "volume_not_found")
	if data, _ := w.listed(t, ofDevice(away)); slices.Contains(data, id) {
		t.Errorf("the deleted volume is listed")
	}
}

// moveVolume takes a volume of 100 GiB to 200 GiB and to another device.
func (w *world) moveVolume(t *testing.T, id string, home, away int32) {
	t.Helper()
	// Requests on one device count on what the ones before them will lead to,
	// so that none needs to wait. A detached volume needs no device: the client
	// leaves a zero out.
	begun := []swagger.NetworkTaskDump{
		w.detach(id, home).ok(t, 201), w.resize(id, 0, 200).ok(t, 201), w.attach(id, home).ok(t, 201),
	}
	for _, b := range begun {
		w.succeed(t, b)
	}
	w.checkVolume(t, id, home, 200)
	w.succeed(t, w.detach(id, home).ok(t, 201))
	w.checkVolume(t, id, 0, 200)
	w.succeed(t, w.attach(id, away).ok(t, 201))
	w.checkVolume(t, id, away, 200)
}

// The calls that change volumes, with the answers left to the tests.

func (w *world) create(device, size int32) reply[swagger.NetworkTaskDump] {
	return answer(w.VPSApi.PostVpsVolumeResource(w.ctx, swagger.VpsVolumeCreate{DeviceId: device, Size: size}, nil))
}

func (w *world) resize(id string, device, size int32) reply[swagger.NetworkTaskDump] {
	return answer(w.VPSApi.PutVpsVolumeIdResource(w.ctx, id, swagger.VpsVolumeUpdate{DeviceId: device, Size: size}, nil))
}

func (w *world) remove(id string, device int32) reply[swagger.NetworkTaskDump] {
	return answer(w.VPSApi.DeleteVpsVolumeIdResource(w.ctx, id, swagger.VpsVolumeDelete{DeviceId: device}, nil))
}

func (w *world) attach(id string, device int32) reply[swagger.NetworkTaskDump] {
	return answer(w.VPSApi.PostVpsAttachVolumeResource(w.ctx, id, device, nil))
}

func (w *world) detach(id string, device int32) reply[swagger.NetworkTaskDump] {
	return answer(w.VPSApi.PostVpsDetachVolumeResource(w.ctx, id, device, nil))
}

// volumeRefusals tries what must not work, and that it has changed nothing.
func (w *world) volumeRefusals(t *testing.T) {
	home, away, far := w.DeviceIDs[0], w.DeviceIDs[1], w.DeviceIDs[2]
	id := w.newVolume(t, home, 100)
	before, root := w.listed(t, ofDevice(home))
	t.Run("400", func(t *testing.T) { w.volumesInvalid(t, id, root) })
	t.Run("404", func(t *testing.T) { w.volumesUnknown(t, id) })
	t.Run("409", func(t *testing.T) {
		w.attach(id, away).refused(t, 409, "volume_attached")
		w.attach(id, home).refused(t, 409, "volume_attached")
		w.detach(id, away).refused(t, 409, "volume_not_attached")
	})
	t.Run("mask", func(t *testing.T) { w.volumeMasks(t, id) })

	if after, _ := w.listed(t, ofDevice(home)); !slices.Equal(after, before) {
		t.Errorf("volumes %v, before the refusals %v", after, before)
	}
	w.checkVolume(t, id, home, 100)

	w.succeed(t, w.detach(id, home).ok(t, 201))
	w.detach(id, home).refused(t, 409, "volume_not_attached")
	w.attach(id, far).refused(t, 400, "other_facility")
	w.succeed(t, w.remove(id, 0).ok(t, 201))
}

// volumesInvalid tries wrong requests on a volume of 100 GiB on the first
// device, and on its ROOT volume.
func (w *world) volumesInvalid(t *testing.T, id, root string) {
	home, away := w.DeviceIDs[0], w.DeviceIDs[1]
	w.create(home, 51).invalid(t, "size")
	w.create(0, 0).invalid(t, "deviceId", "size")
	w.resize(id, home, 100).invalid(t, "size")
	w.resize(id, home, 50).invalid(t, "size")
	w.resize(id, home, 300).invalid(t, "size")
	w.resize(id, away, 200).invalid(t, "deviceId")
	w.resize(id, 0, 200).invalid(t, "deviceId")
	w.remove(id, away).invalid(t, "deviceId")
	w.remove(id, 0).invalid(t, "deviceId")
	w.resize(root, home, 500).refused(t, 400, "root_volume")
	w.remove(root, home).refused(t, 400, "root_volume")
	w.detach(root, home).refused(t, 400, "root_volume")
	answer(w.VPSApi.GetVpsVolumeResource(w.ctx, nil)).refused(t, 400, "filter_required")
}

// volumesUnknown names what there is not, and what is another client's.
func (w *world) volumesUnknown(t *testing.T, id string) {
	home, other := w.DeviceIDs[0], w.Other.DeviceIDs[0]
	w.create(4242, 50).refused(t, 404, "device_not_found")
	w.create(other, 50).refused(t, 404, "device_not_found")
	w.attach(id, other).refused(t, 404, "device_not_found")
	w.detach(id, 4242).refused(t, 404, "device_not_found")
	w.resize("none", home, 200).refused(t, 404, "volume_not_found")
	w.remove("none", home).refused(t, 404, "volume_not_found")
	w.attach("none", home).refused(t, 404, "volume_not_found")
	w.detach("none", home).refused(t, 404, "volume_not_found")
	answer(w.VPSApi.GetVpsAvailableUpgradeSizesResource(w.ctx, "none", nil)).refused(t, 404, "volume_not_found")
	unknown := ofDevice(other)
	answer(w.VPSApi.GetVpsVolumeResource(w.ctx, &unknown)).refused(t, 404, "device_not_found")

	stranger := withKey(w.Other.APIKey)
	answer(w.VPSApi.GetVpsVolumeIdResource(stranger, id, nil)).refused(t, 404, "volume_not_found")
	answer(w.VPSApi.DeleteVpsVolumeIdResource(stranger, id, swagger.VpsVolumeDelete{DeviceId: home}, nil)).
		refused(t, 404, "volume_not_found")
}

// volumeMasks sends wrong masks.
func (w *world) volumeMasks(t *testing.T, id string) {
	const unclosed, inScalar = "{", "size{x}"
	got := answer(w.VPSApi.PostVpsVolumeResource(w.ctx, swagger.VpsVolumeCreate{DeviceId: w.DeviceIDs[0], Size: 50},
		&swagger.VPSApiPostVpsVolumeResourceOpts{XFields: optional.NewString(unclosed)})).refused(t, 400, "mask_parse_error")
	if got.Message != "Mask parse error: Missing closing bracket" {
		t.Errorf("message %q", got.Message)
	}
	read := func(id, mask string) reply[swagger.VpsVolume] {
		return answer(w.VPSApi.GetVpsVolumeIdResource(w.ctx, id, &swagger.VPSApiGetVpsVolumeIdResourceOpts{
			XFields: optional.NewString(mask),
		}))
	}
	got = read(id, inScalar).refused(t, 400, "mask_inconsistent")
	if got.Message != "Mask error: Mask is inconsistent with model" {
		t.Errorf("message %q", got.Message)
	}
	read("none", unclosed).refused(t, 404, "volume_not_found")
}
