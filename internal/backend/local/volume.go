package local

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/drivebay/drivebay/internal/backend"
)

func volumeFile(id string) string { return id + ".raw" }

// EnsureVolume implements backend.Driver. The file is sparse: it takes space as
// it is written, so the sum of all volumes may exceed the disk.
func (d *Driver) EnsureVolume(ctx context.Context, spec backend.VolumeSpec) error {
	if !backend.ValidID(spec.ID) || spec.Bytes < 1 {
		return backend.ErrInvalid
	}
	leave, err := d.enter(ctx, volumeLock(spec.ID))
	if err != nil {
		return err
	}
	defer leave()
	return ioError("create volume "+spec.ID, d.createVolume(ctx, spec))
}

func (d *Driver) createVolume(ctx context.Context, spec backend.VolumeSpec) error {
	name := volumeFile(spec.ID)
	have, there, err := fileLen(d.volumes.file(name))
	switch {
	case err != nil:
		return err
	case there && have != spec.Bytes:
		return backend.ErrConflict
	case there:
		return d.volumes.sync() // the call that made it may have failed here
	}
	temp, err := d.stage(name, func(f *os.File) error { return f.Truncate(spec.Bytes) })
	if err != nil {
		return err
	}
	if err := d.publish(ctx, temp, d.volumes.file(name)); err != nil {
		return err
	}
	return d.volumes.sync()
}

// GrowVolume implements backend.Driver. A simulated guest sees the new size at
// once.
func (d *Driver) GrowVolume(ctx context.Context, volumeID string, bytes int64) error {
	if !backend.ValidID(volumeID) || bytes < 1 {
		return backend.ErrInvalid
	}
	leave, err := d.enter(ctx, volumeLock(volumeID))
	if err != nil {
		return err
	}
	defer leave()
	return ioError("grow volume "+volumeID, d.growVolume(ctx, volumeID, bytes))
}

func (d *Driver) growVolume(ctx context.Context, id string, bytes int64) error {
	name := volumeFile(id)
	have, there, err := fileLen(d.volumes.file(name))
	switch {
	case err != nil:
		return err
	case !there:
		return backend.ErrVolumeNotFound
	case bytes < have:
		return backend.ErrShrink
	}
	f, err := os.OpenFile(d.volumes.file(name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return backend.ErrVolumeNotFound
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := ctx.Err(); err != nil {
		return err
	}
	if bytes > have {
		if err := d.step("write", name); err != nil {
			return err
		}
		if err := f.Truncate(bytes); err != nil {
			return err
		}
	}
	return d.syncFile(f, name) // at that size already too: an earlier call may have failed here
}

// DeleteVolume implements backend.Driver.
func (d *Driver) DeleteVolume(ctx context.Context, volumeID string) error {
	if !backend.ValidID(volumeID) {
		return backend.ErrInvalid
	}
	leave, err := d.enter(ctx, volumeLock(volumeID))
	if err != nil {
		return err
	}
	defer leave()
	// Guests take a volume under its lock, so this stays true until we leave.
	if d.holder(volumeID) != "" {
		return backend.ErrInUse
	}
	return ioError("delete volume "+volumeID, d.unlink(&d.volumes, volumeFile(volumeID)))
}
