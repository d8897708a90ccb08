package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// lookTime bounds what a facility's driver may take to show all it holds.
const lookTime = 5 * time.Minute

// maxFound bounds the findings of one look: a storage that is not mounted lacks
// every disk, and saying so for each helps nobody.
const maxFound = 1000

// look compares one facility. A finding is in it only if it follows from the
// rows before the storage was looked at and from those after, if a second look
// at the disk or guest says the same, and if no task about it was unfinished
// before or accepted since.
func (s *Service) look(ctx context.Context, code string) (Look, error) {
	l := Look{FacilityCode: code, At: s.Now()}
	before, err := s.Store.Rows(ctx, code, -1)
	if err != nil {
		return l, err
	}
	driver, view, err := s.inspect(ctx, code)
	if err != nil {
		return s.unavailable(ctx, l, err)
	}
	before.Elsewhere = !driver.Info().MakesVMs
	l.Moved = moved(before, view)
	first := Compare(before, view, before.At)
	l.Released = released(before, view)
	if len(first) == 0 {
		return l, nil
	}
	inspect, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if view, err = again(inspect, driver, view, before, first); err != nil {
		return s.unavailable(ctx, l, err)
	}
	after, err := s.Store.Rows(ctx, code, before.LastSeq)
	if err != nil {
		return l, err
	}
	after.Elsewhere, after.Work = before.Elsewhere, merge(before, after)
	l.Found = both(first, Compare(after, view, after.At))
	if n := len(l.Found); n > maxFound {
		s.log().Error("more findings than are kept", "facility", code, "findings", n, "kept", maxFound)
		l.Found = l.Found[:maxFound]
	}
	return l, nil
}

// inspect reads all that the facility's driver holds.
func (s *Service) inspect(ctx context.Context, code string) (backend.Driver, backend.View, error) {
	driver, err := s.Drivers.Driver(code)
	if err != nil {
		return nil, backend.View{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	view, err := driver.InspectAll(ctx)
	return driver, view, err
}

// unavailable is the look at a facility that does not let itself be looked at.
func (s *Service) unavailable(ctx context.Context, l Look, err error) (Look, error) {
	if ctx.Err() != nil {
		return l, context.Cause(ctx) // it was us who gave up
	}
	s.log().Warn("look at storage", "facility", l.FacilityCode, "error", err)
	l.Blind, l.Released = true, nil
	l.Found = []Finding{{Class: Unavailable, FacilityCode: l.FacilityCode, Object: l.FacilityCode, Detail: "The facility's host or storage does not answer."}}
	return l, nil
}

// again reads what the findings are about once more, so that a view that took
// long is not held against rows that were right by its end.
func again(ctx context.Context, d backend.Driver, view backend.View, rows Rows, found []Finding) (backend.View, error) {
	disks := map[string]bool{}
	drives := map[string]bool{}
	for _, f := range found {
		switch f.Class {
		case OrphanDisk, MissingDisk, SizeMismatch, AttachWrong:
			disks[f.Object] = len(f.refs) < 2 // of a volume in two guests only one is told
		case MediaWrong, MissingGuest:
			drives[f.Object] = true
		}
	}
	view.Volumes = slices.DeleteFunc(slices.Clone(view.Volumes), func(v backend.VolumeView) bool { return disks[v.ID] })
	view.VMs = slices.Clone(view.VMs)
	for i := range view.VMs {
		view.VMs[i].VolumeIDs = slices.DeleteFunc(slices.Clone(view.VMs[i].VolumeIDs), func(id string) bool { return disks[id] })
	}
	for id, ask := range disks {
		if !ask {
			continue
		}
		v, err := d.InspectVolume(ctx, id)
		switch {
		case errors.Is(err, backend.ErrVolumeNotFound), errors.Is(err, backend.ErrUnsupported): // not there, or where nobody can look
		case err != nil:
			return view, fmt.Errorf("look at disk %s again: %w", id, err)
		default:
			view.Volumes = append(view.Volumes, v)
		}
	}
	slices.SortFunc(view.Volumes, func(a, b backend.VolumeView) int { return strings.Compare(a.ID, b.ID) })
	for _, dev := range rows.Devices {
		if !drives[fmt.Sprint(dev.ID)] {
			continue
		}
		g, err := d.Inspect(ctx, dev.Ref)
		i := slices.IndexFunc(view.VMs, func(v backend.VMView) bool { return v.Ref == dev.Ref })
		switch {
		case errors.Is(err, backend.ErrVMNotFound): // it was not, or is no longer
		case err != nil:
			return view, fmt.Errorf("look at guest %s again: %w", dev.Ref, err)
		case i < 0:
			view.VMs = append(view.VMs, g)
		default:
			view.VMs[i].ISOKey = g.ISOKey
		}
	}
	return view, nil
}

// moved are the devices of guests made elsewhere that run, or do not, otherwise
// than their rows say, or whose guests have come back.
func moved(rows Rows, view backend.View) (out []Status) {
	if !rows.Elsewhere {
		return nil
	}
	c := index(rows, view)
	for _, d := range rows.Devices {
		g, there := c.guests[d.Ref]
		now := vps.StatusOf(g.Running)
		if there && now != d.Status && d.Status.Follows() && !c.busyDevices[d.ID] {
			out = append(out, Status{DeviceID: d.ID, From: d.Status, To: now})
		}
	}
	return out
}

// merge is the work of both readings. What is known of an ISO's content before
// is kept for one that is gone after.
func merge(before, after Rows) []Work {
	work := slices.Concat(before.Work, after.Work)
	sums := map[string]string{}
	for _, i := range before.ISOs {
		sums[i.ID] = i.SHA256
	}
	now := map[string]bool{}
	for _, i := range after.ISOs {
		now[i.ID] = true
	}
	for n, w := range work {
		if w.ISOID == "" || now[w.ISOID] {
			continue
		}
		if sum := sums[w.ISOID]; sum != "" {
			work[n].ISOID = sum
		}
	}
	return work
}

// follow makes the statuses of devices those of their guests, where the guests
// are made elsewhere. One whose guest two looks have missed is missing.
func (s *Service) follow(ctx context.Context, l Look, found []Finding) error {
	moves := l.Moved
	for _, f := range found {
		if f.Class == MissingGuest && f.Confirmed {
			id, err := strconv.ParseInt(f.Object, 10, 64)
			if err != nil {
				return fmt.Errorf("finding %d is of no device: %w", f.ID, err)
			}
			moves = append(moves, Status{DeviceID: id, To: vps.Missing})
		}
	}
	for _, m := range moves {
		if err := s.Store.Tx(ctx, func(tx Tx) error { return m.write(ctx, tx) }); err != nil {
			return fmt.Errorf("set status of device %d: %w", m.DeviceID, err)
		}
	}
	return nil
}

// write changes the status, unless a task will, or has.
func (m Status) write(ctx context.Context, tx Tx) error {
	d, err := tx.Device(ctx, m.DeviceID)
	if errors.Is(err, vps.ErrDeviceNotFound) {
		return nil
	}
	if err != nil || d.Status == m.To || m.From != "" && d.Status != m.From {
		return err
	}
	pending, err := tx.PendingIn(ctx, task.DeviceLane(d.ID))
	if err != nil || len(pending) > 0 {
		return err
	}
	return tx.SetStatus(ctx, d.ID, m.To)
}

// both are the findings of b that are in a too.
func both(a, b []Finding) []Finding {
	in := make(map[string]bool, len(a))
	for _, f := range a {
		in[f.key()] = true
	}
	return slices.DeleteFunc(b, func(f Finding) bool { return !in[f.key()] })
}

// released are those in quarantine that are on the storage no longer, or that
// a volume or an ISO has again.
func released(rows Rows, view backend.View) (ids []int64) {
	if len(rows.Held) == 0 {
		return nil
	}
	c := index(rows, view)
	for _, h := range rows.Held {
		_, there := c.disks[h.Object]
		owned, busy := c.volumes[h.Object] != nil, c.busyVolumes[h.Object]
		if h.Kind == HeldISO {
			_, there = c.images[h.Object]
			owned, busy = c.sharers[h.Object] > 0, c.busyKeys[h.Object] || c.blind
		}
		if !busy && (!there || owned) {
			ids = append(ids, h.ID)
		}
	}
	return ids
}
