package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drivebay/drivebay/client"
)

// taskAs is a task with this result, progress and message.
func taskAs(result string, progress int, message string) string {
	return fmt.Sprintf(`{"taskId":"t-1","clientId":7,"deviceId":null,"result":%s,"metaData":"{\"volumeId\":\"v-1\",\"errorCode\":\"storage_full\",\"error\":\"The storage is full.\"}","taskCreated":"x","taskUpdated":"x","progress":%d,"message":%q}`, result, progress, message)
}

var pending = client.Task{ID: "t-1", Result: client.TaskPending}

// server plays a server for one task, which ends after some time.
type server struct {
	t       *testing.T
	end     time.Duration // since the start
	result  string
	waits   bool // it knows `wait`
	fail    func(since time.Duration, r *http.Request) (*http.Response, error)
	start   time.Time
	looks   []time.Duration // when it was asked
	waiting []string        // `wait` of each
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.start.IsZero() {
		s.start = time.Now()
	}
	since := time.Since(s.start)
	s.looks = append(s.looks, since)
	wait := r.URL.Query().Get("wait")
	s.waiting = append(s.waiting, wait)
	if r.URL.Path != "/api/v2/network/status/t-1" {
		s.t.Errorf("asked for %s", r.URL)
	}
	if s.fail != nil {
		if a, err := s.fail(since, r); a != nil || err != nil {
			return a, err
		}
	}
	if s.waits && wait != "" {
		d, err := time.ParseDuration(wait)
		if err != nil {
			s.t.Error(err)
		}
		select {
		case <-time.After(min(d, s.end-since)):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if time.Since(s.start) >= s.end {
		return reply(200, taskAs(s.result, 100, "done")), nil
	}
	return reply(200, taskAs("null", int(since/time.Second), "at work")), nil
}

// wait runs Wait for t-1 against s, with the given time.
func (s *server) wait(within time.Duration, onProgress func(client.Task)) (client.Task, time.Duration, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), within)
	defer cancel()
	start := time.Now()
	task, err := newClient(s.t, s.RoundTrip).Task.Wait(ctx, pending, onProgress)
	return task, time.Since(start), err
}

func TestWaitLongPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, end: 70 * time.Second, result: `"Success"`, waits: true}
		task, took, err := s.wait(time.Hour, nil)
		if err != nil || task.Result != client.TaskSuccess || took != 70*time.Second {
			t.Errorf("got %v after %v: %v", task, took, err)
		}
		if want := []string{"30s", "30s", "30s"}; !reflect.DeepEqual(s.waiting, want) {
			t.Errorf("it asked with wait %v, want %v", s.waiting, want)
		}
	})
}

// TestWaitPolling holds that a server which cannot wait is asked less and less.
func TestWaitPolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, end: 5 * time.Minute, result: `"Success"`}
		task, took, err := s.wait(time.Hour, nil)
		if err != nil || task.Result != client.TaskSuccess || took < 5*time.Minute || took > 5*time.Minute+10*time.Second {
			t.Errorf("got %v after %v: %v", task, took, err)
		}
		if n := len(s.looks); n < 30 || n > 40 {
			t.Errorf("it looked %d times", n)
		}
		for i := 2; i < len(s.looks); i++ {
			if a, b := s.looks[i-1]-s.looks[i-2], s.looks[i]-s.looks[i-1]; b < a || b < 2*time.Second || b > 10*time.Second {
				t.Errorf("a pause of %v follows one of %v", b, a)
			}
		}
	})
}

// TestWaitProgress holds what is told of a task: each change once, the end too.
func TestWaitProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, end: 7 * time.Second, result: `"Success"`, waits: true}
		var told []string
		_, took, err := s.wait(time.Hour, func(x client.Task) { told = append(told, fmt.Sprintf("%s %d %s", x.Result, x.Progress, x.Message)) })
		want := []string{"Pending 0 ", "Pending 0 at work", "Pending 2 at work", "Pending 4 at work", "Success 100 done"}
		if err != nil || took != 7*time.Second || !reflect.DeepEqual(told, want) {
			t.Errorf("told %q after %v: %v, want %q", told, took, err, want)
		}
	})
}

// TestWaitEnds holds what a wait ends with.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	always := func(status int, reason string) func(time.Duration, *http.Request) (*http.Response, error) {
		return func(time.Duration, *http.Request) (*http.Response, error) {
			return reply(status, errorJSON(status, reason)), nil
		}
	}
	for _, tt := range []struct {
		name string
		s    server
		took time.Duration // exactly; -1: within its time
		is   error
		text string
	}{
		{"failed", server{end: 3 * time.Second, result: `"Failed"`, waits: true}, 3 * time.Second, client.ErrTaskFailed, "task t-1 failed: The storage is full. (storage_full)"},
		{"gone", server{fail: always(404, "task_not_found")}, 0, client.ErrNotFound, "a sentence"},
		{"refused", server{fail: always(403, "key_expired")}, 0, client.ErrForbidden, "a sentence"},
		{"too late", server{end: 2 * time.Hour, waits: true}, time.Hour, context.DeadlineExceeded, "deadline exceeded"},
		{"too late, polling", server{end: 2 * time.Hour}, time.Hour, context.DeadlineExceeded, "still under way"},
		{"away for good", server{fail: func(time.Duration, *http.Request) (*http.Response, error) { return nil, errDial }}, time.Hour, context.DeadlineExceeded, "connection refused"},
		{"503 for good", server{fail: always(503, "not_ready")}, time.Hour, context.DeadlineExceeded, "a sentence"},
		{"500 for good", server{fail: always(500, "internal")}, time.Hour, context.DeadlineExceeded, "a sentence"},
		{"a bad certificate", server{fail: func(time.Duration, *http.Request) (*http.Response, error) { return nil, errCert }}, 0, client.ErrUnavailable, "signed by nobody"},
		{"another service", server{fail: func(time.Duration, *http.Request) (*http.Response, error) {
			return respond(200, "text/html", "<html>"), nil
		}}, -1, client.ErrBadAnswer, "text/html"},
		{"sent away", server{fail: func(time.Duration, *http.Request) (*http.Response, error) {
			return respond(302, "", "", "Location", "https://login.example.com/"), nil
		}}, 0, client.ErrBadAnswer, "login.example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := tt.s
				s.t = t
				task, took, err := s.wait(time.Hour, nil)
				if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v, want %v with %q", err, tt.is, tt.text)
				}
				if tt.took >= 0 && took != tt.took || took > time.Hour {
					t.Errorf("it took %v", took)
				}
				if task.ID != "t-1" {
					t.Errorf("the task was lost: %+v", task)
				}
				var failed *client.TaskError
				if errors.As(err, &failed) && (failed.Reason != "storage_full" || failed.Task.ID != "t-1") {
					t.Errorf("got %#v", failed)
				}
			})
		})
	}
}

// TestWaitThrough holds that a wait goes on through what passes.
func TestWaitThrough(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		fail func(since time.Duration, r *http.Request) (*http.Response, error)
		took time.Duration // at most
	}{
		{"a restart", func(since time.Duration, _ *http.Request) (*http.Response, error) {
			switch {
			case since < 10*time.Second:
				return nil, errReset
			case since < 5*time.Minute:
				return nil, errDial
			case since < 6*time.Minute:
				return respond(502, "text/html", "<html>Bad Gateway"), nil
			}
			return nil, nil
		}, 6*time.Minute + 10*time.Second},
		{"a page or two", func(since time.Duration, _ *http.Request) (*http.Response, error) {
			if since < time.Second {
				return respond(200, "text/html", "<html>Back soon"), nil
			}
			return nil, nil
		}, time.Minute},
		{"the rate limit", func(since time.Duration, _ *http.Request) (*http.Response, error) {
			if since < 10*time.Minute {
				return reply(429, errorJSON(429, "rate_limited"), "X-RateLimit-Reset", "600"), nil
			}
			return nil, nil
		}, 10*time.Minute + time.Second},
		{"too many waits", func(_ time.Duration, r *http.Request) (*http.Response, error) {
			if r.URL.Query().Has("wait") {
				return reply(429, errorJSON(429, "too_many_waits"), "Retry-After", "1"), nil
			}
			return nil, nil
		}, time.Minute},
		{"wait not known", func(_ time.Duration, r *http.Request) (*http.Response, error) {
			if r.URL.Query().Has("wait") {
				return reply(400, `{"errors":{"wait":"unknown"},"message":"Input payload validation failed"}`), nil
			}
			return nil, nil
		}, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{t: t, end: 5 * time.Second, result: `"Success"`, waits: true, fail: tt.fail}
				task, took, err := s.wait(time.Hour, nil)
				if err != nil || task.Result != client.TaskSuccess || took > tt.took {
					t.Errorf("got %+v after %v: %v", task, took, err)
				}
				if len(s.looks) > 60 {
					t.Errorf("it looked %d times", len(s.looks))
				}
			})
		})
	}
}

// TestWaitEnded asks nothing about a task that has ended.
func TestWaitEnded(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(r *http.Request) (*http.Response, error) {
		t.Errorf("asked for %s", r.URL)
		return nil, errDial
	})
	told := 0
	if _, err := c.Task.Wait(t.Context(), client.Task{ID: "t", Result: client.TaskSuccess}, func(client.Task) { told++ }); err != nil || told != 1 {
		t.Errorf("told %d times: %v", told, err)
	}
	_, err := c.Task.Wait(t.Context(), client.Task{ID: "t", Result: client.TaskFailed, Message: "why"}, nil)
	if !errors.Is(err, client.ErrTaskFailed) || err.Error() != "task t failed: why" {
		t.Errorf("got %v", err)
	}
}

// importing plays a server for one ISO, whose import ends after 20 s.
type importing struct {
	server
	taskID string // in JSON
	end    string // the ISO from then on; "" for gone
}

func isoAs(ready bool, status, reason, task string) string {
	return fmt.Sprintf(`{"isoId":"i-1","name":"n","facilityCode":"TPA1","ready":%v,"status":%q,"reason":%s,"taskId":%s,"bootable":"True","size":null}`, ready, status, reason, task)
}

func (s *importing) RoundTrip(r *http.Request) (*http.Response, error) {
	since := time.Since(s.start)
	switch {
	case strings.Contains(r.URL.Path, "/network/status/"):
		if s.result == "" {
			return reply(404, errorJSON(404, "task_not_found")), nil
		}
		return s.server.RoundTrip(r)
	case r.URL.Path != "/api/v2/vps/iso/i-1" || r.URL.Query().Get("facilityCode") != "TPA1":
		s.t.Errorf("asked for %s", r.URL)
	case since < 20*time.Second:
		return reply(200, isoAs(false, fmt.Sprintf("%d%% Downloaded", since/time.Second), "null", s.taskID)), nil
	case s.end == "":
		return reply(404, errorJSON(404, "iso_not_found")), nil
	}
	return reply(200, s.end), nil
}

// TestISOWait holds how an import ends, with and without a task that tells.
func TestISOWait(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, task string // the ISO's taskId
		result     string // of the task at 20 s; "" where the task is gone
		end        string // the ISO from 20 s on
		is         error  // the outcome
		text       string // in it
		within     time.Duration
	}{
		{"ready", `"t-1"`, `"Success"`, isoAs(true, "Ready", "null", `"t-1"`), nil, "", 20 * time.Second},
		{"failed", `"t-1"`, `"Failed"`, isoAs(false, "The file is cut short.", `"iso_truncated"`, `"t-1"`), client.ErrTaskFailed, "task t-1 failed: The file is cut short. (iso_truncated)", 20 * time.Second},
		{"failed, says the task only", `"t-1"`, `"Failed"`, isoAs(false, "Error", "null", `"t-1"`), client.ErrTaskFailed, "storage_full", 20 * time.Second},
		{"success, but not yet ready", `"t-1"`, `"Success"`, isoAs(false, "100% Downloaded", "null", `"t-1"`), context.DeadlineExceeded, "under way", time.Hour},
		{"no task, ready", `null`, "", isoAs(true, "Ready", "null", "null"), nil, "", 30 * time.Second},
		{"a task that is gone, ready", `"t-1"`, "", isoAs(true, "Ready", "null", "null"), nil, "", 30 * time.Second},
		{"gone", `"t-1"`, `"Failed"`, "", client.ErrNotFound, "iso_not_found", 20 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &importing{server{t: t, end: 20 * time.Second, result: tt.result, waits: true, start: time.Now()}, tt.task, tt.end}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				told := 0
				first := client.ISO{ID: "i-1", FacilityCode: "TPA1", Status: "Queued", TaskID: strings.Trim(strings.ReplaceAll(tt.task, "null", ""), `"`)}
				iso, err := newClient(t, s.RoundTrip).ISO.Wait(ctx, first, func(client.ISO) { told++ })
				if !errors.Is(err, tt.is) || err != nil && !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v, want %v with %q", err, tt.is, tt.text)
				}
				if iso.ID != "i-1" || iso.Ready != (err == nil) {
					t.Errorf("got %+v", iso)
				}
				if took := time.Since(s.start); took > tt.within {
					t.Errorf("it took %v", took)
				}
				if tt.name == "ready" && told != 11 { // Queued, each 2 s, Ready
					t.Errorf("told %d times", told)
				}
			})
		})
	}
}
