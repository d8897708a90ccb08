package taskmodel

// Invariants are the rules that must hold, a bit each.
type Invariants uint16

// The rules. Those marked * are noted by the step that breaks them.
const (
	// OneRunnable: at most one task of a lane is ready or running.
	OneRunnable Invariants = 1 << iota
	// InOrder: a task is not runnable before an older one of its lane has ended.
	InOrder
	// AfterHeld: a task is not runnable before those it comes after have ended.
	AfterHeld
	// EndsOnce: no task ends twice, so no effect is written twice.
	EndsOnce
	// EndedStays*: an ended task never changes.
	EndedStays
	// StaleWrites*: a write of a run whose lease is not the present one changes
	// nothing.
	StaleWrites
	// OneActor: at most one run of a task acts, those aside whose node was
	// paused and may not know yet.
	OneActor
	// DriverOrder*: a driver performs no call of an older task or attempt than
	// one it performed on the object.
	DriverOrder
	// NoLateEffect*: a driver performs no call of a task that has ended.
	NoLateEffect
	// NotStranded: from every state all accepted tasks can come to an end
	// without any further fault, and without the return of a node that is
	// away, as long as one is there.
	NotStranded

	allInvariants = NotStranded<<1 - 1
)

var invariantNames = []string{
	"OneRunnable", "InOrder", "AfterHeld", "EndsOnce", "EndedStays", "StaleWrites", "OneActor", "DriverOrder",
	"NoLateEffect", "NotStranded",
}

func (v Invariants) String() string {
	for i, name := range invariantNames {
		if v&(1<<i) != 0 {
			return name
		}
	}
	return "none"
}

// broken returns the rules that s breaks, NotStranded aside.
func (s *State) broken() Invariants {
	out := s.Broken
	for i := range s.Tasks {
		t := &s.Tasks[i]
		if t.Ends > 1 {
			out |= EndsOnce
		}
		actors := 0
		for _, r := range t.Runs {
			if r.begun() && !r.is(slept) {
				actors++
			}
		}
		if actors > 1 {
			out |= OneActor
		}
		if !t.Status.runnable() {
			continue
		}
		for j := range i {
			older := &s.Tasks[j]
			if !older.Status.open() {
				continue
			}
			if older.Lane == t.Lane {
				out |= InOrder
				if older.Status.runnable() {
					out |= OneRunnable
				}
			}
			if t.Named.has(j) {
				out |= AfterHeld
			}
		}
		for j := i + 1; j < maxTasks; j++ {
			if o := &s.Tasks[j]; o.Lane == t.Lane && o.Status.runnable() {
				out |= OneRunnable
			}
		}
	}
	return out
}

// atRest reports whether every accepted task has ended.
func (s *State) atRest() bool {
	for i := range s.Tasks {
		if st := s.Tasks[i].Status; st != Absent && !st.ended() {
			return false
		}
	}
	return true
}
