package chaos

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drivebay/drivebay/api"
)

// op is one request of a client and what came of it.
type op struct {
	worker int
	tenant *tenant
	kind   string // of a task, or "get", "list"
	volume string // "" for a create until its answer
	device int64  // 0: none was named
	size   int
	iso    string
	key    string // the Idempotency-Key, "" for none
	// chain is the same in all tries of one request with a key: at most one of
	// them comes true, whichever. First is when the first of them was sent.
	chain int64
	first time.Time

	began, ended time.Time
	// status is 0 where no answer came. What is unsure may have been accepted,
	// now or later.
	status int
	unsure bool
	reason string
	task   string
	seen   map[string]view // of a get or a list; a volume not in it is not there
}

// view is a volume as an answer shows it.
type view struct {
	device int64
	size   int
}

// load is a number of clients at work, and the history they write.
type load struct {
	c       *cluster
	tenants []*tenant
	http    *http.Client
	fixed   bool // clients give every request all the time it needs
	chains  atomic.Int64
	repeats atomic.Int64

	mu    sync.Mutex
	ops   []*op
	known map[int64][]string // volumes by tenant, newest last
	last  map[string]view    // as seen last
}

func newLoad(c *cluster) *load {
	return &load{
		c: c, tenants: c.world.tenants[:4], known: map[int64][]string{}, last: map[string]view{},
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}},
	}
}

// run keeps so many clients busy until ctx ends, and returns once they are gone.
func (l *load) run(ctx context.Context, seed int64, clients int) {
	var all sync.WaitGroup
	for i := range clients {
		rng := rand.New(rand.NewPCG(uint64(seed), uint64(i+100)))
		all.Go(func() { l.work(ctx, rng, i) })
	}
	all.Wait()
	l.http.CloseIdleConnections()
}

// pace is how long a client thinks, at most.
const pace = 40 * time.Millisecond

func (l *load) work(ctx context.Context, rng *rand.Rand, i int) {
	t := l.tenants[i%len(l.tenants)]
	think := func() bool { return pass(ctx, time.Duration(rng.Int64N(int64(pace)))) }
	for ctx.Err() == nil {
		o := l.next(rng, t)
		o.worker, o.tenant = i, t
		if strings.Contains(o.kind, ".") && rng.IntN(2) == 0 {
			o.key = fmt.Sprintf("%x-%x", rng.Uint64(), rng.Uint64())
		}
		for l.send(rng, o) && rng.IntN(2) == 0 && think() {
			// No answer in time: the client asks again, at another door. Without
			// a key that is a new request.
			o = o.again()
		}
		if o.key != "" && o.task != "" && rng.IntN(6) == 0 && think() {
			l.repeat(rng, o)
		}
		think()
	}
}

func (o *op) again() *op {
	n := *o
	n.unsure, n.task = false, ""
	if n.key == "" {
		n.chain = 0
	}
	return &n
}

// repeat sends a request again that was accepted under its key, and holds that
// it is answered again and not done again.
func (l *load) repeat(rng *rand.Rand, o *op) {
	method, path, body := o.request()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	status, answer := l.ask(ctx, rng, o, method, path, body)
	if status == 0 || status >= 500 {
		return
	}
	var task api.Task
	if err := json.Unmarshal(answer, &task); err != nil || status != http.StatusCreated || task.TaskID != o.task {
		l.c.fail("%s was accepted under a key as task %s, and its repeat is answered %d %s", o.kind, o.task, status, answer)
	}
	l.repeats.Add(1)
}

var sizes = []int{50, 100, 200, 500}

// next chooses what a client does.
func (l *load) next(rng *rand.Rand, t *tenant) *op {
	d := t.devices[rng.IntN(len(t.devices))]
	o := &op{device: d.id, size: sizes[rng.IntN(len(sizes))], iso: t.isos[d.facility]}
	v, at := l.pick(rng, t)
	n := rng.IntN(100)
	switch {
	case n < 10 || v == "":
		o.kind = "volume.create"
		o.size = sizes[rng.IntN(2)]
		return o
	case n < 16:
		o.kind = "list"
		return o
	case n < 20:
		o.kind = "iso.attach"
		return o
	case n < 24:
		o.kind = "iso.detach"
		return o
	}
	o.volume = v
	switch {
	case n < 36:
		o.kind = "get"
	case n < 58:
		o.kind = "volume.attach"
	case n < 80:
		o.kind = "volume.detach"
		o.device = cmp.Or(guess(rng, at.device, o.device), o.device)
	case n < 92:
		o.kind = "volume.resize"
		o.device = guess(rng, at.device, o.device)
	default:
		o.kind = "volume.delete"
		o.device = guess(rng, at.device, o.device)
	}
	return o
}

// guess is mostly the device the volume was seen on last, if any.
func guess(rng *rand.Rand, seen, other int64) int64 {
	if rng.IntN(5) > 0 {
		return seen
	}
	return other
}

// pick is one of the newest volumes of a tenant.
func (l *load) pick(rng *rand.Rand, t *tenant) (string, view) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.known[t.id]
	if len(known) == 0 {
		return "", view{}
	}
	id := known[len(known)-1-rng.IntN(min(8, len(known)))]
	return id, l.last[id]
}

// send sends a request once, writes down what came of it, and reports whether
// its outcome is unsure.
func (l *load) send(rng *rand.Rand, o *op) (unsure bool) {
	limit := 2 * time.Second
	switch {
	case l.fixed:
		limit = patience
	case rng.IntN(10) == 0:
		limit = time.Duration(5+rng.IntN(60)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	o.began = time.Now()
	if o.chain == 0 {
		o.chain, o.first = l.chains.Add(1), o.began
	}
	method, path, body := o.request()
	status, answer := l.ask(ctx, rng, o, method, path, body)
	o.ended, o.status = time.Now(), status
	o.unsure = status == 0 || status >= 500
	l.note(o, answer)
	return o.unsure
}

func (o *op) request() (method, path string, body any) {
	device := strconv.FormatInt(o.device, 10)
	switch o.kind {
	case "get":
		return "GET", "/vps/volume/" + o.volume, nil
	case "list":
		return "GET", "/vps/volume?deviceId=" + device, nil
	case "volume.create":
		return "POST", "/vps/volume", map[string]any{"deviceId": o.device, "size": o.size}
	case "volume.resize":
		return "PUT", "/vps/volume/" + o.volume, o.withDevice(map[string]any{"size": o.size})
	case "volume.delete":
		return "DELETE", "/vps/volume/" + o.volume, o.withDevice(map[string]any{})
	case "volume.attach":
		return "POST", "/vps/" + device + "/volume/" + o.volume + "/attach", nil
	case "volume.detach":
		return "POST", "/vps/" + device + "/volume/" + o.volume + "/detach", nil
	case "iso.attach":
		return "POST", "/vps/" + device + "/attachiso", map[string]any{"isoId": o.iso}
	default:
		return "POST", "/vps/" + device + "/detachiso", nil
	}
}

func (o *op) withDevice(body map[string]any) map[string]any {
	if o.device != 0 {
		body["deviceId"] = o.device
	}
	return body
}

// ask sends to a server that serves, whichever. Status 0: no answer came.
func (l *load) ask(ctx context.Context, rng *rand.Rand, o *op, method, path string, body any) (int, []byte) {
	url := ""
	for from, i := rng.IntN(nodes), 0; i < nodes && url == ""; i++ {
		url = l.c.nodes[(from+i)%nodes].address()
	}
	if url == "" {
		pass(ctx, 10*time.Millisecond)
		return 0, nil
	}
	var b io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			panic(err) // numbers and strings
		}
		b = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url+"/api/v2"+path, b)
	if err != nil {
		panic(err)
	}
	req.Header.Set("X-API-KEY", o.tenant.key)
	if o.key != "" {
		req.Header.Set("Idempotency-Key", o.key)
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	if resp.StatusCode == http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests {
		l.c.fail("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	return resp.StatusCode, answer
}

// note reads an answer into the history.
func (l *load) note(o *op, answer []byte) {
	var refused struct{ Reason string }
	var task api.Task
	var one api.Volume
	var list []api.Volume
	var err error
	switch {
	case o.status == http.StatusCreated:
		err = json.Unmarshal(answer, &task)
	case o.status == http.StatusOK && o.kind == "get":
		err = json.Unmarshal(answer, &one)
		list = append(list, one)
	case o.status == http.StatusOK:
		err = json.Unmarshal(answer, &list)
	case o.status != 0:
		err = json.Unmarshal(answer, &refused)
	}
	if err != nil {
		l.c.fail("%s: %v in %d %s", o.kind, err, o.status, answer)
	}
	o.reason, o.task, o.seen = refused.Reason, task.TaskID, map[string]view{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops = append(l.ops, o)
	for _, v := range list {
		at := view{size: int(v.Size)}
		if v.DeviceID != nil {
			at.device = *v.DeviceID
		}
		o.seen[v.VolumeID] = at
		l.last[v.VolumeID] = at
	}
	switch {
	case o.task != "" && o.kind == "volume.create":
		var args struct {
			VolumeID string `json:"volumeId"`
		}
		if err := json.Unmarshal([]byte(task.MetaData), &args); err != nil || args.VolumeID == "" {
			l.c.fail("a create was accepted with metaData %q", task.MetaData)
		}
		o.volume = args.VolumeID
		l.known[o.tenant.id] = append(l.known[o.tenant.id], args.VolumeID)
		l.last[args.VolumeID] = view{o.device, o.size}
	case o.task != "" && o.kind == "volume.attach":
		l.last[o.volume] = view{o.device, l.last[o.volume].size}
	case o.task != "" && o.kind == "volume.detach":
		l.last[o.volume] = view{0, l.last[o.volume].size}
	}
}

// accept sends a request that has to be accepted, under a key and again for as
// long as the server asks for patience.
func (l *load) accept(rng *rand.Rand, o op) *op {
	o.tenant, o.key = l.c.world.tenants[4], fmt.Sprintf("%x-%x", rng.Uint64(), rng.Uint64())
	sent := &o
	for began := time.Now(); l.send(rng, sent) && time.Since(began) < patience; l.repeats.Add(1) {
		pass(context.Background(), upTo(rng, 0, time.Second))
		sent = sent.again()
	}
	if sent.task == "" {
		l.c.fail("%s of volume %q on device %d was answered %d %s", o.kind, o.volume, o.device, sent.status, sent.reason)
	}
	return sent
}
