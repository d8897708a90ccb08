package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"
)

const (
	clients = 16
	span    = 3 * time.Second // in which faults begin
)

// TestSeeds lets clients work on an installation while the faults of a seed
// come over it, and checks afterwards that everything is as the accepted
// requests say.
func TestSeeds(t *testing.T) {
	needPostgres(t)
	n := *seedsFlag
	if n == 0 {
		n = int64(rounds(1, 30))
	}
	first := *firstFlag
	if *seedFlag != 0 {
		first, n = *seedFlag, 1
	}
	var sum summary
	for seed := first; seed < first+n; seed++ {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { sum.add(runSeed(t, seed)) }) {
			t.Logf("repeat with: go test ./e2e/chaos -run TestSeeds -chaos.seed %d", seed)
		}
	}
	t.Logf("%v", sum)
	if sum.seeds >= 3 && (sum.accepted == 0 || sum.refused == 0 || sum.unsure == 0 || sum.again == 0 || sum.steps == 0) {
		t.Error("something never happened: these seeds prove nothing")
	}
}

// summary tells what the seeds did, so that a suite that injects nothing shows.
type summary struct {
	seeds, requests, repeats, accepted, unsure, refused, tasks, failed, again, fenced, calls, starts, steps, undecided int
	started, settled, checked                                                                                          time.Duration
}

func (s summary) String() string {
	return fmt.Sprintf("%d seeds: %d requests (%d accepted, %d refused, %d unsure), %d repeats of accepted ones, %d tasks (%d failed, %d run more than once), "+
		"%d host calls (%d fenced off), %d starts of servers, %d steps checked (%d volumes undecided), started in %v, settled after %v, checked in %v",
		s.seeds, s.requests, s.accepted, s.refused, s.unsure, s.repeats, s.tasks, s.failed, s.again, s.calls, s.fenced, s.starts, s.steps, s.undecided,
		s.started.Round(time.Millisecond), s.settled.Round(time.Millisecond), s.checked.Round(time.Millisecond))
}

func (s *summary) add(o summary) {
	s.seeds += o.seeds
	s.requests += o.requests
	s.repeats += o.repeats
	s.accepted += o.accepted
	s.unsure += o.unsure
	s.refused += o.refused
	s.tasks += o.tasks
	s.failed += o.failed
	s.again += o.again
	s.fenced += o.fenced
	s.calls += o.calls
	s.starts += o.starts
	s.steps += o.steps
	s.undecided += o.undecided
	s.started += o.started
	s.settled += o.settled
	s.checked += o.checked
}

func runSeed(t *testing.T, seed int64) (s summary) {
	began := time.Now()
	c := newCluster(t, seed, lease, limits)
	s.started = time.Since(began)
	l := newLoad(c)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c.host.mood.Store(&life)
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.run(ctx, seed, clients)
	}()
	names := c.inject(ctx, seed, span)
	c.host.mood.Store(&calm)
	stop()
	<-loaded
	began = time.Now()
	c.heal()
	c.quiet()
	s.settled = time.Since(began)
	began = time.Now()
	k := c.check(l)
	s.checked = time.Since(began)
	s.count(k)
	t.Logf("seed %d: %v; %v", seed, names, s)
	c.verdict()
	return s
}

func (s *summary) count(k *checker) {
	s.seeds, s.repeats = 1, int(k.load.repeats.Load())
	s.steps, s.undecided, s.tasks, s.requests = k.steps, k.undecided, len(k.tasks), len(k.load.ops)
	for _, o := range k.load.ops {
		switch {
		case o.task != "":
			s.accepted++
		case o.unsure:
			s.unsure++
		case o.status >= 400:
			s.refused++
		}
	}
	for _, t := range k.tasks {
		if t.state == "failed" {
			s.failed++
		}
		if t.attempt > 1 {
			s.again++
		}
	}
	calls, _ := k.c.host.log()
	s.calls = len(calls)
	for _, h := range calls {
		if h.refused() {
			s.fenced++
		}
	}
	for _, n := range k.c.nodes {
		s.starts += n.starts
	}
}
