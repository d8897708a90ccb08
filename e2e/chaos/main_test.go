// Package chaos runs whole installations, three servers on one PostgreSQL with
// storage and guests that outlive them, under load and under faults, and checks
// afterwards that nothing was lost, done twice or left behind.
// docs/design/chaos.md tells what is injected and what is checked.
//
// The servers are processes of their own: this test's executable, started again.
//
//	go test ./e2e/chaos -run TestSeeds -chaos.seed 17     repeats one seed
//	go test ./e2e/chaos -run TestSeeds -timeout 3h -chaos.seeds 500
//	go test ./e2e/chaos -run TestCycles -chaos.cycles 10000
package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/pgtest"
	"github.com/drivebay/drivebay/internal/testneed"
)

var (
	seedFlag  = flag.Int64("chaos.seed", 0, "run this seed alone")
	seedsFlag = flag.Int64("chaos.seeds", 0, "how many seeds to run; 0: as DRIVEBAY_TEST_ROUNDS has it")
	firstFlag = flag.Int64("chaos.first", 1, "the first of the seeds")
	cycleFlag = flag.Int("chaos.cycles", 0, "how many times to attach and detach; 0: as DRIVEBAY_TEST_ROUNDS has it")
)

// patience bounds every wait. It is long, so that only what hangs meets it.
const patience = testneed.Patience

// lease is that of the servers here: as short as a machine with two busy
// processors keeps up with.
const lease = 1500 * time.Millisecond

func TestMain(m *testing.M) {
	if text := os.Getenv(nodeEnv); text != "" {
		os.Exit(beNode(text))
	}
	flag.Parse()
	code := m.Run()
	if postgres.server != nil {
		if err := postgres.server.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// postgres is the server of this process. It is its own, since stopping it is
// one of the faults.
var postgres struct {
	once   sync.Once
	server *pgtest.Server
	err    error
}

func needPostgres(t testing.TB) *pgtest.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts servers and breaks them")
	}
	testneed.Need(t, "postgres", pgtest.Installed(), "PostgreSQL is not installed (Debian: apt-get install postgresql)")
	postgres.once.Do(func() {
		dir, err := os.MkdirTemp("", "chaos-pg")
		if err != nil {
			postgres.err = err
			return
		}
		if postgres.server, postgres.err = pgtest.Start(filepath.Join(dir, "data")); postgres.err != nil {
			_ = os.RemoveAll(dir)
		}
	})
	if postgres.err != nil {
		t.Fatalf("start PostgreSQL: %v", postgres.err)
	}
	return postgres.server
}

// rounds scales a number with DRIVEBAY_TEST_ROUNDS, of which CI asks for 200.
func rounds(newcomer, ci int) int {
	asked := testneed.Rounds(0, 200)
	if asked == 0 {
		return newcomer
	}
	return max(newcomer, ci*asked/200)
}

// pass lets time go by: it paces load and faults, and nothing waits for it.
func pass(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
