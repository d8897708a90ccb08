package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/drivebay/drivebay/internal/store"
	tasks "github.com/drivebay/drivebay/internal/task"
	volumes "github.com/drivebay/drivebay/internal/volume"
)

// kindNothing is work that takes no time, so that what is measured is the
// engine: accepting, claiming and ending, each durable.
const kindNothing tasks.Kind = "bench.nothing"

// nothing notes when each of its tasks begins, and ends it.
type nothing struct {
	store store.Tasks
	begun chan time.Time // nil: nobody asks
	ended func()
	holds bool // ends none
}

// Run is in task.Handler.
func (n nothing) Run(ctx context.Context, r *tasks.Run) error {
	if n.begun != nil {
		n.begun <- time.Now()
	}
	if n.holds {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	err := n.store.Finish(ctx, r.Lease, tasks.Success)
	if err == nil && n.ended != nil {
		n.ended()
	}
	return err
}

// Fail is in task.Handler.
func (n nothing) Fail(ctx context.Context, r *tasks.Run, f tasks.Failure) error {
	return n.store.Finish(ctx, r.Lease, f.Outcome())
}

// worker is one node: a database handle and an engine of its own.
type worker struct {
	db   *store.DB
	stop func() error
}

// worker starts a node that runs up to parallel tasks at once; 0: none, it only
// accepts them.
func (b *bench) worker(address, name string, n nothing, parallel int) (*worker, error) {
	db, err := store.Open(b.ctx, address, store.Options{})
	if err != nil {
		return nil, err
	}
	n.store = db.Tasks()
	workers := map[tasks.Queue]int{}
	if parallel > 0 {
		workers[tasks.Quick] = parallel
	}
	e := tasks.NewEngine(db.Tasks(), tasks.Config{Node: name, Boot: uuid.NewString(), Workers: workers})
	e.Register(kindNothing, tasks.Policy{Deadline: time.Minute}, n)
	ctx, cancel := context.WithCancel(b.ctx)
	drained, err := e.Start(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(err, db.Close())
	}
	return &worker{db: db, stop: func() error { cancel(); <-drained; return db.Close() }}, nil
}

// accept enqueues a task of the client in the lane.
func (w *worker) accept(ctx context.Context, client int64, lane string) error {
	return w.db.Volumes().Tx(ctx, func(tx volumes.Tx) error {
		_, err := tx.Enqueue(ctx, tasks.New{Kind: kindNothing, Lane: lane, Queue: tasks.Quick, ClientID: client})
		return err
	})
}

// engines measures the task engine on both databases.
func (b *bench) engines() (_ []row, err error) {
	pg, address, err := b.postgres()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pg.Remove()) }()
	dir, err := b.sub("engine")
	if err != nil {
		return nil, err
	}
	fsync, err := b.fsync(dir, 50)
	if err != nil {
		return nil, err
	}
	var out []row
	for _, c := range []struct{ name, address string }{{"SQLite", filepath.Join(dir, "bench.db")}, {"PostgreSQL", address}} {
		r, err := b.latency(c.name, c.address, fsync)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	rate := map[int]float64{}
	for nodes := 1; nodes <= 3; nodes++ {
		if rate[nodes], err = b.rate(address, nodes); err != nil {
			return nil, err
		}
		out = append(out, row{
			figure: fmt.Sprintf("tasks that do nothing accepted and ended on PostgreSQL, 20 clients, %d node(s) in one process", nodes),
			ours:   fmt.Sprintf("%.0f/s", rate[nodes]), baseline: fmt.Sprintf("%.0f/s with one", rate[1]),
			ratio: fmt.Sprintf("%.2f", rate[nodes]/rate[1]), met: true,
		})
	}
	return out, nil
}

// latency is from the beginning of accepting a task until it runs, one at a
// time, and what an idle node takes.
func (b *bench) latency(name, address string, fsync float64) (row, error) {
	begun := make(chan time.Time, 1)
	w, err := b.worker(address, "one", nothing{begun: begun}, 16)
	if err != nil {
		return row{}, err
	}
	n := 100 * b.rounds
	var took []float64
	for i := range n {
		start := time.Now()
		if err := w.accept(b.ctx, 1, "lane"); err != nil {
			return row{}, errors.Join(err, w.stop())
		}
		took = append(took, float64((<-begun).Sub(start).Microseconds())/1000)
		if i == 0 {
			took = nil // the first prepares the statements
		}
	}
	slices.Sort(took)
	idle, cpu := 2*b.span(), cpuOf(os.Getpid())
	time.Sleep(idle)
	used := float64(cpuOf(os.Getpid())-cpu) / float64(idle) * 100
	p50 := took[len(took)/2]
	return row{
		figure: "enqueue until the task runs, " + name, ours: fmt.Sprintf("p50 %s, p99 %s; idle %.1f %% of a core", ms(p50), ms(took[len(took)*99/100]), used),
		baseline: ms(fsync) + " for one fsync", ratio: fmt.Sprintf("%.1f fsyncs", p50/fsync), target: "p50 at most 5 ms", met: p50 <= 5,
	}, w.stop()
}

// rate is how many tasks a second some nodes accept and end between them.
func (b *bench) rate(address string, nodes int) (_ float64, err error) {
	const clients = 20
	each := 20 * b.rounds
	var ended sync.WaitGroup
	ended.Add(clients * each)
	var all []*worker
	defer func() {
		for _, w := range all {
			err = errors.Join(err, w.stop())
		}
	}()
	for i := range nodes {
		w, err := b.worker(address, fmt.Sprint("node", i), nothing{ended: ended.Done}, 16)
		if err != nil {
			return 0, err
		}
		all = append(all, w)
	}
	start := time.Now()
	errs := make([]error, clients)
	var load sync.WaitGroup
	for c := range clients {
		load.Go(func() {
			for i := range each {
				if err := all[(c+i)%nodes].accept(b.ctx, int64(c+1), fmt.Sprint("lane", c)); err != nil {
					errs[c] = err
					return
				}
			}
		})
	}
	load.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	ended.Wait()
	return float64(clients*each) / time.Since(start).Seconds(), nil
}
