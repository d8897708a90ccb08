package provider

import (
	"context"
	"fmt"

	"github.com/drivebay/drivebay/client"
)

// wish is what a volume is to be.
type wish struct {
	deviceID int64    // 0: detached
	sizeGiB  int64    // at least; 0: whatever it is
	maxPrice *float64 // what a month may cost if it grows; nil: anything
}

// step is one change of a volume.
type step int

const (
	nothing step = iota
	detach
	attach
	grow
)

// next is the first step from v to what w wants. A volume that is attached
// elsewhere is detached there first; it grows last, where it is to be.
func next(v client.Volume, w wish) step {
	var on int64
	if v.DeviceID != nil {
		on = *v.DeviceID
	}
	switch {
	case on != w.deviceID && on != 0:
		return detach
	case on != w.deviceID:
		return attach
	case v.SizeGiB < w.sizeGiB:
		return grow
	}
	return nothing
}

// bring takes the steps that are left from what a volume is to what w wants,
// and returns the volume as it then is. With an error, the steps taken stay.
func (c *connection) bring(ctx context.Context, id string, w wish) (client.Volume, error) {
	var v client.Volume
	checked := false
	err := c.pursue(ctx, aboutVolume(id), func() (done bool, err error) {
		if v, err = c.api.Volume.Get(ctx, id); err != nil {
			return false, err
		}
		s := next(v, w)
		if s == nothing {
			return true, nil
		}
		if s == detach && w.deviceID != 0 && !checked {
			if err := c.checkTarget(ctx, v, w.deviceID); err != nil {
				return false, err
			}
			checked = true
		}
		return false, c.finish(ctx, func(opts ...client.CallOption) (client.Task, error) {
			switch s {
			case detach:
				return c.api.Volume.Detach(ctx, id, *v.DeviceID, opts...)
			case attach:
				return c.api.Volume.Attach(ctx, id, w.deviceID, opts...)
			}
			return c.api.Volume.Resize(ctx, id, client.VolumeResize{SizeGiB: w.sizeGiB, DeviceID: w.deviceID, MaxMonthlyPrice: w.maxPrice}, opts...)
		})
	})
	return v, err
}

// checkTarget reports whether v can be expected to be attached to a device,
// before it is detached from another one.
func (c *connection) checkTarget(ctx context.Context, v client.Volume, deviceID int64) error {
	d, err := c.api.VPS.Get(ctx, deviceID)
	switch {
	case err != nil:
		return err
	case d.FacilityCode != v.FacilityCode:
		return fmt.Errorf("volume %s stays in facility %s; device %d is in %s", v.ID, v.FacilityCode, deviceID, d.FacilityCode)
	case d.MaxVolumes != nil && d.AttachedVolumes != nil && *d.AttachedVolumes >= *d.MaxVolumes:
		return fmt.Errorf("device %d takes %d volumes and has as many", deviceID, *d.MaxVolumes)
	}
	return nil
}

// removeVolume deletes a volume, wherever it is attached. One that is gone is
// fine.
func (c *connection) removeVolume(ctx context.Context, id string) error {
	err := c.pursue(ctx, aboutVolume(id), func() (done bool, err error) {
		v, err := c.api.Volume.Get(ctx, id)
		if err != nil {
			return false, err
		}
		return false, c.finish(ctx, func(opts ...client.CallOption) (client.Task, error) {
			var how client.VolumeDelete
			if v.DeviceID != nil {
				how.DeviceID = *v.DeviceID
			}
			return c.api.Volume.Delete(ctx, id, how, opts...)
		})
	})
	if isGone(err) {
		return nil
	}
	return err
}

// madeVolume finds the volume that a create made, where the server's task does
// not name it: the only one of that size on the device that is as new as the task.
func (c *connection) madeVolume(ctx context.Context, t client.Task, o client.VolumeCreate) (string, error) {
	all, err := c.api.Volume.List(ctx, client.VolumeListOptions{DeviceID: o.DeviceID})
	if err != nil {
		return "", err
	}
	found := ""
	for _, v := range all {
		if v.Root() || v.SizeGiB != o.SizeGiB || v.CreatedAt.Before(t.Created) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("the server does not tell which volume task %s has made, and %s and %s both may be it: import the right one, and create one at a time (-parallelism=1)", t.ID, found, v.ID)
		}
		found = v.ID
	}
	if found == "" {
		return "", fmt.Errorf("the server does not tell which volume task %s has made, and device %d has no new one of %d GiB", t.ID, o.DeviceID, o.SizeGiB)
	}
	return found, nil
}
