package provider

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/drivebay/drivebay/client"
)

// How long operations may take where the block timeouts does not say.
const (
	changeTime = 20 * time.Minute
	importTime = 2 * time.Hour
)

// doubtPause is between two rounds of tries of a change that is in doubt.
const doubtPause = 2 * time.Second

// insist makes a change, and where it is in doubt whether the server made it,
// asks again under the same key until ctx ends: otherwise Terraform would lose
// sight of something that is billed.
func insist[T any](ctx context.Context, change func(...client.CallOption) (T, error)) (T, error) {
	v, err := change()
	for {
		var e *client.Error
		if err == nil || !errors.As(err, &e) || !e.Uncertain || e.IdempotencyKey == "" {
			return v, err
		}
		pause := time.NewTimer(max(doubtPause, e.RetryAfter))
		select {
		case <-ctx.Done():
			pause.Stop()
			return v, err
		case <-pause.C:
		}
		v, err = change(client.WithIdempotencyKey(e.IdempotencyKey))
	}
}

// finish makes a change and waits for its task.
func (c *connection) finish(ctx context.Context, change func(...client.CallOption) (client.Task, error)) error {
	t, err := insist(ctx, change)
	if err == nil {
		_, err = c.api.Task.Wait(ctx, t, nil)
	}
	return err
}

// overtaken has the reasons by which the server says that tasks accepted before
// will make, or have made, the state another one than we saw.
var overtaken = []string{
	"device_has_iso", "device_has_no_iso", "device_required", "iso_deleting", "precondition_failed", "size_not_larger",
	"volume_attached", "volume_deleting", "volume_not_attached", "wrong_device",
}

// recent is how old a task may be that is still under way.
const recent = 24 * time.Hour

// settle waits until no task is under way that concerns picks, if there is one
// at all.
func (c *connection) settle(ctx context.Context, concerns func(client.Task) bool) (waited bool, err error) {
	tasks, err := c.api.Task.List(ctx, client.TaskListOptions{CreatedInLast: recent})
	if err != nil {
		return false, err
	}
	for _, t := range tasks {
		if t.Ended() || !concerns(t) {
			continue
		}
		waited = true
		if _, err := c.api.Task.Wait(ctx, t, nil); err != nil && !errors.Is(err, client.ErrTaskFailed) && !isGone(err) {
			return waited, err
		}
	}
	return waited, nil
}

const (
	rounds = 5  // how often other tasks may overtake a change
	steps  = 10 // more than any change needs
)

// pursue calls try until it says that nothing is left to do. A try that was
// overtaken by another task on the same object is made again once that has ended.
func (c *connection) pursue(ctx context.Context, concerns func(client.Task) bool, try func() (done bool, err error)) error {
	failures := 0
	for range steps {
		done, err := try()
		if done || err != nil && !slices.Contains(overtaken, reasonOf(err)) {
			return err
		}
		if err == nil {
			continue
		}
		failures++
		waited, settleErr := c.settle(ctx, concerns)
		switch {
		case settleErr != nil:
			return settleErr
		case failures >= rounds, !waited && failures > 1:
			return err
		}
	}
	return errors.New("the server says that each step succeeded, yet does not show it")
}

func aboutVolume(id string) func(client.Task) bool {
	return func(t client.Task) bool { return t.VolumeID() == id }
}

func aboutISO(id string) func(client.Task) bool {
	return func(t client.Task) bool { return t.ISOID() == id }
}

func aboutDevice(id int64) func(client.Task) bool {
	return func(t client.Task) bool { return t.DeviceID != nil && *t.DeviceID == id }
}

// creationKey is where a resource's private state has the task that makes it,
// until the resource was seen.
const creationKey = "creation"

type creation struct {
	TaskID string `json:"taskId"`
}

type privateReader interface {
	GetKey(context.Context, string) ([]byte, diag.Diagnostics)
}

type privateWriter interface {
	SetKey(context.Context, string, []byte) diag.Diagnostics
}

func noteCreation(ctx context.Context, p privateWriter, taskID string) diag.Diagnostics {
	b, err := json.Marshal(creation{TaskID: taskID})
	if err != nil {
		return diag.Diagnostics{diag.NewErrorDiagnostic("The task cannot be noted", err.Error())}
	}
	return p.SetKey(ctx, creationKey, b)
}

// creationOf is the task noted; "" for none.
func creationOf(ctx context.Context, p privateReader) (string, diag.Diagnostics) {
	b, diags := p.GetKey(ctx, creationKey)
	var n creation
	if len(b) > 0 && json.Unmarshal(b, &n) != nil {
		return "", diags // not ours: then we know of no task
	}
	return n.TaskID, diags
}
