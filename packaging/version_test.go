package main

import (
	"os/exec"
	"testing"
	"time"
)

func TestCommitVersion(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	const hash = "0123456789abcdef0123456789abcdef01234567"
	tests := []struct {
		name, exact, last string
		changed           bool
		want              string
	}{
		{"no tag", "", "", false, "v0.0.0-20260304050607-0123456789ab"},
		{"no tag, changed", "", "", true, "v0.0.0-20260304050607-0123456789ab+dirty"},
		{"tagged", "v1.2.3", "v1.2.3", false, "v1.2.3"},
		{"tagged, changed", "v1.2.3", "v1.2.3", true, "v1.2.4-0.20260304050607-0123456789ab+dirty"},
		{"after a release", "", "v1.2.3", false, "v1.2.4-0.20260304050607-0123456789ab"},
		{"after a candidate", "", "v1.2.3-rc.1", false, "v1.2.3-rc.1.0.20260304050607-0123456789ab"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := commitVersion(tt.exact, tt.last, at, hash, tt.changed); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// inOrder are versions, each to replace the one before it.
var inOrder = []struct{ version, debian string }{
	{"v0.0.0-20260304050607-0123456789ab", "0.0.0~20260304050607.0123456789ab"},
	{"v0.0.0-20260304050608-0000000000ab", "0.0.0~20260304050608.0000000000ab"},
	{"v0.0.0-20260304050608-0000000000ab+dirty", "0.0.0~20260304050608.0000000000ab+dirty"},
	{"v0.1.0-rc.1", "0.1.0~rc.1"},
	{"v0.1.0-rc.1.0.20260304050609-0000000000ab", "0.1.0~rc.1.0.20260304050609.0000000000ab"},
	{"v0.1.0-rc.2", "0.1.0~rc.2"},
	{"v0.1.0", "0.1.0"},
	{"v0.1.1-0.20260304050609-0000000000ab", "0.1.1~0.20260304050609.0000000000ab"},
	{"v0.1.1-rc.1", "0.1.1~rc.1"},
	{"v0.1.1", "0.1.1"},
	{"v0.1.10", "0.1.10"},
	{"v1.0.0", "1.0.0"},
}

func TestDebianVersion(t *testing.T) {
	for _, tt := range inOrder {
		if got, err := debianVersion(tt.version); got != tt.debian || err != nil {
			t.Errorf("%s: got %s, %v, want %s", tt.version, got, err, tt.debian)
		}
	}
	for _, bad := range []string{"", "1.2.3", "v1.2", "v1.2.3.4", "v1.2.3-", "v1.2.3 ", "v1.2.3-a_b", "vx.y.z", "v1.2.3-rc/1"} {
		if got, err := debianVersion(bad); err == nil {
			t.Errorf("%q became %s", bad, got)
		}
	}
}

// TestOrder asks dpkg which version is the newer.
func TestOrder(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("dpkg is not installed")
	}
	for i := range inOrder[1:] {
		older, newer := inOrder[i].debian, inOrder[i+1].debian
		if out, err := exec.Command("dpkg", "--compare-versions", older, "lt", newer).CombinedOutput(); err != nil {
			t.Errorf("%s is not older than %s: %v %s", older, newer, err, out)
		}
	}
}
