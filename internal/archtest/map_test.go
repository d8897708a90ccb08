package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// levels has the packages of the server, lowest first. A package may import
// those of lower levels. Every package of the repository is here, in beside or
// in edge: a new one has to be given its place before it is used.
var levels = [][]string{
	{"internal/fault", "internal/config", "internal/testneed", "internal/archtest", "api"},
	{"internal/fieldmask", "internal/fetch", "internal/backend", "internal/isoimage", "internal/event", "internal/pgtest", "internal/libvirttest", "internal/archive"},
	{"internal/backend/local", "internal/backend/libvirt", "internal/backend/fake", "internal/backend/backendtest"},
	{"internal/access", "internal/vps", "internal/billing", "internal/task", "internal/webhook", "internal/node", "internal/idempotency"},
	{"internal/volume", "internal/iso", "internal/task/taskmodel"},
	{"internal/reconcile", "internal/adopt"},
	{"internal/store", "internal/store/storetest", "internal/worldtest", "internal/httpapi", "internal/console"},
	{"internal/app"},
}

// beside names what a package may import of its own level.
var beside = map[string][]string{
	"internal/billing":         {"internal/access"},
	"internal/task":            {"internal/access"},
	"internal/vps":             {"internal/access", "internal/task"},
	"internal/store/storetest": {"internal/store"},
	"internal/worldtest":       {"internal/store"},
}

// edge has the packages around the server and all that each may import.
var edge = map[string][]string{
	"client":       {"api"},
	"internal/cli": {"client", "internal/config"},
	"cmd/drivebay": {"internal/app", "internal/cli", "internal/config"},
	"terraform":    {"client", "api"},
	"compat":       {},
	"packaging":    {},

	"internal/libvirttest/guestinit": {}, // runs in guests, alone
}

// free are the packages that test and measure the whole; they may import
// everything.
var free = []string{"e2e", "e2e/bench", "e2e/built", "e2e/chaos", "e2e/guests", "e2e/packages"}

// reserved names who alone may import a package, whatever its level.
var reserved = map[string][]string{
	"internal/store":           {"internal/app"},
	"internal/backend/local":   {"internal/app"},
	"internal/backend/libvirt": {"internal/app"},
	"internal/config":          {"internal/app", "internal/cli", "cmd/drivebay"},
	"api":                      {"internal/httpapi", "client", "terraform"}, // wire types stop there
}

// helpers are for tests: only test files import them, and one another.
var helpers = []string{
	"internal/testneed", "internal/pgtest", "internal/libvirttest", "internal/archtest", "internal/worldtest", "internal/store/storetest",
	"internal/backend/fake", "internal/backend/backendtest", "internal/task/taskmodel",
}

// inTests names what the test files of a package may import beyond the rest.
var inTests = map[string][]string{
	"internal/task":           {"internal/store", "internal/volume", "internal/iso"},
	"internal/task/taskmodel": {"internal/store", "internal/volume"},
	"internal/store":          {"internal/backend/local"},
	"internal/adopt":          {"internal/reconcile"},
	"internal/httpapi":        {"internal/store"},
	"internal/app":            {"api"},
	"terraform":               {"e2e/built"},
}

// place returns the name under which a package is in the map: modules that are
// nested count as one.
func place(pkg string) string {
	for _, module := range []string{"terraform", "compat", "packaging"} {
		if strings.HasPrefix(pkg, module+"/") {
			return module
		}
	}
	return pkg
}

func level(pkg string) int {
	return slices.IndexFunc(levels, func(l []string) bool { return slices.Contains(l, pkg) })
}

func known(pkg string) bool {
	_, atEdge := edge[pkg]
	return level(pkg) >= 0 || atEdge || slices.Contains(free, pkg)
}

// forbidden says why from may not import to; "" when it may. inTest is for an
// import that a test file of from has.
func forbidden(from, to string, inTest bool) string {
	from, to = place(from), place(to)
	switch {
	case from == to, slices.Contains(free, from):
		return ""
	case !known(from):
		return from + " is not in the import map; give it a place"
	case !known(to):
		return to + " is not in the import map; give it a place"
	case inTest && (to == "internal/testneed" || to == "internal/pgtest"):
		return ""
	}
	if allowed, ok := edge[from]; ok {
		if slices.Contains(allowed, to) || inTest && slices.Contains(inTests[from], to) {
			return ""
		}
		return fmt.Sprintf("%s may import %v only", from, allowed)
	}
	if inTest && slices.Contains(inTests[from], to) {
		return ""
	}
	isHelper := slices.Contains(helpers, from)
	if slices.Contains(helpers, to) {
		if inTest || isHelper {
			return upward(from, to, inTest)
		}
		return to + " is for tests only"
	}
	if users, ok := reserved[to]; ok && !slices.Contains(users, from) && !isHelper {
		return fmt.Sprintf("only %v may import %s", users, to)
	}
	return upward(from, to, false)
}

// upward says why to is not below from; a helper may stand above the tests
// that use it, as long as it is not of the server.
func upward(from, to string, helping bool) string {
	if level(to) < 0 {
		return to + " is not for the server"
	}
	if level(to) < level(from) || slices.Contains(beside[from], to) || helping {
		return ""
	}
	return fmt.Sprintf("%s is not below %s", to, from)
}
