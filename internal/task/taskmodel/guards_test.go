package taskmodel

import "testing"

// The worlds in which guards are left out: as small as shows the harm.
var (
	alone = Model{Tasks: 2, Nodes: 1, Faults: anyFault(1, 0)}
	pair  = Model{Tasks: 2, Nodes: 2, Faults: anyFault(1, 1)}
	three = Model{Tasks: 3, Nodes: 1}
	four  = Model{Tasks: 4, Nodes: 1}
)

// TestGuards leaves out one guard at a time: the rule that needs it breaks.
func TestGuards(t *testing.T) {
	t.Parallel()
	var seen Guards
	for _, c := range []struct {
		off   Guards
		rule  Invariants
		world Model
	}{
		{FenceFinish, StaleWrites, pair},
		{FenceFinish, EndsOnce, pair},
		{FenceSave, StaleWrites, pair},
		{FenceRetry, StaleWrites, pair},
		{FenceRetry, EndedStays, pair},
		{FenceRetry, EndsOnce, pair},
		{FenceAttempt, StaleWrites, pair},
		{FenceState | FenceOwner, StaleWrites, pair},
		{FenceState | FenceOwner, EndedStays, pair},
		{LaneLock, NotStranded, pair},
		{LaneLock | HeadIndex, OneRunnable, pair},
		{AfterLock, NotStranded, pair},
		{SilentAbort, NotStranded, pair},
		{EnqueueBehind, InOrder, three},
		{EnqueueBehind | HeadIndex, OneRunnable, three},
		{EnqueueAfter, AfterHeld, pair},
		{FreeSuccessors, NotStranded, pair},
		{PromoteOthers, NotStranded, pair},
		{PromoteOldest, InOrder, four},
		{PromoteAfter, AfterHeld, three},
		{Reap, NotStranded, pair},
		{Reap | ReleaseStart, NotStranded, alone},
		{ReapLapsed, OneActor, pair},
		{ReleaseOwn, OneActor, pair},
		{SelfCancel, OneActor, pair},
		{LateClaim, OneActor, pair},
		{ClaimInTurn, OneActor, pair},
		{Adopt, NotStranded, pair},
		{TwoBeats, OneActor, pair},
		{UnlistSelf, OneActor, pair},
		{DriverAttempt, DriverOrder, pair},
		{DriverSeq, DriverOrder, pair},
		{TouchBeforeEnd, NoLateEffect, pair},
	} {
		seen |= c.off
		t.Run(c.off.String()+"/"+c.rule.String(), func(t *testing.T) {
			t.Parallel()
			m := c.world
			m.Off = c.off
			r := Check(m, c.rule)
			if r.Broken != c.rule {
				t.Fatalf("without %v nothing breaks %v in %d states", c.off, c.rule, r.States)
			}
			t.Logf("without %v %v", c.off, r)
		})
	}
	if seen != allGuards {
		t.Errorf("not left out by any case: %v", allGuards&^seen)
	}
}

// TestCovered: a guard that may be missing as long as others are there. It is
// in a pair above, so that it is known what it is for.
func TestCovered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		off   Guards
		world []Model
	}{
		{FenceState, []Model{pair, three, four}},
		{FenceOwner, []Model{pair, three, four}},
		{HeadIndex, []Model{pair, three, four}},
		{ReleaseStart, []Model{alone, pair, three}},
		{Reap, []Model{alone}}, // whose only node comes back
	} {
		t.Run(c.off.String(), func(t *testing.T) {
			t.Parallel()
			for _, m := range c.world {
				m.Off = c.off
				if r := Check(m, allInvariants); r.Broken != 0 {
					t.Errorf("without %v %v; TestGuards is the place for it", c.off, r)
				}
			}
		})
	}
}
