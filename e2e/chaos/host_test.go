package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/backend/fake"
)

var fakeOptions = fake.Options{MaxVolumes: 128, DetachTimeout: 20 * time.Millisecond}

// mood says how often, of a thousand calls, the host does what.
type mood struct {
	slow     int // takes up to delay before it looks at the call
	delay    time.Duration
	late     int // looks at it when the caller's lease has long ended
	fail     int // answers that it is not available, with nothing done
	lose     int // does it, and the answer is lost
	refuse   int // refuses for good
	careless int // goes on with a call whose caller has gone
}

var (
	calm = mood{}
	// life is the mood while a seed runs, the others those of some of its faults.
	life  = mood{slow: 150, delay: 60 * time.Millisecond, fail: 20, lose: 20, refuse: 25, careless: 700}
	limbo = mood{late: 600, slow: 300, delay: 200 * time.Millisecond}
	storm = mood{slow: 500, delay: 800 * time.Millisecond, fail: 200, lose: 150, refuse: 50, careless: 900}
)

// refusals are what a host may refuse for good, by method.
var refusals = map[string]*backend.Error{
	"EnsureVolume": backend.ErrNoSpace, "GrowVolume": backend.ErrNoSpace, "EnsureAttached": backend.ErrNoSlot,
	"EnsureDetached": backend.ErrGuestDidNotRelease, "SetMedia": backend.ErrTrayLocked,
}

// host has the storage and guests of all facilities. It lives in the test, so
// the end of a server is not its end.
type host struct {
	drivers map[string]*fake.Driver
	socket  string
	server  *http.Server
	mood    atomic.Pointer[mood]
	watch   bool // look for volumes in two guests after every attach

	mu    sync.Mutex
	post  func(call) <-chan struct{} // a call that gets a channel waits for it, whatever becomes of its caller
	rng   *rand.Rand
	calls []handled
	wrong []string
}

// handled is a call that was let through to a driver.
type handled struct {
	call
	began, ended time.Time
	err          error
}

// newHost starts a host in the folder, whose paths must be short.
func newHost(dir string, seed int64) (*host, error) {
	h := &host{
		drivers: map[string]*fake.Driver{}, socket: filepath.Join(dir, "host"), watch: true,
		rng: rand.New(rand.NewPCG(uint64(seed), 1)),
	}
	h.mood.Store(&calm)
	for _, code := range facilities {
		h.drivers[code] = fake.New(fakeOptions)
	}
	l, err := net.Listen("unix", h.socket)
	if err != nil {
		return nil, err
	}
	h.server = &http.Server{Handler: h}
	go h.server.Serve(l)
	return h, nil
}

func (h *host) close() {
	_ = h.server.Close()
	_ = os.Remove(h.socket)
}

// luck is what happens to one call.
type luck struct {
	pause                        time.Duration
	fail, lose, refuse, careless bool
}

func (h *host) draw() (l luck) {
	m := *h.mood.Load()
	h.mu.Lock()
	defer h.mu.Unlock()
	hit := func(n int) bool { return h.rng.IntN(1000) < n }
	if hit(m.slow) {
		l.pause = upTo(h.rng, 0, m.delay)
	}
	if hit(m.late) {
		l.pause, l.careless = upTo(h.rng, lapse(), lapse()+lease), true
		return l
	}
	l.fail, l.lose, l.refuse, l.careless = hit(m.fail), hit(m.lose), hit(m.refuse), hit(m.careless)
	return l
}

// ServeHTTP is one call.
func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c call
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		return // the caller has gone
	}
	l, ctx := h.draw(), r.Context()
	if l.careless {
		ctx = context.WithoutCancel(ctx)
	}
	pass(ctx, l.pause)
	if late := h.late(c); late != nil {
		<-late
		ctx = context.WithoutCancel(ctx)
	}
	var out reply
	switch refusal := refusals[c.Method]; {
	case l.fail:
		out.Err = toWire(backend.ErrUnavailable)
	case l.refuse && refusal != nil:
		out.Err = toWire(refusal)
	default:
		out = h.handle(ctx, c)
		if l.lose {
			panic(http.ErrAbortHandler)
		}
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		return // the caller has gone
	}
}

// late is what the call has to wait for, nil for nothing.
func (h *host) late(c call) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.post == nil {
		return nil
	}
	return h.post(c)
}

// holdNext makes the next call of a method wait for the returned release, and
// says when it has come. Later ones pass.
func (h *host) holdNext(method string) (came <-chan struct{}, release chan<- struct{}) {
	here, wait := make(chan struct{}), make(chan struct{})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.post = func(c call) <-chan struct{} {
		if c.Method != method {
			return nil
		}
		h.post = nil
		close(here)
		return wait
	}
	return here, wait
}

func (h *host) handle(ctx context.Context, c call) (out reply) {
	if c.Fence != nil {
		ctx = backend.WithFence(ctx, *c.Fence)
	}
	d, done := h.drivers[c.Facility], handled{call: c, began: time.Now()}
	switch c.Method {
	case "EnsureVM":
		done.err = d.EnsureVM(ctx, backend.VM{Ref: c.Ref, VCPU: c.VCPU, MemoryMB: c.MemoryMB})
	case "EnsureVolume":
		done.err = d.EnsureVolume(ctx, backend.VolumeSpec{ID: c.VolumeID, Bytes: c.Bytes, Ref: c.Guest})
	case "GrowVolume":
		done.err = d.GrowVolume(ctx, c.VolumeID, c.Bytes)
	case "DeleteVolume":
		done.err = d.DeleteVolume(ctx, c.VolumeID)
	case "EnsureAttached":
		done.err = d.EnsureAttached(ctx, c.Ref, c.VolumeID)
	case "EnsureDetached":
		done.err = d.EnsureDetached(ctx, c.Ref, c.VolumeID, backend.DetachOptions{Timeout: c.Timeout})
	case "SetMedia":
		done.err = d.SetMedia(ctx, c.Ref, c.ISOKey, c.Force)
	case "ImportISO":
		done.err = d.ImportISO(ctx, backend.ISOSpec{Key: c.ISOKey, Bytes: c.Bytes}, c.Path)
	case "DeleteISO":
		done.err = d.DeleteISO(ctx, c.ISOKey)
	case "Power":
		done.err = d.Power(ctx, c.Ref, c.Action)
	case "SetBoot":
		out.Pending, done.err = d.SetBoot(ctx, c.Ref, c.CDFirst)
	case "Inspect":
		out.VM, done.err = d.Inspect(ctx, c.Ref)
	case "InspectVolume":
		out.Volume, done.err = d.InspectVolume(ctx, c.VolumeID)
	case "InspectAll":
		out.All, done.err = d.InspectAll(ctx)
	default:
		done.err = backend.ErrUnsupported
	}
	done.ended = time.Now()
	h.note(done)
	out.Err = toWire(done.err)
	return out
}

// note keeps the call, and holds that no volume is in two guests.
func (h *host) note(done handled) {
	var twice string
	if h.watch && done.Method == "EnsureAttached" {
		twice = twoGuests(h.drivers[done.Facility])
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, done)
	if twice != "" {
		h.wrong = append(h.wrong, twice)
	}
}

func twoGuests(d *fake.Driver) string {
	all, err := d.InspectAll(context.Background())
	if err != nil {
		return err.Error()
	}
	at := map[string]string{}
	for _, g := range all.VMs {
		for _, id := range g.VolumeIDs {
			if other := at[id]; other != "" {
				return fmt.Sprintf("volume %s is in the guests %s and %s at once", id, other, g.Ref)
			}
			at[id] = g.Ref
		}
	}
	return ""
}

// log returns the calls so far, and what was wrong with them.
func (h *host) log() (calls []handled, wrong []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]handled(nil), h.calls...), append([]string(nil), h.wrong...)
}
