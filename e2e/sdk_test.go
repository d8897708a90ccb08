package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/drivebay/drivebay/client"
	"github.com/drivebay/drivebay/e2e/built"
)

func newSDK(t testing.TB, url, key string, opts ...sdk.Option) *sdk.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	c, err := sdk.New(url, key, append([]sdk.Option{sdk.WithHTTPClient(&http.Client{Transport: tr})}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dataVolumes are the ids of the data volumes of the demo client.
func dataVolumes(t testing.TB, c *sdk.Client) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for v, err := range c.Volume.All(t.Context(), sdk.VolumeListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !v.Root() {
			ids[v.ID] = true
		}
	}
	return ids
}

// TestSDKThroughKills kills the server in the middle of a create, once its
// answer is on the way, and in the middle of a wait. Each time the call that
// was under way succeeds, and there is one volume more.
func TestSDKThroughKills(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "--rate-limit=0", "--rate-limit-anonymous=0", "--log-level=warn")
	r := newRelay(t, s.demo.URL)
	c := newSDK(t, r.url, s.demo.APIKey, sdk.WithRetry(sdk.RetryPolicy{MaxTries: 1000, First: 20 * time.Millisecond, Longest: time.Second}))
	chance := random(t)
	moments := []struct {
		what  string
		reply bool
	}{{"POST /api/v2/vps/volume", false}, {"POST /api/v2/vps/volume", true}, {"GET /api/v2/network/status/", false}}
	for round := range rounds(t) {
		device := s.demo.DeviceIDs[round%len(s.demo.DeviceIDs)]
		m := moments[round%len(moments)]
		r.stopAt(m.what, m.reply)
		ctx := within(t, patience)
		made := makeVolume(ctx, c, device)
		select {
		case <-r.hit:
			if !m.reply {
				(&load{rand: chance}).pause(10 * time.Millisecond)
			}
			s.kill()
			r.cut()
			s.start()
			r.move(s.awaitDemo().URL)
		case o := <-made:
			made <- o
			select {
			case <-r.hit: // and was over before we looked
			default:
				if m.what[0] == 'P' {
					t.Fatalf("the create did not come by: %v", o.err)
				}
			}
		}
		o := <-made
		if o.err != nil {
			t.Fatalf("round %d, %v: %v", round, m, o.err)
		}
		have := dataVolumes(t, c)
		if len(have) != 1 || !have[o.task.VolumeID()] {
			t.Fatalf("round %d, %v: made %s, there are %v", round, m, o.task.VolumeID(), have)
		}
		gone, err := c.Volume.Delete(ctx, o.task.VolumeID(), sdk.VolumeDelete{DeviceID: device})
		if err == nil {
			_, err = c.Task.Wait(ctx, gone, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.settle()
	check(t, s.dir)
	agree(t, s)
}

// outcome is how a create went, up to the end of its task.
type outcome struct {
	task sdk.Task
	err  error
}

func makeVolume(ctx context.Context, c *sdk.Client, device int64) chan outcome {
	made := make(chan outcome, 1)
	go func() {
		task, err := c.Volume.Create(ctx, sdk.VolumeCreate{DeviceID: device, SizeGiB: 50})
		if err == nil {
			task, err = c.Task.Wait(ctx, task, nil)
		}
		made <- outcome{task, err}
	}()
	return made
}

// TestSDKSilence lets the answer to a create never come. The call ends with its
// context and says what is not known; the same call with the error's key finds
// the volume made.
func TestSDKSilence(t *testing.T) {
	t.Parallel()
	s := startDemo(t)
	r := newRelay(t, s.demo.URL)
	c := newSDK(t, r.url, s.demo.APIKey)
	r.stopAt("POST /api/v2/vps/volume", true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-r.hit // the server has answered
		cancel()
	}()
	create := sdk.VolumeCreate{DeviceID: s.demo.DeviceIDs[0], SizeGiB: 50}
	_, err := c.Volume.Create(ctx, create)
	var e *sdk.Error
	if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || !e.Uncertain || e.IdempotencyKey == "" {
		t.Fatalf("got %v", err)
	}
	task, err := c.Volume.Create(t.Context(), create, sdk.WithIdempotencyKey(e.IdempotencyKey))
	if err != nil {
		t.Fatal(err)
	}
	if task, err = c.Task.Wait(within(t, patience), task, nil); err != nil {
		t.Fatal(err)
	}
	if have := dataVolumes(t, c); len(have) != 1 || !have[task.VolumeID()] {
		t.Errorf("there are %v", have)
	}
	create.SizeGiB = 100
	if _, err = c.Volume.Create(t.Context(), create, sdk.WithIdempotencyKey(e.IdempotencyKey)); !errors.Is(err, sdk.ErrInvalid) || !strings.Contains(err.Error(), "idempotency_key_reused") {
		t.Errorf("another create under the same key: %v", err)
	}
}

// TestSDKRateLimit holds that a limit which is used up ends a call at once, with
// the time to come back, and that nothing was done.
func TestSDKRateLimit(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "--rate-limit=20")
	c := newSDK(t, s.demo.URL, s.demo.APIKey)
	var err error
	for range 21 {
		if _, err = c.VPS.Get(t.Context(), s.demo.DeviceIDs[0]); err != nil {
			break
		}
	}
	for _, call := range []func() error{
		func() error { return err },
		func() error {
			_, err := c.Volume.Create(t.Context(), sdk.VolumeCreate{DeviceID: s.demo.DeviceIDs[0], SizeGiB: 50})
			return err
		},
	} {
		err := call()
		var e *sdk.Error
		if !errors.Is(err, sdk.ErrRateLimited) || !errors.As(err, &e) || e.RetryAfter <= 30*time.Second || e.RetryAfter > time.Hour || e.Tries != 1 || e.Uncertain {
			t.Errorf("got %v, come back in %v", err, e.RetryAfter)
		}
	}
	if n := rowsOf(t, s, `SELECT count(*) FROM volume WHERE type = 'DATADISK'`); n != 0 {
		t.Errorf("%d volumes were made", n)
	}
}

func rowsOf(t testing.TB, s *server, query string) int {
	t.Helper()
	c := open(t, s.dir)
	defer c.db.Close()
	return rows(c, func(n *int) []any { return []any{n} }, query)[0]
}

// TestSDKGarbage puts a proxy before the server that spoils answers in many
// ways. Each create ends in a success or in an error that says whether it may
// have been made; those in doubt are asked for again by their keys. In the end
// there is one volume for each create, no more.
func TestSDKGarbage(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "--rate-limit=0", "--rate-limit-anonymous=0", "--log-level=warn")
	g := newGarbler(t, s.demo.URL, random(t))
	policy := sdk.WithRetry(sdk.RetryPolicy{MaxTries: 3, First: time.Millisecond, Longest: 10 * time.Millisecond})
	bad, good := newSDK(t, g.URL, s.demo.APIKey, policy), newSDK(t, s.demo.URL, s.demo.APIKey)
	mine := map[string]bool{}
	doubts, refused := 0, 0
	for i := range min(2*rounds(t), 30) {
		ctx := within(t, patience)
		create := sdk.VolumeCreate{DeviceID: s.demo.DeviceIDs[i%len(s.demo.DeviceIDs)], SizeGiB: 50}
		task, err := bad.Volume.Create(ctx, create)
		var e *sdk.Error
		switch {
		case err == nil:
		case !errors.As(err, &e) || ctx.Err() != nil || strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000:
			t.Fatalf("create %d: %q", i, err)
		case e.Uncertain:
			doubts++
			if task, err = good.Volume.Create(ctx, create, sdk.WithIdempotencyKey(e.IdempotencyKey)); err != nil {
				t.Fatalf("create %d, once more: %v", i, err)
			}
		default:
			refused++
			continue
		}
		if id := task.VolumeID(); id == "" || mine[id] {
			t.Fatalf("create %d: %+v", i, task)
		}
		mine[task.VolumeID()] = true
	}
	s.settle()
	if have := dataVolumes(t, good); !maps.Equal(have, mine) {
		t.Errorf("the calls were told of %v, there are %v", mine, have)
	}
	t.Logf("%d volumes, %d creates in doubt, %d refused, %d answers spoilt", len(mine), doubts, refused, g.spoilt.Load())
	if doubts == 0 || g.spoilt.Load() == 0 {
		t.Error("nothing was ever in doubt: this has tried nothing")
	}
}

// garbler is a proxy that spoils answers.
type garbler struct {
	*httptest.Server
	to     string
	spoilt atomic.Int32

	mu   sync.Mutex
	rand *rand.Rand
}

func newGarbler(t testing.TB, url string, r *rand.Rand) *garbler {
	g := &garbler{to: url, rand: r}
	g.Server = httptest.NewServer(g)
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
	})
	return g
}

func (g *garbler) choose(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rand.IntN(n)
}

func (g *garbler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	way := g.choose(12)
	if strings.HasSuffix(r.URL.Path, "/quota") { // by which the SDK knows the server
		way = 99
	}
	if way < 2 { // the request does not get through
		g.spoilt.Add(1)
		g.spoil(w, way, nil)
		return
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, g.to+r.URL.RequestURI(), r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	req.Header, req.ContentLength = r.Header.Clone(), r.ContentLength
	rsp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if way < 9 {
		g.spoilt.Add(1)
		g.spoil(w, way, body)
		return
	}
	w.Header().Set("Content-Type", rsp.Header.Get("Content-Type"))
	w.WriteHeader(rsp.StatusCode)
	_, _ = w.Write(body)
}

// spoil answers in one of nine ways.
func (g *garbler) spoil(w http.ResponseWriter, way int, body []byte) {
	say := func(status int, kind string, b []byte) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write(b)
	}
	page := []byte("<html>\n<h1>502 Bad Gateway</h1>")
	switch way {
	case 0, 2:
		panic(http.ErrAbortHandler) // the connection breaks
	case 1, 3:
		say(http.StatusBadGateway, "text/html", page)
	case 4:
		say(http.StatusOK, "text/html", page)
	case 5: // less than announced
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		say(http.StatusCreated, "application/json", body[:len(body)/2])
		panic(http.ErrAbortHandler)
	case 6:
		say(http.StatusCreated, "application/json", body[:len(body)/2])
	case 7:
		say(http.StatusOK, "application/json", []byte(`{"ok":true}`))
	case 8: // more than anybody wants
		blanks := bytes.Repeat([]byte(" "), 1<<20)
		w.Header().Set("Content-Type", "application/json")
		for range 20 {
			if _, err := w.Write(blanks); err != nil {
				return
			}
		}
	}
}

// TestSDKTour does everything a customer does, on a server that answers sizes
// in bytes.
func TestSDKTour(t *testing.T) {
	t.Parallel()
	s := startDemo(t, allow, "--volume-size-unit=bytes")
	o := newOrigin(t)
	url := o.serve("/tour.iso", newImage("TOUR", 1<<20, true))
	c := newSDK(t, s.demo.URL, s.demo.APIKey)
	ctx, device := within(t, patience), s.demo.DeviceIDs[0]
	var told []int
	ended := func(task sdk.Task, err error) sdk.Task {
		t.Helper()
		if err == nil {
			task, err = c.Task.Wait(ctx, task, func(x sdk.Task) { told = append(told, x.Progress) })
		}
		if err != nil {
			t.Fatal(err)
		}
		return task
	}
	must := func(ok bool, what string, got any, err error) {
		t.Helper()
		if err != nil || !ok {
			t.Fatalf("%s: %+v, %v", what, got, err)
		}
	}

	id := ended(c.Volume.Create(ctx, sdk.VolumeCreate{DeviceID: device, SizeGiB: 50})).VolumeID()
	v, err := c.Volume.Get(ctx, id)
	must(v.SizeGiB == 50 && v.SizeBytes == 50<<30 && v.DeviceID != nil && *v.DeviceID == device && v.MonthlyPrice != nil, "the new volume", v, err)
	sizes, err := c.Volume.AvailableSizes(ctx, id)
	must(len(sizes) == 3 && sizes[0].SizeGiB == 100, "sizes", sizes, err)
	ended(c.Volume.Resize(ctx, id, sdk.VolumeResize{SizeGiB: 100, DeviceID: device}))
	ended(c.Volume.Detach(ctx, id, device))
	v, err = c.Volume.Get(ctx, id)
	must(v.SizeGiB == 100 && v.DeviceID == nil && v.State == sdk.VolumeDetached, "the detached volume", v, err)
	ended(c.Volume.Attach(ctx, id, device))
	if told[len(told)-1] != 100 {
		t.Errorf("progress was %v", told)
	}

	iso, err := c.ISO.Create(ctx, sdk.ISOCreate{FacilityCode: "TPA1", Name: "tour", URL: url, Bootable: true})
	if err == nil {
		iso, err = c.ISO.Wait(ctx, iso, nil)
	}
	must(iso.Ready && iso.SizeBytes == 1<<20 && iso.SHA256 != "", "the ISO", iso, err)
	ended(c.VPS.AttachISO(ctx, device, sdk.ISOAttach{ISOID: iso.ID, BootOnce: true}))
	vps, err := c.VPS.Get(ctx, device)
	must(vps.ISOID == iso.ID && *vps.AttachedVolumes == 1, "the instance", vps, err)
	_, err = c.ISO.Delete(ctx, iso.ID, sdk.ISORef{})
	must(errors.Is(err, sdk.ErrConflict), "the delete of an attached ISO", err, nil)
	ended(c.VPS.DetachISO(ctx, device, sdk.ISODetach{Force: true}))
	ended(c.ISO.Delete(ctx, iso.ID, sdk.ISORef{FacilityCode: "TPA1"}))
	ended(c.VPS.Power(ctx, device, sdk.PowerCycle))

	ended(c.Volume.Delete(ctx, id, sdk.VolumeDelete{DeviceID: device}))
	_, err = c.Volume.Get(ctx, id)
	must(errors.Is(err, sdk.ErrNotFound), "the deleted volume", err, nil)
	list, err := c.Service.List(ctx, sdk.ServiceListOptions{})
	must(len(list) == 1 && list[0].VolumeID == id && list[0].Status == "cancelled" && !list[0].EndDate.IsZero(), "services", list, err)
}

// TestSDKRefusals has a failed import, a key without the permission, and one
// with it.
func TestSDKRefusals(t *testing.T) {
	t.Parallel()
	s := startDemo(t, allow)
	c, ctx := newSDK(t, s.demo.URL, s.demo.APIKey), within(t, patience)
	iso, err := c.ISO.Create(ctx, sdk.ISOCreate{FacilityCode: "TPA1", Name: "none", URL: newOrigin(t).URL + "/none.iso"})
	if err != nil {
		t.Fatal(err)
	}
	iso, err = c.ISO.Wait(ctx, iso, nil)
	var failed *sdk.TaskError
	if !errors.As(err, &failed) || failed.Reason != "source_status" || iso.Reason != "source_status" {
		t.Errorf("the ISO that is not there: %+v, %v", iso, err)
	}
	if _, err = c.Admin.Node.List(ctx); !errors.Is(err, sdk.ErrForbidden) {
		t.Errorf("the servers: %v", err)
	}
	if nodes, err := newSDK(t, s.demo.URL, s.demo.AdminKey).Admin.Node.List(ctx); err != nil || len(nodes) != 1 {
		t.Errorf("the servers: %v, %v", nodes, err)
	}
}

// TestGoGuide runs the program of docs/guide/go.md as it is written.
func TestGoGuide(t *testing.T) {
	t.Parallel()
	needBinary(t)
	page, err := os.ReadFile("../docs/guide/go.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```go\n")
	program, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("the guide has no program")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startDemo(t)
	cmd := exec.CommandContext(t.Context(), "go", "run", "-trimpath", file)
	cmd.Env = append(built.Env(), "CGO_ENABLED=0", "DRIVEBAY_URL="+s.demo.URL, "DRIVEBAY_API_KEY="+s.demo.APIKey)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "100 GiB attached") {
		t.Errorf("%v\n%s", err, out)
	}
}
