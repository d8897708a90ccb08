package taskmodel

// Sizes of a state; a Model may use less.
const (
	maxTasks    = 4
	maxAttempts = 4
	maxNodes    = 3
	lanes       = 2
)

// Status is where a task stands. The first ones are those of a transaction
// that accepts it and has decided, but not committed.
type Status uint8

// The statuses. Refused is one whose acceptance was rolled back.
const (
	Absent Status = iota
	AcceptWaiting
	AcceptReady
	Waiting
	Ready
	Running
	Done
	Failed
	Refused
)

func (s Status) accepting() bool { return s == AcceptWaiting || s == AcceptReady }
func (s Status) open() bool      { return s >= Waiting && s <= Running }
func (s Status) ended() bool     { return s >= Done }
func (s Status) runnable() bool  { return s == Ready || s == Running }

// set is one of small numbers: tasks, lanes, or attempts from 1.
type set uint8

func (s set) has(i int) bool    { return s&(1<<i) != 0 }
func (s set) with(i int) set    { return s | 1<<i }
func (s set) without(i int) set { return s &^ (1 << i) }

// Phase is how far a run is.
type Phase uint8

// The phases of a run.
const (
	None         Phase = iota
	Claimed            // committed, not yet answered
	Held               // begun, has not touched anything
	Calling            // waits for a driver
	Acted              // the driver has done it
	Troubled           // about to give its task back
	EndingDone         // in the transaction that ends the task
	EndingFailed       // the same, as failed
	phaseBits          = 0x0f
	nodeShift          = 4
	listed       Run   = 0x40 // on its node's list: hears of a lost lease
	slept        Run   = 0x80 // its node was paused since the claim: may be stale
)

// Run is one attempt as its node sees it; zero when there is none.
type Run uint8

func newRun(node int) Run           { return Run(node<<nodeShift) | Run(Claimed) }
func (r Run) phase() Phase          { return Phase(r & phaseBits) }
func (r Run) node() int             { return int(r>>nodeShift) & 3 }
func (r Run) to(p Phase) Run        { return r&^phaseBits | Run(p) }
func (r Run) begun() bool           { return r.phase() >= Held }
func (r Run) ending() bool          { return r.phase() >= EndingDone }
func (r Run) is(flag Run) bool      { return r&flag != 0 }
func (r Run) on(node int) bool      { return r != 0 && r.node() == node }
func (r Run) owned(node int) Run    { return r&^(3<<nodeShift) | Run(node<<nodeShift) }
func owner(node int) uint8          { return uint8(node + 1) }
func (t *Task) run(attempt int) Run { return t.Runs[attempt-1] }

// Task is a row, the transaction that ends it, its runs on all nodes and its
// calls to drivers. Its number is its place in the order of acceptance.
type Task struct {
	Status  Status
	Lane    uint8
	After   set   // its rows in task_after
	Named   set   // what it was accepted after; forgotten at the first claim
	Owner   uint8 // node + 1; 0: none
	Gone    bool  // the process that is the owner was killed
	Lapsed  bool  // the lease is over
	Attempt uint8
	Ends    uint8 // how often it was ended, to see that it is once
	// What the transaction that ends it has read, to be written at its commit.
	Frees, Promotes set
	Calls           set // attempts whose call is under way to the driver
	Runs            [maxAttempts]Run
}

// holds reports whether the lease of the run is the task's present one.
func (t *Task) holds(attempt int) bool {
	r := t.run(attempt)
	return t.Status == Running && t.Owner == owner(r.node()) && !t.Gone && int(t.Attempt) == attempt
}

// locked: a transaction under way has written the row.
func (t *Task) locked() bool {
	for _, r := range t.Runs {
		if r.ending() {
			return true
		}
	}
	return false
}

// giveBack is what Retry, Reap and ReleaseNode write.
func (t *Task) giveBack() { t.Status, t.Owner, t.Gone, t.Lapsed = Ready, 0, false, false }

// Node is a server.
type Node struct {
	Dead   bool
	Paused bool // runs nothing, but its calls go on
	Cut    bool // does not reach the database
}

func (n Node) up() bool { return !n.Dead && !n.Paused && !n.Cut }

// Object is what the tasks of a lane touch: the last task and attempt that its
// driver performed a call of, the highest of all.
type Object struct{ Task, Attempt uint8 } // Task from 1

// Budget is how many of each fault may happen, and of All together. A failure
// is no fault, but one of the two ways to end.
type Budget struct{ Kills, Pauses, Cuts, Losses, Retries, All, Failures uint8 }

// State is one state of the whole. It is comparable, and small.
type State struct {
	Tasks   [maxTasks]Task
	Nodes   [maxNodes]Node
	Objects [lanes]Object
	Left    Budget
	Broken  Invariants // rules that a step has broken
}

// count is the number of tasks so far.
func (s *State) count() int {
	for i := range s.Tasks {
		if s.Tasks[i].Status == Absent {
			return i
		}
	}
	return maxTasks
}

// tasks returns those with a property.
func (s *State) tasks(is func(t *Task) bool) (out set) {
	for i := range s.Tasks {
		if is(&s.Tasks[i]) {
			out = out.with(i)
		}
	}
	return out
}

// anyUp reports whether a node is there and works.
func (s *State) anyUp(nodes int) bool {
	for _, n := range s.Nodes[:nodes] {
		if n.up() {
			return true
		}
	}
	return false
}

// lockedLanes are those that transactions under way have locked.
func (s *State) lockedLanes() (out set) {
	for i := range s.Tasks {
		t := &s.Tasks[i]
		if t.Status.accepting() {
			out = out.with(int(t.Lane))
		}
		if t.locked() {
			out |= s.lanesOf(t.Frees).with(int(t.Lane))
		}
	}
	return out
}

func (s *State) lanesOf(tasks set) (out set) {
	for i := range s.Tasks {
		if tasks.has(i) {
			out = out.with(int(s.Tasks[i].Lane))
		}
	}
	return out
}

// renamed is the state with other numbers for the nodes.
func (s *State) renamed(to [maxNodes]int) State {
	out := *s
	for n, m := range to {
		out.Nodes[m] = s.Nodes[n]
	}
	for i := range out.Tasks {
		t := &out.Tasks[i]
		if t.Owner != 0 {
			t.Owner = owner(to[t.Owner-1])
		}
		for a, r := range t.Runs {
			if r != 0 {
				t.Runs[a] = r.owned(to[r.node()])
			}
		}
	}
	return out
}
