package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"

	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// act says what a repair does. It is in the task's arguments.
type act string

// The acts. Each reads anew what is so before it does anything.
const (
	attach  act = "attach"  // connect the volume to the device its row names
	detach  act = "detach"  // take the volume off a guest that its row does not name
	grow    act = "grow"    // make the disk as large as the volume
	rest    act = "rest"    // bring the volume's row to rest
	bill    act = "bill"    // open the service that is missing
	unbill  act = "unbill"  // end the service that is too much
	drive   act = "drive"   // make the drive as the device's row says
	settle  act = "settle"  // bring the device's row to rest
	toRest  act = "image"   // bring the ISO's row to rest
	content act = "content" // bring the row of an image to rest
)

// repairArgs is what the task of a repair is about.
type repairArgs struct {
	Action       string `json:"action"`
	Repair       act    `json:"repair"`
	FacilityCode string `json:"facilityCode"`
	VolumeID     string `json:"volumeId,omitempty"`
	DeviceID     int64  `json:"deviceId,omitempty"`
	ISOID        string `json:"isoId,omitempty"`
	SHA256       string `json:"sha256,omitempty"`
	Ref          string `json:"guest,omitempty"`
	Class        Class  `json:"finding"`
	MonthlyCents int64  `json:"monthlyCents,omitempty"`
}

// repairAll begins the repair of every confirmed finding that has one. It
// returns how many that are, and the tasks that do it.
func (s *Service) repairAll(ctx context.Context, log *slog.Logger, found []Finding) (n int, taskIDs []string) {
	for _, f := range found {
		if !f.Confirmed {
			continue
		}
		done := false
		var tasks []task.Task
		err := s.Store.Tx(ctx, func(tx Tx) (err error) {
			tasks, done = nil, false
			done, err = s.begin(ctx, tx, f, &tasks)
			return err
		})
		if err != nil {
			log.Error("begin repair", "class", f.Class, "object", f.Object, "error", err)
			continue
		}
		if done {
			n++
			log.Info("repair", "class", f.Class, "facility", f.FacilityCode, "object", f.Object)
		}
		for _, t := range tasks {
			taskIDs = append(taskIDs, t.ID)
		}
	}
	return n, taskIDs
}

// begin repairs a finding, or enqueues the tasks that do: what touches a
// device, a volume or an ISO waits its turn in their lane. It reports false
// where there is nothing to be done by itself, and for an object that a task
// works on by now.
func (s *Service) begin(ctx context.Context, tx Tx, f Finding, tasks *[]task.Task) (bool, error) {
	b := beginning{ctx: ctx, tx: tx, s: s, f: f, tasks: tasks}
	switch f.Class {
	case OrphanDisk:
		return b.orphanDisk()
	case OrphanISO:
		return b.orphanISO()
	case MediaWrong:
		return b.device(drive)
	case SizeMismatch:
		return b.volume(func(v volume.Volume) error {
			if f.bytes >= v.Bytes {
				return nil
			}
			return b.enqueue(v, v.DeviceID, repairArgs{Repair: grow})
		})
	case AttachWrong:
		return b.volume(b.attachment)
	case Unbilled:
		return b.volume(func(v volume.Volume) error {
			return b.enqueue(v, v.DeviceID, repairArgs{Repair: bill, MonthlyCents: int64(v.Monthly)})
		})
	case Overbilled:
		return b.overbilled()
	case Stuck:
		return b.stuck()
	default:
		return false, nil
	}
}

// beginning is one repair that begins.
type beginning struct {
	ctx   context.Context
	tx    Tx
	s     *Service
	f     Finding
	tasks *[]task.Task
}

// volume repairs with do unless a task works on the volume.
func (b beginning) volume(do func(volume.Volume) error) (bool, error) {
	pending, err := b.tx.PendingVolume(b.ctx, b.f.Object)
	if err != nil || len(pending) > 0 {
		return false, err
	}
	v, err := b.tx.Volume(b.ctx, b.f.Object)
	if errors.Is(err, volume.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		err = do(v)
	}
	return len(*b.tasks) > 0, err
}

// enqueue adds a repair of v to the lane of the device, or of the volume for
// none, behind what is accepted for the volume.
func (b beginning) enqueue(v volume.Volume, deviceID int64, a repairArgs) error {
	lane := task.VolumeLane(v.ID)
	if deviceID != 0 {
		if _, err := b.tx.Device(b.ctx, deviceID); err != nil {
			return err
		}
		lane = task.DeviceLane(deviceID)
	}
	pending, err := b.tx.PendingVolume(b.ctx, v.ID)
	if err != nil {
		return err
	}
	a.VolumeID, a.DeviceID = v.ID, deviceID
	return b.put(task.New{
		Kind: KindRepairVolume, Lane: lane, ClientID: v.ClientID, DeviceID: deviceID, VolumeID: v.ID,
		After: task.Others(pending, lane),
	}, a)
}

func (b beginning) put(n task.New, a repairArgs) error {
	a.Action, a.Class, a.FacilityCode = string(n.Kind), b.f.Class, b.f.FacilityCode
	n.Queue, n.Facility, n.Args = task.Quick, a.FacilityCode, a
	t, err := b.tx.Enqueue(b.ctx, n)
	*b.tasks = append(*b.tasks, t)
	return err
}

// attachment makes the guests as the row says. A row that is at odds with
// itself is made as the guest is first.
func (b beginning) attachment(v volume.Volume) error {
	if v.State == volume.Attached && v.DeviceID == 0 || v.State == volume.Detached && v.DeviceID != 0 {
		return b.enqueue(v, v.DeviceID, repairArgs{Repair: rest})
	}
	want := ""
	if v.DeviceID != 0 {
		d, err := b.tx.Device(b.ctx, v.DeviceID)
		if err != nil || d.FacilityCode != v.FacilityCode {
			return err
		}
		want = d.Ref
	}
	for _, ref := range b.f.refs {
		if ref == want {
			continue
		}
		d, err := b.tx.DeviceByRef(b.ctx, v.FacilityCode, ref)
		if err != nil && !errors.Is(err, vps.ErrDeviceNotFound) {
			return err
		}
		if err := b.enqueue(v, d.ID, repairArgs{Repair: detach, Ref: ref}); err != nil {
			return err
		}
	}
	if want == "" {
		return nil
	}
	return b.enqueue(v, v.DeviceID, repairArgs{Repair: attach})
}

// device enqueues a repair in the device's lane, behind all that is there.
func (b beginning) device(do act) (bool, error) {
	id, err := strconv.ParseInt(b.f.Object, 10, 64)
	if err != nil {
		return false, err
	}
	d, err := b.tx.Device(b.ctx, id)
	if err != nil {
		return false, err
	}
	lane, err := b.tx.PendingIn(b.ctx, task.DeviceLane(id))
	if err != nil || slices.ContainsFunc(lane, func(t task.Task) bool { return t.Kind == KindRepairDevice }) {
		return false, err // another run has begun it
	}
	return true, b.put(task.New{
		Kind: KindRepairDevice, Lane: task.DeviceLane(id), ClientID: d.ClientID, DeviceID: id,
	}, repairArgs{Repair: do, DeviceID: id})
}

// orphanDisk puts a disk that no row names into quarantine.
func (b beginning) orphanDisk() (bool, error) {
	pending, err := b.tx.PendingVolume(b.ctx, b.f.Object)
	if err != nil || len(pending) > 0 {
		return false, err
	}
	switch v, err := b.tx.Volume(b.ctx, b.f.Object); {
	case err == nil && v.FacilityCode == b.f.FacilityCode:
		return false, nil
	case err != nil && !errors.Is(err, volume.ErrNotFound):
		return false, err
	}
	return true, b.hold(HeldDisk)
}

func (b beginning) hold(k HeldKind) error {
	return b.tx.Hold(b.ctx, Held{
		FacilityCode: b.f.FacilityCode, Kind: k, Object: b.f.Object, Bytes: b.f.bytes, FirstSeen: b.f.FirstSeen, At: b.s.Now(),
	})
}

// orphanISO gives an image back to the ready ISOs that have it, or puts it into
// quarantine; of one that is not on the storage it forgets the row.
func (b beginning) orphanISO() (bool, error) {
	c, err := b.tx.Content(b.ctx, b.f.FacilityCode, b.f.Object)
	if err != nil || c.State == iso.Removing {
		return false, err
	}
	ids, err := b.tx.ISOsWith(b.ctx, b.f.FacilityCode, b.f.Object)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		pending, err := b.tx.PendingISO(b.ctx, id)
		if err != nil || len(pending) > 0 || c.State == iso.Present {
			return false, err // taken up by an import since
		}
	}
	if len(ids) > 0 {
		return true, b.tx.PutContent(b.ctx, b.f.FacilityCode, b.f.Object, iso.Content{State: iso.Present, Bytes: b.f.bytes})
	}
	if c.State != iso.Absent {
		if err := b.tx.PutContent(b.ctx, b.f.FacilityCode, b.f.Object, iso.Content{}); err != nil {
			return false, err
		}
	}
	if !b.f.there {
		return true, nil
	}
	return true, b.hold(HeldISO)
}

// overbilled ends what is charged for nothing, in the volume's own lane: there
// may be no volume.
func (b beginning) overbilled() (bool, error) {
	pending, err := b.tx.PendingVolume(b.ctx, b.f.Object)
	if err != nil || len(pending) > 0 {
		return false, err
	}
	open, err := b.tx.Services(b.ctx, b.f.Object)
	if err != nil || len(open) == 0 {
		return false, err
	}
	v := volume.Volume{ID: b.f.Object, ClientID: open[0].ClientID}
	if row, err := b.tx.Volume(b.ctx, b.f.Object); err == nil {
		v.DeviceID = row.DeviceID
	}
	return true, b.enqueue(v, v.DeviceID, repairArgs{Repair: unbill})
}

// stuck brings to rest what is in a transient state.
func (b beginning) stuck() (bool, error) {
	switch b.f.what {
	case aVolume:
		return b.volume(func(v volume.Volume) error { return b.enqueue(v, v.DeviceID, repairArgs{Repair: rest}) })
	case aDevice:
		return b.device(settle)
	case aTask:
		return true, b.tx.Promote(b.ctx, b.f.Object)
	}
	pending, err := b.tx.PendingISO(b.ctx, b.f.Object)
	if err != nil || len(pending) > 0 {
		return false, err
	}
	if b.f.what == aContent {
		return true, b.put(task.New{Kind: KindRepairISO, Lane: task.ISOLane(b.f.Object), ISOID: b.f.Object},
			repairArgs{Repair: content, SHA256: b.f.Object})
	}
	i, err := b.tx.ISO(b.ctx, b.f.Object)
	if errors.Is(err, iso.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, b.put(task.New{Kind: KindRepairISO, Lane: task.ISOLane(i.ID), ClientID: i.ClientID, ISOID: i.ID},
		repairArgs{Repair: toRest, ISOID: i.ID, SHA256: i.SHA256})
}
