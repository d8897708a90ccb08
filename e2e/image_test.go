package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"testing"

	"github.com/drivebay/drivebay/internal/isoimage"
)

// sectorBytes is the unit of ISO 9660.
const sectorBytes = 2048

// image is an ISO 9660 image: a short head and zeros up to its size, so that a
// large one costs no memory.
type image struct {
	head []byte
	size int64
}

// newImage makes a valid image. Another label makes another content. A bootable
// one has an El Torito catalogue with an entry for BIOS.
func newImage(label string, size int64, bootable bool) image {
	const descriptor, bootRecord, catalog, root, loader, sectors = 16, 17, 20, 21, 22, 24
	b := make([]byte, sectors*sectorBytes)
	at := func(n int) []byte { return b[n*sectorBytes : (n+1)*sectorBytes] }

	primary := at(descriptor)
	copy(primary, "\x01CD001\x01")
	copy(primary[40:72], label+"                                ")
	both32(primary[80:], uint32(size/sectorBytes))
	both16(primary[120:], 1)
	both16(primary[124:], 1)
	both16(primary[128:], sectorBytes)
	both32(primary[132:], 10)
	copy(primary[156:], directory(root))
	primary[881] = 1
	copy(at(root), directory(root))

	end := at(bootRecord)
	if bootable {
		copy(end, "\x00CD001\x01EL TORITO SPECIFICATION")
		binary.LittleEndian.PutUint32(end[71:], catalog)
		bootCatalog(at(catalog), loader)
		copy(at(loader), "\xfaloader")
		end = at(bootRecord + 1)
	}
	copy(end, "\xffCD001\x01")
	return image{head: b, size: size}
}

// directory is the record by which a directory of one sector names itself.
func directory(at uint32) []byte {
	r := make([]byte, 34)
	r[0], r[25], r[32] = 34, 2, 1
	both32(r[2:], at)
	both32(r[10:], sectorBytes)
	return r
}

// bootCatalog has a validation entry and one bootable entry, at sector loader.
func bootCatalog(b []byte, loader uint32) {
	b[0], b[30], b[31] = 1, 0x55, 0xAA
	binary.LittleEndian.PutUint16(b[28:], 0x55AA) // all 16-bit words add up to 0
	b[32], b[38] = 0x88, 4
	binary.LittleEndian.PutUint32(b[40:], loader)
}

func both16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func both32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

// ReadAt implements io.ReaderAt.
func (i image) ReadAt(p []byte, off int64) (int, error) {
	if off >= i.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), i.size-off))
	clear(p[:n])
	if off < int64(len(i.head)) {
		copy(p[:n], i.head[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (i image) reader() *io.SectionReader { return io.NewSectionReader(i, 0, i.size) }

// sha256 is the digest of the image in lower-case hex.
func (i image) sha256() string {
	h := sha256.New()
	if _, err := io.Copy(h, i.reader()); err != nil {
		panic(err) // memory does not fail
	}
	return hex.EncodeToString(h.Sum(nil))
}

// etag tells contents apart.
func (i image) etag() string { return fmt.Sprintf(`"%x-%d"`, sha256.Sum256(i.head), i.size) }

func TestImage(t *testing.T) {
	t.Parallel()
	for _, bootable := range []bool{false, true} {
		i := newImage("PROBE", 1<<20, bootable)
		info, err := isoimage.Inspect(i.reader(), i.size)
		if err != nil || info.Label != "PROBE" || info.BIOS != bootable {
			t.Errorf("bootable %t: got %+v, %v", bootable, info, err)
		}
		whole, err := io.ReadAll(i.reader())
		if err != nil || int64(len(whole)) != i.size || !bytes.HasPrefix(whole, i.head) {
			t.Errorf("bootable %t: read %d bytes, %v", bootable, len(whole), err)
		}
	}
}
