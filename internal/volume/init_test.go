package volume_test

import (
	"flag"
	"strconv"

	"github.com/drivebay/drivebay/internal/testneed"
)

// A history takes a database of its own, so there are fewer than rapid would
// make; -rapid.checks still says how many.
func init() {
	if err := flag.Set("rapid.checks", strconv.Itoa(testneed.Rounds(12, 60))); err != nil {
		panic(err)
	}
}
