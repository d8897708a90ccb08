package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/drivebay/drivebay/client"
)

// volumeConfig is a configuration of one volume, drivebay_volume.data.
func volumeConfig(deviceID, size int64) string {
	return fmt.Sprintf("resource \"drivebay_volume\" \"data\" {\n  device_id = %d\n  size      = %d\n}\n", deviceID, size)
}

const volumeName = "drivebay_volume.data"

func TestVolume(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	w := s.workspace()

	w.write("main.tf", volumeConfig(1001, 50))
	w.apply()
	id := w.id(volumeName)
	if v := s.volume(id); v.SizeGiB != 50 || v.DeviceID == nil || *v.DeviceID != 1001 {
		t.Fatalf("the server has %+v", v)
	}
	has := w.has(volumeName)
	if has["facility_code"] != "TPA1" || has["state"] != "attached" || has["monthly_price"] == nil || has["created_at"] == nil {
		t.Fatalf("the state has %v", has)
	}

	w.write("main.tf", volumeConfig(1001, 40))
	w.refuses([]string{"A volume never shrinks", "has 50 GiB"}, "plan")
	w.write("main.tf", volumeConfig(1001, 77))
	w.refuses([]string{"size_not_sold", "request ", "sizes on sale"}, "apply", "-auto-approve")

	w.write("main.tf", strings.Replace(volumeConfig(1001, 100), "}", "  max_monthly_price = 0.5\n}", 1))
	w.refuses([]string{"price_changed"}, "apply", "-auto-approve")
	if v := s.volume(id); v.SizeGiB != 50 {
		t.Fatalf("it grew for a higher price: %+v", v)
	}

	// It moves and grows in place.
	w.write("main.tf", volumeConfig(1002, 100))
	w.tells(w.apply(), "will be updated in-place")
	if v := s.volume(id); w.id(volumeName) != id || v.SizeGiB != 100 || v.DeviceID == nil || *v.DeviceID != 1002 {
		t.Fatalf("the server has %+v, the state %v", v, w.has(volumeName))
	}

	// A volume cannot leave its facility.
	w.write("main.tf", volumeConfig(1003, 50))
	w.plans("must be replaced", "1002 -> 1003 # forces replacement")
	w.write("main.tf", volumeConfig(4711, 100))
	w.refuses([]string{"device_not_found"}, "plan")
	w.write("main.tf", volumeConfig(1002, 100))

	w.destroy()
	if left := s.volumes(1002); len(left) > 0 {
		t.Fatalf("after the destroy the server has %v", left)
	}
}

func TestDrift(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	w := s.workspace()
	w.write("main.tf", volumeConfig(1001, 50))
	w.apply()
	id := w.id(volumeName)

	s.do(s.api.Volume.Detach(t.Context(), id, 1001))
	w.tells(w.apply(), "will be updated in-place", "+ device_id = 1001")
	if v := s.volume(id); v.DeviceID == nil || *v.DeviceID != 1001 {
		t.Fatalf("it is not attached again: %+v", v)
	}

	s.do(s.api.Volume.Delete(t.Context(), id, client.VolumeDelete{DeviceID: 1001}))
	w.tells(w.apply(), "will be created")
	if w.id(volumeName) == id || len(s.volumes(1001)) != 1 {
		t.Fatalf("it was not made anew: %v", s.volumes(1001))
	}

	// Grown by hand, it cannot be made smaller again.
	id = w.id(volumeName)
	s.do(s.api.Volume.Resize(t.Context(), id, client.VolumeResize{SizeGiB: 100, DeviceID: 1001}))
	w.refuses([]string{"A volume never shrinks"}, "plan")

	// The destroy of what is gone already is done.
	s.do(s.api.Volume.Delete(t.Context(), id, client.VolumeDelete{DeviceID: 1001}))
	w.destroy("-refresh=false")
}

// TestImport imports a volume into the configuration of the guide.
func TestImport(t *testing.T) {
	t.Parallel()
	const name = "drivebay_volume.database"
	s := startServer(t)
	task := s.do(s.api.Volume.Create(t.Context(), client.VolumeCreate{DeviceID: 1001, SizeGiB: 50}))
	all, err := s.api.Volume.List(t.Context(), client.VolumeListOptions{DeviceID: 1001})
	if err != nil {
		t.Fatal(err)
	}
	root := ""
	for _, v := range all {
		if v.Root() {
			root = v.ID
		}
	}
	guide, err := os.ReadFile("../docs/guide/terraform.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(guide), "```terraform\n")
	text, _, _ = strings.Cut(text, "```")

	w := s.workspace()
	w.write("provider.tf", text)
	w.refuses([]string{"ROOT volume"}, "import", name, root)
	w.refuses([]string{"volume_not_found"}, "import", name, "no-such-volume")
	w.must("import", name, task.VolumeID())
	w.idle()
	w.destroy()
}

// TestManyVolumes makes 20 volumes on one device at once.
func TestManyVolumes(t *testing.T) {
	t.Parallel()
	const count = 20
	s := startServer(t)
	w := s.workspace()
	w.write("main.tf", fmt.Sprintf("resource \"drivebay_volume\" \"data\" {\n  count     = %d\n  device_id = %d\n  size      = 50\n}\n", count, s.wide(count)))
	w.apply("-parallelism=20")
	if n := len(s.volumes(1010)); n != count {
		t.Fatalf("the device has %d volumes, not %d", n, count)
	}
	w.destroy("-parallelism=20")
	if left := s.volumes(1010); len(left) > 0 {
		t.Fatalf("after the destroy the device has %v", left)
	}
}

// TestRestart kills the server in the middle of an apply, before an answer to
// a request that it had accepted arrives.
func TestRestart(t *testing.T) {
	t.Parallel()
	const count, fatal = 6, 3
	s := startServer(t)
	b := newBetween(t, s)
	reached := make(chan struct{})
	var creates atomic.Int32
	b.onAnswer(func(r *http.Response) bool {
		if !isCreate(r) || creates.Add(1) != fatal {
			return true
		}
		close(reached)
		return false
	})
	w := newWorkspace(t, b.URL, s.key)
	w.write("main.tf", fmt.Sprintf("resource \"drivebay_volume\" \"data\" {\n  count     = %d\n  device_id = 1001\n  size      = 50\n}\n", count))

	r := w.begin("apply", "-auto-approve", "-parallelism=2")
	r.await(reached)
	s.kill()
	s.start()
	r.succeed()
	w.idle()
	if n := len(s.volumes(1001)); n != count {
		t.Fatalf("the device has %d volumes, not %d", n, count)
	}
	services, err := s.api.Service.List(t.Context(), client.ServiceListOptions{Status: "active"})
	if err != nil || len(services) != count {
		t.Fatalf("%d volumes are billed, not %d (%v)", len(services), count, err)
	}
	w.destroy()
}

// slowly is a server that has not made a volume yet: its task is pending, and
// the volume cannot be seen. seen gets one when it was asked how a task goes.
func slowly(seen chan<- struct{}) func(*http.Response) bool {
	return func(r *http.Response) bool {
		switch {
		case isTask(r):
			rewrite(r, `"Success"`, `"Pending"`)
			select {
			case seen <- struct{}{}:
			default:
			}
		case r.Request.Method == http.MethodGet && strings.Contains(r.Request.URL.Path, "/vps/volume/"):
			r.StatusCode = http.StatusNotFound
			replace(r, []byte(`{"code": 404, "message": "No such volume", "reason": "volume_not_found"}`))
		}
		return true
	}
}

// TestInterrupted interrupts Terraform while the server makes a volume: what
// was accepted stays in the state, whatever became of it.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := newBetween(t, s)
	seen := make(chan struct{}, 1)
	slow := slowly(seen)
	w := newWorkspace(t, b.URL, s.key)
	w.write("main.tf", volumeConfig(1001, 50))
	b.onAnswer(slow)
	r := w.begin("apply", "-auto-approve")
	r.await(seen)
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; err == nil {
		t.Fatalf("an interrupted apply succeeded:\n%s", &r.out)
	}
	id := w.id(volumeName)
	if w.state()[volumeName].Status != "tainted" {
		t.Fatalf("the volume is not tainted: %v\n%s", w.state(), &r.out)
	}

	// While it is being made nobody can see it, yet it is not lost.
	w.tells(w.must("apply", "-refresh-only", "-auto-approve"), "still being created")
	if w.id(volumeName) != id {
		t.Fatalf("the state has %v", w.state())
	}
	w.plans("must be replaced")

	quick := func(*http.Response) bool { return true }
	b.onAnswer(quick)
	w.must("untaint", volumeName)
	w.idle()

	// A destroy waits for what it cannot see yet.
	b.onAnswer(slow)
	for len(seen) > 0 {
		<-seen
	}
	r = w.begin("destroy", "-auto-approve", "-refresh=false")
	r.await(seen)
	b.onAnswer(quick)
	r.succeed()
	if left := s.volumes(1001); len(left) > 0 {
		t.Fatalf("after the destroy the device has %v", left)
	}
}

// TestNotCreated: what was not made is not in the state.
func TestNotCreated(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := newBetween(t, s)
	b.onAnswer(func(r *http.Response) bool {
		if isTask(r) {
			rewrite(r, `"Success"`, `"Failed"`)
		}
		return true
	})
	w := newWorkspace(t, b.URL, s.key)
	w.write("main.tf", volumeConfig(1001, 50))
	w.refuses([]string{"The volume was not created", "task "}, "apply", "-auto-approve")
	if len(w.state()) > 0 {
		t.Fatalf("the state has %v", w.state())
	}

	w.write("main.tf", strings.Replace(volumeConfig(1002, 50), "}", "  timeouts {\n    create = \"1ns\"\n  }\n}", 1))
	w.refuses([]string{"The time of the block `timeouts` is over"}, "apply", "-auto-approve")
	if len(w.state()) > 0 || len(s.volumes(1002)) > 0 {
		t.Fatalf("the state has %v, the server %v", w.state(), s.volumes(1002))
	}
}

// rewrite replaces text in an answer's body.
func rewrite(r *http.Response, from, to string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the other side has gone
	}
	r.Body.Close()
	replace(r, bytes.ReplaceAll(body, []byte(from), []byte(to)))
}

// replace gives an answer another body.
func replace(r *http.Response, body []byte) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

// TestVolumeAttachment attaches a volume that was made by hand.
func TestVolumeAttachment(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	id := s.do(s.api.Volume.Create(t.Context(), client.VolumeCreate{DeviceID: 1001, SizeGiB: 50})).VolumeID()
	config := func(deviceID int) string {
		return fmt.Sprintf("resource \"drivebay_volume_attachment\" \"it\" {\n  volume_id = %q\n  device_id = %d\n}\n", id, deviceID)
	}
	on := func(deviceID int64) {
		t.Helper()
		if v := s.volume(id); v.DeviceID == nil && deviceID != 0 || v.DeviceID != nil && *v.DeviceID != deviceID {
			t.Fatalf("the volume is not on device %d: %+v", deviceID, v)
		}
	}

	w := s.workspace()
	w.write("main.tf", config(1002))
	w.refuses([]string{"attached elsewhere", "is on device 1001"}, "apply", "-auto-approve")
	on(1001)
	w.must("import", "drivebay_volume_attachment.it", id)
	w.tells(w.apply(), "1001 -> 1002")
	on(1002)
	w.write("main.tf", config(1003))
	w.refuses([]string{"stays in facility TPA1"}, "apply", "-auto-approve")
	on(1002) // it was not detached in vain
	w.write("main.tf", config(1002))

	s.do(s.api.Volume.Detach(t.Context(), id, 1002))
	w.tells(w.apply(), "will be created")
	on(1002)
	w.destroy()
	on(0)
}

// TestProvider is about the provider's own settings.
func TestProvider(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	w := newWorkspace(t, s.url, "no-such-key")
	w.write("main.tf", "data \"drivebay_locations\" \"all\" {}\n")
	w.refuses([]string{"key_invalid", "request "}, "plan")
	w.env = append(w.env, "DRIVEBAY_URL=", "DRIVEBAY_API_KEY=")
	w.refuses([]string{"The server's address is missing", "The API key is missing"}, "plan")
	w.write("main.tf", fmt.Sprintf("provider \"drivebay\" {\n  url = %q\n  api_key = %q\n  client_id = 7\n}\ndata \"drivebay_locations\" \"all\" {}\n", s.url+"/api/v2/", s.key))
	w.must("apply", "-auto-approve")
	if b, err := os.ReadFile(filepath.Join(w.dir, "terraform.tfstate")); err != nil || bytes.Contains(b, []byte(s.key)) {
		t.Fatalf("the state has the key, or cannot be read: %v", err)
	}
}
