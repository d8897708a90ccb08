package testneed

import (
	"fmt"
	"runtime"
	"testing"
)

// recorder is a test that only notes how it ended.
type recorder struct {
	testing.TB
	outcome string
}

func (r *recorder) Helper() {}

func (r *recorder) Skip(args ...any) {
	r.outcome = "skip: " + fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.outcome = "fail: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestNeed(t *testing.T) {
	const missing = "no image folder is set"
	tests := []struct {
		name, require, want string
		ok                  bool
	}{
		{"there", "", "goes on", true},
		{"there and required", "isos", "goes on", true},
		{"missing", "", "skip: " + missing, false},
		{"another required", "postgres,libvirt", "skip: " + missing, false},
		{"only a part of a name required", "isosx", "skip: " + missing, false},
		{"required", "isos", `fail: DRIVEBAY_TEST_REQUIRE lists "isos", but ` + missing, false},
		{"required among others", "postgres, isos ,libvirt", `fail: DRIVEBAY_TEST_REQUIRE lists "isos", but ` + missing, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(Env, tt.require)
			r := &recorder{}
			done := make(chan struct{})
			go func() {
				defer close(done)
				Need(r, "isos", tt.ok, missing)
				r.outcome = "goes on"
			}()
			<-done
			if r.outcome != tt.want {
				t.Errorf("got %q, want %q", r.outcome, tt.want)
			}
		})
	}
}
