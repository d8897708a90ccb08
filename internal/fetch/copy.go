package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Copy copies the first n bytes of one file of ours to another, and digests
// them like a download. On success the whole copy is there and fsynced. A file
// that is shorter is io.ErrUnexpectedEOF, one that is missing fs.ErrNotExist, a
// full disk an *Error; anything else is internal. After an error the copy is
// not whole.
func Copy(ctx context.Context, from, to string, n int64, digests []string) (_ Result, err error) {
	src, err := os.Open(from)
	if err != nil {
		return Result{}, fmt.Errorf("open file to copy: %w", err)
	}
	defer src.Close()
	sums, err := newSums(digests)
	if err != nil {
		return Result{}, err
	}
	file, err := openFile(to)
	if err != nil {
		return Result{}, StorageError("open copy", err)
	}
	out := newSink(file, sums, 0)
	defer func() {
		if cerr := out.close(); err == nil && cerr != nil {
			err = StorageError("close copy", cerr)
		}
	}()
	if err := out.restart(); err != nil {
		return Result{}, err
	}
	if err := out.copy(ctx, src, n); err != nil {
		return Result{}, err
	}
	if err := file.Sync(); err != nil {
		return Result{}, StorageError("sync copy", err)
	}
	SyncFolder(to)
	d := download{req: Request{Digests: digests}, st: State{Total: n}, sink: out}
	return d.result(), nil
}

// copy appends n bytes of src.
func (s *sink) copy(ctx context.Context, src io.Reader, n int64) error {
	for s.off < n {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		buf := s.buffer()
		m, err := io.ReadFull(src, buf[:min(n-s.off, blockBytes)])
		if err != nil {
			s.release(buf)
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read file to copy: %w", err)
		}
		if err := s.write(buf[:m]); err != nil {
			return err
		}
	}
	return nil
}
