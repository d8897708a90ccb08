package taskmodel

import "fmt"

// Model says how large a world to look at, and without which guards.
type Model struct {
	Tasks, Nodes int
	Faults       Budget
	Off          Guards
}

func (m *Model) on(g Guards) bool { return m.Off&g == 0 }

// Act is what a step does.
type Act uint8

// The steps. Those from NodeKilled on are faults; Accept and those from
// NodeStarted to StoreBack are what may stay away for ever.
const (
	Accept Act = iota
	CommitAccept
	Claim
	Begin
	Save
	Call
	Perform
	Refuse
	BeginDone
	BeginFailed
	CommitEnd
	AbortEnd
	EndLost
	GiveBack
	LeaseLapsed
	Renew
	ReapTask
	AdoptTask
	CancelSelf
	HearLost
	DropLate
	NodeStarted
	NodeResumed
	StoreBack
	NodeKilled
	NodePaused
	StoreCut
	LoseClaim
	LoseCall
	LoseEnd
	LoseGiveBack
	Trouble
	acts // how many there are
)

var actNames = [acts]string{
	"accept", "commit the acceptance of", "claim", "begin", "save a checkpoint of", "call the driver for", "the driver performs",
	"the driver refuses", "begin to end", "begin to fail", "commit the end of", "the database aborts the end of",
	"the end is refused:", "give back", "the lease lapses of", "renew", "reap", "give back a stray:", "the guard cancels",
	"the heartbeat cancels", "drop a claim answered late:", "start", "resume", "reach the store again", "KILL", "PAUSE",
	"CUT from the store", "LOSE the answer to the claim of", "LOSE the driver's answer for", "LOSE the answer to the end of",
	"LOSE the giving back of", "TROUBLE with",
}

// Step is one thing that happens: an act of a node, on a task's attempt.
type Step struct {
	Act     Act
	Node    int // -1: none
	Task    int // -1: none
	Attempt int // 0: none
	Lane    int // of an accepted task
	After   set // of an accepted task
}

func (st Step) String() string {
	out := actNames[st.Act]
	if st.Node >= 0 {
		out = fmt.Sprintf("node %c: ", 'a'+st.Node) + out
	}
	if st.Task >= 0 {
		out += fmt.Sprintf(" task %d", st.Task+1)
	}
	if st.Attempt > 0 {
		out += fmt.Sprintf(" attempt %d", st.Attempt)
	}
	if st.Act == Accept {
		out += fmt.Sprintf(" in lane %d", st.Lane+1)
		for i := range maxTasks {
			if st.After.has(i) {
				out += fmt.Sprintf(" after task %d", i+1)
			}
		}
	}
	return out
}

func ofRun(a Act, r Run, task, attempt int) Step {
	return Step{Act: a, Node: r.node(), Task: task, Attempt: attempt}
}

// fair reports whether the step is one that can be waited for in s: no fault,
// no new task, and no return of a node while another is there.
func (m *Model) fair(s *State, a Act) bool {
	switch {
	case a >= NodeKilled, a == Accept:
		return false
	case a >= NodeStarted:
		return !s.anyUp(m.Nodes)
	}
	return true
}

// first is the state before anything.
func (m *Model) first() State {
	return State{Left: m.Faults}
}

// steps calls do with every step that can happen in s and the state after it.
func (m *Model) steps(s *State, do func(Step, State)) {
	// Each step is one function that changes a copy and says whether it could.
	try := func(st Step, change func(n *State) bool) {
		n := *s
		if change(&n) {
			m.tidy(s, &n)
			do(st, n)
		}
	}
	m.acceptances(s, try)
	for i := range s.count() {
		m.rowSteps(s, i, try)
		for a := 1; a <= maxAttempts; a++ {
			if s.Tasks[i].run(a) != 0 {
				m.runSteps(s, i, a, try)
				m.endSteps(s, i, a, try)
			}
			if s.Tasks[i].Calls.has(a) {
				m.driverSteps(s, i, a, try)
			}
		}
	}
	m.nodeSteps(s, try)
}

// try offers a step; change makes it of a copy of the state, or says no.
type try func(st Step, change func(n *State) bool)

// spend takes a fault out of the budget.
func spend(n *State, of *uint8) bool {
	if *of == 0 || n.Left.All == 0 {
		return false
	}
	*of--
	n.Left.All--
	return true
}

// tidy notes whether an ended task has changed, and forgets what no later step
// can tell apart, so that fewer states are different.
func (m *Model) tidy(before, n *State) {
	for i := range n.Tasks {
		t, old := &n.Tasks[i], &before.Tasks[i]
		if old.Status.ended() && (t.Status != old.Status || t.Attempt != old.Attempt || t.Owner != old.Owner) {
			n.Broken |= EndedStays
		}
		if t.Status.ended() || t.Attempt > 0 {
			t.Named = 0
		}
		if t.Calls == 0 || !m.on(DriverAttempt) || !m.on(DriverSeq) {
			continue
		}
		for a := 1; a <= maxAttempts; a++ {
			// A driver will refuse it, and nobody waits to hear so.
			if t.Calls.has(a) && t.run(a).phase() != Calling && n.Objects[t.Lane].above(i, a) {
				t.Calls = t.Calls.without(a)
			}
		}
	}
	l := &n.Left // which faults were spent is no matter, only what is left
	for _, of := range []*uint8{&l.Kills, &l.Pauses, &l.Cuts, &l.Losses, &l.Retries} {
		*of = min(*of, l.All)
	}
}

// above reports whether the object has seen a later call than this one.
func (o Object) above(task, attempt int) bool {
	return int(o.Task) > task+1 || int(o.Task) == task+1 && int(o.Attempt) > attempt
}
