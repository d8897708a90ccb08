package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/client"
)

// TestProgress: a bar where a line can be redrawn, which is taken away at the
// end and which no text of the server can steer; a line for each news elsewhere.
func TestProgress(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &shell{err: &out, live: true}
	p := s.newProgress("task T1")
	p.task(client.Task{Result: client.TaskPending, Progress: 40, Message: "making \x1b[2Jdisks and much more of it"})
	p.end()
	got := out.String()
	if !strings.Contains(got, "40%") || strings.Contains(got, "\x1b[2J") || !strings.Contains(got, "making  [2Jdisks") || strings.Contains(got, "\n") {
		t.Errorf("a bar: %q", got)
	}
	if !strings.HasSuffix(got, "\x1b[2K\r") {
		t.Errorf("the bar stays: %q", got)
	}

	out.Reset()
	p = s.newProgress("iso I1")
	p.iso(client.ISO{Status: "Queued"})
	p.iso(client.ISO{Status: "50% Downloaded", SizeBytes: 4 << 30})
	p.iso(client.ISO{Status: "Ready", Ready: true})
	p.end()
	if got := out.String(); !strings.Contains(got, "(2.0/4.0 GiB") || !strings.Contains(got, "50%") {
		t.Errorf("an import: %q", got)
	}
	for _, line := range strings.Split(out.String(), "\r") {
		if n := len([]rune(strings.NewReplacer("\x1b[0K", "", "\x1b[2K", "").Replace(line))); n > 80 {
			t.Errorf("a bar of %d columns: %q", n, line)
		}
	}

	out.Reset()
	s.live = false
	p = s.newProgress("iso I1")
	for range 2 {
		p.iso(client.ISO{Status: "50% Downloaded", SizeBytes: 4 << 30})
	}
	p.end()
	if got, want := out.String(), "iso I1: 50% 50% Downloaded\n"; got != want {
		t.Errorf("lines: %q, want %q", got, want)
	}
	out.Reset()
	s.live, s.format = true, formatJSON
	s.newProgress("x").task(client.Task{Progress: 1, Message: "m"})
	if out.Len() > 0 {
		t.Errorf("with JSON: %q", out.String())
	}
}
