package storetest

import (
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/node"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// testNodes: a name is one server's, until it has not been seen for a lease.
func testNodes(t *testing.T, w *world) {
	ctx, s := t.Context(), w.Nodes()
	join := func(name, instance, boot string) error {
		return s.Join(ctx, node.Node{Name: name, Instance: instance, Boot: boot, Role: node.Worker, Facilities: []string{tpa, lax}, Version: "v"}, node.Lease)
	}
	check(t, join("b", "folder-b", "1"))
	check(t, join("a", "folder-a", "1"))
	is(t, join("a", "folder-x", "2"), node.ErrNameTaken)
	check(t, join("a", "folder-a", "3")) // started again
	is(t, s.Beat(ctx, "a", "1"), node.ErrReplaced)
	check(t, s.Beat(ctx, "a", "3"))

	w.enqueue(t, task.New{Lane: "l"})
	w.claimOne(t, "a/3")
	w.clock.add(node.Lease - time.Second)
	check(t, s.Beat(ctx, "a", "3"))
	w.clock.add(2 * time.Second)
	list := must(s.List(ctx, node.Lease))(t)
	same(t, "nodes", len(list), 2)
	a, b := list[0], list[1]
	same(t, "first", a.Name, "a")
	same(t, "is alive", a.Alive, true)
	same(t, "tasks", a.Tasks, 1)
	same(t, "boot", a.Boot, "3")
	equal(t, "facilities", a.Facilities, []string{tpa, lax})
	same(t, "the silent one is alive", b.Alive, false)
	check(t, join("b", "folder-x", "2")) // whose name is free by now

	check(t, s.Leave(ctx, "b", "1")) // not any more: nothing
	same(t, "nodes", len(must(s.List(ctx, node.Lease))(t)), 2)
	check(t, s.Leave(ctx, "b", "2"))
	same(t, "nodes", len(must(s.List(ctx, node.Lease))(t)), 1)
	w.clock.add(8 * 24 * time.Hour)
	check(t, join("c", "folder-c", "1")) // those that never left are forgotten
	same(t, "nodes", len(must(s.List(ctx, node.Lease))(t)), 1)
}

// testNear: a worker near some facilities claims their tasks, and what
// belongs to none.
func testNear(t *testing.T, w *world) {
	ctx := t.Context()
	for _, n := range []task.New{{Lane: "1", Facility: tpa}, {Lane: "2", Facility: lax}, {Lane: "3"}, {Lane: "4", Facility: "AMS1"}} {
		w.enqueue(t, n)
	}
	claims := func(s store.Tasks) (lanes string) {
		for _, k := range must(s.Claim(ctx, task.Quick, "n/b", time.Minute, 10))(t) {
			lanes += k.Lane
		}
		return lanes
	}
	same(t, "near LAX3", claims(w.Tasks().In(lax)), "23")
	same(t, "near LAX3 again", claims(w.Tasks().In(lax)), "")
	same(t, "near TPA1 and LAX3", claims(w.Tasks().In(tpa, lax)), "1")
	same(t, "near all", claims(w.Tasks().In()), "4")
}

// testClaimStorage: a facility's disks are in one storage for good.
func testClaimStorage(t *testing.T, w *world) {
	ctx, s := t.Context(), w.VPS()
	check(t, s.ClaimStorage(ctx, tpa, "here"))
	check(t, s.ClaimStorage(ctx, tpa, "here"))
	is(t, s.ClaimStorage(ctx, tpa, "there"), vps.ErrOtherStorage)
	check(t, s.ClaimStorage(ctx, lax, "there"))
	is(t, s.ClaimStorage(ctx, "MARS1", "there"), vps.ErrFacilityNotFound)
}
