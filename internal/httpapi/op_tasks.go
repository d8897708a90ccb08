package httpapi

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// ListTasks lists the acting client's tasks.
func (o *ops) ListTasks(ctx context.Context, r api.ListTasksRequestObject) (api.ListTasksResponseObject, error) {
	scope, err := caller(ctx).ActingFor(r.Params.ClientID)
	if err != nil {
		return nil, err
	}
	if r.Params.DeviceID != nil {
		if _, err := o.VPS.Get(ctx, scope, *r.Params.DeviceID); err != nil {
			return nil, err
		}
	}
	f := task.Filter{DeviceID: r.Params.DeviceID, Limit: limitOf(r.Params.Limit)}
	if hours := r.Params.CreatedInLast; hours != nil {
		f.Since = o.Now().Add(-time.Duration(*hours) * time.Hour)
	}
	list, err := o.Tasks.List(ctx, scope, f)
	if err != nil {
		return nil, err
	}
	return api.ListTasks200JSONResponse(each(list, toTask)), nil
}

// GetTask reads a task by its id, or the newest one of a device by an id of
// digits only, which no task has. With `wait` it answers when that task ends.
func (o *ops) GetTask(ctx context.Context, r api.GetTaskRequestObject) (api.GetTaskResponseObject, error) {
	scope := caller(ctx).Scope()
	var wait time.Duration
	if r.Params.Wait != nil {
		var err error
		if wait, err = parseWait(*r.Params.Wait); err != nil {
			return nil, err
		}
	}
	read := o.Tasks.Get
	if strings.Trim(r.ID, "0123456789") == "" {
		read = o.newestTask
	}
	t, err := read(ctx, scope, r.ID)
	if err != nil {
		return nil, err
	}
	if t, err = o.await(ctx, scope, t, wait); err != nil {
		return nil, err
	}
	return api.GetTask200JSONResponse(toTask(t)), nil
}

// newestTask returns the newest task of a device. vps.ErrDeviceNotFound,
// task.ErrNotFound.
func (o *ops) newestTask(ctx context.Context, scope access.Scope, id string) (task.Task, error) {
	deviceID, err := strconv.ParseInt(id, 10, 64)
	if err != nil { // more digits than any device has
		return task.Task{}, vps.ErrDeviceNotFound
	}
	if _, err := o.VPS.Get(ctx, scope, deviceID); err != nil {
		return task.Task{}, err
	}
	return o.Tasks.Newest(ctx, scope, deviceID)
}
