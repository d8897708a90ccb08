package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/pgtest"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// Nodes that start together on an empty database make its schema once.
func TestPostgresOpenTogether(t *testing.T) {
	t.Parallel()
	b := base{pgtest.New(t)}
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			db, err := store.Open(context.Background(), b.address, store.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A newer schema is refused, with a sentence.
func TestPostgresNewer(t *testing.T) {
	t.Parallel()
	b := base{pgtest.New(t)}
	if err := b.Open(t, store.Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Exec(t, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, TRUE)`); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(context.Background(), b.address, store.Options{})
	if err == nil || !strings.Contains(err.Error(), "use a newer program") {
		t.Errorf("a newer schema: %v", err)
	}
}

// An address that cannot be used is refused without what may be secret in it.
func TestPostgresAddress(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"postgres://u:sesame@127.0.0.1:1/d", "postgres://u:sesame@[::1/d", "postgres://u:sesame@127.0.0.1:1/d?sslmode=odd",
		"postgres://u:sesame@127.0.0.1:port/d",
	} {
		_, err := store.Open(t.Context(), address, store.Options{})
		if err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// One node's work wakes another one at once, and does so again after the
// connections were lost.
func TestPostgresNews(t *testing.T) {
	t.Parallel()
	b := base{pgtest.New(t)}
	here, there := b.Open(t, store.Options{}), b.Open(t, store.Options{})
	defer here.Close()
	defer there.Close()
	woken := func() bool {
		select {
		case <-there.Tasks().Wake(task.Quick):
			return true
		default:
			return false
		}
	}
	n := 0
	wakes := func() bool {
		n++
		enqueue(t, here, fmt.Sprint("lane", n))
		for begun := time.Now(); time.Since(begun) < time.Second; time.Sleep(time.Millisecond) {
			if woken() {
				return true
			}
		}
		return false
	}
	testneed.Eventually(t, "the other node is woken", wakes)
	if err := b.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	testneed.Eventually(t, "the other node looks after it has connected again", woken)
	testneed.Eventually(t, "the other node is woken again", wakes)
}

// enqueue accepts a task, or fails the test unless the database is away.
func enqueue(t *testing.T, db *store.DB, lane string) {
	t.Helper()
	err := db.Volumes().Tx(t.Context(), func(tx volume.Tx) error {
		_, err := tx.Enqueue(t.Context(), task.New{Kind: "test.work", Lane: lane, Queue: task.Quick})
		return err
	})
	if err != nil && !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
}

// While the database is slow to answer a node asks for a few connections at a
// time, however many wait for one, and goes on by itself when it is back.
func TestPostgresSlowConnects(t *testing.T) {
	t.Parallel()
	b := base{pgtest.New(t)}
	p := startProxy(t, b.address)
	var db *store.DB
	testneed.Eventually(t, "a connection within a second", func() bool {
		var err error
		db, err = store.Open(t.Context(), p.address(t, b.address)+"&connect_timeout=1", store.Options{})
		return err == nil
	})
	defer db.Close()
	p.mute.Store(true)
	if err := b.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 16 { // as many as a pool has
		all.Go(func() {
			if err := db.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	p.mu.Lock()
	if p.most < 1 || p.most > 3*store.ConnectsAtOnce { // the proxy sees late that one was given up
		t.Errorf("%d connections were asked for at once", p.most)
	}
	p.mu.Unlock()
	p.mute.Store(false)
	testneed.Eventually(t, "the database is back", func() bool { return db.Ping(t.Context()) == nil })
}

// A commit whose answer was lost on the way has happened, and counts.
func TestPostgresLostCommit(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	setUp(t, address)
	p := startProxy(t, address)
	db := base{p.address(t, address)}.Open(t, store.Options{})
	defer db.Close()
	for i := range 5 {
		p.cutAfter.Store(true)
		id := fmt.Sprint("v", i)
		if err := db.Volumes().Tx(t.Context(), func(tx volume.Tx) error {
			if _, err := tx.Device(t.Context(), 1001); err != nil {
				return err
			}
			return tx.PutVolume(t.Context(), volume.Volume{
				ID: id, ClientID: 7, FacilityCode: "TPA1", Type: volume.DataDisk, State: volume.Detached, Bytes: 1, CreatedAt: time.Now(),
			})
		}); err != nil {
			t.Fatalf("a commit that happened is told as %v", err)
		}
		if p.cutAfter.Load() {
			t.Fatal("no answer was lost")
		}
		if _, err := db.Volumes().Get(t.Context(), access.Scope{All: true}, id); err != nil {
			t.Fatal(err)
		}
	}
}

// A transaction whose node has stopped in its middle lets go of its locks.
func TestPostgresStopped(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	setUp(t, address)
	stopped := base{address + "&idle_in_transaction_session_timeout=100"}.Open(t, store.Options{})
	defer stopped.Close()
	other := base{address}.Open(t, store.Options{})
	defer other.Close()
	inside, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	var once sync.Once
	go func() {
		first <- stopped.Volumes().Tx(context.Background(), func(tx volume.Tx) error {
			_, err := tx.Device(context.Background(), 1001)
			once.Do(func() { close(inside) })
			<-release
			if err == nil {
				_, err = tx.Device(context.Background(), 1001)
			}
			return err
		})
	}()
	<-inside
	err := other.Volumes().Tx(t.Context(), func(tx volume.Tx) error { // waits for the lock
		_, err := tx.Device(t.Context(), 1001)
		return err
	})
	close(release)
	if err != nil {
		t.Errorf("the other node: %v", err)
	}
	if err := <-first; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the stopped node: %v", err)
	}
}

// setUp makes a facility, client 7 and its device 1001.
func setUp(t *testing.T, address string) {
	t.Helper()
	db := base{address}.Open(t, store.Options{})
	defer db.Close()
	ctx := t.Context()
	if _, err := db.VPS().PutFacility(ctx, vps.Facility{Code: "TPA1", Title: "T", City: "C", Country: "US"}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Access().AddClient(ctx, access.Client{ID: 7, Name: "c"}); err != nil {
		t.Fatal(err)
	}
	err := db.VPS().Tx(ctx, func(tx vps.Tx) error {
		_, err := tx.AddDevice(ctx, vps.Device{ID: 1001, ClientID: 7, FacilityCode: "TPA1", Status: vps.Running}, "root", 1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// proxy stands between the store and the server. When told to it forwards the
// next COMMIT and drops its answer with the connection.
type proxy struct {
	net.Listener
	server   string // the path of its socket
	cutAfter atomic.Bool
	// mute: no new connection is answered.
	mute      atomic.Bool
	mu        sync.Mutex
	now, most int // connections that wait for an answer
}

func (p *proxy) waiting(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now += n
	p.most = max(p.most, p.now)
}

func startProxy(t *testing.T, address string) *proxy {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || u.Query().Get("host") == "" {
		t.Skip("the server is not reached by a socket of this machine")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, server: u.Query().Get("host") + "/.s.PGSQL." + u.Port()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return p
}

// address is that of the database by way of the proxy.
func (p *proxy) address(t *testing.T, direct string) string {
	t.Helper()
	return fmt.Sprintf("postgres://drivebay@%s/%s?sslmode=disable", p.Addr(), pgtest.Name(direct))
}

func (p *proxy) serve(client net.Conn) {
	if p.mute.Load() {
		p.waiting(1)
		_, _ = io.Copy(io.Discard, client) // until it gives up
		p.waiting(-1)
		client.Close()
		return
	}
	server, err := net.Dial("unix", p.server)
	if err != nil {
		client.Close()
		return
	}
	defer server.Close()
	defer client.Close()
	var drop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || drop.Load() { // with its answer dropped
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			break
		}
		if bytes.Contains(buf[:n], []byte("COMMIT")) && p.cutAfter.CompareAndSwap(true, false) {
			drop.Store(true)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			break
		}
	}
	if !drop.Load() {
		server.Close()
	}
	<-done
}
