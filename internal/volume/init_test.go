package volume_test

import "flag"

// A history takes a database of its own, so there are fewer than rapid would
// make; -rapid.checks still says how many.
func init() {
	if err := flag.Set("rapid.checks", "40"); err != nil {
		panic(err)
	}
}
