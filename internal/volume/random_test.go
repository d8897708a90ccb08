package volume_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/worldtest"
)

var (
	devices = []int64{1001, 1002, 1003}
	place   = map[int64]string{1001: "TPA1", 1002: "TPA1", 1003: "LAX3"}
	sizes   = []int{50, 100, 200, 500}
)

// disk is what a model knows of a volume: what it will be when all that was
// accepted has been done.
type disk struct {
	id, place string
	device    int64
	size      int
	gone      bool
}

// model foretells what is accepted and what comes of it, with a backend that
// never refuses for good.
type model struct {
	t     *rapid.T
	w     *worldtest.World
	disks []*disk
	tasks []task.Task
}

func (m *model) on(device int64) (n int) {
	for _, d := range m.disks {
		if d.device == device && !d.gone {
			n++
		}
	}
	return n
}

// got compares the answer with what was foretold, one of the reasons, or none
// for accepted. It reports whether the request was accepted.
func (m *model) got(what string, k task.Task, err error, want ...fault.Reason) bool {
	m.t.Helper()
	if len(want) == 0 && err == nil {
		m.tasks = append(m.tasks, k)
		return true
	}
	if err == nil || !slices.Contains(want, fault.ReasonOf(err)) {
		m.t.Fatalf("%s: %v (%s), foretold %v", what, err, fault.ReasonOf(err), want)
	}
	return false
}

func (m *model) anyDisk() *disk {
	if len(m.disks) == 0 {
		m.t.Skip("no volume yet")
	}
	return rapid.SampledFrom(m.disks).Draw(m.t, "disk")
}

func (m *model) device() int64 { return rapid.SampledFrom(devices).Draw(m.t, "device") }

// deviceFor is mostly what a request about d should name.
func (m *model) deviceFor(d *disk) *int64 {
	switch rapid.IntRange(0, 5).Draw(m.t, "which device") {
	case 0:
		return ptr(m.device())
	case 1:
		return nil
	}
	if d.device == 0 {
		return nil
	}
	return &d.device
}

func (m *model) create(*rapid.T) {
	at, size := m.device(), rapid.SampledFrom(sizes).Draw(m.t, "size")
	var want []fault.Reason
	if m.on(at) >= worldtest.MaxVolumes {
		want = append(want, volume.ErrDeviceFull.Reason)
	}
	k, err := m.w.Volumes.Create(ctx, mine, at, size)
	if m.got("create", k, err, want...) {
		m.disks = append(m.disks, &disk{id: k.VolumeID, place: place[at], device: at, size: size})
	}
}

// wrongDevice is why a resize or delete that names the device is refused.
func wrongDevice(d *disk, named *int64) []fault.Reason {
	switch {
	case d.gone: // being deleted, or deleted already
		return []fault.Reason{volume.ErrDeleting.Reason, volume.ErrNotFound.Reason}
	case named == nil && d.device != 0:
		return []fault.Reason{volume.ErrDeviceRequired.Reason}
	case named != nil && *named != d.device:
		return []fault.Reason{volume.ErrWrongDevice.Reason}
	}
	return nil
}

func (m *model) resize(*rapid.T) {
	d, size := m.anyDisk(), rapid.SampledFrom(sizes).Draw(m.t, "size")
	named := m.deviceFor(d)
	want := wrongDevice(d, named)
	if want == nil && size <= d.size {
		want = append(want, volume.ErrNotLarger.Reason)
	}
	k, err := m.w.Volumes.Resize(ctx, mine, d.id, size, named)
	if m.got("resize", k, err, want...) {
		d.size = size
	}
}

func (m *model) delete(*rapid.T) {
	d := m.anyDisk()
	named := m.deviceFor(d)
	k, err := m.w.Volumes.Delete(ctx, mine, d.id, named)
	if m.got("delete", k, err, wrongDevice(d, named)...) {
		d.gone = true
	}
}

func (m *model) detach(*rapid.T) {
	d, at := m.anyDisk(), m.device()
	var want []fault.Reason
	switch {
	case d.gone:
		want = wrongDevice(d, nil)
	case d.device != at:
		want = append(want, volume.ErrNotAttached.Reason)
	}
	k, err := m.w.Volumes.Detach(ctx, mine, at, d.id)
	if m.got("detach", k, err, want...) {
		d.device = 0
	}
}

func (m *model) attach(*rapid.T) {
	d, at := m.anyDisk(), m.device()
	var want []fault.Reason
	switch {
	case d.gone:
		want = wrongDevice(d, nil)
	case d.device != 0:
		want = append(want, volume.ErrAttached.Reason)
	case d.place != place[at]:
		want = append(want, volume.ErrOtherFacility.Reason)
	case m.on(at) >= worldtest.MaxVolumes:
		want = append(want, volume.ErrDeviceFull.Reason)
	}
	k, err := m.w.Volumes.Attach(ctx, mine, at, d.id)
	if m.got("attach", k, err, want...) {
		d.device = at
	}
}

// jump moves the clock by days or months, and renews what is due, or not.
func (m *model) jump(*rapid.T) {
	m.w.Clock.Add(time.Duration(rapid.IntRange(1, 100*24*3600).Draw(m.t, "seconds")) * time.Second)
	if rapid.Bool().Draw(m.t, "renew") {
		if _, err := m.w.Ledger.RenewAll(ctx); err != nil {
			m.t.Fatalf("renew: %v", err)
		}
	}
}

// hiccup lets a driver call fail for now, or lose its answer.
func (m *model) hiccup(*rapid.T) {
	call := rapid.SampledFrom([]string{"EnsureVolume", "EnsureAttached", "EnsureDetached", "GrowVolume", "DeleteVolume"}).Draw(m.t, "call")
	rule := m.w.Drivers["TPA1"].On(call)
	if rapid.Bool().Draw(m.t, "acts") {
		rule.Lose(errCut, 1)
	} else {
		rule.Fail(errCut, 1)
	}
}

// end waits for everything and compares the world with the model.
func (m *model) end() {
	for _, k := range m.tasks {
		m.w.Succeeds(k)
	}
	m.w.Check()
	for _, d := range m.disks {
		v, err := m.w.Volumes.Get(ctx, mine, d.id)
		if d.gone {
			if !errors.Is(err, volume.ErrNotFound) {
				m.t.Fatalf("a deleted volume is still there: %+v, %v", v, err)
			}
			continue
		}
		if err != nil || v.DeviceID != d.device || v.SizeGiB() != d.size {
			m.t.Fatalf("volume %+v, %v, by the model %+v", v, err, *d)
		}
	}
}

// Whatever is asked for in whatever order, while servers are killed, answers
// get lost and months pass: what is accepted is what was foretold, all of it
// succeeds, and the ledger is the integral of the price.
func TestRandomHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, w: worldtest.New(t, worldtest.Options{})}
		t.Repeat(map[string]func(*rapid.T){
			"create": m.create, "create more": m.create, "resize": m.resize, "delete": m.delete,
			"detach": m.detach, "detach more": m.detach, "attach": m.attach, "attach more": m.attach,
			"jump": m.jump, "hiccup": m.hiccup,
			"kill":  func(*rapid.T) { m.w.Restart() },
			"drain": func(*rapid.T) { m.w.Stop(); m.w.Start() },
			"wait":  func(*rapid.T) { m.w.Quiet() },
		})
		m.end()
	})
}

// request is one thing a goroutine asks for, of volumes by their number.
type request struct {
	kind   int
	nth    int
	size   int
	device int64
}

// Several clients at once, on a backend that also refuses for good: nothing is
// foretold, but everything ends, agrees, and can be deleted.
func TestRandomCrowd(t *testing.T) {
	t.Parallel()
	draw := rapid.Custom(func(t *rapid.T) request {
		return request{
			kind: rapid.IntRange(0, 5).Draw(t, "kind"), nth: rapid.IntRange(0, 5).Draw(t, "nth"),
			size: rapid.SampledFrom(sizes).Draw(t, "size"), device: rapid.SampledFrom(devices).Draw(t, "device"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		w := worldtest.New(t, worldtest.Options{})
		crowd := make([][]request, 3)
		for i := range crowd {
			crowd[i] = rapid.SliceOfN(draw, 1, 15).Draw(t, fmt.Sprint("client ", i))
		}
		for _, call := range []string{"EnsureVolume", "EnsureAttached", "EnsureDetached", "GrowVolume", "DeleteVolume"} {
			for _, r := range rapid.SliceOfN(rapid.Bool(), 0, 2).Draw(t, call) {
				if r {
					w.Drivers["TPA1"].On(call).Fail(deny, 1)
				} else {
					w.Drivers["TPA1"].On(call).Lose(backend.ErrNoSpace, 1)
				}
			}
		}
		kill := rapid.Bool().Draw(t, "kill")
		c := &crowded{w: w}
		var wg sync.WaitGroup
		for _, requests := range crowd {
			wg.Go(func() {
				for _, r := range requests {
					c.ask(r)
				}
			})
		}
		if kill {
			w.Restart()
		}
		wg.Wait()
		w.Quiet()
		if len(c.wrong) > 0 {
			t.Fatalf("refused for no reason of the rules: %v", c.wrong)
		}
		sweep(t, w)
		w.Check()
		for _, v := range c.left(t) {
			deleteNow(t, w, v.ID)
		}
		w.Check()
	})
}

type crowded struct {
	w     *worldtest.World
	mu    sync.Mutex
	ids   []string
	wrong []error
}

func (c *crowded) pick(nth int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ids) == 0 {
		return "none"
	}
	return c.ids[nth%len(c.ids)]
}

func (c *crowded) ask(r request) {
	id, v := c.pick(r.nth), c.w.Volumes
	var k task.Task
	var err error
	switch r.kind {
	case 0, 1:
		k, err = v.Create(ctx, mine, r.device, r.size)
	case 2:
		k, err = v.Attach(ctx, mine, r.device, id)
	case 3:
		k, err = v.Detach(ctx, mine, r.device, id)
	default:
		var device *int64
		if have, err := v.Get(ctx, mine, id); err == nil && have.DeviceID != 0 {
			device = &have.DeviceID
		}
		if r.kind == 4 {
			k, err = v.Resize(ctx, mine, id, r.size, device)
		} else {
			k, err = v.Delete(ctx, mine, id, device)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && r.kind < 2:
		c.ids = append(c.ids, k.VolumeID)
	case err != nil && fault.KindOf(err) == fault.Internal, err != nil && fault.KindOf(err) == fault.Unavailable:
		c.wrong = append(c.wrong, err)
	}
}

func (c *crowded) left(t worldtest.TB) (out []volume.Volume) {
	for _, code := range worldtest.Facilities {
		list, err := c.w.Volumes.List(ctx, mine, volume.Filter{FacilityCode: &code})
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		for _, v := range list {
			if v.Type == volume.DataDisk {
				out = append(out, v)
			}
		}
	}
	return out
}
