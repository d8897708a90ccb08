package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/antihax/optional"
	swagger "github.com/hivelocity/hivelocity-client-go/client"
)

const (
	startLimit = 2 * time.Minute
	stopLimit  = 2 * time.Minute
	// taskLimit is how long a task may take. Tasks here take milliseconds; the
	// rest is for a busy machine.
	taskLimit = 2 * time.Minute
	// tick is how often files and tasks are looked at.
	tick = 20 * time.Millisecond

	logShown = 4 << 10 // bytes of the server's output that a failed test shows
)

// demo is the world that `serve --demo` describes in demo.json.
type demo struct {
	URL       string  `json:"url"`
	APIKey    string  `json:"apiKey"`
	ClientID  int32   `json:"clientId"`
	DeviceIDs []int32 `json:"deviceIds"`
	Other     struct {
		ClientID  int32   `json:"clientId"`
		APIKey    string  `json:"apiKey"`
		DeviceIDs []int32 `json:"deviceIds"`
	} `json:"other"`
}

// world is a running server with a client for it.
type world struct {
	demo
	*swagger.APIClient
	ctx   context.Context // carries the key of the demo's first client
	calls *recorder
	// mask is what is sent as X-Fields when volumes are read.
	mask optional.String
}

// start runs a server on an empty folder until the test ends. It must then
// stop on SIGTERM by itself, with exit code 0.
func start(t *testing.T, args ...string) *world {
	t.Helper()
	dir := t.TempDir()
	args = append([]string{
		"serve", "--demo", "--listen", "127.0.0.1:0", "--fetch-allow", "127.0.0.1/32", "--data-dir", dir,
		"--rate-limit", "1000000", // a busy machine may be asked long
	}, args...)
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = ownEnv()
	var log bytes.Buffer // read only after the process has ended
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the server: %v", err)
	}
	ended := make(chan struct{})
	var exit error
	go func() { defer close(ended); exit = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended, which shows below
		select {
		case <-ended:
		case <-time.After(stopLimit):
			_ = cmd.Process.Kill()
			<-ended
			t.Errorf("the server did not stop within %v", stopLimit)
		}
		if exit != nil {
			t.Errorf("the server ended with %v", exit)
		}
		if t.Failed() {
			t.Logf("the end of the server's output:\n%s", log.Bytes()[max(0, log.Len()-logShown):])
		}
	})
	w := &world{demo: awaitDemo(t, filepath.Join(dir, "demo.json"), ended), calls: newRecorder(t)}
	w.APIClient, w.ctx = w.client(w.calls), withKey(w.APIKey)
	return w
}

// ownEnv is this process's environment without the server's settings, which
// would change the server under test.
func ownEnv() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "DRIVEBAY_") {
			env = append(env, v)
		}
	}
	return env
}

// awaitDemo reads demo.json as soon as the server has put it there, which it
// does once it can be used.
func awaitDemo(t *testing.T, path string, ended <-chan struct{}) demo {
	t.Helper()
	limit, look := time.After(startLimit), time.NewTicker(tick)
	defer look.Stop()
	for {
		b, err := os.ReadFile(path)
		switch {
		case err == nil:
			var d demo
			if err := json.Unmarshal(b, &d); err != nil {
				t.Fatalf("demo.json: %v", err)
			}
			if len(d.DeviceIDs) != 3 || len(d.Other.DeviceIDs) != 1 {
				t.Fatalf("demo.json has other devices than documented: %s", b)
			}
			return d
		case !errors.Is(err, fs.ErrNotExist):
			t.Fatal(err)
		}
		select {
		case <-ended:
			t.Fatal("the server ended before it was ready")
		case <-limit:
			t.Fatalf("the server was not ready within %v", startLimit)
		case <-look.C:
		}
	}
}

// client returns a generated client of the server whose calls r notes.
func (w *world) client(r *recorder) *swagger.APIClient {
	cfg := swagger.NewConfiguration()
	cfg.BasePath = w.URL + "/api/v2"
	cfg.HTTPClient = r.httpClient()
	return swagger.NewAPIClient(cfg)
}

// withKey authenticates with X-API-KEY, as the client's own guide shows.
func withKey(key string) context.Context {
	return context.WithValue(context.Background(), swagger.ContextAPIKey, swagger.APIKey{Key: key})
}

// withToken authenticates with Authorization: Bearer.
func withToken(key string) context.Context {
	return context.WithValue(context.Background(), swagger.ContextAccessToken, key)
}

// await polls a task until it has ended.
func (w *world) await(t *testing.T, begun swagger.NetworkTaskDump) swagger.NetworkTaskDump {
	t.Helper()
	if begun.TaskId == "" || begun.Result != "Pending" || begun.ClientId != w.ClientID {
		t.Fatalf("the new task is %+v", begun)
	}
	limit, look := time.After(taskLimit), time.NewTicker(tick)
	defer look.Stop()
	for {
		now := answer(w.NetworkApi.GetNetworkTaskIdResource(w.ctx, begun.TaskId, nil)).ok(t, 200)
		switch now.Result {
		case "Success", "Failed":
			return now
		case "Pending":
		default:
			t.Fatalf("task %s has result %q", now.TaskId, now.Result)
		}
		select {
		case <-limit:
			t.Fatalf("task %s did not end within %v: %s", now.TaskId, taskLimit, now.MetaData)
		case <-look.C:
		}
	}
}

// meta is what tests read of a task's metaData.
type meta struct {
	Action    string `json:"action"`
	VolumeID  string `json:"volumeId"`
	ISOID     string `json:"isoId"`
	Error     string `json:"error"`
	ErrorCode string `json:"errorCode"`
}

// succeed awaits the task and its success.
func (w *world) succeed(t *testing.T, begun swagger.NetworkTaskDump) meta {
	t.Helper()
	ended := w.await(t, begun)
	if ended.Result != "Success" {
		t.Fatalf("task %s: %s: %s", ended.TaskId, ended.Result, ended.MetaData)
	}
	return metaOf(t, ended)
}

func metaOf(t *testing.T, task swagger.NetworkTaskDump) (m meta) {
	t.Helper()
	if err := json.Unmarshal([]byte(task.MetaData), &m); err != nil {
		t.Fatalf("metaData %q of task %s: %v", task.MetaData, task.TaskId, err)
	}
	return m
}
