package testneed

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestEventually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			after time.Duration
			want  string
		}{
			{0, "goes on"},
			{time.Second, "goes on"},
			{Patience - time.Second, "goes on"},
			{Patience + time.Second, "fail: waited 2m0s in vain: the thing"},
		} {
			r := &recorder{}
			begun := time.Now()
			done := make(chan struct{})
			go func() {
				defer close(done)
				Eventually(r, "the thing", func() bool { return time.Since(begun) >= tt.after })
				r.outcome = "goes on"
			}()
			<-done
			if took := time.Since(begun); r.outcome != tt.want || took > tt.after+20*time.Millisecond {
				t.Errorf("after %v: %q, %v later", tt.after, r.outcome, took)
			}
			if strings.HasPrefix(tt.want, "goes on") && time.Since(begun) < tt.after {
				t.Errorf("after %v: too early", tt.after)
			}
		}
	})
}
