// Package guests tests the real binary on real guests: a libvirtd of the test's
// own, QEMU without the processor's help, and everything asked for through the
// API. What a guest, its definitions, its QEMU and the database say must be the
// same afterwards.
//
// DRIVEBAY_TEST_ROUNDS sets how often libvirtd and the server are killed, within
// faultTime for each.
package guests

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/drivebay/drivebay/e2e/built"
	"github.com/drivebay/drivebay/internal/libvirttest"
	"github.com/drivebay/drivebay/internal/testneed"

	_ "github.com/drivebay/drivebay/internal/app" // so that its tests run anew once the program has changed
	_ "github.com/drivebay/drivebay/internal/cli" // so that its tests run anew once the program has changed
)

// program is the built program.
var program string

// patience bounds every wait. It is long, so that only what hangs meets it.
const patience = testneed.Patience

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if testing.Short() || !testneed.Required("libvirt") {
		return m.Run() // and each test says why it is skipped
	}
	dir, err := os.MkdirTemp("", "drivebay-guests-")
	if err == nil {
		program, err = built.Program(dir)
		defer os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return libvirttest.Main(m)
}

// need skips a test where guests cannot be run. Tests run beside each other:
// most of their time they wait.
func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts guests")
	}
	libvirttest.Need(t)
	t.Parallel()
}
