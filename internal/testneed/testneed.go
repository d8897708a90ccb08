// Package testneed decides how tests meet their machine: what one does when
// something it needs is not there, a skip with a sentence, or a failure where
// that thing is required; how often it repeats; how long it waits; which ports
// its servers get.
package testneed

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Env names the things a run must not skip for, separated by commas:
// DRIVEBAY_TEST_REQUIRE=postgres,isos.
const Env = "DRIVEBAY_TEST_REQUIRE"

// Need ends the test unless ok: a skip that says what is missing, or a failure
// when Env lists name. It returns only when ok is true.
func Need(t testing.TB, name string, ok bool, missing string) {
	t.Helper()
	if ok {
		return
	}
	if Required(name) {
		t.Fatalf("%s lists %q, but %s", Env, name, missing)
	}
	t.Skip(missing)
}

// Asked skips the test unless Env lists name: it takes longer than a person's run
// of all tests should. why says what does.
func Asked(t testing.TB, name, why string) {
	t.Helper()
	if !Required(name) {
		t.Skipf("%s; %s=%s runs it", why, Env, name)
	}
}

// Required reports whether Env lists name.
func Required(name string) bool {
	return slices.ContainsFunc(strings.Split(os.Getenv(Env), ","), func(s string) bool {
		return strings.TrimSpace(s) == name
	})
}

// RoundsEnv is how often the suites that repeat do so: kills, histories, random
// requests. A person's run leaves it empty; CI sets it.
const RoundsEnv = "DRIVEBAY_TEST_ROUNDS"

// Rounds is the number RoundsEnv asks for, at most the given one: each suite
// says how many it can make in reasonable time. It is otherwise when RoundsEnv
// is empty, and panics when that is no number above 0.
func Rounds(otherwise, most int) int {
	text := os.Getenv(RoundsEnv)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		panic(RoundsEnv + " is no number above 0: " + text)
	}
	return min(n, most)
}
