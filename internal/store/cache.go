package store

import (
	"sync"
	"time"

	"github.com/drivebay/drivebay/internal/volume"
)

const (
	// cacheMost bounds what is remembered, in volumes: some 5 MB.
	cacheMost = 20_000
	// cacheTime bounds how long another program that writes to the database
	// file, which nothing here hears of, goes unnoticed.
	cacheTime = time.Second
)

// volumeCache remembers volumes and the lists of devices between two changes.
// All of this process's writes go through one writer, so it is never stale: it
// is empty and takes nothing from before a commit that changes volumes begins
// until after it has ended.
type volumeCache struct {
	mu      sync.RWMutex
	changes uint64 // grows whenever everything is forgotten
	closed  int    // commits under way; nothing is remembered meanwhile
	size    int    // volumes in both maps
	byID    map[string]remembered
	lists   map[listKey]remembered
}

// listKey is one device as one client sees it.
type listKey struct{ device, client int64 }

type remembered struct {
	volumes []volume.Volume
	until   time.Time
}

func newVolumeCache() *volumeCache {
	return &volumeCache{byID: map[string]remembered{}, lists: map[listKey]remembered{}}
}

// ticket says what a reader may remember of what it is about to read.
type ticket struct {
	changes uint64
	open    bool
}

// list returns a device's list, shared by all who ask and not to be changed, or
// the ticket to remember it with.
func (c *volumeCache) list(k listKey, now time.Time) ([]volume.Volume, bool, ticket) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r, ok := c.lists[k]
	if ok && now.Before(r.until) {
		return r.volumes, true, ticket{}
	}
	return nil, false, ticket{c.changes, c.closed == 0}
}

// get is list for one volume.
func (c *volumeCache) get(id string, now time.Time) (volume.Volume, bool, ticket) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r, ok := c.byID[id]
	if ok && now.Before(r.until) {
		return r.volumes[0], true, ticket{}
	}
	return volume.Volume{}, false, ticket{c.changes, c.closed == 0}
}

func (c *volumeCache) putList(k listKey, v []volume.Volume, t ticket, now time.Time) {
	if c.room(t, len(v)+1) {
		c.lists[k] = remembered{v, now.Add(cacheTime)}
		c.mu.Unlock()
	}
}

func (c *volumeCache) put(v volume.Volume, t ticket, now time.Time) {
	if c.room(t, 1) {
		c.byID[v.ID] = remembered{[]volume.Volume{v}, now.Add(cacheTime)}
		c.mu.Unlock()
	}
}

// room reports whether n volumes read with the ticket may be remembered, and
// if so returns with c.mu held.
func (c *volumeCache) room(t ticket, n int) bool {
	if !t.open || n > cacheMost {
		return false
	}
	c.mu.Lock()
	if c.closed > 0 || c.changes != t.changes {
		c.mu.Unlock()
		return false
	}
	// What is remembered anew counts twice, which only makes room sooner.
	if c.size+n > cacheMost {
		c.forget()
	}
	c.size += n
	return true
}

// shut forgets everything until open is called.
func (c *volumeCache) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	c.changes++
	c.forget()
}

func (c *volumeCache) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed--
	c.changes++
}

func (c *volumeCache) forget() {
	c.size = 0
	clear(c.byID)
	clear(c.lists)
}
