package taskmodel

// endRun takes a run off its node.
func (m *Model) endRun(n *State, i, attempt int) {
	t := &n.Tasks[i]
	node := t.run(attempt).node()
	t.Runs[attempt-1] = 0
	if m.on(UnlistSelf) {
		return
	}
	for a, r := range t.Runs {
		if r.on(node) {
			t.Runs[a] = r &^ listed
		}
	}
}

// begin lists a run. There is one place for a task on the list of a node.
func (t *Task) begin(attempt int) {
	node := t.run(attempt).node()
	for a, r := range t.Runs {
		if r.on(node) {
			t.Runs[a] = r &^ listed
		}
	}
	t.Runs[attempt-1] = t.run(attempt).to(Held) | listed
}

// runSteps are what a run does, short of ending its task, and what is done to it.
func (m *Model) runSteps(s *State, i, attempt int, try try) {
	t := &s.Tasks[i]
	r := t.run(attempt)
	node := s.Nodes[r.node()]
	if node.Paused {
		return
	}
	step := func(act Act, ok bool, change func(n *State) bool) {
		if ok {
			try(ofRun(act, r, i, attempt), change)
		}
	}
	to := func(p Phase) func(n *State) bool {
		return func(n *State) bool { n.Tasks[i].Runs[attempt-1] = r.to(p); return true }
	}
	end := func(n *State) bool { m.endRun(n, i, attempt); return true }
	p := r.phase()
	if p == Claimed {
		step(Begin, true, func(n *State) bool { n.Tasks[i].begin(attempt); return true })
		step(DropLate, m.on(LateClaim) && (node.Cut || r.is(slept)), end)
		step(LoseClaim, true, func(n *State) bool { return end(n) && spend(n, &n.Left.Losses) })
		return
	}
	step(Call, p == Held, func(n *State) bool {
		n.Tasks[i].Calls = t.Calls.with(attempt)
		return to(Calling)(n)
	})
	step(LoseCall, p == Calling, func(n *State) bool { return to(Troubled)(n) && spend(n, &n.Left.Losses) })
	step(Trouble, p == Held || p == Acted, func(n *State) bool { return to(Troubled)(n) && spend(n, &n.Left.Retries) })
	// Whoever is on the list can be told that the lease is over.
	told := r.is(listed) && p >= Held && !r.ending()
	step(CancelSelf, told && (node.Cut && m.on(SelfCancel) || r.is(slept)), end)
	step(HearLost, told && node.up() && !t.holds(attempt), end)
	if !node.up() || t.locked() {
		return
	}
	// A checkpoint is of no interest but for who may write one.
	step(Save, p == Held || p == Acted, func(n *State) bool {
		return m.passes(n, FenceSave, i, attempt) && n.Broken != s.Broken
	})
	giveBack := func(n *State) bool {
		if m.passes(n, FenceRetry, i, attempt) {
			n.Tasks[i].giveBack()
		}
		return end(n)
	}
	step(GiveBack, p == Troubled, giveBack)
	step(LoseGiveBack, p == Troubled, func(n *State) bool { return end(n) && spend(n, &n.Left.Losses) })
}

// driverSteps are what becomes of a call under way. It is performed at any
// time, also when its node is gone.
func (m *Model) driverSteps(s *State, i, attempt int, try try) {
	t := &s.Tasks[i]
	r := t.run(attempt)
	waits := r.phase() == Calling
	st := ofRun(Perform, r, i, attempt)
	if !waits {
		st.Node = -1
	}
	object := s.Objects[t.Lane]
	after := int(object.Task) > i+1
	again := int(object.Task) == i+1 && int(object.Attempt) > attempt
	if after && m.on(DriverSeq) || again && m.on(DriverAttempt) {
		st.Act = Refuse
	}
	try(st, func(n *State) bool {
		t := &n.Tasks[i]
		t.Calls = t.Calls.without(attempt)
		if st.Act == Refuse {
			if waits {
				t.Runs[attempt-1] = r.to(Troubled)
			}
			return true
		}
		if waits {
			t.Runs[attempt-1] = r.to(Acted)
		}
		if after || again {
			n.Broken |= DriverOrder
		} else {
			n.Objects[t.Lane] = Object{Task: uint8(i + 1), Attempt: uint8(attempt)}
		}
		if t.Status.ended() {
			n.Broken |= NoLateEffect
		}
		return true
	})
}

// nodeSteps are what happens to nodes as a whole.
func (m *Model) nodeSteps(s *State, try try) {
	for node := range m.Nodes {
		at := &s.Nodes[node]
		step := func(act Act, ok bool, change func(n *State) bool) {
			if ok {
				try(Step{Act: act, Node: node, Task: -1}, change)
			}
		}
		step(Renew, at.up(), func(n *State) bool { return n.renew(node) })
		step(NodeStarted, at.Dead, func(n *State) bool { return m.start(n, node) })
		step(NodeResumed, at.Paused, func(n *State) bool { n.Nodes[node].Paused = false; return true })
		step(StoreBack, at.Cut && !at.Paused, func(n *State) bool { n.Nodes[node].Cut = false; return true })
		step(NodeKilled, !at.Dead, func(n *State) bool { return m.kill(n, node) && spend(n, &n.Left.Kills) })
		step(NodePaused, at.up(), func(n *State) bool { return n.pause(node) && spend(n, &n.Left.Pauses) })
		step(StoreCut, at.up(), func(n *State) bool { n.Nodes[node].Cut = true; return spend(n, &n.Left.Cuts) })
	}
}

// renew is one statement for all leases of the node; it matters only to those
// that have lapsed and are not reaped.
func (n *State) renew(node int) (news bool) {
	for i := range n.Tasks {
		t := &n.Tasks[i]
		if t.Owner == owner(node) && !t.Gone && t.Lapsed && !t.locked() {
			t.Lapsed, news = false, true
		}
	}
	return news
}

// kill ends a process: its runs are gone, its transactions aborted. Calls that
// it has sent go on.
func (m *Model) kill(n *State, node int) bool {
	n.Nodes[node] = Node{Dead: true}
	for i := range n.Tasks {
		t := &n.Tasks[i]
		for a, r := range t.Runs {
			if !r.on(node) {
				continue
			}
			if r.ending() {
				t.abort(a + 1)
			}
			t.Runs[a] = 0
		}
		if t.Owner == owner(node) {
			t.Gone = true
		}
	}
	return true
}

// start is a node's: it releases what the one before it left running.
func (m *Model) start(n *State, node int) bool {
	n.Nodes[node] = Node{}
	if !m.on(ReleaseStart) {
		return true
	}
	for i := range n.Tasks {
		t := &n.Tasks[i]
		if t.Status != Running || t.Owner != owner(node) && m.on(ReleaseOwn) {
			continue
		}
		if t.locked() {
			return false // it waits
		}
		t.giveBack()
	}
	return true
}

// pause stops a process as SIGSTOP does. When it goes on it may be stale.
func (n *State) pause(node int) bool {
	n.Nodes[node].Paused = true
	for i := range n.Tasks {
		for a, r := range n.Tasks[i].Runs {
			if r.on(node) {
				n.Tasks[i].Runs[a] = r | slept
			}
		}
	}
	return true
}
