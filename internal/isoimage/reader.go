package isoimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// image is a file with a budget: it never reads more than left bytes, and
// never outside the file.
type image struct {
	r    io.ReaderAt
	size int64
	left int
}

// read returns the n bytes at off, fewer at the file's end and none behind it.
// n comes from this package, never from the image.
func (im *image) read(off int64, n int) ([]byte, error) {
	if off < 0 || off >= im.size {
		return nil, nil
	}
	if rest := im.size - off; rest < int64(n) {
		n = int(rest)
	}
	if n > im.left {
		return nil, malformed("its descriptors cannot be read within %d bytes", MaxRead)
	}
	im.left -= n
	buf := make([]byte, n)
	got, err := im.r.ReadAt(buf, off)
	if got == n {
		return buf, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the file is shorter than its caller said
	}
	return nil, fmt.Errorf("read image at %d: %w", off, err)
}

// has reports whether the n bytes at off lie inside the file.
func (im *image) has(off, n int64) bool {
	return off >= 0 && n >= 0 && n <= im.size && off <= im.size-n
}

// zero reports whether b holds nothing but zeros.
func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
