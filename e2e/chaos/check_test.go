package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/iso"
)

// checker looks at an installation of which nothing runs any more.
type checker struct {
	t    testing.TB
	c    *cluster
	load *load
	db   *pgx.Conn

	tasks   []row
	volumes map[string]volume

	steps, undecided int // of the linearizability check
}

// volume is a volume as the database has it.
type volume struct {
	facility, kind, state   string
	bytes, product, monthly int64
	generation, device      int64
}

func (v volume) exists() bool { return v.state == "attached" || v.state == "detached" }

// check holds everything that has to be true after a seed.
func (c *cluster) check(l *load) *checker {
	c.t.Helper()
	k := &checker{t: c.t, c: c, load: l, db: c.open(), volumes: map[string]volume{}}
	defer k.db.Close(context.Background())
	k.read()
	k.ends()
	k.accepted()
	k.lanes()
	k.rows()
	k.backends()
	k.fences()
	k.services()
	k.linear()
	return k
}

func (k *checker) fail(format string, args ...any) { k.c.fail(format, args...) }

// none fails with every row of a query that should have none.
func (k *checker) none(what, query string, args ...any) {
	k.t.Helper()
	for _, s := range all(k.t, k.db, func(s *string) []any { return []any{s} }, query, args...) {
		k.fail("%s: %s", what, s)
	}
}

func (k *checker) read() {
	k.t.Helper()
	k.tasks = all(k.t, k.db, func(r *row) []any {
		return []any{&r.seq, &r.id, &r.kind, &r.volume, &r.lane, &r.iso, &r.state, &r.reason, &r.error, &r.own, &r.facility, &r.client, &r.device,
			&r.size, &r.monthly, &r.created, &r.attempt, &r.completed}
	}, `SELECT t.seq, t.id, t.kind, coalesce(t.volume_id, ''), t.lane, coalesce(t.iso_id, ''), t.state, t.reason, t.error, coalesce(t.owner, ''),
			t.facility_code, t.client_id, coalesce(t.device_id, 0), coalesce((t.args->>'size')::bigint, 0), coalesce((t.args->>'monthlyCents')::bigint, 0),
			t.created_at, t.attempt, coalesce(e.at, 0)
		FROM task t LEFT JOIN (SELECT task_id, max(at) AS at FROM event WHERE state = 'Completed' GROUP BY task_id) e ON e.task_id = t.id
		WHERE t.client_id IS NOT NULL ORDER BY t.seq`)
	type named struct {
		id string
		volume
	}
	for _, v := range all(k.t, k.db, func(v *named) []any {
		return []any{&v.id, &v.facility, &v.kind, &v.state, &v.bytes, &v.product, &v.monthly, &v.generation, &v.device}
	}, `SELECT v.id, v.facility_code, v.type, v.state, v.bytes, v.product_id, v.monthly_cents, v.generation,
			coalesce(v.device_id, 0) FROM volume v`) {
		k.volumes[v.id] = v.volume
	}
}

// ends checks that every task has ended, with a reason if it failed.
func (k *checker) ends() {
	for _, t := range k.tasks {
		switch {
		case t.state != "done" && t.state != "failed":
			k.fail("task %s (%s) is %s", t.id, t.kind, t.state)
		case (t.state == "failed") != (t.reason != "" && t.error != ""):
			k.fail("task %s (%s) is %s with reason %q: %s", t.id, t.kind, t.state, t.reason, t.error)
		case t.state == "failed" && t.reason == "internal":
			k.fail("task %s (%s) failed for an internal error", t.id, t.kind)
		case t.own != "":
			k.fail("task %s (%s) has ended and is leased to %s", t.id, t.kind, t.own)
		}
	}
	k.none("wait for an ended task", `SELECT seq || ' after ' || after_seq FROM task_after`)
}

// accepted checks that what a client heard was accepted is there as asked for,
// and that there is nothing that no client asked for.
func (k *checker) accepted() {
	byID, acked, heard := map[string]row{}, map[string]bool{}, map[int64]bool{}
	for _, t := range k.tasks {
		byID[t.id] = t
	}
	for _, o := range k.load.ops {
		if o.task == "" {
			continue
		}
		t, ok := byID[o.task]
		if !ok {
			k.fail("an accepted task is lost: %s %s", o.kind, o.task)
			continue
		}
		if acked[o.task] {
			k.fail("two requests were given the task %s", o.task)
		}
		acked[o.task], heard[o.chain] = true, true
		if o.wish() != t.wish(o.kind != "volume.create") || o.kind == "volume.create" && o.volume != t.volume {
			k.fail("task %s is %q, asked for was %q", t.id, t.wish(true), o.wish())
		}
	}
	unsure := map[string]int{} // requests whose fate no answer told
	for _, o := range k.load.ops {
		if o.unsure && !heard[o.chain] {
			heard[o.chain] = true
			unsure[o.wish()]++
		}
	}
	volumes := map[string]string{}
	for _, t := range k.tasks {
		if other := volumes[t.volume]; t.kind == "volume.create" && other != "" {
			k.fail("volume %s was created by the tasks %s and %s", t.volume, other, t.id)
		}
		if t.kind == "volume.create" {
			volumes[t.volume] = t.id
		}
		w := t.wish(t.kind != "volume.create")
		if t.kind == "device.create" || t.kind == string(iso.KindCreate) || acked[t.id] {
			continue
		}
		if unsure[w]--; unsure[w] < 0 {
			k.fail("nobody asked for task %s: %s", t.id, w)
		}
	}
}

// wish is what a request asks for, as far as a task shows it too.
func (o *op) wish() string {
	switch o.kind {
	case "volume.create":
		return fmt.Sprint(o.kind, " ", o.device, " ", o.size)
	case "volume.resize":
		return fmt.Sprint(o.kind, " ", o.volume, " ", o.size)
	case "volume.delete":
		return fmt.Sprint(o.kind, " ", o.volume)
	case "volume.attach", "volume.detach":
		return fmt.Sprint(o.kind, " ", o.volume, " ", o.device)
	default:
		return fmt.Sprint(o.kind, " ", o.device)
	}
}

func (t row) wish(withVolume bool) string {
	o := op{kind: t.kind, device: t.device, size: int(t.size)}
	if withVolume {
		o.volume = t.volume
	}
	return o.wish()
}

// lanes checks that each task has its events once and in order, and that the
// tasks of a lane never overlap and run as accepted.
func (k *checker) lanes() {
	type happened struct {
		task, state, level string
	}
	byID, at := map[string]row{}, map[string][]string{}
	for _, t := range k.tasks {
		byID[t.id] = t
	}
	open, last := map[string]string{}, map[string]int64{}
	for _, e := range all(k.t, k.db, func(e *happened) []any { return []any{&e.task, &e.state, &e.level} },
		`SELECT task_id, state, level FROM event WHERE task_id IS NOT NULL ORDER BY seq`) {
		t := byID[e.task]
		at[e.task] = append(at[e.task], e.state)
		if (e.level == "ERROR") != (t.state == "failed" && e.state == "Completed") {
			k.fail("event %s of task %s has level %s, the task is %s", e.state, e.task, e.level, t.state)
		}
		switch e.state {
		case "Started":
			if open[t.lane] != "" {
				k.fail("lane %s: %s began before %s had ended", t.lane, t.id, open[t.lane])
			}
			if last[t.lane] > t.seq {
				k.fail("lane %s: %s (%s) began out of order", t.lane, t.id, t.kind)
			}
			open[t.lane], last[t.lane] = t.id, t.seq
		case "Completed":
			if open[t.lane] != t.id {
				k.fail("lane %s: %s ended while %q was running", t.lane, t.id, open[t.lane])
			}
			open[t.lane] = ""
		}
	}
	for _, t := range k.tasks {
		if got := strings.Join(at[t.id], " "); got != "Scheduled Started Completed" {
			k.fail("events of task %s (%s): %s", t.id, t.kind, got)
		}
	}
}

// rows checks the volumes and their attachments.
func (k *checker) rows() {
	changes := map[string]int64{}
	loose := map[string]bool{} // a failed delete may have cost it its device
	for _, t := range k.tasks {
		switch {
		case t.state == "done" && (t.kind == "volume.create" || t.kind == "volume.attach" || t.kind == "volume.detach"):
			changes[t.volume]++
		case t.state == "failed" && t.kind == "volume.delete":
			loose[t.volume] = true
		}
	}
	for id, v := range k.volumes {
		switch {
		case v.state == "discarded" && v.device == 0, v.state == "detached" && v.device == 0, v.state == "attached" && v.device != 0:
		default:
			k.fail("volume %s is %s on device %d", id, v.state, v.device)
		}
		if v.kind == "DATADISK" && (v.generation < changes[id] || v.generation > changes[id] && !loose[id] || v.exists() && v.generation%2 == 1 != (v.device != 0)) {
			k.fail("volume %s on device %d has generation %d after %d changes", id, v.device, v.generation, changes[id])
		}
	}
	k.none("volume on another client's device", `SELECT v.id FROM volume v JOIN device d ON d.id = v.device_id
		WHERE d.client_id <> v.client_id OR d.facility_code <> v.facility_code`)
	k.none("device with more than it takes", `SELECT d.id::text FROM device d WHERE d.max_volumes <
		(SELECT count(*) FROM volume v WHERE v.device_id = d.id AND v.type = 'DATADISK')`)
}

// backends compares the storage and guests with the rows.
func (k *checker) backends() {
	refs, drives := map[string]int64{}, map[int64]string{}
	type drive struct {
		device int64
		key    string
	}
	for _, g := range k.c.world.guests {
		refs[g.ref] = g.device
	}
	for _, d := range all(k.t, k.db, func(d *drive) []any { return []any{&d.device, &d.key} },
		`SELECT d.id, coalesce(i.sha256, '') FROM device d LEFT JOIN iso i ON i.id = d.iso_id`) {
		drives[d.device] = d.key
	}
	for code, driver := range k.c.host.drivers {
		holds, err := driver.InspectAll(context.Background())
		if err != nil {
			k.fail("inspect %s: %v", code, err)
			continue
		}
		at, disks := map[string]int64{}, map[string]int64{}
		for _, g := range holds.VMs {
			for _, id := range g.VolumeIDs {
				at[id] = refs[g.Ref]
			}
			if want := drives[refs[g.Ref]]; g.ISOKey != want {
				k.fail("the drive of device %d has %q, by its row %q", refs[g.Ref], g.ISOKey, want)
			}
		}
		for _, d := range holds.Volumes {
			disks[d.ID] = d.Bytes
			if v, known := k.volumes[d.ID]; !known || v.facility != code {
				k.fail("orphan disk %s in %s, on device %d", d.ID, code, at[d.ID])
			}
		}
		for id, v := range k.volumes {
			switch {
			case v.facility != code || !v.exists():
			case disks[id] != v.bytes:
				k.fail("volume %s has %d bytes, its disk %d", id, v.bytes, disks[id])
			case at[id] != v.device:
				k.fail("volume %s is connected to device %d, by its row to %d", id, at[id], v.device)
			}
		}
		if twice := twoGuests(driver); twice != "" {
			k.fail("%s", twice)
		}
	}
}

// fences checks, apart from the driver's own memory, that no run changed an
// object after a later run had been at it.
func (k *checker) fences() {
	calls, _ := k.c.host.log()
	slices.SortFunc(calls, func(a, b handled) int { return a.began.Compare(b.began) })
	byObject := map[string][]handled{}
	for _, h := range calls {
		if h.Fence != nil && h.acted() {
			byObject[h.object()] = append(byObject[h.object()], h)
		}
	}
	for object, list := range byObject {
		for i, h := range list {
			for _, before := range list[:i] {
				if before.later(h) && before.ended.Before(h.began) {
					k.fail("%s of %v came through on %s at %s, after %s of %v at %s", h.Method, *h.Fence, object,
						h.began.Format(time.StampMicro), before.Method, *before.Fence, before.ended.Format(time.StampMicro))
				}
			}
		}
	}
}

// refused is whether the driver turned the call down as that of an old run.
func (h handled) refused() bool { return errors.Is(h.err, backend.ErrFenced) }

// acted is whether the call got as far as to look at its object. One whose
// caller left while it waited did not.
func (h handled) acted() bool {
	var be *backend.Error
	return h.err == nil || errors.As(h.err, &be) && !h.refused()
}

func (h handled) later(than handled) bool {
	return h.Fence.Task > than.Fence.Task || h.Fence.Task == than.Fence.Task && h.Fence.Attempt > than.Fence.Attempt
}
