package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

func queued(kind task.Kind, device int64, size int) task.Task {
	b, err := json.Marshal(args{SizeGiB: size, DeviceID: device})
	if err != nil {
		panic(err)
	}
	return task.Task{Kind: kind, DeviceID: device, Args: b, Lane: task.DeviceLane(device)}
}

func TestPlanOf(t *testing.T) {
	t.Parallel()
	at50 := Volume{ID: "v", DeviceID: 1, Bytes: 50 * GiB, State: Attached}
	free := Volume{ID: "v", Bytes: 50 * GiB, State: Detached}
	for name, c := range map[string]struct {
		v       Volume
		pending []task.Task
		want    Plan
		lane    string
	}{
		"nothing pending": {at50, nil, Plan{DeviceID: 1, SizeGiB: 50}, "device:1"},
		"detached":        {free, nil, Plan{SizeGiB: 50}, "volume:v"},
		"being created":   {Volume{ID: "v", Bytes: 50 * GiB, State: Creating}, []task.Task{queued(KindCreate, 3, 50)}, Plan{DeviceID: 3, SizeGiB: 50}, "device:3"},
		"left over":       {Volume{ID: "v", Bytes: 50 * GiB, State: Discarded}, nil, Plan{SizeGiB: 50, Gone: true}, "volume:v"},
		"resized":         {at50, []task.Task{queued(KindResize, 1, 100)}, Plan{DeviceID: 1, SizeGiB: 100}, "device:1"},
		"resized twice":   {at50, []task.Task{queued(KindResize, 1, 100), queued(KindResize, 1, 200)}, Plan{DeviceID: 1, SizeGiB: 200}, "device:1"},
		"detached soon":   {at50, []task.Task{queued(KindDetach, 1, 0)}, Plan{SizeGiB: 50}, "volume:v"},
		"moved":           {at50, []task.Task{queued(KindDetach, 1, 0), queued(KindAttach, 2, 0)}, Plan{DeviceID: 2, SizeGiB: 50}, "device:2"},
		"moved and back":  {at50, []task.Task{queued(KindDetach, 1, 0), queued(KindAttach, 2, 0), queued(KindDetach, 2, 0), queued(KindAttach, 1, 0)}, Plan{DeviceID: 1, SizeGiB: 50}, "device:1"},
		"deleted soon":    {at50, []task.Task{queued(KindDelete, 1, 0)}, Plan{DeviceID: 1, SizeGiB: 50, Gone: true}, "device:1"},
		"other kinds":     {at50, []task.Task{{Kind: "iso.attach", DeviceID: 9}}, Plan{DeviceID: 1, SizeGiB: 50}, "device:1"},
	} {
		got, err := PlanOf(c.v, c.pending)
		if err != nil || got != c.want {
			t.Errorf("%s: plan %+v, %v, want %+v", name, got, err, c.want)
		}
		if lane := got.lane(c.v.ID); lane != c.lane {
			t.Errorf("%s: lane %s, want %s", name, lane, c.lane)
		}
	}
	if _, err := PlanOf(at50, []task.Task{{Kind: KindResize, Args: json.RawMessage(`{"size":`)}}); err == nil {
		t.Error("arguments that are no JSON made a plan")
	}
}

func TestCheckDevice(t *testing.T) {
	t.Parallel()
	id := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		planned int64
		given   *int64
		want    *fault.Error
	}{
		"attached, right one":  {1, id(1), nil},
		"attached, none":       {1, nil, ErrDeviceRequired},
		"attached, other":      {1, id(2), ErrWrongDevice},
		"attached, zero":       {1, id(0), ErrWrongDevice},
		"attached, negative":   {1, id(-1), ErrWrongDevice},
		"detached, none":       {0, nil, nil},
		"detached, one":        {0, id(1), ErrWrongDevice},
		"detached, as its row": {0, id(0), nil},
	} {
		err := Plan{DeviceID: c.planned}.CheckDevice(c.given)
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if f, ok := fault.As(err); ok && f.Fields["deviceId"] == "" {
			t.Errorf("%s: the error does not name the field", name)
		}
	}
}

func TestCheckSizes(t *testing.T) {
	t.Parallel()
	sold := billing.DefaultPrices("TPA1")
	for _, c := range []struct {
		have, want int
		err        *fault.Error
		text       string
	}{
		{50, 100, nil, ""},
		{50, 500, nil, ""},
		{50, 50, ErrNotLarger, "50 GiB"},
		{100, 50, ErrNotLarger, "100 GiB"},
		{50, 0, ErrNotLarger, ""},
		{50, -1, ErrNotLarger, ""},
		{50, 51, ErrSizeNotSold, "50, 100, 200, 500"},
		{500, 501, ErrSizeNotSold, ""},
		{50, 1 << 40, ErrSizeNotSold, ""},
		{25, 50, nil, ""},
	} {
		price, err := Plan{SizeGiB: c.have}.CheckGrow(c.want, sold)
		if c.err == nil && (err != nil || price.SizeGiB != c.want || price.Monthly == 0) || c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%d to %d: %+v, %v, want %v", c.have, c.want, price, err, c.err)
		}
		if err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%d to %d: %q does not say %q", c.have, c.want, err, c.text)
		}
	}
	if _, err := CheckSold(50, nil); !errors.Is(err, ErrSizeNotSold) || !strings.Contains(err.Error(), "none") {
		t.Errorf("nothing is sold: %v", err)
	}
}

func TestPlanned(t *testing.T) {
	t.Parallel()
	kinds := func(list ...task.Kind) map[task.Kind]int {
		out := map[task.Kind]int{}
		for _, k := range list {
			out[k]++
		}
		return out
	}
	for i, c := range []struct {
		now  int
		lane map[task.Kind]int
		want int
	}{
		{0, nil, 0},
		{3, nil, 3},
		{3, kinds(KindCreate, KindCreate), 5},
		{3, kinds(KindDelete), 2},
		{3, kinds(KindDetach, KindAttach), 3},
		{3, kinds(KindResize, "iso.attach", "device.create"), 3},
		{0, kinds(KindCreate, KindDetach, KindAttach, KindDelete), 0},
	} {
		if got := planned(c.now, c.lane); got != c.want {
			t.Errorf("case %d: %d, want %d", i, got, c.want)
		}
	}
}

func ExampleVolume_SizeGiB() {
	fmt.Println(Volume{Bytes: 50 * GiB}.SizeGiB())
	// Output: 50
}
