package app

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/config"
	"github.com/drivebay/drivebay/internal/task"
)

// TestStopEndsWaits: calls that wait do not hold up the end of the server, and
// are answered all the same.
func TestStopEndsWaits(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Demo, cfg.DataDir, cfg.Listen, cfg.RateLimit = true, t.TempDir(), "127.0.0.1:0", 0
	s, err := Start(t.Context(), cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// A kind that no node knows keeps a task pending for minutes.
	held := task.New{Kind: "held", Lane: "held", Queue: task.Housework, ClientID: 7, DeviceID: 1001}
	if err := s.db.Tasks().Ensure(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	var demo Demo
	raw, err := os.ReadFile(filepath.Join(cfg.DataDir, "demo.json"))
	if err == nil {
		err = json.Unmarshal(raw, &demo)
	}
	if err != nil {
		t.Fatal(err)
	}
	ask := func(wait string) int {
		r, _ := http.NewRequest(http.MethodGet, demo.URL+"/api/v2/network/status/1001?wait="+wait, nil)
		r.Header.Set("X-API-KEY", demo.APIKey)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	const most = 64 // calls of a key that may wait
	answers := make(chan int, most)
	for range most {
		go func() {
			status := ask("60s")
			for status == http.StatusTooManyRequests { // the probe below had the place
				status = ask("60s")
			}
			answers <- status
		}()
	}
	for ask("10ms") != http.StatusTooManyRequests {
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for range most {
		if status := <-answers; status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
}
