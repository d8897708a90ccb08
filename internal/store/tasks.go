package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/event"
	"github.com/drivebay/drivebay/internal/task"
)

const unfinished = `('waiting', 'ready', 'running')`

const taskColumns = `seq, id, kind, lane, queue, state, client_id, device_id, volume_id, iso_id, facility_code, args, attempt, failures,
	run_at, progress, message, checkpoint, cancel, reason, error, created_at, updated_at, started_at`

func scanTask(r scanner) (t task.Task, err error) {
	var client, device, started sql.NullInt64
	var volume, iso sql.NullString
	var args string
	var runAt, created, updated int64
	err = r.Scan(&t.Seq, &t.ID, &t.Kind, &t.Lane, &t.Queue, &t.State, &client, &device, &volume, &iso, &t.Facility, &args, &t.Attempt, &t.Failures,
		&runAt, &t.Progress, &t.Message, &t.Checkpoint, &t.Cancel, &t.Reason, &t.Error, &created, &updated, &started)
	t.ClientID, t.DeviceID, t.VolumeID, t.ISOID = client.Int64, device.Int64, volume.String, iso.String
	t.Args = json.RawMessage(args)
	t.RunAt, t.CreatedAt, t.UpdatedAt, t.StartedAt = at(runAt), at(created), at(updated), fromMicros(started)
	return t, err
}

// Enqueue accepts a task and records that it is scheduled. It is ready at once
// if its lane is empty and nothing it comes after is unfinished.
func (t *Tx) Enqueue(ctx context.Context, n task.New) (task.Task, error) {
	args := []byte("{}")
	if n.Args != nil {
		var err error
		if args, err = json.Marshal(n.Args); err != nil {
			return task.Task{}, fmt.Errorf("encode task arguments: %w", err)
		}
	}
	if err := t.own(ctx, n.ClientID); err != nil {
		return task.Task{}, err
	}
	runAt := t.now
	if !n.RunAt.IsZero() {
		runAt = n.RunAt
	}
	runAt = runAt.Add(n.Delay)
	var busy bool
	if err := t.row(ctx, `SELECT EXISTS (SELECT 1 FROM task WHERE lane = $1 AND state IN `+unfinished+`)`, n.Lane).Scan(&busy); err != nil {
		return task.Task{}, err
	}
	after, err := t.stillUnfinished(ctx, n.After)
	if err != nil {
		return task.Task{}, err
	}
	state := task.Ready
	if busy || len(after) > 0 {
		state = task.Waiting
	}
	row := t.row(ctx, `INSERT INTO task (id, kind, lane, queue, state, client_id, device_id, volume_id, iso_id, facility_code, args,
			run_at, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13) RETURNING `+taskColumns,
		newID(), n.Kind, n.Lane, n.Queue, state, orNull(n.ClientID), orNull(n.DeviceID), orNull(n.VolumeID), orNull(n.ISOID),
		n.Facility, string(args), runAt.UnixMicro(), t.now.UnixMicro())
	out, err := scanTask(row)
	if err != nil {
		return out, fmt.Errorf("enqueue %s: %w", n.Kind, err)
	}
	for _, seq := range after {
		if _, err := t.exec(ctx, `INSERT INTO task_after (seq, after_seq) VALUES ($1, $2)`, out.Seq, seq); err != nil {
			return out, err
		}
	}
	if state == task.Ready {
		t.changes.ready[n.Queue] = true
	}
	if err := t.made(ctx, out.ID); err != nil {
		return out, err
	}
	return out, t.taskEvent(ctx, out, event.Scheduled, event.Info, "")
}

// stillUnfinished returns which of the tasks have not ended, each once: nothing
// would ever wake who waits for one that has.
func (t *Tx) stillUnfinished(ctx context.Context, tasks []task.Task) ([]int64, error) {
	var out []int64
	for _, a := range tasks {
		var open bool
		err := t.row(ctx, `SELECT EXISTS (SELECT 1 FROM task WHERE seq = $1 AND state IN `+unfinished+`)`, a.Seq).Scan(&open)
		if err != nil {
			return nil, err
		}
		if open && !slices.Contains(out, a.Seq) {
			out = append(out, a.Seq)
		}
	}
	return out, nil
}

// taskEvent records a step of a task that belongs to a client.
func (t *Tx) taskEvent(ctx context.Context, k task.Task, s event.State, l event.Level, text string) error {
	if k.ClientID == 0 {
		return nil
	}
	return t.Emit(ctx, event.Event{
		ClientID: k.ClientID, DeviceID: k.DeviceID, VolumeID: k.VolumeID, ISOID: k.ISOID, TaskID: k.ID,
		Type: k.Kind.EventType(), Level: l, State: s, Text: text,
	})
}

// pendingOf returns the unfinished tasks with the id in the column, oldest first.
func (t *Tx) pendingOf(ctx context.Context, column, id string) ([]task.Task, error) {
	return all(ctx, t, scanTask, `SELECT `+taskColumns+` FROM task WHERE `+column+` = $1 AND state IN `+unfinished+` ORDER BY seq`, id)
}

// PendingIn returns the unfinished tasks of a lane, oldest first.
func (t *Tx) PendingIn(ctx context.Context, lane string) ([]task.Task, error) {
	return t.pendingOf(ctx, "lane", lane)
}

// PendingKinds is in volume.Tx.
func (t *Tx) PendingKinds(ctx context.Context, lane string) (map[task.Kind]int, error) {
	type count struct {
		kind task.Kind
		n    int
	}
	list, err := all(ctx, t, func(r scanner) (c count, err error) { return c, r.Scan(&c.kind, &c.n) },
		`SELECT kind, count(*) FROM task WHERE lane = $1 AND state IN `+unfinished+` GROUP BY kind`, lane)
	out := make(map[task.Kind]int, len(list))
	for _, c := range list {
		out[c.kind] = c.n
	}
	return out, err
}

// Cancel asks an unfinished task to end early.
func (t *Tx) Cancel(ctx context.Context, id string) error {
	_, err := t.exec(ctx, `UPDATE task SET cancel = TRUE WHERE id = $1 AND state IN `+unfinished, id)
	return err
}

// Hasten makes a task that waits for its time run now.
func (t *Tx) Hasten(ctx context.Context, id string) error {
	var q task.Queue
	err := t.row(ctx, `UPDATE task SET run_at = $2 WHERE id = $1 AND state IN ('waiting', 'ready') AND run_at > $2 RETURNING queue`,
		id, t.now.UnixMicro()).Scan(&q)
	if err == nil {
		t.changes.ready[q] = true
	}
	return missing(err, nil)
}

// Postpone is in iso.Tx.
func (t *Tx) Postpone(ctx context.Context, l task.Lease, d time.Duration) error {
	return t.retry(ctx, l, t.now.Add(d), false, "")
}

// held answers task.ErrLeaseLost unless the lease is the task's present one.
func (t *Tx) held(ctx context.Context, l task.Lease) error {
	var n int
	err := t.row(ctx, `SELECT count(*) FROM task WHERE id = $1 AND owner = $2 AND attempt = $3 AND state = 'running'`, l.TaskID, l.Owner, l.Attempt).Scan(&n)
	if err == nil && n == 0 {
		return task.ErrLeaseLost
	}
	return err
}

// finish ends a task, records it, and lets through what waited for it.
func (t *Tx) finish(ctx context.Context, l task.Lease, o task.Outcome) error {
	progress := 100
	level, text := event.Info, ""
	if o.State == task.Failed {
		level, text = event.Error, string(o.Reason)
	}
	row := t.row(ctx, `UPDATE task SET state = $4, reason = $5, error = $6, message = $7, checkpoint = NULL, owner = NULL, lease_until = NULL,
			progress = CASE WHEN $4 = 'done' THEN $8 ELSE progress END, updated_at = $9
		WHERE id = $1 AND owner = $2 AND attempt = $3 AND state = 'running' RETURNING `+taskColumns,
		l.TaskID, l.Owner, l.Attempt, o.State, o.Reason, o.Error, o.Message, progress, t.now.UnixMicro())
	k, err := scanTask(row)
	if err != nil {
		return missing(err, task.ErrLeaseLost)
	}
	t.changes.ended = append(t.changes.ended, k.ID)
	if err := t.taskEvent(ctx, k, event.Completed, level, text); err != nil {
		return err
	}
	lanes, err := all(ctx, t, func(r scanner) (lane string, err error) { return lane, r.Scan(&lane) },
		`SELECT t.lane FROM task_after a JOIN task t ON t.seq = a.seq WHERE a.after_seq = $1`, k.Seq)
	if err != nil {
		return err
	}
	if len(lanes) > 0 {
		if _, err := t.exec(ctx, `DELETE FROM task_after WHERE after_seq = $1`, k.Seq); err != nil {
			return err
		}
	}
	for _, lane := range append(lanes, k.Lane) {
		if err := t.promote(ctx, lane); err != nil {
			return err
		}
	}
	return nil
}

// promote makes the oldest waiting task of a lane ready if the lane is free
// and nothing it comes after is unfinished.
func (t *Tx) promote(ctx context.Context, lane string) error {
	var q task.Queue
	err := t.row(ctx, `UPDATE task SET state = 'ready'
		WHERE seq = (SELECT min(seq) FROM task WHERE lane = $1 AND state IN `+unfinished+`)
			AND state = 'waiting' AND NOT EXISTS (SELECT 1 FROM task_after a WHERE a.seq = task.seq)
		RETURNING queue`, lane).Scan(&q)
	if err == nil {
		t.changes.ready[q] = true
	}
	return missing(err, nil)
}

// Tasks is what an engine and the task lists need.
func (db *DB) Tasks() Tasks { return Tasks{db: db} }

// Tasks keeps tasks.
type Tasks struct {
	db         *DB
	facilities []any // whose tasks are claimed; none: those of all
}

// In is the tasks as a worker near some facilities takes them: it claims those
// of no other. Without any it claims all.
func (s Tasks) In(facilities ...string) Tasks {
	s.facilities = nil
	if len(facilities) > 0 {
		s.facilities = append(s.facilities, "") // what is done anywhere
	}
	for _, f := range facilities {
		s.facilities = append(s.facilities, f)
	}
	return s
}

// here is the part of a WHERE clause that keeps a claim to the facilities.
func (s Tasks) here(from int) string {
	if len(s.facilities) == 0 {
		return ""
	}
	return " AND facility_code IN (" + marks(from, len(s.facilities)) + ")"
}

// Claim is in task.Store.
func (s Tasks) Claim(ctx context.Context, q task.Queue, owner string, ttl time.Duration, limit int) ([]task.Task, error) {
	// Mostly there is nothing to do, and looking needs no writer.
	var due bool
	err := s.db.reader().row(ctx, `SELECT EXISTS (SELECT 1 FROM task WHERE queue = $1 AND state = 'ready' AND run_at <= $2`+s.here(3)+`)`,
		append([]any{q, s.db.now().UnixMicro()}, s.facilities...)...).Scan(&due)
	if err != nil || !due {
		return nil, translate(err)
	}
	var out []task.Task
	// A claim that a power cut takes back is made again, as one whose run was
	// killed, and whatever the run leaves in the database makes it durable.
	err = s.db.write(ctx, hasty, func(t *Tx) error {
		now := t.now.UnixMicro()
		out, err = all(ctx, t, scanTask, `WITH due AS MATERIALIZED (
				SELECT seq FROM task WHERE queue = $4 AND state = 'ready' AND run_at <= $3`+s.here(6)+` ORDER BY run_at, seq LIMIT $5`+t.skipLocked()+`)
			UPDATE task SET state = 'running', owner = $1, attempt = attempt + 1, lease_until = $2,
				started_at = coalesce(started_at, $3), updated_at = $3
			WHERE seq IN (SELECT seq FROM due) RETURNING `+taskColumns,
			append([]any{owner, now + ttl.Microseconds(), now, q, limit}, s.facilities...)...)
		if err != nil {
			return err
		}
		// An UPDATE returns its rows in no order of note.
		slices.SortFunc(out, func(a, b task.Task) int {
			return cmp.Or(a.RunAt.Compare(b.RunAt), cmp.Compare(a.Seq, b.Seq))
		})
		for _, k := range out {
			if k.Attempt > 1 {
				continue
			}
			if err := t.taskEvent(ctx, k, event.Started, event.Info, ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Renew is in task.Store.
func (s Tasks) Renew(ctx context.Context, owner string, ttl time.Duration) ([]task.Held, error) {
	var out []task.Held
	err := s.db.tx(ctx, func(t *Tx) (err error) {
		out, err = all(ctx, t, func(r scanner) (h task.Held, err error) {
			h.Lease.Owner = owner
			return h, r.Scan(&h.Lease.TaskID, &h.Lease.Attempt, &h.Cancel)
		}, `UPDATE task SET lease_until = $2 WHERE owner = $1 AND state = 'running' RETURNING id, attempt, cancel`,
			owner, t.now.Add(ttl).UnixMicro())
		return err
	})
	return out, err
}

const giveBack = `UPDATE task SET state = 'ready', owner = NULL, lease_until = NULL, updated_at = $1`

// Reap is in task.Store.
func (s Tasks) Reap(ctx context.Context) (n int, err error) {
	now := s.db.now().UnixMicro()
	var lapsed bool // mostly not, and looking needs no writer
	err = s.db.reader().row(ctx, `SELECT EXISTS (SELECT 1 FROM task WHERE state = 'running' AND lease_until < $1)`, now).Scan(&lapsed)
	if err != nil || !lapsed {
		return 0, translate(err)
	}
	return s.giveBack(ctx, giveBack+` WHERE state = 'running' AND lease_until < $2 RETURNING queue`, now)
}

// ReleaseNode is in task.Store.
func (s Tasks) ReleaseNode(ctx context.Context, node string) (int, error) {
	return s.giveBack(ctx, giveBack+` WHERE state = 'running' AND substr(owner, 1, length($2)) = $2 RETURNING queue`, node+"/")
}

func (s Tasks) giveBack(ctx context.Context, query string, arg any) (n int, err error) {
	err = s.db.tx(ctx, func(t *Tx) error {
		queues, err := all(ctx, t, func(r scanner) (q task.Queue, err error) { return q, r.Scan(&q) }, query, t.now.UnixMicro(), arg)
		for _, q := range queues {
			t.changes.ready[q] = true
		}
		n = len(queues)
		return err
	})
	return n, err
}

// Save is in task.Store.
func (s Tasks) Save(ctx context.Context, l task.Lease, checkpoint []byte, p task.Progress) error {
	return s.db.tx(ctx, func(t *Tx) error {
		n, err := t.exec(ctx, `UPDATE task SET checkpoint = coalesce($4, checkpoint), progress = $5, message = $6, updated_at = $7
			WHERE id = $1 AND owner = $2 AND attempt = $3 AND state = 'running'`,
			l.TaskID, l.Owner, l.Attempt, checkpoint, p.Percent, p.Message, t.now.UnixMicro())
		return one(n, err, task.ErrLeaseLost)
	})
}

// Progress is in task.Store.
func (s Tasks) Progress(ctx context.Context, reports []task.Report) error {
	return s.db.tx(ctx, func(t *Tx) error {
		for _, r := range reports {
			_, err := t.exec(ctx, `UPDATE task SET progress = $4, message = $5, updated_at = $6
				WHERE id = $1 AND owner = $2 AND attempt = $3 AND state = 'running'`,
				r.Lease.TaskID, r.Lease.Owner, r.Lease.Attempt, r.Percent, r.Message, t.now.UnixMicro())
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Retry is in task.Store.
func (s Tasks) Retry(ctx context.Context, l task.Lease, runAt time.Time, failed bool, why string) error {
	return s.db.tx(ctx, func(t *Tx) error { return t.retry(ctx, l, runAt, failed, why) })
}

func (t *Tx) retry(ctx context.Context, l task.Lease, runAt time.Time, failed bool, why string) error {
	var q task.Queue
	err := t.row(ctx, `UPDATE task SET state = 'ready', owner = NULL, lease_until = NULL, run_at = $4,
			failures = CASE WHEN $5 THEN failures + 1 ELSE failures END, message = CASE WHEN $6 = '' THEN message ELSE $6 END, updated_at = $7
		WHERE id = $1 AND owner = $2 AND attempt = $3 AND state = 'running' RETURNING queue`,
		l.TaskID, l.Owner, l.Attempt, runAt.UnixMicro(), failed, why, t.now.UnixMicro()).Scan(&q)
	if err == nil {
		t.changes.ready[q] = true
	}
	return missing(err, task.ErrLeaseLost)
}

// Finish is in task.Store.
func (s Tasks) Finish(ctx context.Context, l task.Lease, o task.Outcome) error {
	return s.db.finishWith(ctx, l, o, func(*Tx) error { return nil })
}

// Ensure is in task.Store.
func (s Tasks) Ensure(ctx context.Context, n task.New) error {
	var there bool // mostly so, and looking needs no writer
	err := s.db.reader().row(ctx, `SELECT EXISTS (SELECT 1 FROM task WHERE lane = $1 AND state IN `+unfinished+`)`, n.Lane).Scan(&there)
	if err != nil || there {
		return translate(err)
	}
	return s.db.tx(ctx, func(t *Tx) error {
		if err := t.own(ctx, n.ClientID); err != nil {
			return err
		}
		pending, err := t.PendingIn(ctx, n.Lane)
		if err != nil || len(pending) > 0 {
			return err
		}
		_, err = t.Enqueue(ctx, n)
		return err
	})
}

// Wake is in task.Store.
func (s Tasks) Wake(q task.Queue) <-chan struct{} { return s.db.wake[q] }

// step runs fn for a task's run, in one transaction with the check that the
// lease still holds.
func (db *DB) step(ctx context.Context, l task.Lease, fn func(*Tx) error) error {
	return db.tx(ctx, func(t *Tx) error {
		if err := t.ownerOf(ctx, `FROM task WHERE id = $1`, l.TaskID); err != nil {
			return err
		}
		if err := t.held(ctx, l); err != nil {
			return err
		}
		return fn(t)
	})
}

// finishWith ends a task together with its effect; ending it checks the lease.
func (db *DB) finishWith(ctx context.Context, l task.Lease, o task.Outcome, fn func(*Tx) error) error {
	return db.tx(ctx, func(t *Tx) error {
		if err := t.ownerOf(ctx, `FROM task WHERE id = $1`, l.TaskID); err != nil {
			return err
		}
		if err := fn(t); err != nil {
			return err
		}
		return t.finish(ctx, l, o)
	})
}

// inScope is the part of a WHERE clause that keeps a query inside a scope.
func inScope(s access.Scope, column string, from int) (string, []any) {
	if s.All {
		return "TRUE", nil
	}
	if len(s.Clients) == 0 {
		return "FALSE", nil
	}
	if len(s.Clients) == 1 {
		return fmt.Sprintf("%s = $%d", column, from), []any{s.Clients[0]}
	}
	args := make([]any, len(s.Clients))
	for i, c := range s.Clients {
		args[i] = c
	}
	return fmt.Sprintf("%s IN (%s)", column, marks(from, len(args))), args
}
