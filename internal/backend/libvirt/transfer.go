package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"time"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// stream runs a transfer on a connection of its own: on the shared one a slow
// end of it would hold up every call. It has no deadline as a whole; it ends
// when nothing moves for as long as a call may take.
func (c *conn) stream(ctx context.Context, doing string, run func(l *lv.Libvirt, f *flow) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	limit := c.host.d.opts.CallTimeout
	l, w, err := open(c.host.url, min(limit, dialLimit))
	if err != nil {
		return backend.ErrUnavailable.Because(fmt.Errorf("connect to host %s: %v", c.host.Name, err))
	}
	defer w.Close()
	var (
		f    = &flow{stop: func() { _ = w.Close() }}
		done = make(chan error, 1)
	)
	go func() { done <- run(l, f) }()
	tick := time.NewTicker(limit)
	defer tick.Stop()
	for last := int64(-1); ; {
		var why error
		select {
		case err := <-done:
			return c.streamOutcome(doing, err)
		case <-ctx.Done():
			why = ctx.Err()
		case <-c.host.d.gate.Closing():
			why = backend.ErrUnavailable.Because(fs.ErrClosed)
		case <-tick.C:
			now := f.moved.Load()
			if now != last {
				last = now
				continue
			}
			why = backend.ErrUnavailable.Because(fmt.Errorf("%s on host %s: nothing moved for %s", doing, c.host.Name, limit))
		}
		_ = w.Close()
		<-done // run has let go of what it reads and writes
		return why
	}
}

// streamOutcome is the shared connection's rule, without dropping that.
func (c *conn) streamOutcome(doing string, err error) error {
	var (
		answer lv.Error
		known  *backend.Error
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer), errors.As(err, &known):
		return fmt.Errorf("%s on host %s: %w", doing, c.host.Name, err)
	}
	return backend.ErrUnavailable.Because(fmt.Errorf("%s on host %s: %v", doing, c.host.Name, err))
}

// fill uploads an image's content. libvirt reports success for content that is
// too short, so what went through is counted and hashed here.
func (p *pool) fill(ctx context.Context, spec backend.ISOSpec, content io.Reader) error {
	f, err := p.lookup(ctx, imageFile(spec.Key))
	if err != nil {
		return err
	}
	if f == nil || f.bytes != spec.Bytes {
		return backend.ErrUnavailable.Because(fmt.Errorf("image %s is not as it was made", spec.Key))
	}
	sum := sha256.New()
	var read int64
	err = p.c.stream(ctx, "upload image", func(l *lv.Libvirt, fl *flow) error {
		err := l.StorageVolUpload(f.ref, fl.from(io.TeeReader(io.LimitReader(content, spec.Bytes), sum)), 0, uint64(spec.Bytes), 0)
		read = fl.moved.Load()
		return err
	})
	if err != nil {
		return err
	}
	if read != spec.Bytes || hex.EncodeToString(sum.Sum(nil)) != spec.Key {
		return backend.ErrInvalid.Because(fmt.Errorf("%d bytes with the hash %x came through", read, sum.Sum(nil)))
	}
	return f.verify(ctx, spec.Key)
}

// verify reads an uploaded image back. libvirt confirms an upload before it has
// written the end of it, so a storage that is full by then goes unnoticed.
func (f *file) verify(ctx context.Context, key string) error {
	sum := sha256.New()
	err := f.read(ctx, func(r io.Reader) error {
		_, err := io.Copy(sum, r)
		return err
	})
	if err != nil || hex.EncodeToString(sum.Sum(nil)) == key {
		return err
	}
	if err := f.p.refresh(ctx); err != nil {
		return err
	}
	free, err := ask(ctx, f.p.c, "look at pool "+f.p.name, func() (uint64, error) {
		_, _, _, free, err := f.p.c.l.StoragePoolGetInfo(f.p.ref)
		return free, err
	})
	if err != nil {
		return err
	}
	err = fmt.Errorf("image %s was stored with the hash %x; the pool has %d bytes left", key, sum.Sum(nil), free)
	if free < 1<<20 {
		return backend.ErrNoSpace.Because(err)
	}
	return backend.ErrUnavailable.Because(err)
}

// read downloads the file while use reads it.
func (f *file) read(ctx context.Context, use func(io.Reader) error) error {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := f.p.c.stream(ctx, "download image", func(l *lv.Libvirt, fl *flow) error {
			return l.StorageVolDownload(f.ref, fl.to(w), 0, uint64(f.bytes), 0)
		})
		_ = w.CloseWithError(err) // nil is the end of the content
		done <- err
	}()
	err := use(r)
	_ = r.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // the download has nobody to read it any more
	if got := <-done; err == nil {
		return got
	}
	return err
}

// flow is what goes through a transfer.
type flow struct {
	moved atomic.Int64 // bytes
	stop  func()       // ends the transfer's connection
}

func (f *flow) from(r io.Reader) io.Reader { return reading{f, r} }
func (f *flow) to(w io.Writer) io.Writer   { return &writing{f, w, false} }

type reading struct {
	f *flow
	r io.Reader
}

func (m reading) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.f.moved.Add(int64(n))
	return n, err
}

type writing struct {
	f    *flow
	w    io.Writer
	over bool
}

// Write never fails: the library would stop taking packets, and lock up on the
// next one. The connection ends instead.
func (m *writing) Write(p []byte) (int, error) {
	if m.over {
		return len(p), nil
	}
	n, err := m.w.Write(p)
	m.f.moved.Add(int64(n))
	if m.over = err != nil; m.over {
		m.f.stop()
	}
	return len(p), nil
}
