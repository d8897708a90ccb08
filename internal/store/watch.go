package store

import "sync"

// hub tells those who wait in this process that something they watch has
// changed. It carries no news, only the occasion to look again: a signal may
// come too often, and where it could get lost (another node's commit) whoever
// waits looks by himself now and then.
//
// A topic is the id of a task, notified after each commit that ended it. The
// writer feeds it on SQLite; an engine with several nodes feeds it from what
// the others tell it, by the same notify. A stream of events can watch a topic
// of its own in the same way: notified by every commit that recorded one, and
// reading on from its position.
type hub struct {
	mu     sync.Mutex
	topics map[string]map[chan struct{}]struct{}
}

func newHub() *hub { return &hub{topics: map[string]map[chan struct{}]struct{}{}} }

// watch returns a channel that has a signal in it from the first notify after
// this call on; further ones before it is taken add nothing. cancel ends the
// watch, and may be called more than once.
func (h *hub) watch(topic string) (_ <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics[topic] == nil {
		h.topics[topic] = map[chan struct{}]struct{}{}
	}
	h.topics[topic][c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.topics[topic], c)
		if len(h.topics[topic]) == 0 {
			delete(h.topics, topic)
		}
	}
}

// notify signals all who watch one of the topics. It never waits.
func (h *hub) notify(topics ...string) {
	if len(topics) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range topics {
		for c := range h.topics[t] {
			signal(c)
		}
	}
}

// signal leaves a signal for one taker; one not yet taken serves for both.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Watch is in task.Lister.
func (s Tasks) Watch(taskID string) (<-chan struct{}, func()) { return s.db.hub.watch(taskID) }
