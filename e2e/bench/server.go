package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// server is the real program, running.
type server struct {
	cmd  *exec.Cmd
	dir  string // data folder
	addr string // host:port
	pid  int
	took time.Duration // from the start of the process until it was ready
	demo struct {
		URL, APIKey, AdminKey string
	}
}

// serve starts a demo server on the data folder and waits until it is ready.
// Rate limits are off; everything else, the log too, is as it comes.
func (b *bench) serve(dir string, args ...string) (*server, error) {
	ready := filepath.Join(dir, "demo.json")
	before, _ := os.Stat(ready) // not there at a first start
	stderr, err := os.Create(filepath.Join(b.dir, "server.log"))
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	args = append([]string{"serve", "--demo", "--data-dir", dir, "--listen", "127.0.0.1:0", "--rate-limit", "0", "--rate-limit-anonymous", "0"}, args...)
	s := &server{cmd: exec.CommandContext(b.ctx, b.binary, args...), dir: dir}
	s.cmd.Stderr = stderr
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	start := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.pid = s.cmd.Process.Pid
	for {
		after, err := os.Stat(ready)
		if err == nil && (before == nil || !os.SameFile(before, after)) {
			break
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, s.stop())
		}
		if time.Since(start) > time.Minute {
			return nil, errors.Join(errors.New("the server did not get ready within a minute"), s.stop())
		}
		time.Sleep(100 * time.Microsecond)
	}
	if err := s.greet(ready, start); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// greet reads what the server left for scripts, and notes when it first answers.
func (s *server) greet(ready string, start time.Time) error {
	raw, err := os.ReadFile(ready)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &s.demo); err != nil {
		return err
	}
	u, err := url.Parse(s.demo.URL)
	if err != nil {
		return err
	}
	s.addr = u.Host
	resp, err := http.Get(s.demo.URL + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	s.took = time.Since(start)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz answers %s", resp.Status)
	}
	return nil
}

// stop ends the server in good order.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.cmd.Wait()
}

// call makes one request of the set-up and decodes the answer into out.
func (s *server) call(key, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, s.demo.URL+"/api/v2"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("X-API-KEY", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, raw)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// task is what the bench reads of a task.
type task struct {
	TaskID, Result, MetaData string
}

// await polls a task, or the newest one of a device, until it has ended.
func (s *server) await(id string) (task, error) {
	for {
		var t task
		if err := s.call(s.demo.APIKey, "GET", "/network/status/"+id, nil, &t); err != nil {
			return t, err
		}
		switch t.Result {
		case "Success":
			return t, nil
		case "Failed":
			return t, fmt.Errorf("task %s failed: %s", id, t.MetaData)
		}
		time.Sleep(time.Millisecond)
	}
}

// maxVolumes is what a local guest takes.
const maxVolumes = 256

// device makes a device that takes many volumes, and waits until it runs.
func (s *server) device(id int64) error {
	var t task
	err := s.call(s.demo.AdminKey, "POST", "/admin/devices",
		map[string]any{"deviceId": id, "clientId": 7, "facilityCode": "TPA1", "maxVolumes": maxVolumes}, &t)
	if err != nil {
		return err
	}
	_, err = s.await(fmt.Sprint(id))
	return err
}

// volumes makes n volumes on a device.
func (s *server) volumes(deviceID int64, n int) error {
	for range n {
		if err := s.call(s.demo.APIKey, "POST", "/vps/volume", map[string]any{"deviceId": deviceID, "size": 50}, nil); err != nil {
			return err
		}
	}
	_, err := s.await(fmt.Sprint(deviceID))
	return err
}

// request is an HTTP request as it goes over the wire.
func (s *server) request(method, path, body string) []byte {
	return fmt.Appendf(nil, "%s /api/v2%s HTTP/1.1\r\nHost: %s\r\nX-API-KEY: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		method, path, s.addr, s.demo.APIKey, len(body), body)
}
