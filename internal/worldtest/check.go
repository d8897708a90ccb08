package worldtest

import (
	"context"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/billing"
)

// Check holds the rules that are true whenever nothing is under way: rows,
// attachments, backends, services and ledger agree, and the record of events
// tells that every lane was worked through in order. The clock has not moved
// back, and due months are paid first.
func (w *World) Check() {
	w.t.Helper()
	if wrong := w.Wrong(); len(wrong) > 0 {
		w.t.Fatalf("the world is not as it should be:\n%s", strings.Join(wrong, "\n"))
	}
}

// Wrong is what Check would fail with.
func (w *World) Wrong() []string {
	w.t.Helper()
	if _, err := w.Ledger.RenewAll(context.Background()); err != nil {
		w.t.Fatalf("renew services: %v", err)
	}
	c := &check{w: w, volumes: map[string]vol{}}
	c.tasks()
	c.lanes()
	c.rows()
	c.backends()
	c.services()
	c.isos()
	return c.wrong
}

type check struct {
	w       *World
	wrong   []string
	volumes map[string]vol
}

type vol struct {
	facility, kind, state string
	bytes, device         int64
	product, monthly      int64
	ref, source           string
}

func (v vol) exists() bool { return v.state == "attached" || v.state == "detached" }

func (c *check) fail(format string, args ...any) {
	c.wrong = append(c.wrong, "  "+fmt.Sprintf(format, args...))
}

// none fails with every row of a query that should have none.
func (c *check) none(what, query string, args ...any) {
	c.w.t.Helper()
	for _, s := range c.w.column(query, args...) {
		c.fail("%s: %s", what, s)
	}
}

func (c *check) tasks() {
	c.none("unfinished task", `SELECT kind || ' ' || id || ' ' || state FROM task WHERE client_id IS NOT NULL AND state NOT IN ('done', 'failed')`)
	c.none("failed task without reason", `SELECT kind || ' ' || id FROM task WHERE state = 'failed' AND (reason = '' OR error = '')`)
	c.none("reason on a task that succeeded", `SELECT kind || ' ' || reason FROM task WHERE state = 'done' AND reason || error <> ''`)
	c.none("task held after its end", `SELECT kind || ' ' || id FROM task WHERE state IN ('done', 'failed') AND owner IS NOT NULL`)
	c.none("wait for an ended task", `SELECT seq || ' after ' || after_seq FROM task_after`)
}

// lanes checks that each task has its events once and in order, and that the
// tasks of a lane never overlap and end as accepted.
func (c *check) lanes() {
	at := map[string][]string{} // events by task
	ended := map[string]string{}
	seqs := map[string]int64{}
	c.w.rows(`SELECT t.lane, t.id, t.seq, t.state, e.state, e.level FROM event e JOIN task t ON t.id = e.task_id ORDER BY e.seq`, nil, func(scan func(...any)) {
		var lane, id, end, state, level string
		var seq int64
		scan(&lane, &id, &seq, &end, &state, &level)
		at[id] = append(at[id], state)
		if want := map[bool]string{true: "ERROR", false: "INFO"}[end == "failed" && state == "Completed"]; level != want {
			c.fail("event %s of task %s has level %s, want %s", state, id, level, want)
		}
		switch open := ended[lane]; {
		case state == "Started" && open != "":
			c.fail("lane %s: %s began before %s had ended", lane, id, open)
		case state == "Started":
			if ended[lane] = id; seqs[lane] > seq {
				c.fail("lane %s: %s began out of order", lane, id)
			}
			seqs[lane] = seq
		case state == "Completed":
			if open != id {
				c.fail("lane %s: %s ended while %q was running", lane, id, open)
			}
			ended[lane] = ""
		}
	})
	for id, states := range at {
		if got := strings.Join(states, " "); got != "Scheduled Started Completed" {
			c.fail("events of task %s: %s", id, got)
		}
	}
}

func (c *check) rows() {
	c.w.rows(`SELECT v.id, v.facility_code, v.type, v.state, v.bytes, v.product_id, v.monthly_cents, coalesce(v.device_id, 0),
		coalesce(d.ref, ''), coalesce(v.source, '') FROM volume v LEFT JOIN device d ON d.id = v.device_id`, nil, func(scan func(...any)) {
		var id string
		var v vol
		scan(&id, &v.facility, &v.kind, &v.state, &v.bytes, &v.product, &v.monthly, &v.device, &v.ref, &v.source)
		c.volumes[id] = v
		switch {
		case v.state == "discarded" && v.device == 0, v.state == "detached" && v.device == 0, v.state == "attached" && v.device != 0:
		default:
			c.fail("volume %s is %s on device %d", id, v.state, v.device)
		}
	})
	c.none("volume on another client's device", `SELECT v.id FROM volume v JOIN device d ON d.id = v.device_id
		WHERE d.client_id <> v.client_id OR d.facility_code <> v.facility_code`)
	c.none("device with more than it takes", `SELECT d.id FROM device d WHERE d.max_volumes <
		(SELECT count(*) FROM volume v WHERE v.device_id = d.id AND v.type = 'DATADISK')`)
}

// backends compares the storage and guests with the rows.
func (c *check) backends() {
	for code, driver := range c.w.Drivers {
		driver.Reset()
		all, err := driver.InspectAll(context.Background())
		if err != nil {
			c.fail("inspect %s: %v", code, err)
			continue
		}
		disks, guests := map[string]bool{}, map[string]string{}
		for _, d := range all.Volumes {
			v, known := c.volumes[d.ID]
			disks[d.ID] = true
			switch {
			case (!known || v.facility != code) && !c.held(code, "disk", d.ID):
				c.fail("orphan disk %s in %s", d.ID, code)
			case known && v.exists() && v.bytes != d.Bytes:
				c.fail("volume %s has %d bytes, its disk %d", d.ID, v.bytes, d.Bytes)
			}
		}
		for _, g := range all.VMs {
			for _, id := range g.VolumeIDs {
				guests[id] = g.Ref
			}
		}
		for id, v := range c.volumes {
			if v.facility != code || !v.exists() {
				continue
			}
			if v.source != "" { // a disk that no view has
				if d, err := driver.InspectVolume(context.Background(), id); err == nil {
					disks[id], guests[id] = d.Bytes == v.bytes, d.Ref
				}
			}
			if guests[id] != v.ref {
				c.fail("volume %s is connected to %q, by its row to %q", id, guests[id], v.ref)
			}
			if !disks[id] {
				c.fail("volume %s has no disk", id)
			}
		}
	}
}

// held reports whether a disk or image is in quarantine.
func (c *check) held(facility, kind, object string) bool {
	return c.w.Count(`SELECT count(*) FROM quarantine WHERE facility_code = ? AND kind = ? AND object_id = ?`, facility, kind, object) > 0
}

// services checks that every data volume that exists has one open service,
// with its size, price and product, and nothing else has one; and the ledger.
func (c *check) services() {
	open := map[string]bool{}
	c.w.rows(`SELECT id, volume_id, facility_code, status, size_gib, product_id, monthly_cents, started_at, period_end, periods, coalesce(cancelled_at, 0)
		FROM service`, nil, func(scan func(...any)) {
		var s service
		var started, end, cancelled int64
		scan(&s.id, &s.volume, &s.facility, &s.status, &s.size, &s.product, &s.monthly, &started, &end, &s.periods, &cancelled)
		s.started, s.end, s.until = time.UnixMicro(started).UTC(), time.UnixMicro(end).UTC(), c.w.Clock.Now()
		if s.status == "cancelled" {
			s.until = time.UnixMicro(cancelled).UTC()
		}
		v, known := c.volumes[s.volume]
		switch {
		case s.status == "cancelled" && known && !c.replaced(s.volume):
			c.fail("the service of volume %s is cancelled, the volume %s", s.volume, v.state)
		case s.status == "cancelled":
		case open[s.volume]:
			c.fail("volume %s has two open services", s.volume)
		case !known || !v.exists() || v.kind != "DATADISK":
			c.fail("open service without a volume: %s", s.volume)
		case v.bytes>>30 != s.size || v.product != s.product || v.monthly != s.monthly || v.facility != s.facility:
			c.fail("volume %s is %+v, its service %+v", s.volume, v, s)
		}
		open[s.volume] = open[s.volume] || s.status == "active"
		c.ledger(s)
	})
	for id, v := range c.volumes {
		if v.exists() && v.kind == "DATADISK" && !open[id] {
			c.fail("volume %s has no open service", id)
		}
	}
	c.none("charge without a service", `SELECT id FROM charge WHERE service_id NOT IN (SELECT id FROM service)`)
	c.none("charge of a task that failed", `SELECT c.id FROM charge c JOIN task t ON t.id = c.task_id WHERE t.state <> 'done'`)
	c.none("resize without its charge", `SELECT id FROM task t WHERE kind = 'volume.resize' AND state = 'done'
		AND 1 <> (SELECT count(*) FROM charge c WHERE c.task_id = t.id AND c.kind = 'resize')`)
}

// replaced reports whether a repair opened another service of the volume.
func (c *check) replaced(volume string) bool {
	return c.w.Count(`SELECT count(*) FROM service s JOIN charge c ON c.service_id = s.id AND c.kind = 'create' JOIN task t ON t.id = c.task_id
		WHERE s.volume_id = ? AND s.status = 'active' AND t.kind = 'volume.repair'`, volume) > 0
}

type service struct {
	id, volume, facility, status string
	size, product, monthly       int64
	started, end, until          time.Time
	periods                      int
}

// ledger compares the charges of every paid month with the integral of the
// price over that month. What the price was comes from the tasks that changed
// it, when from the charges they left.
func (c *check) ledger(s service) {
	// One that was taken over with its guest began without a task.
	price := int64(c.w.Count(`SELECT coalesce(json_extract(t.args, '$.monthlyCents'), c.amount_cents) FROM charge c LEFT JOIN task t ON t.id = c.task_id
		WHERE c.service_id = ? AND c.kind = 'create'`, s.id))
	type step struct {
		at    time.Time
		price int64
	}
	var steps []step
	c.w.rows(`SELECT c.at, coalesce(json_extract(t.args, '$.monthlyCents'), 0) FROM charge c JOIN task t ON t.id = c.task_id
		WHERE c.service_id = ? AND c.kind = 'resize' ORDER BY c.id`, []any{s.id}, func(scan func(...any)) {
		var at, to int64
		scan(&at, &to)
		steps = append(steps, step{time.UnixMicro(at).UTC(), to})
	})
	month := 0
	for ; ; month++ {
		from, to := billing.Anniversary(s.started, month), billing.Anniversary(s.started, month+1)
		if month > 0 && from.After(s.until) || month >= s.periods {
			break
		}
		want, changes := new(big.Rat), 0
		length, mark := to.Sub(from), from
		add := func(until time.Time) {
			part := big.NewRat(int64(until.Sub(mark)), int64(length))
			want.Add(want, part.Mul(part, big.NewRat(price, 1)))
			mark = until
		}
		for len(steps) > 0 && steps[0].at.Before(to) {
			add(from.Add(steps[0].at.Sub(from).Truncate(time.Second))) // the second that has begun is charged
			price, steps, changes = steps[0].price, steps[1:], changes+1
		}
		add(to)
		got := int64(c.w.Count(`SELECT coalesce(sum(amount_cents), 0) FROM charge WHERE service_id = ? AND to_at = ?`, s.id, to.UnixMicro()))
		off := new(big.Rat).Sub(want, big.NewRat(got, 1))
		if off.Abs(off).Cmp(big.NewRat(int64(changes), 2)) > 0 { // each charge is rounded once
			c.fail("volume %s, month %d: charged %d, the integral is %s", s.volume, month+1, got, want.FloatString(3))
		}
	}
	if month != s.periods || !s.end.Equal(billing.Anniversary(s.started, s.periods)) || !s.end.After(s.until) {
		c.fail("service of volume %s from %s has paid %d months until %s, of %d due by %s", s.volume, s.started, s.periods, s.end, month, s.until)
	}
	if price != s.monthly {
		c.fail("service of volume %s costs %d, by its tasks %d", s.volume, s.monthly, price)
	}
	if n := c.w.Count(`SELECT count(*) FROM charge WHERE service_id = ? AND kind IN ('create', 'renew')`, s.id); n != s.periods {
		c.fail("service of volume %s has %d monthly charges for %d months", s.volume, n, s.periods)
	}
}

// isos compares ISOs, what they share, and drives with the backends.
func (c *check) isos() {
	left, err := filepath.Glob(filepath.Join(c.w.Uploads, "*"))
	if err != nil || len(left) > 0 {
		c.fail("uploads left behind: %q, %v", left, err)
	}
	c.none("ISO under way", `SELECT id || ' ' || state FROM iso WHERE state NOT IN ('ready', 'failed')`)
	c.none("failed ISO without reason", `SELECT id FROM iso WHERE state = 'failed' AND (reason = '' OR error = '')`)
	c.none("ready ISO without content", `SELECT i.id FROM iso i WHERE i.state = 'ready' AND NOT EXISTS
		(SELECT 1 FROM iso_content c WHERE c.sha256 = i.sha256 AND c.facility_code = i.facility_code AND c.bytes = i.size_bytes AND c.state = 'present')`)
	c.none("content of no ISO", `SELECT c.sha256 || ' ' || c.state FROM iso_content c WHERE c.state <> 'present' OR NOT EXISTS
		(SELECT 1 FROM iso i WHERE i.sha256 = c.sha256 AND i.facility_code = c.facility_code)`)
	for code, driver := range c.w.Drivers {
		all, err := driver.InspectAll(context.Background())
		if err != nil {
			c.fail("inspect %s: %v", code, err)
			continue
		}
		have := map[string]int64{}
		for _, i := range all.ISOs {
			have[i.Key] = i.Bytes
			if c.w.Count(`SELECT count(*) FROM iso_content WHERE facility_code = ? AND sha256 = ?`, code, i.Key) == 0 && !c.held(code, "iso", i.Key) {
				c.fail("orphan image %s in %s", i.Key, code)
			}
		}
		c.w.rows(`SELECT id, sha256, size_bytes FROM iso WHERE facility_code = ? AND state = 'ready'`, []any{code}, func(scan func(...any)) {
			var id, key string
			var bytes int64
			if scan(&id, &key, &bytes); have[key] != bytes {
				c.fail("ISO %s is ready and its image has %d bytes, not %d", id, have[key], bytes)
			}
		})
		for _, g := range all.VMs {
			want := c.w.column(`SELECT coalesce((SELECT sha256 FROM iso i WHERE i.id = d.iso_id), '') FROM device d WHERE d.ref = ? AND d.facility_code = ?`, g.Ref, code)
			if len(want) > 0 && !slices.Equal(want, []string{g.ISOKey}) { // a guest of no device is not ours
				c.fail("the drive of guest %s has %q, by its row %q", g.Ref, g.ISOKey, want)
			}
		}
	}
	entries, err := os.ReadDir(c.w.Staging)
	if err != nil && !os.IsNotExist(err) {
		c.fail("read staging folder: %v", err)
	}
	for _, e := range entries {
		c.fail("left in the staging folder: %s", e.Name())
	}
}
