package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/reconcile"
	"github.com/drivebay/drivebay/internal/task"
)

// counted is a task.Lister that only counts.
type counted struct {
	task.Lister
	counts []task.Count
	err    error
	asked  int
}

func (c *counted) Count(context.Context) ([]task.Count, error) {
	c.asked++
	return c.counts, c.err
}

func scrape(m *Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := NewMetrics("1.2.3")
	tasks := &counted{counts: []task.Count{{Queue: task.Quick, State: task.Ready, Tasks: 4, Oldest: time.Now().Add(-time.Hour)}}}
	r := newRig(t, func(d *Deps) { d.Metrics, d.Tasks = m, tasks })
	r.do("GET", base+"/vps/volume/v1", "")
	r.do("GET", base+"/vps/volume/v1/", "")
	r.do("POST", base+"/vps/volume", `{"size":1,"deviceId":1}`)
	r.send("POST", base+"/vps/volume", ``)
	r.do("BREW", base+"/nope", "")
	r.send("GET", "/healthz", "")
	m.ObserveTask("volume.create", "done", 3*time.Millisecond)
	m.ObserveImport(1000)
	m.ObserveImport(-1)
	m.ObserveDB("read", time.Millisecond)
	out := scrape(m)
	for _, want := range []string{
		`drivebay_http_requests_total{method="GET",operation="getVolume",status="200"} 2`,
		`drivebay_http_requests_total{method="POST",operation="createVolume",status="201"} 1`,
		`drivebay_http_requests_total{method="POST",operation="createVolume",status="403"} 1`,
		`drivebay_http_requests_total{method="other",operation="none",status="404"} 1`,
		`drivebay_http_request_duration_seconds_count{operation="getVolume"} 2`,
		`drivebay_task_runs_total{kind="volume.create",result="done"} 1`,
		`drivebay_task_run_duration_seconds_count{kind="volume.create"} 1`,
		`drivebay_iso_imports_total 2`, `drivebay_iso_import_bytes_total 1000`,
		`drivebay_database_duration_seconds_count{kind="read"} 1`,
		`drivebay_tasks{queue="quick",state="ready"} 4`, `drivebay_tasks{queue="imports",state="running"} 0`,
		`drivebay_task_oldest_age_seconds{queue="quick",state="ready"} 36`, `drivebay_tasks_readable 1`,
		`version="1.2.3"} 1`, "go_goroutines ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(out, "healthz") || strings.Contains(out, "BREW") {
		t.Error("what a caller makes up became a label")
	}
}

func TestTasksAreCountedNowAndThen(t *testing.T) {
	t.Parallel()
	tasks := &counted{err: errors.New("away")}
	m := NewMetrics("")
	m.watch(tasks)
	for range 3 {
		out := scrape(m)
		if !strings.Contains(out, "drivebay_tasks_readable 0") || strings.Contains(out, "drivebay_tasks{") {
			t.Error("says how many tasks there are without knowing it")
		}
	}
	if tasks.asked != 1 {
		t.Errorf("asked %d times", tasks.asked)
	}
}

// someFindings counts what it was told.
type someFindings map[reconcile.Class]int

// Count is in findingCounter.
func (f someFindings) Count(context.Context) (map[reconcile.Class]int, error) {
	if f == nil {
		return nil, errors.New("away")
	}
	return f, nil
}

func TestFindingsAreCounted(t *testing.T) {
	t.Parallel()
	m := NewMetrics("")
	m.watchFindings(someFindings{reconcile.OrphanDisk: 3})
	out := scrape(m)
	for _, c := range reconcile.Classes {
		want := fmt.Sprintf("drivebay_findings{class=%q} %d\n", c, map[bool]int{true: 3}[c == reconcile.OrphanDisk])
		if !strings.Contains(out, want) {
			t.Errorf("%s is missing", want)
		}
	}
	m = NewMetrics("")
	m.watchFindings(someFindings(nil))
	if strings.Contains(scrape(m), "drivebay_findings{") {
		t.Error("says how many findings there are without knowing it")
	}
}
