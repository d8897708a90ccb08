package store

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/drivebay/drivebay/internal/task"
)

// channel is where nodes tell each other of changes.
const channel = "drivebay"

// news tells the other nodes what became ready or ended here, and hears of
// theirs, on connections of its own. A notice that is part of a transaction
// would make all commits wait for each other, so it goes out after the commit,
// and many in one. One that is lost is found by polling.
type news struct {
	p    *postgres
	self string // leaves out our own
	conf *pgx.ConnConfig
	end  context.CancelFunc
	done sync.WaitGroup

	mu   sync.Mutex
	todo map[string]bool
	wake chan struct{}
}

// Waits of the news connections: how long one may be silent before it is asked
// whether it lives, and between two tries to connect.
const (
	newsSilence = 10 * time.Second
	newsRetry   = 500 * time.Millisecond
	newsSize    = 7000 // bytes of a notice, below the server's limit
)

func startNews(p *postgres, conf *pgx.ConnConfig) *news {
	ctx, end := context.WithCancel(context.Background())
	n := &news{p: p, self: newID(), conf: conf.Copy(), end: end, todo: map[string]bool{}, wake: make(chan struct{}, 1)}
	n.done.Go(func() { n.listen(ctx) })
	n.done.Go(func() { n.speak(ctx) })
	return n
}

func (n *news) stop() {
	n.end()
	n.done.Wait()
}

// send puts c on the list of what to tell.
func (n *news) send(c changes) {
	n.mu.Lock()
	for q := range c.ready {
		n.todo["q:"+string(q)] = true
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// speak sends what is on the list, all of it at once.
func (n *news) speak(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
		n.mu.Lock()
		items := slices.Sorted(maps.Keys(n.todo))
		clear(n.todo)
		n.mu.Unlock()
		for _, notice := range notices(n.self, items) {
			short, cancel := context.WithTimeout(ctx, connectPatience)
			_, err := n.p.pool.Exec(short, `SELECT pg_notify($1, $2)`, channel, notice)
			cancel()
			if err != nil && ctx.Err() == nil {
				n.p.db.opt.Log.Debug("tell other nodes", "error", err) // they poll
			}
		}
	}
}

// notices packs the items, each notice with its sender first.
func notices(self string, items []string) (out []string) {
	notice := self
	for _, item := range items {
		if len(notice)+1+len(item) > newsSize {
			out = append(out, notice)
			notice = self
		}
		notice += " " + item
	}
	if notice != self {
		out = append(out, notice)
	}
	return out
}

// listen hears of what other nodes changed, and connects again when it has to.
func (n *news) listen(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		err := n.connected(ctx, first)
		if ctx.Err() == nil {
			n.p.db.opt.Log.Warn("lost the connection that hears of other nodes", "error", err)
			pause(ctx, 2*newsRetry)
		}
	}
}

// connected listens on one connection until that is lost. After the first one
// everybody looks for what was said meanwhile.
func (n *news) connected(ctx context.Context, first bool) error {
	conn, err := pgx.ConnectConfig(ctx, n.conf)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // nothing is left to lose
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	if !first {
		n.p.db.tell(n.p.db.anything())
	}
	for {
		short, cancel := context.WithTimeout(ctx, newsSilence)
		notice, err := conn.WaitForNotification(short)
		silent := short.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			n.hear(notice.Payload)
		case silent && !conn.IsClosed():
			if err := n.lives(ctx, conn); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

func (n *news) lives(ctx context.Context, conn *pgx.Conn) error {
	short, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	return conn.Ping(short)
}

// hear wakes who waits here for what another node said.
func (n *news) hear(notice string) {
	from, rest, _ := strings.Cut(notice, " ")
	if from == n.self {
		return
	}
	c := changes{ready: map[task.Queue]bool{}}
	for _, item := range strings.Fields(rest) {
		if q, ok := strings.CutPrefix(item, "q:"); ok {
			c.ready[task.Queue(q)] = true
		}
	}
	n.p.db.tell(c)
}
