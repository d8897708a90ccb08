package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestValidID(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "Z9", "vol-1", "-", strings.Repeat("x", 64)} {
		if !ValidID(s) {
			t.Errorf("ValidID(%q) = false", s)
		}
	}
	for _, s := range []string{"", ".", "..", "a/b", `a\b`, "a.raw", "a b", "a\x00", "é", "a_b", strings.Repeat("x", 65)} {
		if ValidID(s) {
			t.Errorf("ValidID(%q) = true", s)
		}
	}
}

func TestValidKey(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("09af", 16)
	if !ValidKey(good) {
		t.Errorf("ValidKey(%q) = false", good)
	}
	for _, s := range []string{"", good[1:], good + "0", strings.ToUpper(good), "/" + good[1:], "g" + good[1:]} {
		if ValidKey(s) {
			t.Errorf("ValidKey(%q) = true", s)
		}
	}
}

func TestErrorMatching(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk on fire")
	err := fmt.Errorf("grow: %w", ErrUnavailable.Because(cause))
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, cause) || errors.Is(err, ErrNoSpace) {
		t.Errorf("%v does not match its sentinel and its cause alone", err)
	}
	if IsPermanent(err) || IsPermanent(cause) || !IsPermanent(ErrShrink.Because(cause)) {
		t.Error("only an *Error that says so is permanent")
	}
}

func TestLocksExclude(t *testing.T) {
	t.Parallel()
	var (
		locks Locks
		wg    sync.WaitGroup
		count [3]int // each guarded by the lock of its name
	)
	for i := range 300 {
		wg.Go(func() {
			unlock, err := locks.Lock(context.Background(), "all", fmt.Sprint(i%3))
			if err != nil {
				t.Error(err)
				return
			}
			count[i%3]++
			unlock()
		})
	}
	wg.Wait()
	if count != [3]int{100, 100, 100} {
		t.Errorf("counted %v", count)
	}
	if n := locks.Len(); n != 0 {
		t.Errorf("%d names left behind", n)
	}
}

func TestLocksGiveUpWithContext(t *testing.T) {
	t.Parallel()
	var locks Locks
	unlock, err := locks.Lock(context.Background(), "b")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := locks.Lock(ctx, "a", "b")
		failed <- err
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	unlock()
	if n := locks.Len(); n != 0 {
		t.Errorf("%d names left behind", n)
	}
	// Both names are free again.
	unlock, err = locks.Lock(context.Background(), "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestSameStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"", "", true}, {"x", "x", true}, {"x", "x y", true}, {"y x", "z y", true},
		{"", "x", false}, {"x", "y", false}, {"x y", "z", false}, {"xy", "x", false},
	} {
		if SameStart(c.a, c.b) != c.same || SameStart(c.b, c.a) != c.same {
			t.Errorf("%q and %q: want %t", c.a, c.b, c.same)
		}
	}
}
