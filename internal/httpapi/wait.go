package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

const (
	// maxWait is the longest a call may wait.
	maxWait = time.Minute
	// freeWait is how long a call must be ready to wait so that it is not
	// counted. Shorter ones would be a way to ask as often as one likes.
	freeWait = time.Second
	// maxWaits is how many calls of one key may wait at the same time.
	maxWaits = 64
	// waitSlack is the time around a wait to read the request and write the
	// answer.
	waitSlack = time.Minute
)

var errWaits = fault.New(fault.Exhausted, "too_many_waits", "This key has %d calls waiting already; let one of them end first", maxWaits)

// parseWait reads `wait`: whole seconds, or a duration as Go writes it, from 0
// to maxWait.
func parseWait(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if n, e := strconv.ParseUint(v, 10, 16); e == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 || d > maxWait {
		return 0, fault.Field("validation_failed", "wait", "%s is neither seconds nor a duration such as '30s', from 0 to %d s", quoted(v), int(maxWait.Seconds()))
	}
	return d, nil
}

// mayWait reports whether r, with a valid key, asks to wait long enough not to
// be counted. Whether it does wait is found out later.
func mayWait(c *call, r *http.Request) bool {
	id, is := strings.CutPrefix(r.URL.Path, base+"/network/status/")
	if !is || id == "" || c.refused != nil || r.URL.RawQuery == "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	d, err := parseWait(r.URL.Query().Get("wait"))
	return err == nil && d >= freeWait
}

// waits counts the calls that wait, by key.
type waits struct {
	mu  sync.Mutex
	now map[string]int
}

func newWaits() *waits { return &waits{now: map[string]int{}} }

// begin takes one of the key's places, to be given back by end. It reports
// whether there was one.
func (w *waits) begin(key string) (end func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now[key] >= maxWaits {
		return nil, false
	}
	w.now[key]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.now[key]--; w.now[key] == 0 {
			delete(w.now, key)
		}
	}, true
}

// await returns t once it has ended, or as it is when the time is over or the
// server stops. Only a call that finds t unfinished waits; any other is counted
// as every request is.
func (o *ops) await(ctx context.Context, scope access.Scope, t task.Task, wait time.Duration) (task.Task, error) {
	c := callOf(ctx)
	if wait == 0 || t.State.Ended() || c.hasty {
		return t, c.toll.due()
	}
	end, ok := o.waits.begin(c.key)
	if !ok {
		return t, errWaits
	}
	defer end()
	c.allow(wait)
	c.toll.forgo()
	start := time.Now()
	t, err := task.Await(ctx, o.Tasks, scope, t.ID, wait, o.Stopping)
	c.waited = time.Since(start)
	if err != nil && c.waited < freeWait {
		c.toll.collect()
	}
	return t, err
}

// allow moves the connection's deadlines behind the wait; the server's own are
// made for answers that come at once.
func (c *call) allow(wait time.Duration) {
	until := time.Now().Add(wait + waitSlack)
	conn := http.NewResponseController(c.ResponseWriter)
	_ = conn.SetReadDeadline(until) // a connection that has none needs none
	_ = conn.SetWriteDeadline(until)
}
