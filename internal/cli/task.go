package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/drivebay/drivebay/api"
)

// backoff is how long to wait between two looks at a task: first, and half as
// long again each time, but never longer than most.
type backoff struct{ first, most time.Duration }

func (b backoff) next(d time.Duration) time.Duration {
	if d == 0 {
		return b.first
	}
	return min(d+d/2, b.most)
}

// patience is how many looks in a row may fail before wait gives up.
const patience = 5

// wait looks at a task until it ends, for at most timeout, and tells a person
// how it gets on. It returns the task as it ended: Success, or a failure of
// status TaskFailed. The task itself goes on when wait gives up.
func (s *shell) wait(ctx context.Context, c *api.Client, t api.Task, timeout time.Duration) (api.Task, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errLate)
	defer cancel()
	var pause time.Duration
	said, bad := "", 0
	for {
		switch t.Result {
		case api.TaskResultSuccess:
			return t, nil
		case api.TaskResultFailed:
			return t, taskFailure(t)
		}
		if now := fmt.Sprintf("%d%% %s", t.Progress, t.Message); t.Message != "" && now != said {
			s.say("task %s: %s", t.TaskID, now)
			said = now
		}
		pause = s.poll.next(pause)
		if err := sleep(ctx, pause); err != nil {
			return t, late(ctx, t, timeout, err)
		}
		got, _, err := read[api.Task](c.GetTask(ctx, t.TaskID, nil))
		switch {
		case err == nil:
			t, bad = got, 0
		case ctx.Err() != nil:
			return t, late(ctx, t, timeout, ctx.Err())
		default:
			if bad++; bad >= patience || !mayHeal(err) {
				return t, err
			}
		}
	}
}

var errLate = errors.New("waited long enough")

// late tells a wait that took too long from one that was interrupted.
func late(ctx context.Context, t api.Task, timeout time.Duration, err error) error {
	if errors.Is(context.Cause(ctx), errLate) {
		return failed(TimedOut, "timeout", "Task %s is still running after %s; it goes on.", t.TaskID, timeout)
	}
	return err
}

// mayHeal reports whether asking once more can help.
func mayHeal(err error) bool {
	var f *failure
	return errors.As(err, &f) && (f.Reason == "unreachable" || f.Code >= 500 || f.Code == http.StatusTooManyRequests)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// taskFailure is why a task failed. The reason stands in its metaData.
func taskFailure(t api.Task) *failure {
	var meta struct {
		Error     string `json:"error"`
		ErrorCode string `json:"errorCode"`
	}
	_ = json.Unmarshal([]byte(t.MetaData), &meta) // without it, the message has to do
	f := failed(TaskFailed, "task_failed", "Task %s failed.", t.TaskID)
	switch {
	case meta.Error != "":
		f.Message = fmt.Sprintf("Task %s failed: %s", t.TaskID, sentence(meta.Error))
	case t.Message != "":
		f.Message = fmt.Sprintf("Task %s failed: %s", t.TaskID, sentence(t.Message))
	}
	if meta.ErrorCode != "" {
		f.Reason = meta.ErrorCode
	}
	return f
}
