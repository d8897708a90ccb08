package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/drivebay/drivebay/api"
)

// load is what the kill test asks of a server.
type load struct {
	mu   sync.Mutex
	rand *rand.Rand
	urls []string // of images
}

// newLoad offers images to import: small ones, a small one whose download
// stops half-way while the brake is on, and one that stops behind the first
// checkpoint of a download, 32 MiB.
func newLoad(r *rand.Rand, o *origin) *load {
	l := &load{rand: r}
	for n := range 3 {
		i := newImage(fmt.Sprintf("SMALL%d", n), 256<<10, true)
		l.urls = append(l.urls, o.serve(fmt.Sprintf("/small%d.iso", n), i))
		if n < 2 { // the same content from another place
			l.urls = append(l.urls, o.serveBraked(fmt.Sprintf("/braked%d.iso", n), i, 100<<10))
		}
	}
	l.urls = append(l.urls, o.serveBraked("/large.iso", newImage("LARGE", 34<<20, true), 33<<20))
	return l
}

// fork is a source of choices of its own.
func (l *load) fork() *rand.Rand {
	l.mu.Lock()
	defer l.mu.Unlock()
	return rand.New(rand.NewPCG(l.rand.Uint64(), l.rand.Uint64()))
}

// chance is true once in n times.
func (l *load) chance(n int) bool { return l.fork().IntN(n) == 0 }

// pause waits a random time below most: the moment of a kill is to be any.
func (l *load) pause(most time.Duration) {
	<-time.After(time.Duration(l.fork().Int64N(int64(most))))
}

// worker is one caller. What it may ask for it learns from the server each
// time, since others change it too; refusals are fine.
type worker struct {
	*client
	rand    *rand.Rand
	devices []int64
	images  []string
	isos    bool // works on ISOs, too
	note    func(c *client, taskID string)
}

// work goes on until the server does not answer any more.
func (w *worker) work(ctx context.Context) {
	for ctx.Err() == nil {
		step := w.changeVolume
		if w.isos && w.rand.IntN(3) == 0 {
			step = w.changeISO
		}
		if err := step(ctx); err != nil {
			return
		}
	}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// ask sends a request and notes what it accepts.
func (w *worker) ask(ctx context.Context, method, path string, body any) error {
	a, err := w.try(ctx, method, path, body)
	if err == nil {
		w.accept(a)
	}
	return err
}

// list reads a list into to.
func (w *worker) list(ctx context.Context, path string, to any) error {
	a, err := w.try(ctx, http.MethodGet, path, nil)
	if err != nil || a.status != http.StatusOK {
		return err
	}
	return json.Unmarshal(a.body, to)
}

// facility is where the worker acts next: where it has devices.
func (w *worker) facility() string {
	if len(w.devices) > 1 && w.rand.IntN(3) == 0 {
		return "LAX3"
	}
	return "TPA1"
}

// mostVolumes keeps the folder small: above it, volumes are rather deleted.
const mostVolumes = 16

func (w *worker) changeVolume(ctx context.Context) error {
	var list []api.Volume
	if err := w.list(ctx, "/vps/volume?facilityCode="+w.facility(), &list); err != nil {
		return err
	}
	var data []api.Volume
	for _, v := range list {
		if v.Type == "DATADISK" {
			data = append(data, v)
		}
	}
	device := pick(w.rand, w.devices)
	if len(data) == 0 || len(data) < mostVolumes && w.rand.IntN(3) == 0 {
		return w.ask(ctx, "POST", "/vps/volume", map[string]any{"deviceId": device, "size": pick(w.rand, []int{50, 100, 200})})
	}
	v := pick(w.rand, data)
	path, on := "/vps/volume/"+v.VolumeID, map[string]any{}
	if v.DeviceID != nil {
		device = *v.DeviceID
		on["deviceId"] = device
	}
	switch n := w.rand.IntN(8); {
	case len(data) > mostVolumes || n < 2:
		return w.ask(ctx, "DELETE", path, on)
	case n < 4:
		on["size"] = pick(w.rand, []int{100, 200, 500})
		return w.ask(ctx, "PUT", path, on)
	case v.DeviceID == nil || n == 4:
		return w.ask(ctx, "POST", fmt.Sprintf("/vps/%d/volume/%s/attach", device, v.VolumeID), nil)
	}
	return w.ask(ctx, "POST", fmt.Sprintf("/vps/%d/volume/%s/detach", device, v.VolumeID), nil)
}

// mostISOs is as mostVolumes.
const mostISOs = 6

func (w *worker) changeISO(ctx context.Context) error {
	facility := w.facility()
	var list []api.ISO
	if err := w.list(ctx, "/vps/iso?facilityCode="+facility, &list); err != nil {
		return err
	}
	if len(list) == 0 || len(list) < mostISOs && w.rand.IntN(3) == 0 {
		return w.ask(ctx, "POST", "/vps/iso", isoBody(facility, pick(w.rand, w.images), true))
	}
	i := pick(w.rand, list)
	switch w.rand.IntN(4) {
	case 0, 1:
		return w.ask(ctx, "POST", fmt.Sprintf("/vps/%d/attachiso", pick(w.rand, w.devices)), map[string]any{"isoId": i.ISOID})
	case 2:
		return w.ask(ctx, "POST", fmt.Sprintf("/vps/%d/detachiso", pick(w.rand, w.devices)), nil)
	}
	return w.ask(ctx, "DELETE", "/vps/iso/"+i.ISOID, nil)
}
