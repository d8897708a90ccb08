package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

func (s *shell) task() *cobra.Command {
	return s.noun("task", "The changes that were asked for", s.taskList(), s.taskGet(), s.taskWait())
}

var taskColumns = columns[client.Task]{
	{head: "TASK", cell: func(t client.Task) string { return t.ID }},
	{head: "ACTION", cell: func(t client.Task) string { return t.Meta().Action }},
	{head: "RESULT", cell: func(t client.Task) string { return string(t.Result) }},
	{head: "DEVICE", cell: func(t client.Task) string { return optNumber(t.DeviceID) }},
	{head: "PROGRESS", more: true, cell: func(t client.Task) string { return number(t.Progress) + "%" }},
	{head: "MESSAGE", more: true, cell: func(t client.Task) string { return t.Message }},
	{head: "REASON", more: true, cell: func(t client.Task) string { return t.Meta().Reason }},
	{head: "VOLUME", more: true, cell: func(t client.Task) string { return t.VolumeID() }},
	{head: "ISO", more: true, cell: func(t client.Task) string { return t.ISOID() }},
	{head: "CLIENT", more: true, cell: func(t client.Task) string { return number(t.ClientID) }},
	{head: "AGE", cell: func(t client.Task) string { return age(t.Created) }},
	{head: "CREATED", more: true, cell: func(t client.Task) string { return date(t.Created) }},
	{head: "UPDATED", more: true, cell: func(t client.Task) string { return date(t.Updated) }},
}

func (s *shell) taskList() *cobra.Command {
	var o client.TaskListOptions
	cmd := taskColumns.lists(s, "list", "List tasks, newest first", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Task, []byte, error) {
		return whole(func(body client.CallOption) ([]client.Task, error) { return c.Task.List(ctx, o, body) })
	})
	cmd.Example = "  drivebay task list --device 1001\n  drivebay task list --since 24h -o columns=task,action,result,message"
	f := cmd.Flags()
	f.Int64Var(&o.DeviceID, "device", 0, "only this device's")
	f.Int64Var(&o.ClientID, "client", 0, "only this client's")
	f.DurationVar(&o.CreatedInLast, "since", 0, "only those of the last hours, such as 24h")
	f.IntVar(&o.Limit, "limit", 0, "how many at most (default: the server's own limit)")
	complete(cmd, "device", s.deviceIDs)
	return cmd
}

func (s *shell) taskGet() *cobra.Command {
	cmd := taskColumns.shows(s, "get TASK", "Show a task, or a device's newest one", exact("TASK"), func(ctx context.Context, c *client.Client, args []string) (client.Task, []byte, error) {
		return whole(func(body client.CallOption) (client.Task, error) { return c.Task.Get(ctx, args[0], body) })
	})
	cmd.Long = "Show a task. In place of its id, the id of a device stands for the device's newest task."
	cmd.Example = "  drivebay task get 1001"
	cmd.ValidArgsFunction = completed(s.taskIDs)
	return cmd
}

func (s *shell) taskWait() *cobra.Command {
	var w waiting
	cmd := s.verb("wait TASK", "Wait until a task has ended", exact("TASK"), func(cmd *cobra.Command, args []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		t, raw, err := whole(func(body client.CallOption) (client.Task, error) { return c.Task.Get(cmd.Context(), args[0], body) })
		if err != nil {
			return err
		}
		if t, raw, err = s.await(cmd.Context(), c, t, raw, w.timeout); err != nil {
			return err
		}
		return taskColumns.list(s, raw, t)
	})
	cmd.Long = `Wait until a task has ended. In place of its id, the id of a device stands for the device's newest
task. Exit status 6 means that the task failed, 8 that it was still running at --timeout.`
	cmd.Example = "  drivebay task wait 1001 --timeout 10m"
	timeoutFlag(cmd, &w.timeout, 30*time.Minute)
	cmd.ValidArgsFunction = completed(s.taskIDs)
	return offers(cmd, taskColumns.names())
}

// waiting is how a command treats the task of its change.
type waiting struct {
	noWait  bool
	timeout time.Duration
	key     string // the Idempotency-Key; "" for a random one
}

func waitFlags(cmd *cobra.Command, w *waiting, most time.Duration) {
	note(cmd, taskNote, "yes")
	f := cmd.Flags()
	f.BoolVar(&w.noWait, "no-wait", false, "do not wait: print the id of the task")
	f.StringVar(&w.key, "idempotency-key", "", "the same key makes the same change once only (default: a random one)")
	timeoutFlag(cmd, &w.timeout, most)
}

func timeoutFlag(cmd *cobra.Command, d *time.Duration, most time.Duration) {
	cmd.Flags().DurationVar(d, "timeout", most, "how long to wait for it")
}

// accepted prints a task that is not waited for; about says what it is about.
func (s *shell) accepted(t client.Task, raw []byte, about string) error {
	if about != "" {
		s.say("%s", about)
	}
	if s.structured() || s.chosen != nil {
		return taskColumns.list(s, raw, t)
	}
	return s.line(t.ID)
}

// finish waits for the task of a change that leaves nothing to show, unless it
// is not to be waited for, and says what was done.
func (s *shell) finish(ctx context.Context, c *client.Client, t client.Task, raw []byte, w waiting, done string) error {
	if w.noWait {
		return s.accepted(t, raw, "")
	}
	t, raw, err := s.await(ctx, c, t, raw, w.timeout)
	if err != nil {
		return err
	}
	if s.structured() || s.chosen != nil {
		return taskColumns.list(s, raw, t)
	}
	s.say("%s", done)
	return nil
}

var errLate = errors.New("waited long enough")

// await waits until a task has ended, for at most timeout, and shows how it
// gets on. It returns the task as it ended well, and how the server wrote that.
// The task itself goes on when await gives up.
func (s *shell) await(ctx context.Context, c *client.Client, t client.Task, raw []byte, timeout time.Duration) (client.Task, []byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errLate)
	defer cancel()
	p := s.newProgress("task " + t.ID)
	defer p.end()
	t, err := c.Task.Wait(ctx, t, p.task, client.WithBody(&raw))
	if err == nil {
		return t, raw, nil
	}
	return t, raw, stopped(ctx, err, timeout, "Task "+t.ID, "drivebay task wait "+t.ID, t.ID)
}

// stopped is why a wait ended early: what went on, and the command that goes on
// waiting.
func stopped(ctx context.Context, err error, timeout time.Duration, what, again, taskID string) error {
	var f *failure
	switch {
	case ctx.Err() == nil:
		if errors.Is(err, client.ErrTaskFailed) || errors.Is(err, client.ErrNotFound) {
			return err
		}
		f = asFailure(ctx, err)
	case errors.Is(context.Cause(ctx), errLate):
		f = failed(TimedOut, "timeout", "%s is still running after %s; it goes on.", what, timeout)
	default:
		f = failed(Interrupted, "interrupted", "Interrupted. %s goes on.", what)
	}
	f.hint, f.TaskID = "To go on waiting: "+clean(again), taskID
	return f
}

// taskFailure is why a task failed.
func taskFailure(e *client.TaskError) *failure {
	f := failed(TaskFailed, "task_failed", "Task %s failed.", e.Task.ID)
	f.TaskID = e.Task.ID
	if e.Message != "" {
		f.Message = fmt.Sprintf("Task %s failed: %s", e.Task.ID, sentence(e.Message))
	}
	if e.Reason != "" {
		f.Reason = e.Reason
	}
	return f
}
