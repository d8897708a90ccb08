package task_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestState(t *testing.T) {
	for s, want := range map[task.State]string{
		task.Waiting: "Pending false", task.Ready: "Pending false", task.Running: "Pending false", task.Done: "Success true", task.Failed: "Failed true",
	} {
		if got := fmt.Sprint(s.Result(), " ", s.Ended()); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		task.DeviceLane(1001):                    "device:1001",
		task.VolumeLane("v"):                     "volume:v",
		task.ISOLane("i"):                        "iso:i",
		task.HouseLane("volume.sweep"):           "house:volume.sweep",
		task.Kind("volume.create").EventType():   "VOLUME.CREATE",
		string(task.Kind("x.y-z").EventType()):   "X.Y-Z",
		string(task.Success.State):               "done",
		string(task.Failure{}.Outcome().State):   "failed",
		string(task.ErrPrecondition.Reason):      "precondition_failed",
		string(task.ErrCancelled.Reason):         "cancelled",
		string(task.ErrDeadline.Reason):          "deadline_exceeded",
		string(task.ErrNotFound.Reason):          "task_not_found",
		string(task.Failure{Reason: "r"}.Reason): "r",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestOthers(t *testing.T) {
	got := task.Others([]task.Task{{ID: "1", Lane: "a"}, {ID: "2", Lane: "b"}, {ID: "3", Lane: "a"}, {ID: "4", Lane: "c"}}, "a")
	if len(got) != 2 || got[0].ID != "2" || got[1].ID != "4" {
		t.Errorf("others: %+v", got)
	}
	if got := task.Others(nil, "a"); len(got) != 0 {
		t.Errorf("others of nothing: %+v", got)
	}
}

func TestClassify(t *testing.T) {
	away := fault.New(fault.Unavailable, "database_unavailable", "It is away.")
	refused := fault.New(fault.Conflict, "volume_attached", "It is attached.")
	for name, c := range map[string]struct {
		err  error
		want task.Failure
	}{
		"fault":             {fmt.Errorf("attach: %w", refused), task.Failure{Reason: "volume_attached", Text: "It is attached.", Permanent: true}},
		"unavailable fault": {away.Because(errors.New("secret")), task.Failure{Reason: "database_unavailable", Text: "It is away."}},
		"driver, permanent": {fmt.Errorf("grow: %w", backend.ErrShrink), task.Failure{Reason: "disk_shrink", Text: backend.ErrShrink.Text, Permanent: true}},
		"driver, temporary": {backend.ErrUnavailable.Because(errors.New("secret")), task.Failure{Reason: "backend_unavailable", Text: backend.ErrUnavailable.Text}},
		"deadline":          {context.DeadlineExceeded, task.Failure{Reason: "deadline_exceeded", Text: task.ErrDeadline.Text}},
		"cancelled":         {task.ErrCancelled, task.Failure{Reason: "cancelled", Text: task.ErrCancelled.Text, Permanent: true}},
		"anything else":     {errors.New("/secret/path"), task.Failure{Reason: "internal", Text: "internal error"}},
	} {
		if got := task.Classify(c.err); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	for n := range 100 {
		full := 30 * time.Second
		if n < 9 {
			full = 100 * time.Millisecond << n
		}
		for range 20 {
			if d := task.Backoff(n); d > full || d < full*3/4-time.Millisecond {
				t.Errorf("pause %d is %v, want %v or up to a quarter less", n, d, full)
			}
		}
	}
}
