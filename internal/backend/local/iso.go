package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/drivebay/drivebay/internal/backend"
)

func imageFile(key string) string { return key + ".iso" }

// ImportISO implements backend.Driver. A file on the same filesystem is moved,
// whatever its size; from another it is copied, and the file at path stays.
func (d *Driver) ImportISO(ctx context.Context, spec backend.ISOSpec, path string) error {
	if spec.Bytes < 1 {
		return backend.ErrInvalid
	}
	leave, err := d.gate.Enter(ctx, backend.ImageObject(spec.Key))
	if err != nil {
		return err
	}
	defer leave()
	return ioError("import image "+spec.Key, d.importISO(ctx, spec, path))
}

func (d *Driver) importISO(ctx context.Context, spec backend.ISOSpec, path string) error {
	name := imageFile(spec.Key)
	have, there, err := fileLen(d.isos.file(name))
	switch {
	case err != nil:
		return err
	case there && have != spec.Bytes:
		return backend.ErrConflict
	case there:
		return d.isos.sync() // the call that stored it may have failed here
	}
	bytes, there, err := fileLen(path)
	if err != nil || !there {
		return backend.ErrInvalid.Because(errors.Join(fmt.Errorf("no regular file at %s", path), err))
	}
	if bytes != spec.Bytes {
		return backend.ErrInvalid.Because(fmt.Errorf("%s has %d bytes, not %d", path, bytes, spec.Bytes))
	}
	if err := d.moveImage(ctx, name, path); !isOtherDisk(err) {
		return err
	}
	return d.copyImage(ctx, name, spec.Bytes, path)
}

// moveImage renames the file at path once its content is on the disk.
func (d *Driver) moveImage(ctx context.Context, name, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err = f.Chmod(0o600); err == nil {
		err = d.syncFile(f, name)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.step("rename", name); err != nil {
		return err
	}
	if err := d.rename(path, d.isos.file(name)); err != nil {
		return err
	}
	return d.isos.sync()
}

func (d *Driver) copyImage(ctx context.Context, name string, bytes int64, path string) error {
	src, err := os.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	temp, err := d.stage(name, func(f *os.File) error {
		return copyFile(ctx, f, src, bytes)
	})
	if err != nil {
		return err
	}
	if err := d.publish(ctx, temp, d.isos.file(name)); err != nil {
		return err
	}
	return d.isos.sync()
}

// copyFile copies src, which must be exactly bytes long. It looks at ctx between
// pieces, and not in between so that the kernel can copy.
func copyFile(ctx context.Context, dst, src *os.File, bytes int64) error {
	const piece = 16 << 20
	for left := bytes + 1; left > 0; { // one more than wanted shows a file that grew
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(dst, src, min(left, piece))
		left -= n
		switch {
		case errors.Is(err, io.EOF) && left == 1:
			return nil
		case errors.Is(err, io.EOF):
			left = 0
		case err != nil:
			return err
		}
	}
	return backend.ErrInvalid.Because(errors.New("the file changed while it was copied"))
}

// DeleteISO implements backend.Driver.
func (d *Driver) DeleteISO(ctx context.Context, isoKey string) error {
	leave, err := d.gate.Enter(ctx, backend.ImageObject(isoKey))
	if err != nil {
		return err
	}
	defer leave()
	// Guests take an image under its lock, so this stays true until we leave.
	if d.inDrive(isoKey) {
		return backend.ErrInUse
	}
	return ioError("delete image "+isoKey, d.unlink(&d.isos, imageFile(isoKey)))
}
