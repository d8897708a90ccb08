// Package node is what the servers of one installation know of each other.
// Nothing that is right depends on it: leases decide who runs a task. It tells
// operators what is there, and keeps two servers from using one name.
package node

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/drivebay/drivebay/internal/fault"
)

// Role is what a node does.
type Role string

// The roles: answer requests, run tasks, or both.
const (
	All    Role = "all"
	API    Role = "api"
	Worker Role = "worker"
)

// Node is one server.
type Node struct {
	// Name is unique in the installation: tasks are leased to it.
	Name string
	// Instance is the data folder's own id. A server that finds its name taken
	// by its own folder has been restarted; by another one, it is a mistake.
	Instance string
	Boot     string // unique for each start
	Role     Role
	// Facilities are those whose tasks it runs; none: all.
	Facilities []string
	Version    string
	URL        string // where its API answers, "" where it has none
	StartedAt  time.Time
	SeenAt     time.Time // its last heartbeat
	Alive      bool      // it was seen within a lease
	Tasks      int       // that are leased to it
}

// ErrNameTaken: another server with this name is at work.
var ErrNameTaken = fault.New(fault.Conflict, "node_name_taken", "another server with this name is at work; give each server a name of its own (--node)")

// ErrReplaced: a later start under this name has taken the place.
var ErrReplaced = errors.New("a later start has taken the node's place")

// Store keeps nodes. Its clock decides who is alive.
type Store interface {
	// Join writes n in place of an earlier start. ErrNameTaken if that is of
	// another instance and was seen less than lease ago.
	Join(ctx context.Context, n Node, lease time.Duration) error
	// Beat says that the node is there. ErrReplaced.
	Beat(ctx context.Context, name, boot string) error
	// Leave says that the node has gone for now.
	Leave(ctx context.Context, name, boot string) error
	// List returns the nodes by name, with who was seen within the lease.
	List(ctx context.Context, lease time.Duration) ([]Node, error)
}

// Lease is how long a node counts as alive after a heartbeat, and how long a
// task stays its own: the same time, since it is the same question.
const Lease = 15 * time.Second

// Registry keeps one node in the list.
type Registry struct {
	Store Store
	Self  Node
	Lease time.Duration // 0: Lease
	Log   *slog.Logger
}

// Start joins, and beats until ctx ends; then it leaves. The channel closes
// once that is done.
func (r *Registry) Start(ctx context.Context) (<-chan struct{}, error) {
	if err := r.Store.Join(ctx, r.Self, r.lease()); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.beat(ctx)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if err := r.Store.Leave(last, r.Self.Name, r.Self.Boot); err != nil {
			r.Log.Warn("leave the list of nodes", "error", err)
		}
	}()
	return done, nil
}

func (r *Registry) lease() time.Duration { return cmp.Or(r.Lease, Lease) }

func (r *Registry) beat(ctx context.Context) {
	tick := time.NewTicker(r.lease() / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch err := r.Store.Beat(ctx, r.Self.Name, r.Self.Boot); {
		case errors.Is(err, ErrReplaced):
			r.Log.Error("another start uses this node's name", "node", r.Self.Name)
		case err != nil && ctx.Err() == nil:
			r.Log.Warn("heartbeat of the node", "error", err)
		}
	}
}
