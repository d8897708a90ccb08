package guests

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/e2e/built"
)

// server is the real program on a data folder of its own.
type server struct {
	t    testing.TB
	dir  string   // the data folder
	args []string // of serve
	log  string   // the path of what it said on standard error, over all starts

	url    string // of the last start
	cmd    *exec.Cmd
	exited chan struct{} // closes when the process has ended
}

// newServer starts a server on a fresh folder. Its log is shown if the test
// fails.
func newServer(t testing.TB, flags ...string) *server {
	t.Helper()
	home := t.TempDir()
	s := &server{t: t, dir: filepath.Join(home, "data"), log: filepath.Join(home, "server.log")}
	s.args = append([]string{
		"serve", "--listen=127.0.0.1:0", "--data-dir=" + s.dir, "--rate-limit=0", "--rate-limit-anonymous=0",
		"--fetch-allow=127.0.0.0/8",
	}, flags...)
	t.Cleanup(func() {
		s.kill()
		if text, err := os.ReadFile(s.log); t.Failed() && err == nil {
			t.Logf("the end of the server's log:\n%s", text[max(0, len(text)-16<<10):])
		}
	})
	s.start()
	return s
}

var urlPattern = regexp.MustCompile(`https?://[0-9.:]+`)

// start begins a process, which ends with the test's at the latest, and returns
// once it serves.
func (s *server) start() {
	s.t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, s.args...)
	cmd.Env, cmd.Stderr = built.Env(), log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	started, urls, exited := make(chan error, 1), make(chan string, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the signal comes when the thread ends
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if url := urlPattern.FindString(lines.Text()); url != "" && len(urls) == 0 {
				urls <- url
			}
		}
		_ = cmd.Wait() // somebody kills it
		close(exited)
	}()
	if err := <-started; err != nil {
		s.t.Fatal(err)
	}
	s.cmd, s.exited = cmd, exited
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case s.url = <-urls:
	case <-exited:
		s.t.Fatal("the server ended by itself")
	case <-limit.C:
		s.t.Fatalf("the server does not serve within %v", patience)
	}
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

// operator runs a command of an operator against the server and returns its
// exit status and what it said, on both streams.
func (s *server) operator(args ...string) (status int, said string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(built.Env(), "DRIVEBAY_URL="+s.url, "DRIVEBAY_API_KEY_FILE="+filepath.Join(s.dir, "admin.key"))
	out, _ := cmd.CombinedOutput() // the status tells
	if cmd.ProcessState == nil {
		s.t.Fatalf("%v did not run", args)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// must is operator for a command that has to succeed; it returns what was said
// on standard output, decoded from JSON.
func must[T any](s *server, args ...string) (value T) {
	s.t.Helper()
	status, said := s.operator(append(args, "-o", "json")...)
	// On standard error are lines for people, before and after.
	if from, to := strings.IndexAny(said, "[{"), strings.LastIndexAny(said, "]}"); status == 0 && from >= 0 && to > from {
		if err := json.Unmarshal([]byte(said[from:to+1]), &value); err == nil {
			return value
		}
	}
	s.t.Fatalf("drivebay %v: exit status %d\n%s", args, status, said)
	return value
}

// client calls the API with one key.
type client struct {
	s   *server
	key string
}

// do sends a request and returns the whole answer.
func (c *client) do(call func(context.Context, *api.Client) (*http.Response, error)) (status int, body []byte) {
	c.s.t.Helper()
	ctx, cancel := context.WithTimeout(c.s.t.Context(), patience)
	defer cancel()
	to, err := api.NewClient(c.s.url+"/api/v2", api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("X-API-KEY", c.key)
		return nil
	}))
	if err != nil {
		c.s.t.Fatal(err)
	}
	rsp, err := call(ctx, to)
	if err != nil {
		c.s.t.Fatal(err)
	}
	defer rsp.Body.Close()
	if body, err = io.ReadAll(rsp.Body); err != nil {
		c.s.t.Fatal(err)
	}
	return rsp.StatusCode, bytes.TrimSpace(body)
}

// get is do where the request has to be accepted.
func get[T any](c *client, call func(context.Context, *api.Client) (*http.Response, error)) (value T) {
	c.s.t.Helper()
	status, body := c.do(call)
	if status/100 != 2 {
		c.s.t.Fatalf("refused with %d: %s", status, body)
	}
	if err := json.Unmarshal(body, &value); err != nil {
		c.s.t.Fatalf("%v in %s", err, body)
	}
	return value
}

// refused is do where the request has to be refused for a reason.
func (c *client) refused(want string, call func(context.Context, *api.Client) (*http.Response, error)) {
	c.s.t.Helper()
	status, body := c.do(call)
	var said api.Error
	if err := json.Unmarshal(body, &said); err != nil || status/100 != 4 || said.Reason != want {
		c.s.t.Fatalf("want a refusal for %s, got %d: %s", want, status, body)
	}
}

// task reads a task, once it has ended or some time has passed.
func (c *client) task(id, wait string) api.Task {
	c.s.t.Helper()
	return get[api.Task](c, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.GetTask(ctx, id, &api.GetTaskParams{Wait: &wait})
	})
}

// ended waits until a task has ended and returns it.
func (c *client) ended(task api.Task) api.Task {
	c.s.t.Helper()
	for end := time.Now().Add(patience); task.Result == api.TaskResultPending; {
		if time.Now().After(end) {
			c.s.t.Fatalf("waited %v in vain for task %+v", patience, task)
		}
		task = c.task(task.TaskID, "10s")
	}
	return task
}

// done waits for the success of a task.
func (c *client) done(task api.Task) api.Task {
	c.s.t.Helper()
	if task = c.ended(task); task.Result != api.TaskResultSuccess {
		c.s.t.Fatalf("the task ended as %+v", task)
	}
	return task
}

// fails waits for a task that has to fail for a reason.
func (c *client) fails(task api.Task, reason string) {
	c.s.t.Helper()
	task = c.ended(task)
	if m := metaOf(c.s.t, task); task.Result != api.TaskResultFailed || m.ErrorCode != reason {
		c.s.t.Fatalf("want a failure for %s, got %+v", reason, task)
	}
}

// meta is what metaData of a task says.
type meta struct {
	Action    string `json:"action"`
	VolumeID  string `json:"volumeId"`
	ISOID     string `json:"isoId"`
	ErrorCode string `json:"errorCode"`
}

func metaOf(t testing.TB, task api.Task) (m meta) {
	t.Helper()
	if err := json.Unmarshal([]byte(task.MetaData), &m); err != nil {
		t.Fatalf("metaData of task %+v: %v", task, err)
	}
	return m
}
