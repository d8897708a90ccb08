package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/drivebay/drivebay/internal/pgtest"
	"github.com/drivebay/drivebay/internal/testneed"
)

// nodes is how many servers an installation has.
const nodes = 3

// cluster is one installation: a copy of the world's database, a host, and
// servers, each behind a proxy of its own.
type cluster struct {
	t        testing.TB
	pg       *pgtest.Server
	world    *world
	host     *host
	nodes    []*node
	database string

	pgFault sync.Mutex // held by whoever stops PostgreSQL

	mu    sync.Mutex
	wrong []string
}

var databases atomic.Int64

// limits cut what the database may keep a node waiting for to fit the short
// lease, as store/postgres.go does for the usual one.
const limits = "?sslmode=disable&pool_max_conns=8&connect_timeout=1&lock_timeout=800&statement_timeout=1200&idle_in_transaction_session_timeout=1000"

// newCluster makes an installation and starts its servers. What they wait for
// the database is in waits, part of its address.
func newCluster(t testing.TB, seed int64, lease time.Duration, waits string) *cluster {
	t.Helper()
	w := theWorld(t)
	c := &cluster{t: t, pg: postgres.server, world: w, database: fmt.Sprintf("chaos_%d", databases.Add(1))}
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.remove(dir) })
	// Copied by WAL_LOG, the usual strategy, a sequence may go back in a crash of
	// the server that comes before its next record in the log.
	if err := execute(c.pg.Address("postgres"), fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s STRATEGY FILE_COPY", c.database, w.database)); err != nil {
		t.Fatal(err)
	}
	if c.host, err = newHost(dir, seed); err != nil {
		t.Fatal(err)
	}
	if err := w.fill(c.host, dir); err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		p, err := newProxy(c.pg.Port())
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("node%d", i+1)
		n := &node{proxy: p, fail: c.fail, log: filepath.Join(dir, name+".log"), conf: nodeConfig{
			Name: name, Dir: filepath.Join(dir, name), Host: c.host.socket, Lease: lease, Database: c.pg.TCP(c.database, p.port()) + waits,
		}}
		c.nodes = append(c.nodes, n)
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
	}
	c.ready()
	return c
}

// remove ends everything. The folder stays where something went wrong.
func (c *cluster) remove(dir string) {
	for _, n := range c.nodes {
		n.signal(syscall.SIGCONT)
		n.end(syscall.SIGKILL)
		n.proxy.close()
	}
	if c.host != nil {
		c.host.close()
	}
	if err := c.pg.Up(); err != nil {
		c.t.Errorf("start PostgreSQL: %v", err)
	}
	if c.t.Failed() {
		c.t.Logf("logs of the servers: %s; database %s", dir, c.database)
		return
	}
	if err := execute(c.pg.Address("postgres"), fmt.Sprintf("DROP DATABASE IF EXISTS %s WITH (FORCE)", c.database)); err != nil {
		c.t.Error(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		c.t.Error(err)
	}
}

// fail keeps what went wrong, to be told at the end.
func (c *cluster) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// verdict fails the test with what went wrong.
func (c *cluster) verdict() {
	c.t.Helper()
	_, wrong := c.host.log()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, w := range append(wrong, c.wrong...) {
		if i == 20 {
			c.t.Error("and more")
			break
		}
		c.t.Error(w)
	}
}

// ready waits until every server serves.
func (c *cluster) ready() {
	c.t.Helper()
	testneed.Eventually(c.t, "all servers", func() bool {
		for _, n := range c.nodes {
			if n.address() == "" {
				return false
			}
		}
		return true
	})
}

// heal ends every fault.
func (c *cluster) heal() {
	c.t.Helper()
	if err := c.pg.Up(); err != nil {
		c.t.Fatalf("start PostgreSQL: %v", err)
	}
	c.host.mood.Store(&calm)
	for _, n := range c.nodes {
		n.signal(syscall.SIGCONT)
		n.proxy.heal()
	}
}

const unfinished = `SELECT count(*) FROM task WHERE client_id IS NOT NULL AND state IN ('waiting', 'ready', 'running')`

// idle waits until no task of a client is unfinished.
func (c *cluster) idle() {
	c.t.Helper()
	db := c.open()
	defer db.Close(context.Background())
	testneed.Eventually(c.t, "the end of all tasks", func() bool { return number(c.t, db, unfinished) == 0 })
}

// quiet waits until nothing is under way, and ends the servers as an operator
// does. A request that came late may have left a task behind: then they go on.
func (c *cluster) quiet() {
	c.t.Helper()
	for {
		c.ready()
		c.idle()
		var all sync.WaitGroup
		for _, n := range c.nodes {
			all.Go(func() { n.end(syscall.SIGTERM) })
		}
		all.Wait()
		db := c.open()
		left := number(c.t, db, unfinished)
		db.Close(context.Background())
		if left == 0 {
			return
		}
		for _, n := range c.nodes {
			if err := n.start(); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// open is a connection that goes by no proxy.
func (c *cluster) open() *pgx.Conn {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.pg.Address(c.database))
	if err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// number is what a query of one number answers.
func number(t testing.TB, db *pgx.Conn, query string, args ...any) (n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := db.QueryRow(ctx, query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// all reads a query, with scan for every row.
func all[T any](t testing.TB, db *pgx.Conn, scan func(*T) []any, query string, args ...any) []T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	rows, err := db.Query(ctx, query, args...)
	var out []T
	if err == nil {
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (v T, err error) { return v, r.Scan(scan(&v)...) })
	}
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

// lapse is a span in which every lease of a silent node ends.
func lapse() time.Duration { return lease + lease/2 }
