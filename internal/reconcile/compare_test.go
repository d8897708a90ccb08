package reconcile_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

var (
	sumA, sumB = strings.Repeat("a", 64), strings.Repeat("b", 64)
	now        = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
)

// facility is one in which everything holds: device 1 with its ROOT volume and
// the attached volume on it, one that is detached, and a ready ISO in the drive.
func facility() (reconcile.Rows, backend.View) {
	rows := reconcile.Rows{
		Facility: "TPA1", At: now,
		Volumes: []reconcile.Volume{
			{ID: "root", ClientID: 7, Type: volume.Root, State: volume.Attached, Bytes: 25 << 30, DeviceID: 1},
			{ID: "on", ClientID: 7, Type: volume.DataDisk, State: volume.Attached, Bytes: 50 << 30, ProductID: 3, Monthly: 500, DeviceID: 1},
			{ID: "off", ClientID: 7, Type: volume.DataDisk, State: volume.Detached, Bytes: 50 << 30, ProductID: 3, Monthly: 500},
			{ID: "left", ClientID: 7, Type: volume.DataDisk, State: volume.Discarded, Bytes: 50 << 30},
		},
		Devices:  []reconcile.Device{{ID: 1, Ref: "g1", Status: vps.Running, ISOID: "i1"}, {ID: 2, Ref: "g2", Status: vps.Running}},
		ISOs:     []reconcile.ISO{{ID: "i1", State: iso.Ready, SHA256: sumA, Bytes: 99}, {ID: "bad", State: iso.Failed}},
		Contents: []reconcile.Content{{SHA256: sumA, State: iso.Present, Bytes: 99}},
		Services: []reconcile.Billed{
			{ID: 1, ClientID: 7, VolumeID: "on", FacilityCode: "TPA1", SizeGiB: 50, ProductID: 3, Monthly: 500},
			{ID: 2, ClientID: 7, VolumeID: "off", FacilityCode: "TPA1", SizeGiB: 50, ProductID: 3, Monthly: 500},
		},
	}
	view := backend.View{
		VMs: []backend.VMView{{Ref: "g1", Running: true, VolumeIDs: []string{"on", "root"}, ISOKey: sumA}, {Ref: "g2"}, {Ref: "stranger"}},
		Volumes: []backend.VolumeView{
			{ID: "left", Bytes: 1, Ref: "g2"}, {ID: "off", Bytes: 50 << 30}, {ID: "on", Bytes: 50 << 30, Ref: "g1"}, {ID: "root", Bytes: 25 << 30, Ref: "g1"},
		},
		ISOs: []backend.ISOView{{Key: sumA, Bytes: 99}},
	}
	return rows, view
}

// Places in the rows and the view of facility.
const (
	root, on, off = 0, 1, 2
	diskOff       = 1
	diskOn        = 2
)

func TestCompare(t *testing.T) {
	t.Parallel()
	type change func(r *reconcile.Rows, v *backend.View)
	for _, c := range []struct {
		name string
		do   change
		want string // class and object of each finding
	}{
		{"nothing", func(*reconcile.Rows, *backend.View) {}, ""},
		{"a disk of nobody", func(r *reconcile.Rows, v *backend.View) {
			v.Volumes = append(v.Volumes, backend.VolumeView{ID: "x", Bytes: 5})
		}, "orphan_disk x"},
		{"in quarantine", func(r *reconcile.Rows, v *backend.View) {
			v.Volumes = append(v.Volumes, backend.VolumeView{ID: "x", Bytes: 5})
			r.Held = []reconcile.Held{{Kind: reconcile.HeldDisk, Object: "x"}}
		}, ""},
		{"an image in quarantine is no disk", func(r *reconcile.Rows, v *backend.View) {
			v.Volumes = append(v.Volumes, backend.VolumeView{ID: "x", Bytes: 5})
			r.Held = []reconcile.Held{{Kind: reconcile.HeldISO, Object: "x"}}
		}, "orphan_disk x"},
		{"a disk that is being made", func(r *reconcile.Rows, v *backend.View) {
			v.Volumes = append(v.Volumes, backend.VolumeView{ID: "x", Bytes: 5})
			r.Work = []reconcile.Work{{VolumeID: "x", DeviceID: 2}}
		}, ""},
		{"no disk", func(r *reconcile.Rows, v *backend.View) { v.Volumes = slices.Delete(v.Volumes, diskOff, diskOff+1) }, "missing_disk off"},
		{"no disk, being deleted", func(r *reconcile.Rows, v *backend.View) {
			v.Volumes = slices.Delete(v.Volumes, diskOff, diskOff+1)
			r.Work = []reconcile.Work{{VolumeID: "off"}}
		}, ""},
		{"smaller", func(r *reconcile.Rows, v *backend.View) { v.Volumes[diskOn].Bytes = 1 }, "size_mismatch on"},
		{"larger", func(r *reconcile.Rows, v *backend.View) { v.Volumes[diskOff].Bytes++ }, "size_mismatch off"},
		{"a ROOT disk too", func(r *reconcile.Rows, v *backend.View) { r.Volumes[root].Bytes++ }, "size_mismatch root"},
		{"a resize under way", func(r *reconcile.Rows, v *backend.View) {
			v.Volumes[diskOn].Bytes = 100 << 30
			r.Volumes[on].State = volume.Resizing
			r.Work = []reconcile.Work{{VolumeID: "on", DeviceID: 1}}
		}, ""},
		{"a resize nobody works on", func(r *reconcile.Rows, v *backend.View) {
			v.Volumes[diskOn].Bytes = 100 << 30
			r.Volumes[on].State = volume.Resizing
			r.Work = []reconcile.Work{{VolumeID: "off"}}
		}, "stuck_transient on"},
		{"a create nobody works on", func(r *reconcile.Rows, v *backend.View) {
			r.Volumes = append(r.Volumes, reconcile.Volume{ID: "new", State: volume.Creating, Bytes: 5})
		}, "stuck_transient new"},
		{"taken off behind our back", func(r *reconcile.Rows, v *backend.View) {
			v.VMs[0].VolumeIDs, v.Volumes[diskOn].Ref = []string{"root"}, ""
		}, "attach_mismatch on"},
		{"put on behind our back", func(r *reconcile.Rows, v *backend.View) {
			v.VMs[1].VolumeIDs, v.Volumes[diskOff].Ref = []string{"off"}, "g2"
		}, "attach_mismatch off"},
		{"on another guest", func(r *reconcile.Rows, v *backend.View) {
			v.VMs[0].VolumeIDs, v.VMs[1].VolumeIDs, v.Volumes[diskOn].Ref = []string{"root"}, []string{"on"}, "g2"
		}, "attach_mismatch on"},
		{"on two guests", func(r *reconcile.Rows, v *backend.View) { v.VMs[1].VolumeIDs = []string{"on"} }, "attach_mismatch on"},
		{"on a stranger's guest", func(r *reconcile.Rows, v *backend.View) { v.VMs[2].VolumeIDs = []string{"off"} }, "attach_mismatch off"},
		{"the guest is gone", func(r *reconcile.Rows, v *backend.View) {
			v.VMs = v.VMs[1:]
			v.Volumes[diskOn].Ref, v.Volumes[diskOn+1].Ref = "", ""
		}, "attach_mismatch on, attach_mismatch root, media_mismatch 1"},
		{"the row is at odds with itself", func(r *reconcile.Rows, v *backend.View) { r.Volumes[on].DeviceID = 0 }, "attach_mismatch on"},
		{"on a device of another facility", func(r *reconcile.Rows, v *backend.View) { r.Volumes[on].DeviceID = 9 }, "attach_mismatch on"},
		{"an attach under way", func(r *reconcile.Rows, v *backend.View) {
			v.VMs[1].VolumeIDs, v.Volumes[diskOff].Ref = []string{"off"}, "g2"
			r.Work = []reconcile.Work{{VolumeID: "off", DeviceID: 2}}
		}, ""},
		{"no guest, made elsewhere", func(r *reconcile.Rows, v *backend.View) {
			r.Elsewhere, v.VMs, v.Volumes[diskOn].Ref, v.Volumes[3].Ref = true, v.VMs[1:], "", ""
		}, "missing_guest 1"},
		{"no guest, made elsewhere, and its volume in another", func(r *reconcile.Rows, v *backend.View) {
			r.Elsewhere, v.VMs, v.Volumes[diskOn].Ref, v.Volumes[3].Ref = true, v.VMs[1:], "g2", ""
		}, "missing_guest 1, attach_mismatch on"},
		{"no guest, which could not be made", func(r *reconcile.Rows, v *backend.View) {
			r.Elsewhere, r.Devices[1].Status, v.VMs = true, vps.Failed, v.VMs[:1]
		}, ""},
		{"no whole GiB", func(r *reconcile.Rows, v *backend.View) {
			r.Volumes[off].Bytes += 512
			v.Volumes[diskOff].Bytes += 512
		}, ""},
		{"ejected", func(r *reconcile.Rows, v *backend.View) { v.VMs[0].ISOKey = "" }, "media_mismatch 1"},
		{"inserted", func(r *reconcile.Rows, v *backend.View) { v.VMs[1].ISOKey = sumA }, "media_mismatch 2"},
		{"an attach of an ISO under way", func(r *reconcile.Rows, v *backend.View) {
			v.VMs[1].ISOKey = sumA
			r.Work = []reconcile.Work{{ISOID: "i1", DeviceID: 2}}
		}, ""},
		{"an image of nobody", func(r *reconcile.Rows, v *backend.View) {
			v.ISOs = append(v.ISOs, backend.ISOView{Key: sumB, Bytes: 5})
		}, "orphan_iso " + sumB},
		{"an image in quarantine", func(r *reconcile.Rows, v *backend.View) {
			v.ISOs = append(v.ISOs, backend.ISOView{Key: sumB, Bytes: 5})
			r.Held = []reconcile.Held{{Kind: reconcile.HeldISO, Object: sumB}}
		}, ""},
		{"an image whose row is lost", func(r *reconcile.Rows, v *backend.View) { r.Contents = nil }, "orphan_iso " + sumA},
		{"an image kept for nobody", func(r *reconcile.Rows, v *backend.View) {
			v.ISOs = append(v.ISOs, backend.ISOView{Key: sumB, Bytes: 5})
			r.Contents = append(r.Contents, reconcile.Content{SHA256: sumB, State: iso.Present, Bytes: 5})
		}, "orphan_iso " + sumB},
		{"an image of an ISO that went meanwhile", func(r *reconcile.Rows, v *backend.View) {
			v.ISOs = append(v.ISOs, backend.ISOView{Key: sumB, Bytes: 5})
			r.Work = []reconcile.Work{{ISOID: "gone"}}
		}, ""},
		{"the same, its content known", func(r *reconcile.Rows, v *backend.View) {
			v.ISOs = append(v.ISOs, backend.ISOView{Key: sumB, Bytes: 5})
			r.Work = []reconcile.Work{{ISOID: sumB}}
		}, ""},
		{"an import elsewhere hides nothing", func(r *reconcile.Rows, v *backend.View) {
			v.ISOs = append(v.ISOs, backend.ISOView{Key: sumB, Bytes: 5})
			r.ISOs = append(r.ISOs, reconcile.ISO{ID: "i2", State: iso.Downloading})
			r.Work = []reconcile.Work{{ISOID: "i2"}}
		}, "orphan_iso " + sumB},
		{"no image", func(r *reconcile.Rows, v *backend.View) { v.ISOs = nil }, "missing_iso i1"},
		{"a short image", func(r *reconcile.Rows, v *backend.View) { v.ISOs[0].Bytes-- }, "missing_iso i1"},
		{"an import nobody works on", func(r *reconcile.Rows, v *backend.View) {
			r.ISOs = append(r.ISOs, reconcile.ISO{ID: "i2", State: iso.Verifying})
		}, "stuck_transient i2"},
		{"a delete of an ISO nobody works on", func(r *reconcile.Rows, v *backend.View) {
			r.ISOs[0].State, r.Contents[0].State = iso.Deleting, iso.Removing
		}, "stuck_transient i1"},
		{"a removal nobody works on", func(r *reconcile.Rows, v *backend.View) { r.Contents[0].State = iso.Removing }, "stuck_transient " + sumA},
		{"no service", func(r *reconcile.Rows, v *backend.View) { r.Services = r.Services[1:] }, "unbilled on"},
		{"a service of nothing", func(r *reconcile.Rows, v *backend.View) {
			r.Services = append(r.Services, reconcile.Billed{ID: 9, VolumeID: "gone", FacilityCode: "TPA1"})
		}, "overbilled gone"},
		{"a service of what was discarded", func(r *reconcile.Rows, v *backend.View) {
			r.Services = append(r.Services, reconcile.Billed{ID: 9, VolumeID: "left", FacilityCode: "TPA1"})
		}, "overbilled left"},
		{"a service of a ROOT volume", func(r *reconcile.Rows, v *backend.View) {
			r.Services = append(r.Services, reconcile.Billed{ID: 9, VolumeID: "root", FacilityCode: "TPA1"})
		}, "overbilled root"},
		{"two services", func(r *reconcile.Rows, v *backend.View) { r.Services = append(r.Services, r.Services[0]) }, "overbilled on"},
		{"another price", func(r *reconcile.Rows, v *backend.View) { r.Volumes[on].Monthly++ }, "price_mismatch on"},
		{"another client", func(r *reconcile.Rows, v *backend.View) { r.Services[1].ClientID = 8 }, "price_mismatch off"},
		{"a delete about to end", func(r *reconcile.Rows, v *backend.View) {
			r.Volumes = slices.Delete(r.Volumes, off, off+1)
			r.Work = []reconcile.Work{{VolumeID: "off"}}
		}, ""},
		{"a device nobody works on", func(r *reconcile.Rows, v *backend.View) { r.Devices[1].Status = vps.Creating }, "stuck_transient 2"},
		{"a device being made", func(r *reconcile.Rows, v *backend.View) {
			r.Devices[1].Status = vps.Creating
			r.Work = []reconcile.Work{{DeviceID: 2}}
		}, ""},
		{"tasks at work", func(r *reconcile.Rows, v *backend.View) {
			r.Tasks = []reconcile.Task{
				{ID: "t1", State: task.Running, Since: now.Add(15 * time.Second)}, {ID: "t2", State: task.Ready, Since: now.Add(-time.Hour)},
				{ID: "t5", State: task.Ready, Queue: task.Imports, Since: now.Add(-time.Minute)},
				{ID: "t3", State: task.Waiting, Since: now.Add(-time.Hour)}, {ID: "t4", State: task.Waiting, Free: true, Since: now},
			}
		}, ""},
		{"tasks nobody works on", func(r *reconcile.Rows, v *backend.View) {
			r.Tasks = []reconcile.Task{
				{ID: "t1", State: task.Running, Since: now.Add(-time.Minute)}, {ID: "t2", State: task.Ready, Since: now.Add(-time.Hour)},
				{ID: "t3", State: task.Waiting, Free: true, Since: now.Add(-time.Hour)},
			}
		}, "stuck_transient t1, stuck_transient t2, stuck_transient t3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rows, view := facility()
			c.do(&rows, &view)
			var got []string
			for _, f := range reconcile.Compare(rows, view, now) {
				got = append(got, string(f.Class)+" "+f.Object)
				if f.Detail == "" || !strings.HasSuffix(f.Detail, ".") || f.FacilityCode != "TPA1" {
					t.Errorf("%+v", f)
				}
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
		})
	}
}

func TestEveryClassHasARemedy(t *testing.T) {
	t.Parallel()
	for _, c := range reconcile.Classes {
		if c.Remedy() == "" {
			t.Errorf("%s has no remedy", c)
		}
	}
}
