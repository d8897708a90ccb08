package taskmodel

import (
	"fmt"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/testneed"
)

// anyFault lets all faults happen, n of them together.
func anyFault(n, failures uint8) Budget {
	return Budget{Kills: n, Pauses: n, Cuts: n, Losses: n, Retries: n, All: n, Failures: failures}
}

// worlds are what is looked at, from so many rounds on (testneed.RoundsEnv).
var worlds = []struct {
	rounds int
	m      Model
}{
	{0, Model{Tasks: 1, Nodes: 2, Faults: anyFault(3, 1)}},
	{0, Model{Tasks: 2, Nodes: 3, Faults: anyFault(1, 1)}},
	{0, Model{Tasks: 4, Nodes: 2, Faults: anyFault(0, 1)}},
	{1, Model{Tasks: 3, Nodes: 2, Faults: anyFault(1, 0)}},
	{100, Model{Tasks: 2, Nodes: 2, Faults: Budget{Kills: 1, Pauses: 1, Cuts: 1, Losses: 1, All: 2}}},
	{1000, Model{Tasks: 2, Nodes: 2, Faults: anyFault(2, 0)}},
	{500, Model{Tasks: 3, Nodes: 2, Faults: anyFault(1, 1)}},
	{500, Model{Tasks: 1, Nodes: 3, Faults: anyFault(3, 1)}},
	{1000, Model{Tasks: 3, Nodes: 2, Faults: Budget{Kills: 1, Pauses: 1, All: 2}}},
	{1000, Model{Tasks: 4, Nodes: 2, Faults: Budget{Kills: 1, Pauses: 1, All: 1}}},
}

// TestHolds: with all guards, no state of the world breaks a rule.
func TestHolds(t *testing.T) {
	t.Parallel()
	rounds := testneed.Rounds(1, 1000)
	if testing.Short() {
		rounds = 0
	}
	var acts [acts]int
	states := 0
	for _, w := range worlds {
		if w.rounds > rounds {
			continue
		}
		start := time.Now()
		r := Check(w.m, allInvariants)
		t.Logf("%d tasks, %d nodes, %+v: %v; %v", w.m.Tasks, w.m.Nodes, w.m.Faults, r, time.Since(start).Round(time.Millisecond))
		if r.Broken != 0 {
			t.FailNow()
		}
		if r.Cut > 0 {
			t.Errorf("%d states had no attempt left: the world is not whole", r.Cut)
		}
		states += r.States
		for a, n := range r.Acts {
			acts[a] += n
		}
	}
	t.Logf("%d states together", states)
	// A rule that holds because nothing happens is worth nothing.
	for a, n := range acts {
		if act := Act(a); (n == 0) != (act == Save) { // a stale one, that is let through
			t.Errorf("%q happened %d times", actNames[a], n)
		}
	}
}

// TestNames holds that each bit has its name.
func TestNames(t *testing.T) {
	t.Parallel()
	if n := Guards(1) << len(guardNames); n != allGuards+1 {
		t.Errorf("%d names for the guards %b", len(guardNames), allGuards)
	}
	if n := Invariants(1) << len(invariantNames); n != allInvariants+1 {
		t.Errorf("%d names for the rules %b", len(invariantNames), allInvariants)
	}
	for a, name := range actNames {
		if name == "" {
			t.Errorf("act %d has no name", a)
		}
	}
	got := fmt.Sprint(Step{Act: Accept, Node: -1, Task: 2, Lane: 1, After: 3}, "; ", ofRun(Claim, newRun(1), 0, 2))
	if want := "accept task 3 in lane 2 after task 1 after task 2; node b: claim task 1 attempt 2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
