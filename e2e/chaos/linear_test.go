package chaos

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// row is a task as the database has it in the end.
type row struct {
	seq, client, device, size, monthly  int64
	id, kind, volume, lane, iso         string
	facility, state, reason, error, own string
	created, completed                  int64 // microseconds; completed is 0 while it has not ended
	attempt                             int64
}

// state is what a volume is, and how far its tasks have come: accepted of them
// are accepted and ended of them have ended. Tasks of one volume are accepted
// and end in one order.
type state struct {
	accepted, ended int
	exists          bool
	device          int64
	size            int
}

// step is one thing that happened to a volume.
type step struct {
	*op
	accept, end int // index of a task + 1; 0: it is neither
}

// planned is what the volume will be once the tasks accepted so far have run.
type planned struct {
	visible, gone bool
	device        int64
	size          int
}

func (s state) plan(tasks []row) planned {
	p := planned{visible: s.exists, device: s.device, size: s.size}
	for _, t := range tasks[s.ended:s.accepted] {
		switch t.kind {
		case "volume.create":
			p.visible, p.device, p.size = true, t.device, int(t.size)
		case "volume.attach":
			p.device = t.device
		case "volume.detach":
			p.device = 0
		case "volume.resize":
			p.size = int(t.size)
		case "volume.delete":
			p.gone = true
		}
	}
	return p
}

// check answers the reason for which a request is refused, "" if it is
// accepted. It knows nothing of other volumes, so of a full device neither.
func (p planned) check(kind string, device int64, size int, otherFacility bool) string {
	switch {
	case kind == "volume.create":
		return ""
	case !p.visible:
		return "volume_not_found"
	case p.gone:
		return "volume_deleting"
	}
	switch kind {
	case "volume.attach":
		switch {
		case p.device != 0:
			return "volume_attached"
		case otherFacility:
			return "other_facility"
		}
	case "volume.detach":
		if p.device != device {
			return "volume_not_attached"
		}
	case "volume.resize", "volume.delete":
		switch {
		case device == 0 && p.device != 0:
			return "device_required"
		case device != p.device && device != 0:
			return "wrong_device"
		case kind == "volume.resize" && size <= p.size:
			return "size_not_larger"
		}
	}
	return ""
}

// finish is what the end of a task makes of the volume; nothing if it cannot
// end like that here.
func (s state) finish(t row) []any {
	s.ended++
	if t.state == "failed" {
		if t.kind == "volume.delete" && s.device != 0 { // the guest may have lost it for good
			lost := s
			lost.device = 0
			return []any{s, lost}
		}
		return []any{s}
	}
	switch ok := s.exists && s.device == t.device; t.kind {
	case "volume.create":
		if s.exists {
			return nil
		}
		s.exists, s.device, s.size = true, t.device, int(t.size)
	case "volume.attach":
		if !s.exists || s.device != 0 {
			return nil
		}
		s.device = t.device
	case "volume.detach":
		if !ok {
			return nil
		}
		s.device = 0
	case "volume.resize":
		if !ok || int(t.size) <= s.size {
			return nil
		}
		s.size = int(t.size)
	case "volume.delete":
		if !ok {
			return nil
		}
		s.exists, s.device, s.size = false, 0, 0
	}
	return []any{s}
}

// read reports whether an answer shows the volume as it is.
func (s state) read(o *op, volume string) bool {
	v, there := o.seen[volume]
	if there {
		return s.exists && v == view{s.device, s.size}
	}
	return !s.exists || o.kind == "list" && s.device != o.device
}

// model is one volume of a facility with all the tasks it ever had.
func model(volume, facility string, tasks []row, places map[int64]string) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{}} },
		Step: func(st, in, _ any) []any {
			s, x := st.(state), in.(step)
			switch {
			case x.end > 0:
				if x.end != s.ended+1 || s.ended >= s.accepted {
					return nil
				}
				return s.finish(tasks[s.ended])
			case x.accept > 0:
				t := tasks[x.accept-1]
				device, size := t.device, int(t.size)
				if x.op != nil {
					device, size = x.device, x.size
				}
				if x.accept != s.accepted+1 || s.plan(tasks).check(t.kind, device, size, places[t.device] != facility && t.kind == "volume.attach") != "" {
					return nil
				}
				s.accepted++
				return []any{s}
			case x.kind == "get" || x.kind == "list":
				if !s.read(x.op, volume) {
					return nil
				}
			default:
				why := s.plan(tasks).check(x.kind, x.device, x.size, places[x.device] != facility)
				if why != x.reason && (why != "" || x.kind != "volume.attach" || x.reason != "device_full") {
					return nil
				}
			}
			return []any{s}
		},
		DescribeOperation: func(in, _ any) string { return in.(step).describe(tasks) },
		DescribeState:     func(st any) string { return fmt.Sprintf("%+v", st) },
	}
	return m.ToModel()
}

func (x step) describe(tasks []row) string {
	switch {
	case x.end > 0:
		t := tasks[x.end-1]
		return fmt.Sprintf("end of %s to %d on %d: %s %s", t.kind, t.size, t.device, t.state, t.reason)
	case x.op == nil:
		t := tasks[x.accept-1]
		return fmt.Sprintf("%s to %d on %d: accepted, nobody heard of it", t.kind, t.size, t.device)
	default:
		return fmt.Sprintf("%s to %d on %d: %d %s %v", x.kind, x.size, x.device, x.status, x.reason, x.seen)
	}
}

// history is what happened to one volume: what clients saw, and the ends of
// the tasks, each at or after the time its transaction began. What nobody heard
// of was accepted at or after the time its transaction began.
func history(volume string, ops []*op, tasks []row) (h []porcupine.Operation) {
	const forever = math.MaxInt64
	acked := map[string]*op{}
	for _, o := range ops {
		switch {
		case o.task != "":
			acked[o.task] = o
			continue
		case o.unsure, o.kind == "iso.attach", o.kind == "iso.detach", o.kind == "volume.create":
			continue
		case o.kind == "list" && o.status == http.StatusOK:
		case o.volume != volume:
			continue
		}
		h = append(h, porcupine.Operation{ClientId: o.worker, Input: step{op: o}, Call: o.began.UnixNano(), Return: o.ended.UnixNano()})
	}
	for i, t := range tasks {
		accept := porcupine.Operation{Input: step{accept: i + 1}, Call: t.created * 1000, Return: forever}
		if o := acked[t.id]; o != nil {
			accept = porcupine.Operation{ClientId: o.worker, Input: step{op: o, accept: i + 1}, Call: o.first.UnixNano(), Return: o.ended.UnixNano()}
		}
		h = append(h, accept)
		if t.completed > 0 {
			h = append(h, porcupine.Operation{ClientId: 99, Input: step{end: i + 1}, Call: t.completed * 1000, Return: forever})
		}
	}
	return h
}

// linear checks that each volume behaved as one object of which every request
// was decided at one moment between its sending and its answer.
func (k *checker) linear() {
	byVolume := map[string][]row{}
	for _, t := range k.tasks {
		if t.volume != "" && t.kind != "device.create" {
			byVolume[t.volume] = append(byVolume[t.volume], t)
		}
	}
	places, owner := map[int64]string{}, map[int64][]*op{}
	for _, t := range k.c.world.tenants {
		for _, d := range t.devices {
			places[d.id] = d.facility
		}
	}
	for _, o := range k.load.ops {
		owner[o.tenant.id] = append(owner[o.tenant.id], o)
	}
	for volume, tasks := range byVolume {
		slices.SortFunc(tasks, func(a, b row) int { return int(a.seq - b.seq) })
		h := history(volume, owner[tasks[0].client], tasks)
		m := model(volume, tasks[0].facility, tasks, places)
		k.steps += len(h)
		switch porcupine.CheckOperationsTimeout(m, h, 30*time.Second) {
		case porcupine.Illegal:
			k.illegal(volume, m, h, tasks)
		case porcupine.Unknown:
			k.undecided++
		}
	}
}

// illegal tells the history of a volume that is not linearizable.
func (k *checker) illegal(volume string, m porcupine.Model, h []porcupine.Operation, tasks []row) {
	slices.SortStableFunc(h, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	// The end of the shortest beginning that is wrong is near the cause.
	text, bad := "", 0
	for bad < len(h) && porcupine.CheckOperationsTimeout(m, h[:bad], 10*time.Second) != porcupine.Illegal {
		bad++
	}
	for i, o := range h {
		if i == bad {
			text += "\n  what was sent up to here cannot be explained"
		}
		until := "open"
		if o.Return != math.MaxInt64 {
			until = fmt.Sprintf("%.3f", float64(o.Return-h[0].Call)/1e6)
		}
		text += fmt.Sprintf("\n  [%.3f, %s ms] %s", float64(o.Call-h[0].Call)/1e6, until, o.Input.(step).describe(tasks))
	}
	k.fail("volume %s is not linearizable:%s", volume, text)
}
