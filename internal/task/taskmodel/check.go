package taskmodel

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

// Result is what Check has found.
type Result struct {
	States, Edges int
	Depth         int // steps on the longest of the shortest ways to a state
	// Cut is how many states were not gone on from because a task had no
	// attempts left; 0 unless guards are off.
	Cut    int
	Acts   [acts]int  // how often each step was looked at
	Broken Invariants // one of those asked for, or 0
	Trace  []Step     // the shortest way there
}

func (r Result) String() string {
	if r.Broken == 0 {
		return fmt.Sprintf("%d states, %d steps, %d deep: nothing breaks", r.States, r.Edges, r.Depth)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%v is broken after %d steps (%d states seen):", r.Broken, len(r.Trace), r.States)
	for i, st := range r.Trace {
		fmt.Fprintf(&b, "\n%4d  %v", i+1, st)
	}
	return b.String()
}

// Check visits every state of the model, nearest first, and stops at the first
// that breaks one of the rules. NotStranded is looked at when all are known.
func Check(m Model, rules Invariants) Result {
	c := &checker{m: m, seed: maphash.MakeSeed(), table: make([]uint32, 1<<16)}
	c.names = permutations(m.Nodes)
	var out Result
	start := m.first()
	c.visit(start, 0)
	for at := 0; at < len(c.states); at++ {
		s := c.states[at]
		out.Depth = max(out.Depth, int(c.depth[at]))
		if b := s.broken() & rules; b != 0 {
			low := b & -b
			return c.found(out, low, at)
		}
		stuck := s.tasks(func(t *Task) bool { return t.Status == Ready && t.Attempt == maxAttempts }) != 0
		if stuck {
			out.Cut++
		}
		if s.atRest() || stuck {
			c.ends = append(c.ends, uint32(at))
		}
		c.first = append(c.first, uint32(len(c.fair)))
		m.steps(&s, func(st Step, n State) {
			out.Edges++
			out.Acts[st.Act]++
			to := c.visit(n, at)
			if rules&NotStranded != 0 && m.fair(&s, st.Act) {
				c.fair = append(c.fair, to)
			}
		})
	}
	out.States = len(c.states)
	if rules&NotStranded != 0 {
		if at, is := c.stranded(); is {
			return c.found(out, NotStranded, at)
		}
	}
	return out
}

// checker keeps the states by number, in the order of their discovery.
type checker struct {
	m      Model
	seed   maphash.Seed
	names  [][maxNodes]int
	states []State
	from   []uint32 // the state each was found from
	depth  []uint16
	table  []uint32 // state numbers + 1, open addressing
	ends   []uint32 // states from which nothing needs to happen
	first  []uint32 // where the fair steps of a state begin in fair
	fair   []uint32
}

// visit returns the number of a state, and of all that differ from it by the
// names of the nodes only.
func (c *checker) visit(s State, from int) uint32 {
	s, hash := c.plain(s)
	mask := uint64(len(c.table) - 1)
	slot := hash & mask
	for ; c.table[slot] != 0; slot = (slot + 1) & mask {
		if n := c.table[slot] - 1; c.states[n] == s {
			return n
		}
	}
	n := uint32(len(c.states))
	depth := uint16(0)
	if n > 0 {
		depth = c.depth[from] + 1
	}
	c.states, c.from, c.depth = append(c.states, s), append(c.from, uint32(from)), append(c.depth, depth)
	c.table[slot] = n + 1
	if len(c.states)*2 > len(c.table) {
		c.grow()
	}
	return n
}

func (c *checker) grow() {
	c.table = make([]uint32, 4*len(c.table))
	mask := uint64(len(c.table) - 1)
	for n := range c.states {
		slot := maphash.Comparable(c.seed, c.states[n]) & mask
		for c.table[slot] != 0 {
			slot = (slot + 1) & mask
		}
		c.table[slot] = uint32(n + 1)
	}
}

// plain returns the one of the states that differ by the names of nodes whose
// hash is lowest. Two with the same hash would cost a state more, no mistake.
func (c *checker) plain(s State) (State, uint64) {
	best, low := s, maphash.Comparable(c.seed, s)
	for _, to := range c.names[1:] {
		r := s.renamed(to)
		if h := maphash.Comparable(c.seed, r); h < low {
			best, low = r, h
		}
	}
	return best, low
}

// permutations of the first n nodes, the one that changes nothing first.
func permutations(n int) [][maxNodes]int {
	var out [][maxNodes]int
	p := [maxNodes]int{0, 1, 2}
	var put func(k int)
	put = func(k int) {
		if k == n {
			out = append(out, p)
			return
		}
		for i := k; i < n; i++ {
			p[k], p[i] = p[i], p[k]
			put(k + 1)
			p[k], p[i] = p[i], p[k]
		}
	}
	put(0)
	return out
}

// stranded returns the nearest state from which fair steps lead to no end.
func (c *checker) stranded() (int, bool) {
	// The fair steps, turned round: who leads to a state.
	count := make([]uint32, len(c.states)+1)
	for _, to := range c.fair {
		count[to+1]++
	}
	for i := 1; i < len(count); i++ {
		count[i] += count[i-1]
	}
	place := slices.Clone(count)
	back := make([]uint32, len(c.fair))
	for at := range c.states {
		end := uint32(len(c.fair))
		if at+1 < len(c.first) {
			end = c.first[at+1]
		}
		for _, to := range c.fair[c.first[at]:end] {
			back[place[to]] = uint32(at)
			place[to]++
		}
	}
	good := make([]bool, len(c.states))
	todo := slices.Clone(c.ends)
	for _, e := range todo {
		good[e] = true
	}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, from := range back[count[at]:count[at+1]] {
			if !good[from] {
				good[from] = true
				todo = append(todo, from)
			}
		}
	}
	at := slices.Index(good, false)
	return at, at >= 0
}

// found tells the way to a state. The states on it were kept under other names
// of the nodes, so it is walked again from the start.
func (c *checker) found(out Result, broken Invariants, at int) Result {
	out.Broken, out.States = broken, len(c.states)
	var way []uint32
	for n := uint32(at); n != 0; n = c.from[n] {
		way = append(way, n)
	}
	slices.Reverse(way)
	s := c.m.first()
	for _, n := range way {
		var next State
		var step *Step
		c.m.steps(&s, func(st Step, to State) {
			if p, _ := c.plain(to); step == nil && p == c.states[n] {
				next, step = to, &st
			}
		})
		out.Trace = append(out.Trace, *step)
		s = next
	}
	return out
}
