package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/drivebay/drivebay/client"
)

// cloud is a small server for the examples: one device, one volume at a time,
// and tasks that take three looks.
type cloud struct {
	mu    sync.Mutex
	looks int
	gib   int
}

func newCloud() *httptest.Server {
	c := &cloud{}
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (int, string){
		"POST /api/v2/vps/volume":         func(*http.Request) (int, string) { return c.change(100) },
		"PUT /api/v2/vps/volume/{id}":     func(*http.Request) (int, string) { return http.StatusBadRequest, shrink },
		"GET /api/v2/vps/volume":          func(*http.Request) (int, string) { return 200, "[" + c.volume() + "]" },
		"GET /api/v2/vps/volume/{id}":     c.read,
		"GET /api/v2/inventory/locations": func(*http.Request) (int, string) { return 200, `[{"code":"TPA1"}]` },
		"GET /api/v2/network/status/{id}": func(*http.Request) (int, string) { return 200, c.look() },
		"GET /api/v2/vps/snapshot":        func(*http.Request) (int, string) { return 200, `[{"snapshotId":"s-1"}]` },
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			status, body := answer(r)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		})
	}
	return httptest.NewServer(mux)
}

const shrink = `{"errors":{"size":"50 GiB is not larger than 100 GiB"},"message":"Input payload validation failed","reason":"size_not_larger","requestId":"r-1"}`

func (c *cloud) change(gib int) (int, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gib, c.looks = gib, 0
	return http.StatusCreated, task("Pending", 0, "")
}

func (c *cloud) look() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.looks++; c.looks {
	case 1:
		return task("Pending", 40, "making the disk")
	case 2:
		return task("Pending", 80, "attaching it")
	}
	return task("Success", 100, "")
}

func (c *cloud) read(r *http.Request) (int, string) {
	if r.PathValue("id") != "v-1" {
		return http.StatusNotFound, `{"code":404,"message":"Volume not found","reason":"volume_not_found"}`
	}
	return http.StatusOK, c.volume()
}

func (c *cloud) volume() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf(`{"volumeId":"v-1","type":"DATADISK","size":%d,"deviceId":1001,"facilityCode":"TPA1"}`, max(c.gib, 100))
}

func task(result string, progress int, message string) string {
	return fmt.Sprintf(`{"taskId":"t-1","result":%q,"progress":%d,"message":%q,"metaData":"{\"volumeId\":\"v-1\"}"}`, result, progress, message)
}

// A volume is created, awaited and read.
func Example() {
	server := newCloud() // yours is at https://cloud.example.com
	defer server.Close()
	ctx := context.Background()

	c, err := client.New(server.URL, "dbk_key", client.WithPollInterval(time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	task, err := c.Volume.Create(ctx, client.VolumeCreate{DeviceID: 1001, SizeGiB: 100})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := c.Task.Wait(ctx, task, nil); err != nil {
		fmt.Println(err)
		return
	}
	volume, err := c.Volume.Get(ctx, task.VolumeID())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("volume %s has %d GiB and is %s\n", volume.ID, volume.SizeGiB, volume.State)
	// Output: volume v-1 has 100 GiB and is attached
}

// A wait tells how the task gets on, and ends with its context; the task goes on.
func ExampleTaskService_Wait() {
	server := newCloud()
	defer server.Close()
	c, err := client.New(server.URL, "dbk_key", client.WithPollInterval(time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()

	task, err := c.Task.Wait(ctx, client.Task{ID: "t-1"}, func(t client.Task) {
		fmt.Printf("%d %% %s\n", t.Progress, t.Result)
	})
	var failed *client.TaskError
	switch {
	case errors.As(err, &failed):
		fmt.Println("it failed:", failed.Reason)
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("it takes longer than 10 minutes")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(task.Result)
	}
	// Output:
	// 0 % Pending
	// 40 % Pending
	// 80 % Pending
	// 100 % Success
	// Success
}

// Errors have a kind, a stable reason and, where fields are wrong, a sentence
// for each.
func ExampleError() {
	server := newCloud()
	defer server.Close()
	c, err := client.New(server.URL, "dbk_key")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()

	_, err = c.Volume.Get(ctx, "v-2")
	fmt.Println(errors.Is(err, client.ErrNotFound))

	_, err = c.Volume.Resize(ctx, "v-1", client.VolumeResize{SizeGiB: 50, DeviceID: 1001})
	var e *client.Error
	if errors.As(err, &e) {
		fmt.Println(e.Reason)
		fmt.Println(e.Fields["size"])
	}
	// Output:
	// true
	// size_not_larger
	// 50 GiB is not larger than 100 GiB
}

// Without a device and a facility, the volumes of all facilities are read.
func ExampleVolumeService_All() {
	server := newCloud()
	defer server.Close()
	c, err := client.New(server.URL, "dbk_key")
	if err != nil {
		fmt.Println(err)
		return
	}
	for volume, err := range c.Volume.All(context.Background(), client.VolumeListOptions{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(volume.ID, volume.FacilityCode, volume.SizeGiB)
	}
	// Output: v-1 TPA1 100
}

// A program that may be killed names its request before it is sent. Started
// again it sends the same name, and the volume is made once.
func ExampleWithIdempotencyKey() {
	server := newCloud()
	defer server.Close()
	c, err := client.New(server.URL, "dbk_key")
	if err != nil {
		fmt.Println(err)
		return
	}
	task, err := c.Volume.Create(context.Background(), client.VolumeCreate{DeviceID: 1001, SizeGiB: 100},
		client.WithIdempotencyKey("backup-disk-of-2026-01"))
	var e *client.Error
	if errors.As(err, &e) && e.Uncertain {
		fmt.Println("whether it was made is not known")
		return
	}
	fmt.Println(task.VolumeID(), err)
	// Output: v-1 <nil>
}

// Calls that have no name here have the same key, tries and errors.
func ExampleClient_Do() {
	server := newCloud()
	defer server.Close()
	c, err := client.New(server.URL, "dbk_key")
	if err != nil {
		fmt.Println(err)
		return
	}
	var snapshots []struct{ SnapshotID string }
	err = c.Do(context.Background(), "GET", []string{"vps", "snapshot"}, nil, &snapshots)
	fmt.Println(snapshots, err)
	// Output: [{s-1}] <nil>
}
