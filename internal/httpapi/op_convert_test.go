package httpapi

import (
	"encoding/json"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
)

func anyVolume(t *rapid.T) volume.Volume {
	return volume.Volume{
		ID:           rapid.StringN(0, 40, -1).Draw(t, "id"),
		FacilityCode: rapid.String().Draw(t, "facility"),
		Type:         rapid.SampledFrom([]volume.Type{volume.Root, volume.DataDisk}).Draw(t, "type"),
		State:        rapid.SampledFrom([]volume.State{volume.Attached, volume.Detached, volume.Resizing, volume.Deleting}).Draw(t, "state"),
		Bytes:        rapid.Int64Range(0, math.MaxInt64).Draw(t, "bytes"),
		Monthly:      billing.Cents(rapid.Int64Range(0, 1e13).Draw(t, "cents")),
		DeviceID:     rapid.SampledFrom([]int64{0, 1, 1001, math.MaxInt32}).Draw(t, "device"),
		CreatedAt: time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "nanoseconds")).
			In(time.FixedZone("", rapid.IntRange(-12, 12).Draw(t, "zone")*3600)),
	}
}

// The two answers that write themselves say what the generated ones would.
func TestVolumesEncodeAsGenerated(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(anyVolume), 0, 5).Draw(t, "volumes")
		inBytes := rapid.Bool().Draw(t, "inBytes")

		quick, generated := httptest.NewRecorder(), httptest.NewRecorder()
		if err := (volumesAnswer{list, inBytes}).VisitListVolumesResponse(quick); err != nil {
			t.Fatal(err)
		}
		want := api.ListVolumes200JSONResponse(each(list, func(v volume.Volume) api.Volume { return toVolume(v, inBytes) }))
		if err := want.VisitListVolumesResponse(generated); err != nil {
			t.Fatal(err)
		}
		sameAnswer(t, quick, generated)

		for _, v := range list {
			quick, generated := httptest.NewRecorder(), httptest.NewRecorder()
			if err := (volumeAnswer{v, inBytes}).VisitGetVolumeResponse(quick); err != nil {
				t.Fatal(err)
			}
			if err := api.GetVolume200JSONResponse(toVolume(v, inBytes)).VisitGetVolumeResponse(generated); err != nil {
				t.Fatal(err)
			}
			sameAnswer(t, quick, generated)
		}
	})
}

func sameAnswer(t *rapid.T, got, want *httptest.ResponseRecorder) {
	t.Helper()
	if got.Code != want.Code || got.Header().Get("Content-Type") != want.Header().Get("Content-Type") {
		t.Fatalf("status and type are %d %q, want %d %q", got.Code, got.Header(), want.Code, want.Header())
	}
	var a, b any
	if err := json.Unmarshal(got.Body.Bytes(), &a); err != nil {
		t.Fatalf("%v in %s", err, got.Body)
	}
	if err := json.Unmarshal(want.Body.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Fatalf("differs from the generated encoding (-generated +own):\n%s", diff)
	}
}

func TestVolumeSizeUnit(t *testing.T) {
	t.Parallel()
	v := volume.Volume{Bytes: 50 * volume.GiB, Type: volume.DataDisk, Monthly: 525}
	if got := toVolume(v, false); got.Size != 50 || got.SizeBytes != 50<<30 || *got.MonthlyPrice != 5.25 || got.DeviceID != nil {
		t.Errorf("in GiB: %+v", got)
	}
	if got := toVolume(v, true); got.Size != 50<<30 || got.SizeBytes != 50<<30 {
		t.Errorf("in bytes: %+v", got)
	}
	if got := toVolume(volume.Volume{Type: volume.Root}, false); got.MonthlyPrice != nil {
		t.Errorf("a ROOT volume has the price %v", *got.MonthlyPrice)
	}
}

func TestTaskMetaData(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		task task.Task
		want string
	}{
		"as it was asked for": {task.Task{State: task.Done, Args: json.RawMessage(`{"volumeId":"v","action":"volume.create"}`)},
			`{"volumeId":"v","action":"volume.create"}`},
		"no arguments": {task.Task{State: task.Running}, `{}`},
		"failed": {task.Task{State: task.Failed, Args: json.RawMessage(`{"isoId":"i","big":9007199254740993}`), Error: `no "x"`, Reason: "truncated"},
			`{"big":9007199254740993,"error":"no \"x\"","errorCode":"truncated","isoId":"i"}`},
		"failed without arguments": {task.Task{State: task.Failed, Args: json.RawMessage(`null`), Error: "e", Reason: "r"}, `{"error":"e","errorCode":"r"}`},
		"arguments that are damaged": {task.Task{State: task.Failed, Args: json.RawMessage(`{`), Error: "e", Reason: "r"},
			`{"error":"e","errorCode":"r"}`},
	} {
		if got := metaData(c.task); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestTaskMessage(t *testing.T) {
	t.Parallel()
	if got := toTask(task.Task{State: task.Running, Message: "copying", Error: ""}); got.Message != "copying" || got.Result != api.TaskResultPending {
		t.Errorf("running: %+v", got)
	}
	got := toTask(task.Task{State: task.Failed, Message: "copying", Error: "disk full", DeviceID: 5})
	if got.Message != "disk full" || got.Result != api.TaskResultFailed || got.DeviceID == nil || *got.DeviceID != 5 {
		t.Errorf("failed: %+v", got)
	}
}

// A time is shown before it is stored as it is shown afterwards.
func TestTimesAreUTCToTheMicrosecond(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 13, 0, 0, 123456789, time.FixedZone("", 3600))
	if got := inUTC(at).Format(time.RFC3339Nano); got != "2026-01-31T12:00:00.123456Z" {
		t.Error(got)
	}
	if got := inUTCOrNull(time.Time{}); got != nil {
		t.Error(got)
	}
}

func TestISOShowsOnlyWhatIsKnown(t *testing.T) {
	t.Parallel()
	queued := toISO(iso.ISO{State: iso.Queued})
	if queued.Size != nil || queued.SHA256 != nil || queued.Label != nil || queued.BIOS != nil || queued.UEFI != nil || queued.Reason != nil || queued.TaskID != nil {
		t.Errorf("queued: %+v", queued)
	}
	if queued.DeviceIds == nil || queued.Ready {
		t.Errorf("queued: %+v", queued)
	}
	ready := toISO(iso.ISO{State: iso.Ready, SHA256: "ab", Size: 7, BIOS: true, TaskID: "t"})
	if !ready.Ready || *ready.Size != 7 || *ready.SHA256 != "ab" || *ready.Label != "" || !*ready.BIOS || *ready.UEFI || *ready.TaskID != "t" {
		t.Errorf("ready: %+v", ready)
	}
	failed := toISO(iso.ISO{State: iso.Failed, Reason: "truncated", Error: "it is cut off"})
	if *failed.Reason != "truncated" || failed.Status != "it is cut off" {
		t.Errorf("failed: %+v", failed)
	}
}

func TestShownURL(t *testing.T) {
	t.Parallel()
	long := "https://images.example.org/" + strings.Repeat("a/", 400) + "x.iso"
	for raw, want := range map[string]string{
		"https://images.example.org/a%20b.iso":          "https://images.example.org/a%20b.iso",
		"https://images.example.org/ü.iso":              "https://images.example.org/ü.iso",
		long:                                            long,
		"https://u:p@images.example.org/x.iso":          "https://images.example.org/x.iso",
		"https://images.example.org/x.iso?token=abc&a=": "https://images.example.org/x.iso?token=***&a=",
		"https://images.example.org/x.iso#secret":       "https://images.example.org/x.iso",
		"https://images.example.org/%zz":                "(unreadable URL)",
	} {
		if got := shownURL(raw); got != want {
			t.Errorf("%s is shown as %s, want %s", raw, got, want)
		}
	}
}

func TestParsePrice(t *testing.T) {
	t.Parallel()
	for units, want := range map[float64]billing.Cents{0: 0, 5: 500, 0.29: 29, 1.1: 110, 10.05: 1005, 999999.99: 99999999, math.Copysign(0, -1): 0} {
		if got, err := parsePrice(units); err != nil || got != want {
			t.Errorf("%v is %d cents (%v), want %d", units, got, err, want)
		}
	}
	for _, units := range []float64{-1, -0.01, 0.001, 5.005, 1e-9, 1e300, math.Inf(1), math.NaN()} {
		if got, err := parsePrice(units); err == nil {
			t.Errorf("%v is taken as %d cents", units, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		cents := billing.Cents(rapid.Int64Range(0, 1e8).Draw(t, "cents"))
		if got, err := parsePrice(cents.Units()); err != nil || got != cents {
			t.Fatalf("%v is %d cents (%v), want %d", cents.Units(), got, err, cents)
		}
	})
}

func TestParseAddresses(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "192.0.2.7/24": "192.0.2.0/24", "2001:db8::/32": "2001:db8::/32", " ::1 ": "::1",
		"::ffff:192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7/120": "192.0.2.0/24", "0.0.0.0/0": "0.0.0.0/0",
	} {
		list, err := parseAddresses([]string{s})
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if got := toKey(access.Key{Allowed: list}).AllowedAddresses; len(got) != 1 || got[0] != want {
			t.Errorf("%s is shown as %v, want %s", s, got, want)
		}
	}
	for _, s := range []string{"", "example.org", "192.0.2", "192.0.2.7/33", "192.0.2.7/", "::ffff:192.0.2.7/80", "fe80::1%eth0", "fe80::%eth0/64", "192.0.2.07"} {
		if list, err := parseAddresses([]string{s}); err == nil {
			t.Errorf("%q is taken as %v", s, list)
		}
	}
}

func TestDearest(t *testing.T) {
	t.Parallel()
	given := []billing.Price{
		{FacilityCode: "A", SizeGiB: 100, Monthly: 10}, {FacilityCode: "A", SizeGiB: 50, Monthly: 5},
		{FacilityCode: "B", SizeGiB: 100, Monthly: 30}, {FacilityCode: "C", SizeGiB: 100, Monthly: 20},
	}
	want := []billing.Price{{FacilityCode: "A", SizeGiB: 50, Monthly: 5}, {FacilityCode: "B", SizeGiB: 100, Monthly: 30}}
	if diff := cmp.Diff(want, dearest(given)); diff != "" {
		t.Error(diff)
	}
	if got := toProducts(dearest(nil)).VolumeProducts; got == nil || len(got) != 0 {
		t.Errorf("nothing on sale is %v", got)
	}
}

func TestServiceFilter(t *testing.T) {
	t.Parallel()
	ptr := func(s string) *string { return &s }
	order := int64(3)
	status := func(s api.ListServicesParamsStatus) *api.ListServicesParamsStatus { return &s }
	for name, c := range map[string]struct {
		p      api.ListServicesParams
		some   bool
		status billing.ServiceStatus
	}{
		"nothing":        {api.ListServicesParams{}, true, ""},
		"all":            {api.ListServicesParams{Status: status("all"), TypeCode: ptr(""), OrderID: new(int64)}, true, ""},
		"active":         {api.ListServicesParams{Status: status("active"), TypeCode: ptr("vps_volume")}, true, billing.Active},
		"cancelled":      {api.ListServicesParams{Status: status("cancelled")}, true, billing.Cancelled},
		"never there":    {api.ListServicesParams{Status: status("suspended")}, false, ""},
		"another type":   {api.ListServicesParams{TypeCode: ptr("colo")}, false, ""},
		"of some order":  {api.ListServicesParams{OrderID: &order}, false, ""},
		"status pending": {api.ListServicesParams{Status: status("pending")}, false, ""},
	} {
		f, some := serviceFilter(c.p)
		if some != c.some || orZero(f.Status) != c.status {
			t.Errorf("%s: %v %v", name, orZero(f.Status), some)
		}
	}
}

// A list of one device is the call clients make most.
func BenchmarkVolumesAnswer(b *testing.B) {
	list := make([]volume.Volume, 50)
	for i := range list {
		list[i] = volume.Volume{
			ID: "0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a10", Type: volume.DataDisk, State: volume.Attached, Bytes: 50 << 30,
			Monthly: 525, DeviceID: 1001, FacilityCode: "TPA1", CreatedAt: time.Date(2026, 1, 31, 12, 0, 0, 123456000, time.UTC),
		}
	}
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = volumesAnswer{list: list}.VisitListVolumesResponse(httptest.NewRecorder())
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a := api.ListVolumes200JSONResponse(each(list, func(v volume.Volume) api.Volume { return toVolume(v, false) }))
			_ = a.VisitListVolumesResponse(httptest.NewRecorder())
		}
	})
}
