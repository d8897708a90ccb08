package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// operator runs a command of an operator against the server and returns its
// exit status and what it said, on both streams.
func (s *server) operator(args ...string) (status int, said string) {
	s.t.Helper()
	status, out, errs := once(s.t, []string{"DRIVEBAY_URL=" + s.demo.URL, "DRIVEBAY_API_KEY=" + s.demo.AdminKey}, args...)
	return status, out + errs
}

// TestDoctor spoils the files of a running server behind its back.
func TestDoctor(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "--quarantine-retention", "0")
	c := s.client()
	id := c.newVolume(1001, 50)
	folder := filepath.Join(s.dir, "facilities", "TPA1", "volumes")
	if status, said := s.operator("doctor", "--grace", "0s"); status != 0 || !strings.Contains(said, "findings: 0") {
		t.Fatalf("a folder in order: exit status %d\n%s", status, said)
	}
	stray := filepath.Join(folder, "stray.raw")
	if err := errors.Join(os.WriteFile(stray, []byte("data"), 0o600), os.Truncate(filepath.Join(folder, id+".raw"), 4096)); err != nil {
		t.Fatal(err)
	}
	status, said := s.operator("doctor", "--grace", "0s")
	if status != 1 || !strings.Contains(said, "orphan_disk") || !strings.Contains(said, "size_mismatch") || !strings.Contains(said, "2 findings remain") {
		t.Errorf("a spoiled folder: exit status %d\n%s", status, said)
	}
	if status, said = s.operator("doctor", "--grace", "0s", "--repair", "--facility", "TPA1"); status != 0 {
		t.Errorf("a repair: exit status %d\n%s", status, said)
	}
	if status, said = s.operator("quarantine", "list"); status != 0 || !strings.Contains(said, "stray") {
		t.Errorf("the quarantine: exit status %d\n%s", status, said)
	}
	if _, err := os.Stat(stray); err != nil {
		t.Errorf("a repair took away what it does not know: %v", err)
	}
	if status, said = s.operator("quarantine", "delete", "1"); status != 0 {
		t.Errorf("a delete: exit status %d\n%s", status, said)
	}
	check(t, s.dir)
	if status, said = s.operator("doctor", "--facility", "MARS1"); status != 4 || !strings.Contains(said, "there is no such facility") {
		t.Errorf("a facility that is not there: exit status %d\n%s", status, said)
	}
}
