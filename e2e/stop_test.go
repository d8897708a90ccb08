package e2e

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/testneed"
)

// TestStopResumesImport stops a server while it downloads, and holds that the
// next one goes on where it was and does not begin again.
func TestStopResumesImport(t *testing.T) {
	for name, end := range map[string]func(*server){
		"SIGTERM": func(s *server) {
			if code := s.stop(); code != 0 {
				s.t.Errorf("SIGTERM: exit code %d", code)
			}
		},
		"SIGKILL": func(s *server) { s.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t)
			o.brake()
			// A download is checkpointed every 32 MiB.
			i := newImage("LARGE", 40<<20, true)
			link := o.serveBraked("/large.iso", i, 36<<20)
			s := startDemo(t, allow)
			iso := s.client().importISO("TPA1", link, true)
			saved := awaitCheckpoint(t, s.dir, *iso.TaskID)
			end(s)
			o.release()
			s.start()
			s.awaitDemo()
			task := s.client().ended(*iso.TaskID)
			if task.Result != api.TaskResultSuccess {
				t.Fatalf("the import ended %+v", task)
			}
			got := s.client().iso(iso.ISOID)
			if !got.Ready || zero(got.SHA256) != i.sha256() || zero(got.Size) != i.size {
				t.Errorf("the ISO is %+v", got)
			}
			want := []string{"", fmt.Sprintf("bytes=%d-", saved)}
			if seen := o.seen(); strings.Join(seen, " ") != strings.Join(want, " ") {
				t.Errorf("the source saw the ranges %q, want %q", seen, want)
			}
			check(t, s.dir)
			agree(t, s)
		})
	}
}

// awaitCheckpoint waits until a download has saved how far it is, and returns
// that.
func awaitCheckpoint(t *testing.T, dir, taskID string) (bytes int64) {
	t.Helper()
	c := open(t, dir)
	defer c.db.Close()
	testneed.Eventually(t, "a checkpoint of the download", func() bool {
		text := rows(c, func(s *[]byte) []any { return []any{s} }, `SELECT coalesce(checkpoint, '') FROM task WHERE id = ?`, taskID)[0]
		if len(text) == 0 {
			return false
		}
		var saved struct {
			Fetch struct {
				Bytes int64 `json:"bytes"`
			} `json:"fetch"`
		}
		if err := json.Unmarshal(text, &saved); err != nil {
			t.Fatal(err)
		}
		bytes = saved.Fetch.Bytes
		return bytes > 0
	})
	return bytes
}

// TestStopAnswers holds that a stop answers what was asked before it.
func TestStopAnswers(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "--rate-limit=0")
	const requests = 200
	tasks := make(chan string, requests)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := s.client()
		for range requests {
			a, err := c.try(t.Context(), "POST", "/vps/volume", map[string]any{"deviceId": 1003, "size": 50})
			if err != nil {
				return // it has stopped
			}
			var task api.Task
			if a.status == http.StatusCreated && json.Unmarshal(a.body, &task) == nil {
				tasks <- task.TaskID
			}
		}
	}()
	first := <-tasks
	if code := s.stop(); code != 0 {
		t.Fatalf("SIGTERM: exit code %d", code)
	}
	<-done
	close(tasks)
	s.start()
	s.awaitDemo()
	s.client().ended(first)
	for id := range tasks {
		if task := s.client().ended(id); task.Result != api.TaskResultSuccess {
			t.Errorf("task %s, accepted before the stop, ended %+v", id, task)
		}
	}
	check(t, s.dir)
}

// writeDB opens the database of a data folder that no server has open.
func writeDB(t testing.TB, dir string) *sql.DB {
	t.Helper()
	u := url.URL{Path: filepath.ToSlash(filepath.Join(dir, "drivebay.db"))}
	db, err := sql.Open("sqlite", "file:"+u.EscapedPath())
	if err != nil {
		t.Fatal(err)
	}
	return db
}
