package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"

	"github.com/drivebay/drivebay/e2e/built"
	"github.com/drivebay/drivebay/internal/testneed"
)

// demo is what demo.json tells.
type demo struct {
	URL       string  `json:"url"`
	PID       int     `json:"pid"`
	APIKey    string  `json:"apiKey"`
	AdminKey  string  `json:"adminKey"`
	ClientID  int64   `json:"clientId"`
	DeviceIDs []int64 `json:"deviceIds"`
	Other     struct {
		ClientID  int64   `json:"clientId"`
		APIKey    string  `json:"apiKey"`
		DeviceIDs []int64 `json:"deviceIds"`
	} `json:"other"`
}

// server is one data folder and the process that serves it, if one runs.
type server struct {
	t    testing.TB
	work string   // the working folder of the process; "" for the test's own
	dir  string   // the data folder
	args []string // of serve
	log  string   // the path of what it said on standard error, over all starts

	cmd    *exec.Cmd
	out    *output
	exited chan struct{} // closes when the process has ended
	demo   demo          // of the last ready demo
}

// newServer prepares a server with a fresh data folder and the given flags of
// serve. Nothing is started. The log is shown if the test fails.
func newServer(t testing.TB, flags ...string) *server {
	t.Helper()
	needBinary(t)
	home, err := os.MkdirTemp(t.ArtifactDir(), "server")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, "data")
	s := &server{t: t, dir: dir, log: filepath.Join(home, "server.log")}
	s.args = append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dir}, flags...)
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", tail(s.log, 16<<10))
		}
	})
	return s
}

// startDemo is a running demo server on a fresh folder.
func startDemo(t testing.TB, flags ...string) *server {
	t.Helper()
	s := newServer(t, append([]string{"--demo"}, flags...)...)
	s.start()
	s.awaitDemo()
	return s
}

// start begins a process and does not wait for anything.
func (s *server) start() {
	s.t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.out = &output{more: make(chan struct{}, 1)}
	s.cmd = exec.Command(program, s.args...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.work, s.out, log
	s.cmd.Env = built.Env()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(exited)
	}(s.cmd, s.exited)
}

// awaitDemo waits until the process that was started last has written
// demo.json, and reads it.
func (s *server) awaitDemo() demo {
	s.t.Helper()
	testneed.Eventually(s.t, "demo.json of the new process", func() bool {
		s.mustLive()
		d, ok := s.readDemo()
		if ok && d.PID == s.cmd.Process.Pid {
			s.demo = d
			return true
		}
		return false
	})
	return s.demo
}

func (s *server) mustLive() {
	s.t.Helper()
	select {
	case <-s.exited:
		s.t.Fatalf("the server ended by itself: %v\n%s", s.cmd.ProcessState, tail(s.log, 4<<10))
	default:
	}
}

func (s *server) readDemo() (d demo, ok bool) {
	b, err := os.ReadFile(filepath.Join(s.dir, "demo.json"))
	if err != nil {
		return d, false
	}
	// It is replaced as a whole: half of it must never be seen.
	if err := json.Unmarshal(b, &d); err != nil {
		s.t.Fatalf("demo.json is not whole: %v\n%s", err, b)
	}
	return d, true
}

// kill ends the process with SIGKILL, if one runs, and waits for its end.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // gone already: the same to us
	<-s.exited
	s.cmd = nil
}

// stop asks the process to end and returns its exit code.
func (s *server) stop() int {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	return s.wait()
}

// wait returns the exit code of a process that ends by itself.
func (s *server) wait() int {
	s.t.Helper()
	testneed.Eventually(s.t, "the end of the server", func() bool {
		select {
		case <-s.exited:
			return true
		default:
			return false
		}
	})
	code := s.cmd.ProcessState.ExitCode()
	s.cmd = nil
	return code
}

// client is a caller with the first demo client's key, other and admin with
// theirs.
func (s *server) client() *client { return newClient(s.t, s.demo.URL, s.demo.APIKey) }
func (s *server) other() *client  { return newClient(s.t, s.demo.URL, s.demo.Other.APIKey) }
func (s *server) admin() *client  { return newClient(s.t, s.demo.URL, s.demo.AdminKey) }

var urlPattern = regexp.MustCompile(`https?://[0-9.:]+`)

// awaitURL waits until the process has said where it serves.
func (s *server) awaitURL() string {
	s.t.Helper()
	return urlPattern.FindString(s.out.await(s.t, s.exited, urlPattern.MatchString))
}

// settle waits until nothing is under way.
func (s *server) settle() {
	s.t.Helper()
	c := open(s.t, s.dir)
	defer c.db.Close()
	testneed.Eventually(s.t, "the end of all tasks", func() bool {
		s.mustLive()
		return rows(c, func(n *int) []any { return []any{n} }, `SELECT count(*) FROM task INDEXED BY task_lane
			WHERE state IN ('waiting', 'ready', 'running') AND client_id IS NOT NULL`)[0] == 0
	})
}

// output keeps what a process says.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // has one when text grew
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await returns the text once it is enough, and fails the test when the
// process ends before.
func (o *output) await(t testing.TB, exited <-chan struct{}, enough func(string) bool) string {
	t.Helper()
	for {
		if text := o.String(); enough(text) {
			return text
		}
		select {
		case <-o.more:
		case <-exited:
			t.Fatalf("the process ended after saying %q", o.String())
		case <-t.Context().Done():
			t.Fatalf("waited in vain; the process said %q", o.String())
		}
	}
}

// tail is the end of a file, for messages.
func tail(path string, most int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// once runs the program to its end and returns its code and what it said.
func once(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	needBinary(t)
	cmd := exec.CommandContext(within(t, patience), program, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.Env = append(built.Env(), env...)
	cmd.Dir = t.TempDir()
	_ = cmd.Run() // the code tells
	if cmd.ProcessState == nil {
		t.Fatalf("%v did not run", args)
	}
	return cmd.ProcessState.ExitCode(), out.String(), said.String()
}
