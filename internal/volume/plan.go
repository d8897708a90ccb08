package volume

import (
	"fmt"

	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/task"
)

// Plan is what a volume will be once the tasks accepted so far have run.
type Plan struct {
	DeviceID int64 // 0: detached
	SizeGiB  int
	Gone     bool
}

// PlanOf follows the unfinished tasks of v, in order of acceptance.
func PlanOf(v Volume, pending []task.Task) (Plan, error) {
	p := Plan{DeviceID: v.DeviceID, SizeGiB: v.SizeGiB(), Gone: v.State == Discarded}
	for _, t := range pending {
		switch t.Kind {
		case KindCreate, KindAttach:
			p.DeviceID = t.DeviceID
		case KindDetach:
			p.DeviceID = 0
		case KindDelete:
			p.Gone = true
		case KindResize:
			a, err := argsOf(t)
			if err != nil {
				return Plan{}, err
			}
			p.SizeGiB = a.SizeGiB
		}
	}
	return p, nil
}

// lane is where the next task on the volume belongs: its device, so that it
// runs in order with the device's other work, or the volume by itself.
func (p Plan) lane(volumeID string) string {
	if p.DeviceID != 0 {
		return task.DeviceLane(p.DeviceID)
	}
	return task.VolumeLane(volumeID)
}

// CheckDevice reports whether deviceID, nil when it was not given, names the
// right device for a resize or delete: required while the volume is attached,
// and then that device; never another one. ErrDeviceRequired, ErrWrongDevice.
func (p Plan) CheckDevice(deviceID *int64) error {
	switch {
	case deviceID == nil && p.DeviceID != 0:
		return ErrDeviceRequired
	case deviceID != nil && *deviceID != p.DeviceID:
		return ErrWrongDevice
	default:
		return nil
	}
}

// CheckGrow reports whether the volume may be resized to sizeGiB, one of the
// prices of its facility. A volume never shrinks (contract: PUT
// /vps/volume/{volumeId}). ErrNotLarger, ErrSizeNotSold.
func (p Plan) CheckGrow(sizeGiB int, sold []billing.Price) (billing.Price, error) {
	if sizeGiB <= p.SizeGiB {
		return billing.Price{}, ErrNotLarger.Textf("a volume can only be made larger than it is (%d GiB)", p.SizeGiB)
	}
	return CheckSold(sizeGiB, sold)
}

// CheckSold returns the price of a size, or ErrSizeNotSold naming those sold.
func CheckSold(sizeGiB int, sold []billing.Price) (billing.Price, error) {
	for _, p := range sold {
		if p.SizeGiB == sizeGiB {
			return p, nil
		}
	}
	return billing.Price{}, ErrSizeNotSold.Textf("%d GiB is not sold here; sizes on sale: %s", sizeGiB, join(billing.Sizes(sold)))
}

// planned is how many data volumes a device will have once the tasks of its
// lane, counted by kind, have run.
func planned(attached int, lane map[task.Kind]int) int {
	return attached + lane[KindCreate] + lane[KindAttach] - lane[KindDelete] - lane[KindDetach]
}

func join(sizes []int) string {
	s := ""
	for i, n := range sizes {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprint(n)
	}
	if s == "" {
		return "none"
	}
	return s
}
