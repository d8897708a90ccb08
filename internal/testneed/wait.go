package testneed

import "time"

// Patience bounds every wait of a test for what has to happen. It is there for
// what never does, and is long because a machine may be slow and busy.
const Patience = 2 * time.Minute

// Eventually returns once done does, and ends the test after Patience. It asks
// often at first.
func Eventually(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, what string, done func() bool) {
	t.Helper()
	end := time.Now().Add(Patience)
	for pause := time.Millisecond; !done(); pause = min(2*pause, 20*time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", Patience, what)
		}
		<-time.After(pause)
	}
}
