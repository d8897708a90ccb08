package httpapi

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/drivebay/drivebay/internal/task"
)

// Metrics are the numbers of this server, in a registry of their own. Its
// methods may be called from several goroutines at once.
type Metrics struct {
	registry *prometheus.Registry

	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	runs     *prometheus.CounterVec
	runTook  *prometheus.HistogramVec
	imports  prometheus.Counter
	bytes    prometheus.Counter
	database *prometheus.HistogramVec
}

// NewMetrics returns metrics that start at nothing.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counters("http_requests_total", "Requests answered.", "operation", "method", "status"),
		took: histograms("http_request_duration_seconds", "How long requests took.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30}, "operation"),
		runs: counters("task_runs_total", "Runs of tasks that ended, by how.", "kind", "result"),
		runTook: histograms("task_run_duration_seconds", "How long runs of tasks took.",
			[]float64{.001, .005, .025, .1, .5, 2.5, 10, 60, 600, 3600}, "kind"),
		imports: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "iso_imports_total", Help: "ISOs imported."}),
		bytes:   prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "iso_import_bytes_total", Help: "Bytes of ISOs imported."}),
		database: histograms("database_duration_seconds", "How long transactions and reads took.",
			[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .1, .5, 2.5}, "kind"),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(m.requests, m.took, m.runs, m.runTook, m.imports, m.bytes, m.database, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

const namespace = "drivebay"

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

// Handler serves the metrics. It has no key: serve it where only operators come.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, MaxRequestsInFlight: 4})
}

// ObserveTask counts one ended run of a task. result is a word of the engine.
func (m *Metrics) ObserveTask(kind, result string, took time.Duration) {
	m.runs.WithLabelValues(kind, result).Inc()
	m.runTook.WithLabelValues(kind).Observe(took.Seconds())
}

// ObserveImport counts one finished import.
func (m *Metrics) ObserveImport(bytes int64) {
	m.imports.Inc()
	m.bytes.Add(float64(max(0, bytes)))
}

// ObserveDB notes how long the database took. kind is one of a few words.
func (m *Metrics) ObserveDB(kind string, took time.Duration) {
	m.database.WithLabelValues(kind).Observe(took.Seconds())
}

// request counts one answered request. The labels are bounded: operation is one
// of the contract or "none", and a method nobody knows is "other".
func (m *Metrics) request(operation, method string, status int, took time.Duration) {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default:
		method = "other"
	}
	m.requests.WithLabelValues(operation, method, statusWord(status)).Inc()
	m.took.WithLabelValues(operation).Observe(took.Seconds())
}

// statusWord spares the common ones an allocation.
func statusWord(status int) string {
	switch status {
	case http.StatusOK:
		return "200"
	case http.StatusCreated:
		return "201"
	default:
		return strconv.Itoa(status)
	}
}

// watch adds what the task lists say to every scrape.
func (m *Metrics) watch(tasks task.Lister) {
	m.registry.MustRegister(&taskGauges{
		tasks: tasks, now: time.Now,
		count: prometheus.NewDesc(namespace+"_tasks", "Tasks that have not ended.", []string{"queue", "state"}, nil),
		age:   prometheus.NewDesc(namespace+"_task_oldest_age_seconds", "Age of the oldest of them.", []string{"queue", "state"}, nil),
		up:    prometheus.NewDesc(namespace+"_tasks_readable", "1 if the tasks could be counted, else 0.", nil, nil),
	})
}

// taskGauges counts tasks when asked, and no more often than countTime.
type taskGauges struct {
	tasks          task.Lister
	now            func() time.Time
	count, age, up *prometheus.Desc

	mu    sync.Mutex
	last  []task.Count
	err   error
	until time.Time
}

const (
	countTime    = 5 * time.Second // scrapes from several sides share one count
	countTimeout = 2 * time.Second
)

// Describe names what Collect gives.
func (g *taskGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.count
	ch <- g.age
	ch <- g.up
}

// Collect gives every queue and state, zero where there is nothing. While the
// database does not answer it says only that.
func (g *taskGauges) Collect(ch chan<- prometheus.Metric) {
	all, err := g.read()
	if err != nil {
		ch <- prometheus.MustNewConstMetric(g.up, prometheus.GaugeValue, 0)
		return
	}
	ch <- prometheus.MustNewConstMetric(g.up, prometheus.GaugeValue, 1)
	now := g.now()
	for _, q := range []task.Queue{task.Quick, task.Imports, task.Housework} {
		for _, st := range []task.State{task.Waiting, task.Ready, task.Running} {
			var n int
			var age time.Duration
			for _, c := range all {
				if c.Queue == q && c.State == st {
					n, age = c.Tasks, max(0, now.Sub(c.Oldest))
				}
			}
			ch <- prometheus.MustNewConstMetric(g.count, prometheus.GaugeValue, float64(n), string(q), string(st))
			ch <- prometheus.MustNewConstMetric(g.age, prometheus.GaugeValue, age.Seconds(), string(q), string(st))
		}
	}
}

func (g *taskGauges) read() ([]task.Count, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if now.Before(g.until) {
		return g.last, g.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	g.last, g.err = g.tasks.Count(ctx)
	g.until = now.Add(countTime)
	return g.last, g.err
}
