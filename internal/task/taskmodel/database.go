package taskmodel

import "slices"

// acceptances: a transaction accepts a task in two steps. The first takes the
// locks and decides, the second commits.
func (m *Model) acceptances(s *State, try try) {
	i := s.count()
	if i < m.Tasks {
		for lane := range lanes {
			if i == 0 && lane > 0 {
				break // lanes have no names
			}
			others := s.tasks(func(t *Task) bool { return t.Status.open() && int(t.Lane) != lane })
			for after := others; ; after = (after - 1) & others {
				try(Step{Act: Accept, Node: -1, Task: i, Lane: lane, After: after}, func(n *State) bool {
					return m.accept(n, i, lane, after)
				})
				if after == 0 {
					break
				}
			}
		}
	}
	for i := range i {
		if s.Tasks[i].Status.accepting() {
			try(Step{Act: CommitAccept, Node: -1, Task: i}, func(n *State) bool { return m.commitAccept(n, i) })
		}
	}
}

func (m *Model) accept(n *State, i, lane int, after set) bool {
	if m.on(LaneLock) && n.lockedLanes().has(lane) {
		return false
	}
	busy := false
	for j := range i {
		if m.on(AfterLock) && after.has(j) && n.Tasks[j].locked() {
			return false
		}
		busy = busy || n.Tasks[j].Status.open() && int(n.Tasks[j].Lane) == lane
	}
	t := Task{Status: AcceptReady, Lane: uint8(lane), After: after, Named: after}
	if busy && m.on(EnqueueBehind) || after != 0 && m.on(EnqueueAfter) {
		t.Status = AcceptWaiting
	}
	n.Tasks[i] = t
	return true
}

func (m *Model) commitAccept(n *State, i int) bool {
	t := &n.Tasks[i]
	switch {
	case t.Status == AcceptWaiting:
		t.Status = Waiting
	case m.on(HeadIndex) && n.head(int(t.Lane)):
		*t = Task{Status: Refused, Lane: t.Lane}
	default:
		t.Status = Ready
	}
	return true
}

// head reports whether the lane has a ready or running task: one more would
// break the unique index.
func (s *State) head(lane int) bool {
	return s.tasks(func(t *Task) bool { return t.Status.runnable() && int(t.Lane) == lane }) != 0
}

// passes reports whether a write lets the run through, and notes when it is
// let through though its lease is not the present one.
func (m *Model) passes(n *State, write Guards, i, attempt int) bool {
	t := &n.Tasks[i]
	if m.on(write) {
		switch {
		case m.on(FenceState) && t.Status != Running,
			m.on(FenceOwner) && t.Owner != owner(t.run(attempt).node()),
			m.on(FenceAttempt) && int(t.Attempt) != attempt:
			return false
		}
	}
	if !t.holds(attempt) {
		n.Broken |= StaleWrites
	}
	return true
}

// rowSteps are what happens to a row without its run.
func (m *Model) rowSteps(s *State, i int, try try) {
	t := &s.Tasks[i]
	if t.Status == Ready && int(t.Attempt) < maxAttempts {
		for node := range m.Nodes {
			if s.Nodes[node].up() && !(m.on(ClaimInTurn) && t.claimedBy(node)) {
				try(Step{Act: Claim, Node: node, Task: i, Attempt: int(t.Attempt) + 1}, func(n *State) bool {
					n.Tasks[i].claim(node)
					return true
				})
			}
		}
	}
	if t.Status != Running {
		return
	}
	node := int(t.Owner) - 1
	if !t.Lapsed && m.mayLapse(s, i) {
		try(Step{Act: LeaseLapsed, Node: -1, Task: i}, func(n *State) bool { n.Tasks[i].Lapsed = true; return true })
	}
	if t.locked() {
		return
	}
	if m.on(Reap) && s.anyUp(m.Nodes) && (t.Lapsed || !m.on(ReapLapsed)) {
		try(Step{Act: ReapTask, Node: -1, Task: i}, func(n *State) bool { n.Tasks[i].giveBack(); return true })
	}
	if s.Nodes[node].up() && !t.Gone && m.on(Adopt) && m.stray(t) {
		try(Step{Act: AdoptTask, Node: node, Task: i}, func(n *State) bool { n.Tasks[i].giveBack(); return true })
	}
}

func (t *Task) claim(node int) {
	t.Status, t.Owner, t.Gone, t.Lapsed = Running, owner(node), false, false
	t.Attempt++
	t.Runs[t.Attempt-1] = newRun(node)
}

// claimedBy reports whether a claim of the node has not been answered yet.
func (t *Task) claimedBy(node int) bool {
	return slices.ContainsFunc(t.Runs[:], func(r Run) bool { return r.on(node) && r.phase() == Claimed })
}

// mayLapse reports whether time can pass until the lease of a running task
// ends: it is not renewed, and by then its node has cancelled the run.
func (m *Model) mayLapse(s *State, i int) bool {
	t := &s.Tasks[i]
	node := s.Nodes[t.Owner-1]
	switch r := t.run(int(t.Attempt)); {
	case t.Gone, node.Dead, node.Paused:
		return true
	case !node.Cut:
		return false
	case r.phase() == Claimed:
		return !m.on(LateClaim)
	default:
		return !m.on(SelfCancel) || !r.is(listed)
	}
}

// stray reports whether the heartbeat finds no run for the lease, for so long
// that a claim's answer is not under way any more.
func (m *Model) stray(t *Task) bool {
	r := t.run(int(t.Attempt))
	return !r.is(listed) && (r.phase() != Claimed || !m.on(TwoBeats))
}

// endSteps are the transaction in which a run ends its task: the first step
// checks the lease, locks and reads, the second commits.
func (m *Model) endSteps(s *State, i, attempt int, try try) {
	r := s.Tasks[i].run(attempt)
	up := s.Nodes[r.node()].up()
	begin := func(act Act, to Phase, ok bool) {
		if !ok || !up || s.Tasks[i].locked() {
			return
		}
		refused := *s
		if !m.passes(&refused, FenceFinish, i, attempt) {
			try(ofRun(EndLost, r, i, attempt), func(n *State) bool { m.endRun(n, i, attempt); return true })
			return
		}
		try(ofRun(act, r, i, attempt), func(n *State) bool {
			m.passes(n, FenceFinish, i, attempt)
			return m.beginEnd(n, i, attempt, to)
		})
	}
	begin(BeginDone, EndingDone, r.phase() == Acted)
	begin(BeginFailed, EndingFailed, s.Left.Failures > 0 && (r.phase() == Acted || r.phase() == Held && !m.on(TouchBeforeEnd)))
	if !r.ending() {
		return
	}
	if up {
		try(ofRun(CommitEnd, r, i, attempt), func(n *State) bool { m.commitEnd(n, i, attempt, None); return true })
		try(ofRun(LoseEnd, r, i, attempt), func(n *State) bool {
			m.commitEnd(n, i, attempt, Troubled)
			return spend(n, &n.Left.Losses)
		})
		return
	}
	if m.on(SilentAbort) {
		try(ofRun(AbortEnd, r, i, attempt), func(n *State) bool { n.Tasks[i].abort(attempt); return true })
	}
}

func (t *Task) abort(attempt int) {
	t.Frees, t.Promotes = 0, 0
	t.Runs[attempt-1] = t.run(attempt).to(Troubled)
}

func (m *Model) beginEnd(n *State, i, attempt int, to Phase) bool {
	t := &n.Tasks[i]
	after := n.tasks(func(o *Task) bool { return o.Status.open() && o.After.has(i) })
	if m.on(LaneLock) && n.lockedLanes()&n.lanesOf(after.with(i)) != 0 {
		return false
	}
	if m.on(AfterLock) && n.tasks(func(o *Task) bool { return o.Status.accepting() && o.After.has(i) }) != 0 {
		return false
	}
	if m.on(FreeSuccessors) {
		t.Frees = after
	}
	promoted := set(0).with(int(t.Lane))
	if m.on(PromoteOthers) {
		promoted |= n.lanesOf(after)
	}
	for lane := range lanes {
		if p, ok := m.promoted(n, i, lane); promoted.has(lane) && ok {
			t.Promotes = t.Promotes.with(p)
		}
	}
	if to == EndingFailed {
		n.Left.Failures--
	}
	t.Runs[attempt-1] = t.run(attempt).to(to)
	return true
}

// promoted is the task of the lane that the end of task i makes ready.
func (m *Model) promoted(n *State, i, lane int) (int, bool) {
	free := n.Tasks[i].Frees
	for j := range n.Tasks {
		t := &n.Tasks[j]
		if j == i || !t.Status.open() || int(t.Lane) != lane {
			continue
		}
		after := t.After
		if free.has(j) {
			after = after.without(i)
		}
		if t.Status == Waiting && (after == 0 || !m.on(PromoteAfter)) {
			return j, true
		}
		if m.on(PromoteOldest) {
			return 0, false
		}
	}
	return 0, false
}

// commitEnd writes what beginEnd has read; then the run is in the phase.
func (m *Model) commitEnd(n *State, i, attempt int, then Phase) {
	t := &n.Tasks[i]
	if m.on(HeadIndex) {
		for j := range n.Tasks {
			// Its own place is free by then.
			lane := n.Tasks[j].Lane
			if t.Promotes.has(j) && n.tasks(func(o *Task) bool { return o != t && o.Status.runnable() && o.Lane == lane }).without(j) != 0 {
				t.abort(attempt)
				return
			}
		}
	}
	for j := range n.Tasks {
		o := &n.Tasks[j]
		if t.Frees.has(j) {
			o.After = o.After.without(i)
		}
		if t.Promotes.has(j) && o.Status == Waiting {
			o.Status = Ready
		}
	}
	to := Done
	if t.run(attempt).phase() == EndingFailed {
		to = Failed
	}
	t.giveBack()
	t.Status, t.Frees, t.Promotes = to, 0, 0
	t.Ends++
	if then == None {
		m.endRun(n, i, attempt)
	} else {
		t.Runs[attempt-1] = t.run(attempt).to(then)
	}
}
