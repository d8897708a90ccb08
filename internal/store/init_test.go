package store_test

import (
	"flag"
	"strconv"

	"github.com/drivebay/drivebay/internal/testneed"
)

// Each step of a history is a commit that waits for the disk, so there are
// fewer than rapid would make; -rapid.checks still says how many.
func init() {
	if err := flag.Set("rapid.checks", strconv.Itoa(testneed.Rounds(15, 50))); err != nil {
		panic(err)
	}
}
