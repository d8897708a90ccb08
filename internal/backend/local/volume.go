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
	if spec.Bytes < 1 || spec.Ref != "" && !backend.ValidID(spec.Ref) {
		return backend.ErrInvalid
	}
	leave, err := d.gate.Enter(ctx, backend.VolumeObject(spec.ID))
	if err != nil {
		return err
	}
	defer leave()
	return ioError("create volume "+spec.ID, d.createVolume(ctx, spec))
}

func (d *Driver) createVolume(ctx context.Context, spec backend.VolumeSpec) error {
	name := volumeFile(spec.ID)
	have, there, err := d.volumeLen(spec.ID)
	switch {
	case err != nil:
		return err
	case there && have != spec.Bytes:
		return backend.ErrConflict
	case !there:
		if err := d.makeVolume(ctx, name, spec.Bytes); err != nil {
			return err
		}
	}
	// Where it was there, the call that made it may have failed here.
	return d.settle(name)
}

// makeVolume gives the volume its name before anything is on the disk: see doc.go.
func (d *Driver) makeVolume(ctx context.Context, name string, bytes int64) error {
	temp, f, err := d.create(name, func(f *os.File) error { return f.Truncate(bytes) })
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return d.publish(ctx, temp, d.volumes.file(name))
}

// settle returns once the file's length and its name are on the disk. Both are
// asked for at once, and most filesystems write them together.
func (d *Driver) settle(name string) error {
	f, err := os.OpenFile(d.volumes.file(name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.step("sync", name); err != nil {
		return err
	}
	named := make(chan error, 1)
	go func() { named <- d.volumes.sync() }()
	return errors.Join(f.Sync(), <-named)
}

// volumeLen is fileLen for a volume. An empty file is what a power cut may
// leave of one that was never finished, and counts as none.
func (d *Driver) volumeLen(id string) (bytes int64, there bool, err error) {
	bytes, there, err = fileLen(d.volumes.file(volumeFile(id)))
	return bytes, there && bytes > 0, err
}

// GrowVolume implements backend.Driver. A simulated guest sees the new size at
// once.
func (d *Driver) GrowVolume(ctx context.Context, volumeID string, bytes int64) error {
	if bytes < 1 {
		return backend.ErrInvalid
	}
	leave, err := d.gate.Enter(ctx, backend.VolumeObject(volumeID))
	if err != nil {
		return err
	}
	defer leave()
	return ioError("grow volume "+volumeID, d.growVolume(ctx, volumeID, bytes))
}

func (d *Driver) growVolume(ctx context.Context, id string, bytes int64) error {
	name := volumeFile(id)
	have, there, err := d.volumeLen(id)
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
	leave, err := d.gate.Enter(ctx, backend.VolumeObject(volumeID))
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
