package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/drivebay/drivebay/client"
	"github.com/drivebay/drivebay/internal/testneed"
)

// server is a demo server and its data folder.
type server struct {
	t      *testing.T
	dir    string
	listen string
	log    *os.File
	url    string
	key    string
	api    *client.Client // with the demo client's key
	admin  *client.Client

	mu     sync.Mutex // a test may restart it while Terraform runs
	cmd    *exec.Cmd
	exited chan struct{}
}

// startServer runs a demo server until the test ends. It may import from the
// loopback.
func startServer(t *testing.T) *server {
	t.Helper()
	needTerraform(t)
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	port, err := testneed.FreePort() // the same after a restart
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: filepath.Join(dir, "data"), listen: fmt.Sprintf("127.0.0.1:%d", port), log: log}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name()) // it only helps to explain
			t.Logf("the end of the server's log:\n%s", b[max(0, len(b)-4<<10):])
		}
		log.Close()
	})
	s.start()
	return s
}

// start begins a process and waits until it serves.
func (s *server) start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd = exec.Command(program, "serve", "--demo", "--listen", s.listen, "--data-dir", s.dir, "--fetch-allow", "127.0.0.1/32", "--rate-limit", "0")
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Env = s.log, s.log, ownEnv()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // it is killed
		close(exited)
	}(s.cmd, s.exited)
	var demo struct {
		URL      string `json:"url"`
		PID      int    `json:"pid"`
		APIKey   string `json:"apiKey"`
		AdminKey string `json:"adminKey"`
	}
	eventually(s.t, "the server is ready", func() bool {
		select {
		case <-s.exited:
			s.t.Fatalf("the server ended by itself: %v", s.cmd.ProcessState)
		default:
		}
		b, err := os.ReadFile(filepath.Join(s.dir, "demo.json"))
		return err == nil && json.Unmarshal(b, &demo) == nil && demo.PID == s.cmd.Process.Pid
	})
	s.url, s.key = demo.URL, demo.APIKey
	s.api, s.admin = s.client(demo.APIKey), s.client(demo.AdminKey)
}

func (s *server) client(key string) *client.Client {
	s.t.Helper()
	c, err := client.New(s.url, key)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// kill ends the process with SIGKILL, if one runs.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // gone already: the same to us
	<-s.exited
	s.cmd = nil
}

// do waits for a change that is made by hand.
func (s *server) do(task client.Task, err error) client.Task {
	s.t.Helper()
	if err == nil {
		task, err = s.api.Task.Wait(s.t.Context(), task, nil)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return task
}

// volumes are the data volumes on a device.
func (s *server) volumes(deviceID int64) []client.Volume {
	s.t.Helper()
	all, err := s.api.Volume.List(s.t.Context(), client.VolumeListOptions{DeviceID: deviceID})
	if err != nil {
		s.t.Fatal(err)
	}
	var data []client.Volume
	for _, v := range all {
		if !v.Root() {
			data = append(data, v)
		}
	}
	return data
}

// volume is a volume that must exist.
func (s *server) volume(id string) client.Volume {
	s.t.Helper()
	v, err := s.api.Volume.Get(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// wide makes a device that takes so many volumes, and returns its id.
func (s *server) wide(volumes int) int64 {
	s.t.Helper()
	const id = 1010
	task, err := s.admin.Admin.Device.Create(s.t.Context(), client.DeviceCreate{
		ClientID: 7, FacilityCode: "TPA1", DeviceID: id, MaxVolumes: &volumes,
	})
	if err == nil {
		_, err = s.admin.Task.Wait(s.t.Context(), task, nil)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// between stands between Terraform and the server.
type between struct {
	*httptest.Server
	// answered, where set, hears of every answer before it is passed on, and may
	// change it. With false the connection is cut instead.
	answered atomic.Pointer[func(*http.Response) bool]
}

func newBetween(t *testing.T, s *server) *between {
	t.Helper()
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(target)
	b := &between{}
	p.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	p.ModifyResponse = func(r *http.Response) error {
		if f := b.answered.Load(); f != nil && !(*f)(r) {
			return http.ErrAbortHandler
		}
		return nil
	}
	b.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		b.CloseClientConnections()
		b.Close()
	})
	return b
}

func (b *between) onAnswer(f func(*http.Response) bool) { b.answered.Store(&f) }

// isTask reports whether r answers how a task goes.
func isTask(r *http.Response) bool {
	return r.Request.Method == http.MethodGet && strings.Contains(r.Request.URL.Path, "/network/status/")
}

// isCreate reports whether r answers the creation of a volume.
func isCreate(r *http.Response) bool {
	return r.Request.Method == http.MethodPost && strings.HasSuffix(r.Request.URL.Path, "/vps/volume")
}
