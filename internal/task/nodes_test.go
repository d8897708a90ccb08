package task_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/task"
)

// TestOwnTasksAtStart: a node that was killed takes its tasks up at once when
// it starts again, with their checkpoint, and leaves those of others.
func TestOwnTasksAtStart(t *testing.T) {
	inHouse(t, func(h *house) {
		mine, others := h.enqueue(task.New{Lane: "mine"}), h.enqueue(task.New{Lane: "others"})
		for _, owner := range []string{"node1/killed", "node10/alive"} {
			got, err := h.db.Tasks().Claim(h.t.Context(), task.Quick, owner, lease, 1)
			if err != nil || len(got) != 1 {
				t.Fatalf("claim: %v %v", got, err)
			}
			l := task.Lease{TaskID: got[0].ID, Owner: owner, Attempt: 1}
			if err := h.db.Tasks().Save(h.t.Context(), l, []byte(`"kept"`), task.Progress{Percent: 7}); err != nil {
				t.Fatal(err)
			}
		}
		n := h.node("node1")
		n.on(task.Policy{}, func(_ context.Context, r *task.Run) error {
			var s string
			if _, err := r.Saved(&s); err != nil || s != "kept" || r.Task.Progress != 7 || r.Task.Attempt != 2 {
				t.Errorf("took up %q %+v", s, r.Task)
			}
			return n.success(r)
		}).start()
		pass(0)
		h.want(mine.ID, task.Done, "")
		h.want(others.ID, task.Running, "")
		pass(lease + 2*time.Second)
		h.want(others.ID, task.Done, "")
		n.stop()
	})
}

// lanes is what the handlers of TestTwoNodes see.
type lanes struct {
	t  *testing.T
	mu sync.Mutex
	// busy is the task that runs in each lane, order those that succeeded.
	busy  map[string]string
	order map[string][]string
}

// run takes a moment, and fails or panics now and then.
func (l *lanes) run(n *node, r *task.Run) error {
	lane := r.Task.Lane
	l.mu.Lock()
	if other := l.busy[lane]; other != "" {
		l.t.Errorf("lane %s: %s runs beside %s", lane, r.Task.ID, other)
	}
	l.busy[lane] = r.Task.ID
	l.mu.Unlock()
	time.Sleep(time.Duration(1+r.Task.Seq%7) * 10 * time.Millisecond)
	l.mu.Lock()
	l.busy[lane] = ""
	defer l.mu.Unlock()
	switch (r.Task.Seq + r.Task.Attempt*3) % 8 {
	case 0:
		return backend.ErrUnavailable
	case 1:
		panic("boom")
	}
	// It may have succeeded before, and its end not been written.
	if seen := l.order[lane]; len(seen) == 0 || seen[len(seen)-1] != r.Task.ID {
		l.order[lane] = append(seen, r.Task.ID)
	}
	return n.success(r)
}

// TestTwoNodes: two nodes with eight workers each keep the order of twenty
// lanes, one at a time, while tasks fail and panic and answers get lost.
func TestTwoNodes(t *testing.T) {
	inHouse(t, func(h *house) {
		l := &lanes{t: t, busy: map[string]string{}, order: map[string][]string{}}
		var calls atomic.Int64
		flaky := func(op string, err error) error {
			if op != "Renew" && calls.Add(1)%37 == 0 {
				return errors.Join(err, errAway) // perhaps it was done, perhaps not
			}
			return err
		}
		nodes := []*node{h.node("a"), h.node("b")}
		for _, n := range nodes {
			n.set(nil, flaky)
			n.on(task.Policy{}, func(_ context.Context, r *task.Run) error { return l.run(n, r) }).start()
		}
		accepted := map[string][]string{}
		for i := range 300 {
			k := h.enqueue(task.New{Lane: fmt.Sprint((i + i/20) * 7 % 20)})
			accepted[k.Lane] = append(accepted[k.Lane], k.ID)
		}
		h.untilIdle()
		if len(accepted) != 20 {
			t.Errorf("%d lanes", len(accepted))
		}
		for lane, want := range accepted {
			if !slices.Equal(l.order[lane], want) {
				t.Errorf("lane %s ran\n%v, accepted\n%v", lane, l.order[lane], want)
			}
			for _, id := range want {
				h.want(id, task.Done, "")
			}
		}
		if nodes[0].made("Finish") == 0 || nodes[1].made("Finish") == 0 {
			t.Error("one node did everything")
		}
		for _, n := range nodes {
			n.stop()
		}
	})
}

// untilIdle lets time pass until every task has ended, a quarter of an hour
// at most.
func (h *house) untilIdle() {
	h.t.Helper()
	for range 90 {
		pass(10 * time.Second)
		open, err := h.db.Tasks().Count(context.Background())
		if err != nil {
			h.t.Fatal(err)
		}
		if len(open) == 0 {
			return
		}
	}
	h.t.Fatal("tasks do not end")
}
