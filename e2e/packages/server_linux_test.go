package packages

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait. It is long, so that only what hangs meets it.
const patience = 2 * time.Minute

// service is the packaged server, run as its unit says.
type service struct {
	t     *testing.T
	url   string
	cmd   *exec.Cmd
	told  *net.UnixConn // what the service manager is told
	log   bytes.Buffer  // to be read once it has ended
	ended chan error
}

// unitValue reads a key of the packaged unit.
func (m *machine) unitValue(key string) string {
	m.t.Helper()
	unit, err := os.ReadFile(m.path("usr/lib/systemd/system/drivebay.service"))
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(unit)) {
		if value, is := strings.CutPrefix(strings.TrimSpace(line), key+"="); is {
			return value
		}
	}
	m.t.Fatalf("the unit has no %s", key)
	return ""
}

// serve starts the command of the unit as the user of the unit, without
// privileges, on a port of the test's choice.
func (m *machine) serve() *service {
	m.t.Helper()
	address := &net.UnixAddr{Name: fmt.Sprintf("@drivebay-packages-%d-%d", os.Getpid(), time.Now().UnixNano()), Net: "unixgram"}
	told, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { told.Close() })
	user := m.unitValue("User")
	words := []string{"setpriv", "--reuid=" + user, "--regid=" + m.unitValue("Group"), "--init-groups", "--no-new-privs", "--bounding-set=-all",
		"sh", "-c", `umask "$0" && exec "$@"`, m.unitValue("UMask")}
	s := &service{t: m.t, told: told, ended: make(chan error, 1)}
	s.cmd = m.command(append(words, strings.Fields(m.unitValue("ExecStart"))...)...)
	s.cmd.Env = append(s.cmd.Env, "HOME=/var/lib/drivebay", "DRIVEBAY_LISTEN=127.0.0.1:0", "NOTIFY_SOCKET="+address.Name)
	s.cmd.Stderr = &s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n') // the wait below tells
		said <- strings.TrimSpace(line)
		s.ended <- s.cmd.Wait()
	}()
	select {
	case line := <-said:
		s.url = strings.TrimPrefix(line, "drivebay serves ")
	case <-time.After(patience):
		s.stop()
	}
	if !strings.HasPrefix(s.url, "http://127.0.0.1:") {
		s.stop()
		m.t.Fatalf("the server says %q and in its log\n%s", s.url, s.log.String())
	}
	return s
}

// await holds what the service manager is told next.
func (s *service) await(state string) {
	s.t.Helper()
	if err := s.told.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	b := make([]byte, 256)
	n, err := s.told.Read(b)
	if err != nil || string(b[:n]) != state {
		s.t.Errorf("the service manager is told %q, %v, want %q", b[:n], err, state)
	}
}

// stop sends SIGTERM and returns how the server ended.
func (s *service) stop() error {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Log("SIGTERM: ", err)
	}
	select {
	case err := <-s.ended:
		return err
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.ended
		s.t.Fatalf("SIGTERM did not end the server:\n%s", s.log.String())
		return nil
	}
}
