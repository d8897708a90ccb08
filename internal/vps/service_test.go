package vps_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
	"github.com/drivebay/drivebay/internal/event"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
	"github.com/drivebay/drivebay/internal/worldtest"
)

var (
	ctx      = context.Background()
	mine     = access.Scope{Clients: []int64{worldtest.Client}}
	family   = access.Scope{Clients: []int64{worldtest.Client, worldtest.Child}}
	everyone = access.Scope{All: true}
)

func ptr[T any](v T) *T { return &v }

// calls are what making a device asks of its driver.
var calls = []string{"EnsureVM", "EnsureVolume", "EnsureAttached", "Power"}

var deny = &backend.Error{Reason: "denied", Text: "the host says no", Permanent: true}

func wanted(id int64) vps.NewDevice {
	return vps.NewDevice{ID: id, ClientID: worldtest.Client, FacilityCode: "TPA1", Hostname: "new"}
}

func create(t *testing.T, w *worldtest.World, n vps.NewDevice) task.Task {
	t.Helper()
	k, err := w.VPS.CreateDevice(ctx, n)
	if err != nil {
		t.Fatalf("create device: %v", err)
	}
	return k
}

func TestCreateDevice(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	k := w.Succeeds(create(t, w, vps.NewDevice{ClientID: worldtest.Client, FacilityCode: "TPA1", Hostname: "default"}))
	d, err := w.VPS.Get(ctx, mine, k.DeviceID)
	if err != nil {
		t.Fatal(err)
	}
	if d.ID != 3002 || d.Status != vps.Running || d.VCPU != 2 || d.MemoryMB != 4096 || d.MaxVolumes != 16 || d.Volumes != 0 || d.ISOID != "" {
		t.Errorf("with defaults: %+v", d)
	}
	list, err := w.On(mine, d.ID)
	if err != nil || len(list) != 1 || list[0].Type != "ROOT" || list[0].SizeGiB() != 25 || list[0].DeviceID != d.ID || list[0].State != "attached" {
		t.Errorf("its ROOT volume: %+v, %v", list, err)
	}
	w.Succeeds(create(t, w, vps.NewDevice{
		ID: 77, ClientID: worldtest.Other, FacilityCode: "LAX3", Hostname: "own", VCPU: 8, MemoryMB: 512, RootGiB: 10, MaxVolumes: ptr(1),
	}))
	d, err = w.VPS.Get(ctx, everyone, 77)
	if err != nil || d.VCPU != 8 || d.MemoryMB != 512 || d.MaxVolumes != 1 || d.Hostname != "own" {
		t.Errorf("with its own numbers: %+v, %v", d, err)
	}
	w.Check()
	if n := w.Count(`SELECT count(*) FROM service`); n != 0 {
		t.Errorf("ROOT volumes have %d services", n)
	}
}

func TestCreateRefusals(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	before := w.Count(`SELECT (SELECT count(*) FROM device) + (SELECT count(*) FROM volume) + (SELECT count(*) FROM task)`)
	for name, c := range map[string]struct {
		change func(*vps.NewDevice)
		want   fault.Reason
		field  string
	}{
		"there already":          {func(n *vps.NewDevice) { n.ID = 1001 }, vps.ErrDeviceExists.Reason, ""},
		"another client's":       {func(n *vps.NewDevice) { n.ID = 2001 }, vps.ErrDeviceExists.Reason, ""},
		"no such client":         {func(n *vps.NewDevice) { n.ClientID = 4711 }, "client_unknown", "clientId"},
		"no such facility":       {func(n *vps.NewDevice) { n.FacilityCode = "XXX9" }, vps.ErrUnknownFacility.Reason, "facilityCode"},
		"more than guests take":  {func(n *vps.NewDevice) { n.MaxVolumes = ptr(17) }, "too_many_volumes", "maxVolumes"},
		"far more than they can": {func(n *vps.NewDevice) { n.MaxVolumes = ptr(1 << 40) }, "too_many_volumes", "maxVolumes"},
	} {
		n := wanted(5000)
		c.change(&n)
		_, err := w.VPS.CreateDevice(ctx, n)
		f, ok := fault.As(err)
		if !ok || f.Reason != c.want || (c.field == "") != (len(f.Fields) == 0) || c.field != "" && f.Fields[c.field] == "" {
			t.Errorf("%s: %v (%s)", name, err, fault.ReasonOf(err))
		}
	}
	if after := w.Count(`SELECT (SELECT count(*) FROM device) + (SELECT count(*) FROM volume) + (SELECT count(*) FROM task)`); after != before {
		t.Errorf("refused requests left %d rows", after-before)
	}
	if _, err := w.VPS.PutFacility(ctx, vps.Facility{Code: "GONE", Title: "x", City: "x", State: "x", Country: "US"}); err != nil {
		t.Fatal(err)
	}
	n := wanted(5000)
	n.FacilityCode = "GONE"
	if _, err := w.VPS.CreateDevice(ctx, n); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("without a driver: %v", err)
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	ids := func(s access.Scope, f vps.Filter) (out []int64) {
		t.Helper()
		list, err := w.VPS.List(ctx, s, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			out = append(out, d.ID)
		}
		return out
	}
	for name, c := range map[string]struct {
		s    access.Scope
		f    vps.Filter
		want []int64
	}{
		"own":               {mine, vps.Filter{}, []int64{1001, 1002, 1003}},
		"with children":     {family, vps.Filter{}, []int64{1001, 1002, 1003, 3001}},
		"everyone's":        {everyone, vps.Filter{}, []int64{1001, 1002, 1003, 2001, 3001}},
		"in a facility":     {mine, vps.Filter{FacilityCode: ptr("LAX3")}, []int64{1003}},
		"a page":            {everyone, vps.Filter{After: 1002, Limit: 2}, []int64{1003, 2001}},
		"behind the last":   {everyone, vps.Filter{After: 3001}, nil},
		"of nobody's scope": {access.Scope{Clients: []int64{4711}}, vps.Filter{}, nil},
	} {
		if got := ids(c.s, c.f); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if _, err := w.VPS.List(ctx, mine, vps.Filter{FacilityCode: ptr("XXX9")}); !errors.Is(err, vps.ErrFacilityNotFound) {
		t.Errorf("in no facility: %v", err)
	}
	for _, id := range []int64{2001, 3001, 4711, 0, -1} {
		if _, err := w.VPS.Get(ctx, mine, id); !errors.Is(err, vps.ErrDeviceNotFound) {
			t.Errorf("device %d: %v", id, err)
		}
		if _, err := w.VPS.Events(ctx, mine, id, 10); !errors.Is(err, vps.ErrDeviceNotFound) {
			t.Errorf("events of device %d: %v", id, err)
		}
	}
}

// Work may be asked for while a device is being made: it waits its turn.
func TestWorkWaitsForTheDevice(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	gate := make(chan struct{})
	w.Drivers["TPA1"].On("EnsureVM").Block(gate)
	made := create(t, w, wanted(5000))
	if d, err := w.VPS.Get(ctx, mine, 5000); err != nil || d.Status != vps.Creating {
		t.Errorf("while it is made: %+v, %v", d, err)
	}
	if list, err := w.On(mine, 5000); err != nil || len(list) != 0 {
		t.Errorf("its volumes while it is made: %+v, %v", list, err)
	}
	k, err := w.Volumes.Create(ctx, mine, 5000, 50)
	if err != nil {
		t.Fatal(err)
	}
	close(gate)
	w.Succeeds(made)
	w.Succeeds(k)
	w.Check()
}

// A device that cannot be made is nothing to its client: its ROOT disk goes,
// and what was accepted for it ends cleanly.
func TestCreateFails(t *testing.T) {
	t.Parallel()
	for _, call := range calls {
		for name, inject := range map[string]func(*fake.Rule){
			"refused":           func(r *fake.Rule) { r.Fail(deny, 0) },
			"done, and refused": func(r *fake.Rule) { r.Lose(deny, 1) },
		} {
			t.Run(call+" "+name, func(t *testing.T) {
				t.Parallel()
				w := worldtest.New(t, worldtest.Options{})
				free := freeVolume(t, w)
				gate := make(chan struct{})
				d := w.Drivers["TPA1"]
				inject(d.On(call).Block(gate))
				made := create(t, w, wanted(5000))
				v, err := w.Volumes.Create(ctx, mine, 5000, 50)
				if err != nil {
					t.Fatal(err)
				}
				a, err := w.Volumes.Attach(ctx, mine, 5000, free)
				if err != nil {
					t.Fatal(err)
				}
				close(gate)
				w.Fails(made, "denied")
				w.Fails(v, "precondition_failed")
				w.Fails(a, "precondition_failed")
				hidden(t, w, free)
				w.Check()
			})
		}
	}
}

func freeVolume(t *testing.T, w *worldtest.World) string {
	t.Helper()
	k, err := w.Volumes.Create(ctx, mine, 1001, 50)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(k)
	id := k.VolumeID
	if k, err = w.Volumes.Detach(ctx, mine, 1001, id); err != nil {
		t.Fatal(err)
	}
	w.Succeeds(k)
	return id
}

// hidden checks that device 5000 is seen by operators alone, with the reason.
func hidden(t *testing.T, w *worldtest.World, free string) {
	t.Helper()
	device := int64(5000)
	for name, err := range map[string]error{
		"get":     second(w.VPS.Get(ctx, mine, device)),
		"events":  second(w.VPS.Events(ctx, mine, device, 10)),
		"volumes": second(w.On(mine, device)),
		"create":  second(w.Volumes.Create(ctx, mine, device, 50)),
		"attach":  second(w.Volumes.Attach(ctx, mine, device, free)),
		"eject":   second(w.ISOs.Detach(ctx, mine, device, false)),
	} {
		if !errors.Is(err, vps.ErrDeviceNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	list, err := w.VPS.List(ctx, mine, vps.Filter{})
	if err != nil || slices.ContainsFunc(list, func(d vps.Device) bool { return d.ID == device }) {
		t.Errorf("listed: %+v, %v", list, err)
	}
	if d, err := w.VPS.Get(ctx, everyone, device); err != nil || d.Status != vps.Failed {
		t.Errorf("for an operator: %+v, %v", d, err)
	}
	events, err := w.VPS.Events(ctx, everyone, device, 100)
	if err != nil || !slices.ContainsFunc(events, func(e event.Event) bool { return e.Level == event.Error && e.Text == "denied" }) {
		t.Errorf("events for an operator: %+v, %v", events, err)
	}
}

func second[T any](_ T, err error) error { return err }

// With the ROOT disk beyond reach its row stays, and nobody sees it.
func TestRootDiskLeft(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	w.Drivers["TPA1"].On("Power").Fail(deny, 1)
	w.Drivers["TPA1"].On("DeleteVolume").Fail(backend.ErrUnavailable, 0)
	k := create(t, w, wanted(5000))
	w.Fails(k, "denied")
	if n := w.Count(`SELECT count(*) FROM volume WHERE id = ? AND state = 'creating'`, k.VolumeID); n != 1 {
		t.Errorf("%d rows for a disk that may be left", n)
	}
	if _, err := w.Volumes.Get(ctx, everyone, k.VolumeID); fault.ReasonOf(err) != "volume_not_found" {
		t.Errorf("it is shown: %v", err)
	}
}

func TestCreateTriesAgain(t *testing.T) {
	t.Parallel()
	for _, call := range calls {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			w := worldtest.New(t, worldtest.Options{})
			w.Drivers["TPA1"].On(call).Lose(errors.New("connection reset"), 1)
			w.Succeeds(create(t, w, wanted(5000)))
			w.Check()
		})
	}
}

func TestKillBetweenSteps(t *testing.T) {
	t.Parallel()
	for _, call := range calls {
		for _, after := range []bool{false, true} {
			t.Run(call+map[bool]string{false: " before", true: " after"}[after], func(t *testing.T) {
				t.Parallel()
				w := worldtest.New(t, worldtest.Options{})
				var k task.Task
				w.KillAt("TPA1", call, after, func() { k = create(t, w, wanted(5000)) })
				w.Succeeds(k)
				w.Check()
			})
		}
	}
}

// The feed of a device has each step of each task, newest first.
func TestEvents(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	good, err := w.Volumes.Create(ctx, mine, 1001, 50)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(good)
	w.Drivers["TPA1"].On("EnsureVolume").Fail(backend.ErrNoSpace, 1)
	bad, err := w.Volumes.Create(ctx, mine, 1001, 50)
	if err != nil {
		t.Fatal(err)
	}
	w.Fails(bad, "storage_full")
	list, err := w.VPS.Events(ctx, mine, 1001, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	ids := map[string]bool{}
	for _, e := range list {
		got = append(got, strings.Join([]string{e.Type, string(e.State), string(e.Level), e.Text}, " "))
		ids[e.ID] = true
		if e.DeviceID != 1001 || e.ClientID != worldtest.Client || e.TaskID == "" || e.At.IsZero() {
			t.Errorf("event %+v", e)
		}
	}
	want := []string{
		"VOLUME.CREATE Completed ERROR storage_full", "VOLUME.CREATE Started INFO ", "VOLUME.CREATE Scheduled INFO ",
		"VOLUME.CREATE Completed INFO ", "VOLUME.CREATE Started INFO ", "VOLUME.CREATE Scheduled INFO ",
		"DEVICE.CREATE Completed INFO ", "DEVICE.CREATE Started INFO ", "DEVICE.CREATE Scheduled INFO ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(ids) != len(list) {
		t.Error("two events have one id")
	}
	if few, err := w.VPS.Events(ctx, mine, 1001, 2); err != nil || len(few) != 2 || few[0].ID != list[0].ID {
		t.Errorf("the newest two: %+v, %v", few, err)
	}
}

func TestFacilities(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{Bare: true})
	f, err := w.VPS.PutFacility(ctx, vps.Facility{Code: "AMS1", Title: "Amsterdam", City: "Amsterdam", State: "NH", Country: "NL"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.Ledger.Prices(ctx, ptr("AMS1"))
	if err != nil || len(list) != 4 {
		t.Errorf("a new facility sells %v, %v", list, err)
	}
	if err := w.Ledger.DeletePrice(ctx, "AMS1", 50); err != nil {
		t.Fatal(err)
	}
	again, err := w.VPS.PutFacility(ctx, vps.Facility{Code: "AMS1", Title: "Amsterdam 1", City: "Amsterdam", State: "NH", Country: "NL"})
	if err != nil || again.ID != f.ID || again.Title != "Amsterdam 1" {
		t.Errorf("changed: %+v, %v", again, err)
	}
	if list, err := w.Ledger.Prices(ctx, ptr("AMS1")); err != nil || len(list) != 3 {
		t.Errorf("a change of the facility changed its prices: %v, %v", list, err)
	}
	all, err := w.VPS.Facilities(ctx)
	if err != nil || len(all) != 3 || all[0].Code != "AMS1" || all[1].Code != "LAX3" || all[2].Code != "TPA1" {
		t.Errorf("all: %+v, %v", all, err)
	}
}
