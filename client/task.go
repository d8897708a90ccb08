package client

import (
	"context"
	"encoding/json"
	"iter"
	"strconv"
	"time"
)

// TaskResult is how far a task has got.
type TaskResult string

// The results of tasks.
const (
	TaskPending TaskResult = "Pending"
	TaskSuccess TaskResult = "Success"
	TaskFailed  TaskResult = "Failed"
)

// Task is a change that was accepted.
type Task struct {
	ID       string `json:"taskId"`
	ClientID int64  `json:"clientId"` // 0 for an operator's own
	// DeviceID is the device it changes; nil for none.
	DeviceID *int64     `json:"deviceId"`
	Result   TaskResult `json:"result"`
	// MetaData is, on a drivebay server, a JSON object with the arguments and ids;
	// see Meta.
	MetaData string    `json:"metaData"`
	Created  time.Time `json:"taskCreated"`
	Updated  time.Time `json:"taskUpdated"`
	// Progress is percent done. It stays 0 where the server does not say.
	Progress int `json:"progress"`
	// Message is what goes on, or why it failed; "" where the server does not say.
	Message string `json:"message"`
}

// UnmarshalJSON reads a task in every published form: a result of null is
// pending.
func (t *Task) UnmarshalJSON(b []byte) error {
	type plain Task
	*t = Task{}
	w := struct {
		*plain
		Result   looseText `json:"result"`
		MetaData looseText `json:"metaData"`
		Created  looseTime `json:"taskCreated"`
		Updated  looseTime `json:"taskUpdated"`
		Progress looseInt  `json:"progress"`
	}{plain: (*plain)(t)}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	t.Result, t.MetaData, t.Created, t.Updated, t.Progress = TaskResult(w.Result), string(w.MetaData), w.Created.Time, w.Updated.Time, int(w.Progress)
	if t.Result == "" {
		t.Result = TaskPending
	}
	return nil
}

func (t Task) known() bool { return t.ID != "" }

// Ended reports whether the task has ended, well or not.
func (t Task) Ended() bool { return t.Result == TaskSuccess || t.Result == TaskFailed }

// Meta is what a drivebay server tells of a task; all of it is zero elsewhere.
type Meta struct {
	Action   string `json:"action"` // such as "volume.create"
	VolumeID string `json:"volumeId"`
	ISOID    string `json:"isoId"`
	// Reason and Error are why a task failed.
	Reason string `json:"errorCode"`
	Error  string `json:"error"`
}

// Meta reads the task's MetaData.
func (t Task) Meta() Meta {
	var all map[string]json.RawMessage
	var m Meta
	if json.Unmarshal([]byte(t.MetaData), &all) != nil {
		return m
	}
	for name, into := range map[string]*string{"action": &m.Action, "volumeId": &m.VolumeID, "isoId": &m.ISOID, "errorCode": &m.Reason, "error": &m.Error} {
		_ = json.Unmarshal(all[name], into) // absent, or no string: then we do not know
	}
	return m
}

// VolumeID is the volume that the task makes or changes; "" where the server
// does not say.
func (t Task) VolumeID() string { return t.Meta().VolumeID }

// ISOID is the ISO that the task is about; "" where the server does not say.
func (t Task) ISOID() string { return t.Meta().ISOID }

// Err is a [*TaskError] for a task that failed, and nil for any other.
func (t Task) Err() error {
	if t.Result != TaskFailed {
		return nil
	}
	m := t.Meta()
	e := &TaskError{Task: t, Reason: oneLine(m.Reason), Message: oneLine(m.Error)}
	if e.Message == "" {
		e.Message = oneLine(t.Message)
	}
	return e
}

// TaskService reads tasks and awaits them.
type TaskService struct{ c *Client }

// TaskListOptions chooses tasks. The zero value is all.
type TaskListOptions struct {
	// CreatedInLast leaves older ones out. It is rounded up to hours.
	CreatedInLast time.Duration
	DeviceID      int64
	ClientID      int64
	// Limit is how many at most; 0 is the server's own limit (1000).
	Limit int
}

// List returns tasks, newest first.
func (s TaskService) List(ctx context.Context, o TaskListOptions, opts ...CallOption) ([]Task, error) {
	hours := int64((o.CreatedInLast + time.Hour - 1) / time.Hour)
	r := reading("network", "status").slashed().number("createdInLast", hours).number("clientId", s.c.actFor(o.ClientID)).
		number("deviceId", o.DeviceID).number("limit", int64(o.Limit))
	return do[[]Task](ctx, s.c, r, opts)
}

// All iterates over what List returns. It ends after an error.
func (s TaskService) All(ctx context.Context, o TaskListOptions, opts ...CallOption) iter.Seq2[Task, error] {
	return each(func() ([]Task, error) { return s.List(ctx, o, opts...) })
}

// Get reads a task.
func (s TaskService) Get(ctx context.Context, id string, opts ...CallOption) (Task, error) {
	return do[Task](ctx, s.c, reading("network", "status", id), opts)
}

// Latest reads the newest task of a device. It is ErrNotFound where there is none.
func (s TaskService) Latest(ctx context.Context, deviceID int64, opts ...CallOption) (Task, error) {
	return s.Get(ctx, strconv.FormatInt(deviceID, 10), opts...)
}
