package volume_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	here, free := made(t, w, 1001, 50), madeFree(t, w, 1001, 50)
	root := rootOf(t, w, 1001).ID
	foreign := made(t, w, 2001, 50)
	childs := made(t, w, 3001, 50)
	away := madeFree(t, w, 1003, 50)
	const nobody = "0190a000-0000-7000-8000-000000000000"
	v := w.Volumes
	create := func(s access.Scope, device int64, size int) func() (task.Task, error) {
		return func() (task.Task, error) { return v.Create(ctx, s, device, size) }
	}
	resize := func(id string, size int, device *int64) func() (task.Task, error) {
		return func() (task.Task, error) { return v.Resize(ctx, mine, id, size, device) }
	}
	remove := func(id string, device *int64) func() (task.Task, error) {
		return func() (task.Task, error) { return v.Delete(ctx, mine, id, device) }
	}
	attach := func(s access.Scope, device int64, id string) func() (task.Task, error) {
		return func() (task.Task, error) { return v.Attach(ctx, s, device, id) }
	}
	detach := func(device int64, id string) func() (task.Task, error) {
		return func() (task.Task, error) { return v.Detach(ctx, mine, device, id) }
	}
	for _, c := range []struct {
		name    string
		want    *fault.Error
		request func() (task.Task, error)
	}{
		{"create on no device", vps.ErrDeviceNotFound, create(mine, 4711, 50)},
		{"create on another's device", vps.ErrDeviceNotFound, create(mine, 2001, 50)},
		{"create on a child's device without acting for it", vps.ErrDeviceNotFound, create(mine, 3001, 50)},
		{"create in a size not sold", volume.ErrSizeNotSold, create(mine, 1001, 60)},
		{"create in no size", volume.ErrSizeNotSold, create(mine, 1001, 0)},
		{"create in a negative size", volume.ErrSizeNotSold, create(mine, 1001, -50)},

		{"resize no volume", volume.ErrNotFound, resize(nobody, 100, nil)},
		{"resize an empty id", volume.ErrNotFound, resize("", 100, nil)},
		{"resize another's", volume.ErrNotFound, resize(foreign, 100, ptr(int64(2001)))},
		{"resize a child's", volume.ErrNotFound, resize(childs, 100, ptr(int64(3001)))},
		{"resize ROOT", volume.ErrRoot, resize(root, 100, ptr(int64(1001)))},
		{"resize without the device", volume.ErrDeviceRequired, resize(here, 100, nil)},
		{"resize with another device", volume.ErrWrongDevice, resize(here, 100, ptr(int64(1002)))},
		{"resize a detached one with a device", volume.ErrWrongDevice, resize(free, 100, ptr(int64(1001)))},
		{"resize to the same", volume.ErrNotLarger, resize(here, 50, ptr(int64(1001)))},
		{"resize to less", volume.ErrNotLarger, resize(here, 10, ptr(int64(1001)))},
		{"resize to a size not sold", volume.ErrSizeNotSold, resize(here, 101, ptr(int64(1001)))},

		{"delete no volume", volume.ErrNotFound, remove(nobody, nil)},
		{"delete another's", volume.ErrNotFound, remove(foreign, ptr(int64(2001)))},
		{"delete ROOT", volume.ErrRoot, remove(root, ptr(int64(1001)))},
		{"delete without the device", volume.ErrDeviceRequired, remove(here, nil)},
		{"delete with another device", volume.ErrWrongDevice, remove(here, ptr(int64(1002)))},
		{"delete with another's device", volume.ErrWrongDevice, remove(here, ptr(int64(2001)))},
		{"delete a detached one with a device", volume.ErrWrongDevice, remove(free, ptr(int64(1001)))},

		{"attach no volume", volume.ErrNotFound, attach(mine, 1001, nobody)},
		{"attach another's", volume.ErrNotFound, attach(mine, 1001, foreign)},
		{"attach to no device", vps.ErrDeviceNotFound, attach(mine, 4711, free)},
		{"attach to another's device", vps.ErrDeviceNotFound, attach(mine, 2001, free)},
		{"attach to a child's device", volume.ErrNotFound, attach(family, 3001, free)},
		{"attach to another client's device as operator", volume.ErrNotFound, attach(everyone, 2001, free)},
		{"attach ROOT", volume.ErrRootAttach, attach(mine, 1002, root)},
		{"attach where it is", volume.ErrAttached, attach(mine, 1001, here)},
		{"attach elsewhere while attached", volume.ErrAttached, attach(mine, 1002, here)},
		{"attach in another facility", volume.ErrOtherFacility, attach(mine, 1001, away)},

		{"detach no volume", volume.ErrNotFound, detach(1001, nobody)},
		{"detach another's", volume.ErrNotFound, detach(2001, foreign)},
		{"detach ROOT", volume.ErrRoot, detach(1001, root)},
		{"detach from no device", vps.ErrDeviceNotFound, detach(4711, here)},
		{"detach from another's device", vps.ErrDeviceNotFound, detach(2001, here)},
		{"detach from another device", volume.ErrNotAttached, detach(1002, here)},
		{"detach a detached one", volume.ErrNotAttached, detach(1001, free)},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, w, c.want, c.request) })
	}
	_, err := v.Attach(ctx, mine, 1002, here)
	if err == nil || !strings.Contains(err.Error(), "1001") {
		t.Errorf("the refusal does not name the holder: %v", err)
	}
	w.Check()
}

func TestReads(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	first, second := made(t, w, 1001, 50), madeFree(t, w, 1001, 100)
	foreign := made(t, w, 2001, 50)
	v := w.Volumes
	ids := func(s access.Scope, f volume.Filter) []string {
		t.Helper()
		list, err := v.List(ctx, s, f)
		if err != nil {
			t.Fatal(err)
		}
		out := []string{}
		for _, v := range list {
			out = append(out, v.ID)
		}
		return out
	}
	root := rootOf(t, w, 1001).ID
	if got := fmt.Sprint(ids(mine, volume.Filter{DeviceID: ptr(int64(1001))})); got != fmt.Sprint([]string{root, first}) && got != fmt.Sprint([]string{first, root}) {
		t.Errorf("on the device: %s", got)
	}
	at := strings.Join(ids(mine, volume.Filter{FacilityCode: ptr("TPA1")}), " ")
	if !strings.Contains(at, first) || !strings.Contains(at, second) || strings.Contains(at, foreign) {
		t.Errorf("in the facility: %s", at)
	}
	if got := ids(mine, volume.Filter{FacilityCode: ptr("LAX3"), DeviceID: ptr(int64(1001))}); len(got) != 0 {
		t.Errorf("on the device, in another facility: %v", got)
	}
	if got := ids(everyone, volume.Filter{FacilityCode: ptr("TPA1")}); len(got) != 4+3 { // with the ROOT volumes of four devices
		t.Errorf("an operator sees %d", len(got))
	}
	for name, c := range map[string]struct {
		s    access.Scope
		f    volume.Filter
		want *fault.Error
	}{
		"no filter":        {mine, volume.Filter{}, volume.ErrNeedFilter},
		"another's device": {mine, volume.Filter{DeviceID: ptr(int64(2001))}, vps.ErrDeviceNotFound},
		"no facility":      {mine, volume.Filter{FacilityCode: ptr("XXX9")}, vps.ErrFacilityNotFound},
	} {
		if _, err := v.List(ctx, c.s, c.f); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := v.Get(ctx, mine, foreign); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("another's volume: %v", err)
	}
	if _, err := v.UpgradeSizes(ctx, mine, foreign); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("sizes of another's volume: %v", err)
	}
	got, err := v.Get(ctx, mine, second)
	if err != nil || got.State != volume.Detached || got.DeviceID != 0 || got.SizeGiB() != 100 || got.Monthly != 1000 {
		t.Errorf("detached volume: %+v, %v", got, err)
	}
	sizes, err := v.UpgradeSizes(ctx, mine, second)
	if err != nil || len(sizes) != 2 || sizes[0].SizeGiB != 200 || sizes[1].SizeGiB != 500 {
		t.Errorf("sizes to grow to: %v, %v", sizes, err)
	}
	if sizes, err := v.UpgradeSizes(ctx, mine, root); err != nil || len(sizes) != 0 {
		t.Errorf("sizes of ROOT: %v, %v", sizes, err)
	}
	w.Check()
}

func TestParentActsForChild(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	k, err := w.Volumes.Create(ctx, family, 3001, 50)
	k = w.Succeeds(accepted(t, k, err))
	v, err := w.Volumes.Get(ctx, childs, k.VolumeID)
	if err != nil || v.ClientID != worldtest.Child || k.ClientID != worldtest.Child {
		t.Fatalf("the child's volume: %+v, task of client %d, %v", v, k.ClientID, err)
	}
	if _, err := w.Volumes.Get(ctx, mine, v.ID); !errors.Is(err, volume.ErrNotFound) {
		t.Fatalf("outside the scope: %v", err)
	}
	if _, err := w.Volumes.Get(ctx, theirs, v.ID); !errors.Is(err, volume.ErrNotFound) {
		t.Fatalf("another client: %v", err)
	}
	k, err = w.Volumes.Delete(ctx, family, v.ID, ptr(int64(3001)))
	w.Succeeds(accepted(t, k, err))
	w.Check()
}

// What is accepted is decided by what earlier tasks will lead to, so a whole
// life can be asked for at once, while nothing of it has happened.
func TestQueuedAtOnce(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	v := w.Volumes
	gate := make(chan struct{})
	w.Drivers["TPA1"].On("EnsureVolume").Block(gate)
	k, err := v.Create(ctx, mine, 1001, 50)
	first := accepted(t, k, err)
	id := first.VolumeID
	all := []task.Task{first}
	next := func(k task.Task, err error) {
		t.Helper()
		all = append(all, accepted(t, k, err))
	}
	if _, err := v.Get(ctx, mine, id); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("a volume that does not exist yet is shown: %v", err)
	}
	next(v.Resize(ctx, mine, id, 100, ptr(int64(1001))))
	refused(t, w, volume.ErrNotLarger, func() (task.Task, error) { return v.Resize(ctx, mine, id, 100, ptr(int64(1001))) })
	refused(t, w, volume.ErrAttached, func() (task.Task, error) { return v.Attach(ctx, mine, 1002, id) })
	next(v.Detach(ctx, mine, 1001, id))
	refused(t, w, volume.ErrNotAttached, func() (task.Task, error) { return v.Detach(ctx, mine, 1001, id) })
	refused(t, w, volume.ErrWrongDevice, func() (task.Task, error) { return v.Resize(ctx, mine, id, 200, ptr(int64(1001))) })
	next(v.Resize(ctx, mine, id, 200, nil))
	next(v.Attach(ctx, mine, 1002, id))
	next(v.Delete(ctx, mine, id, ptr(int64(1002))))
	for name, request := range map[string]func() (task.Task, error){
		"delete": func() (task.Task, error) { return v.Delete(ctx, mine, id, ptr(int64(1002))) },
		"resize": func() (task.Task, error) { return v.Resize(ctx, mine, id, 500, ptr(int64(1002))) },
		"detach": func() (task.Task, error) { return v.Detach(ctx, mine, 1002, id) },
		"attach": func() (task.Task, error) { return v.Attach(ctx, mine, 1001, id) },
	} {
		t.Log(name, "behind an accepted delete")
		refused(t, w, volume.ErrDeleting, request)
	}
	close(gate)
	for _, k := range all {
		w.Succeeds(k)
	}
	if _, err := v.Get(ctx, mine, id); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("after the delete: %v", err)
	}
	w.Check()
	// 50 for the month, and the differences to 100 and 200 for the whole of it.
	if sum := w.Count(`SELECT sum(amount_cents) FROM charge WHERE volume_id = ?`, id); sum != 2000 {
		t.Errorf("charged %d cents", sum)
	}
}

func TestFailingHead(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	v := w.Volumes
	gate := make(chan struct{})
	w.Drivers["TPA1"].On("EnsureVolume").Block(gate).Fail(backend.ErrNoSpace, 0)
	k, err := v.Create(ctx, mine, 1001, 50)
	head := accepted(t, k, err)
	id := head.VolumeID
	var rest []task.Task
	next := func(k task.Task, err error) {
		t.Helper()
		rest = append(rest, accepted(t, k, err))
	}
	next(v.Resize(ctx, mine, id, 100, ptr(int64(1001))))
	next(v.Detach(ctx, mine, 1001, id))
	next(v.Attach(ctx, mine, 1002, id))
	next(v.Delete(ctx, mine, id, ptr(int64(1002))))
	close(gate)
	w.Fails(head, "storage_full")
	for _, k := range rest {
		w.Fails(k, "precondition_failed")
	}
	w.Check()
	if n := w.Count(`SELECT count(*) FROM volume WHERE id = ?`, id) + w.Count(`SELECT count(*) FROM charge WHERE volume_id = ?`, id); n != 0 {
		t.Errorf("a failed create left %d rows", n)
	}
}

// Room that was to be made by a task that failed is not there.
func TestFailingHeadLeavesNoRoom(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	v := w.Volumes
	ids := make([]string, worldtest.MaxVolumes)
	for i := range ids {
		ids[i] = made(t, w, 1001, 50)
	}
	spare := madeFree(t, w, 1002, 50)
	gate := make(chan struct{})
	w.Drivers["TPA1"].On("EnsureDetached").For(ids[0]).Block(gate).Fail(backend.ErrGuestDidNotRelease, 1)
	w.Drivers["TPA1"].On("EnsureDetached").For(ids[1]).Fail(backend.ErrGuestDidNotRelease, 1)
	d1, err := v.Detach(ctx, mine, 1001, ids[0])
	accepted(t, d1, err)
	c1, err := v.Create(ctx, mine, 1001, 50)
	accepted(t, c1, err)
	d2, err := v.Delete(ctx, mine, ids[1], ptr(int64(1001)))
	accepted(t, d2, err)
	a1, err := v.Attach(ctx, mine, 1001, spare)
	accepted(t, a1, err)
	close(gate)
	w.Fails(d1, "guest_did_not_release")
	w.Fails(c1, "precondition_failed")
	w.Fails(d2, "guest_did_not_release")
	w.Fails(a1, "precondition_failed")
	w.Check()
}

func TestDeviceFullCountsQueuedWork(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	v := w.Volumes
	gate := make(chan struct{})
	w.Drivers["TPA1"].On("EnsureVolume").Block(gate)
	var all []task.Task
	for range worldtest.MaxVolumes {
		k, err := v.Create(ctx, mine, 1001, 50)
		all = append(all, accepted(t, k, err))
	}
	full := func() (task.Task, error) { return v.Create(ctx, mine, 1001, 50) }
	refused(t, w, volume.ErrDeviceFull, full)
	k, err := v.Delete(ctx, mine, all[0].VolumeID, ptr(int64(1001)))
	all = append(all, accepted(t, k, err))
	k, err = v.Detach(ctx, mine, 1001, all[1].VolumeID)
	all = append(all, accepted(t, k, err))
	for range 2 { // there is room for two again
		k, err := full()
		all = append(all, accepted(t, k, err))
	}
	refused(t, w, volume.ErrDeviceFull, full)
	refused(t, w, volume.ErrDeviceFull, func() (task.Task, error) { return v.Attach(ctx, mine, 1001, all[1].VolumeID) })
	close(gate)
	for _, k := range all {
		w.Succeeds(k)
	}
	refused(t, w, volume.ErrDeviceFull, full)
	w.Check()
}

// A hundred requests on one device at once all get their turn.
func TestManyOnOneDevice(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	v := w.Volumes
	id := made(t, w, 1001, 50)
	gate := make(chan struct{})
	w.Drivers["TPA1"].On("EnsureDetached").Block(gate)
	var all []task.Task
	for range 50 {
		k, err := v.Detach(ctx, mine, 1001, id)
		all = append(all, accepted(t, k, err))
		k, err = v.Attach(ctx, mine, 1001, id)
		all = append(all, accepted(t, k, err))
	}
	close(gate)
	for _, k := range all {
		w.Succeeds(k)
	}
	if got, err := v.Get(ctx, mine, id); err != nil || got.Generation != 101 {
		t.Errorf("generation %d, %v", got.Generation, err)
	}
	w.Check()
}

// What was bought keeps its price while the list changes.
func TestPriceOfTheRequest(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	gate := make(chan struct{})
	w.Drivers["TPA1"].On("EnsureVolume").Block(gate)
	k, err := w.Volumes.Create(ctx, mine, 1001, 50)
	accepted(t, k, err)
	list, err := w.Ledger.Prices(ctx, ptr("TPA1"))
	if err != nil {
		t.Fatal(err)
	}
	list[0].Monthly = 777
	if _, err := w.Ledger.PutPrice(ctx, list[0]); err != nil {
		t.Fatal(err)
	}
	if err := w.Ledger.DeletePrice(ctx, "TPA1", 100); err != nil {
		t.Fatal(err)
	}
	refused(t, w, volume.ErrSizeNotSold, func() (task.Task, error) {
		return w.Volumes.Resize(ctx, mine, k.VolumeID, 100, ptr(int64(1001)))
	})
	close(gate)
	w.Succeeds(k)
	if v, err := w.Volumes.Get(ctx, mine, k.VolumeID); err != nil || v.Monthly != 500 {
		t.Errorf("bought for 500, costs %d, %v", v.Monthly, err)
	}
	if v := made(t, w, 1001, 50); w.Count(`SELECT monthly_cents FROM service WHERE volume_id = ?`, v) != 777 {
		t.Error("the next one has another price than the list")
	}
	w.Check()
}

// A month that is due is charged before what comes next, and not as if the
// task had caused it.
func TestChangeAfterDueMonth(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	id := made(t, w, 1001, 50)
	w.Clock.Add(70 * 24 * 3600e9)
	k, err := w.Volumes.Resize(ctx, mine, id, 100, ptr(int64(1001)))
	w.Succeeds(accepted(t, k, err))
	if n := w.Count(`SELECT count(*) FROM charge WHERE volume_id = ? AND kind = 'renew' AND task_id = ''`, id); n != 2 {
		t.Errorf("%d renewals of nobody's task, want 2", n)
	}
	w.Check()
}
