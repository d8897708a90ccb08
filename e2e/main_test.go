// Package e2e tests the real binary from outside: it is built once, started on
// a folder of its own, killed, stopped and started again. What must hold of the
// folder whenever nothing is under way is in check_test.go.
//
// DRIVEBAY_TEST_ROUNDS sets how long the kill test and the random requests go
// on (default 12), DRIVEBAY_TEST_SEED repeats a failed run. With
// `go test -artifacts` logs and data folders stay after the run.
package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/drivebay/drivebay/e2e/built"
	"github.com/drivebay/drivebay/internal/testneed"

	_ "github.com/drivebay/drivebay/internal/cli" // so that its tests run anew once the program has changed
)

// program is the built program.
var program string

// patience bounds every wait. It is long, so that only what hangs meets it.
const patience = testneed.Patience

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

// run builds the program, unless nothing here will start it.
func run(m *testing.M) int {
	if testing.Short() || flag.Lookup("test.fuzzworker").Value.String() == "true" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "drivebay-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // one test runs it as another user
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if program, err = built.Program(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// needBinary skips a test where nothing was built.
func needBinary(t testing.TB) {
	t.Helper()
	if program == "" {
		t.Skip("the program is not built under -short")
	}
}

// rounds is how many rounds a test with random input goes on.
func rounds(t testing.TB) int {
	t.Helper()
	return int(number(t, "DRIVEBAY_TEST_ROUNDS", 12))
}

// random returns the source of a test's choices. Its seed is printed when the
// test fails; DRIVEBAY_TEST_SEED sets it.
func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := number(t, "DRIVEBAY_TEST_SEED", time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with DRIVEBAY_TEST_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(uint64(seed), 0))
}

func number(t testing.TB, name string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is no number above 0", name, text)
	}
	return n
}
