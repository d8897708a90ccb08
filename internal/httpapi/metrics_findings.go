package httpapi

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drivebay/drivebay/internal/reconcile"
)

// findingCounter counts confirmed findings by class.
type findingCounter interface {
	Count(ctx context.Context) (map[reconcile.Class]int, error)
}

// watchFindings adds the open findings to every scrape.
func (m *Metrics) watchFindings(c findingCounter) {
	m.registry.MustRegister(&findingGauges{
		counter: c, now: time.Now,
		count: prometheus.NewDesc(namespace+"_findings", "Confirmed differences that are open, by class.", []string{"class"}, nil),
	})
}

// findingGauges counts findings when asked, and no more often than countTime.
type findingGauges struct {
	counter findingCounter
	now     func() time.Time
	count   *prometheus.Desc

	mu    sync.Mutex
	last  map[reconcile.Class]int
	err   error
	until time.Time
}

// Describe names what Collect gives.
func (g *findingGauges) Describe(ch chan<- *prometheus.Desc) { ch <- g.count }

// Collect gives every class, zero where there is nothing, and none of them
// while the database does not answer: a zero would say that all is well.
func (g *findingGauges) Collect(ch chan<- prometheus.Metric) {
	all, err := g.read()
	if err != nil {
		return
	}
	for _, c := range reconcile.Classes {
		ch <- prometheus.MustNewConstMetric(g.count, prometheus.GaugeValue, float64(all[c]), string(c))
	}
}

func (g *findingGauges) read() (map[reconcile.Class]int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if now.Before(g.until) {
		return g.last, g.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	g.last, g.err = g.counter.Count(ctx)
	g.until = now.Add(countTime)
	return g.last, g.err
}
