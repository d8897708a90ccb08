package isoimage

import (
	"bytes"
	"strings"
)

const (
	firstDescriptor = 16 // sector of the first volume descriptor
	maxDescriptors  = 64 // sectors looked at; real images use fewer than 10
	maxDirBytes     = 64 << 10
	minISOSectors   = firstDescriptor + 2 // primary descriptor and terminator
	rootRecord      = 156                 // offset in the primary descriptor
	minRecord       = 34                  // bytes of a directory record
)

// descriptorSet is what the volume recognition area holds.
type descriptorSet struct {
	iso, udf      bool
	primary       []byte // the first primary volume descriptor
	joliet        bool
	ended         bool // the ISO 9660 set has its terminator
	catalog       uint32
	catalogSector int64 // sector of the El Torito boot record, 0 without one
	blockHint     int64 // least UDF block size, from the distance of descriptors
}

// descriptors walks the area from sector 16 until something unknown comes.
// Empty sectors are passed over: UDF with large blocks leaves gaps.
func (im *image) descriptors() (descriptorSet, error) {
	var set descriptorSet
	extended := int64(-1) // sector of the beginning of the UDF descriptors
	for n := int64(firstDescriptor); n < firstDescriptor+maxDescriptors; n++ {
		b, err := im.read(n*sectorSize, sectorSize)
		if err != nil {
			return set, err
		}
		if len(b) < sectorSize {
			break
		}
		switch id := string(b[1:6]); {
		case id == "CD001":
			set.iso = true
			set.add(b, n)
		case id == "BEA01":
			extended = n
		case (id == "NSR02" || id == "NSR03") && extended >= 0:
			set.udf = true
			set.blockHint = (n - extended) * sectorSize
		case id == "TEA01":
			return set, nil
		case id == "BOOT2" || id == "CDW02" || zero(b):
		default:
			return set, nil
		}
	}
	return set, nil
}

// add takes one ISO 9660 descriptor, found at sector n.
func (set *descriptorSet) add(b []byte, n int64) {
	if set.ended {
		return
	}
	switch b[0] {
	case 0:
		if set.catalogSector == 0 && bytes.HasPrefix(b[7:39], []byte("EL TORITO SPECIFICATION")) {
			set.catalog, set.catalogSector = le.Uint32(b[71:]), n
		}
	case 1:
		if set.primary == nil {
			set.primary = b
		}
	case 2:
		switch string(b[88:91]) {
		case "%/@", "%/C", "%/E":
			set.joliet = true
		}
	case 255:
		set.ended = true
	}
}

// both32 reads a number stored in both byte orders. Some mastering programs
// leave the big-endian half empty; two different numbers are a damage.
func both32(b []byte) (int64, bool) {
	l, h := le.Uint32(b), be.Uint32(b[4:])
	return int64(l), h == l || h == 0
}

func both16(b []byte) (int64, bool) {
	l, h := le.Uint16(b), be.Uint16(b[2:])
	return int64(l), h == l || h == 0
}

// iso9660 checks the primary volume descriptor and the root directory, and
// fills in what they say. It returns ReasonTruncated when the volume claims
// more bytes than the file has.
func (im *image) iso9660(set descriptorSet, info *Info) error {
	p := set.primary
	if p == nil {
		// What is cut off right here cannot tell how much is missing.
		if least := int64(minISOSectors * sectorSize); im.size < least {
			return truncated(least, im.size)
		}
		return malformed("it has no primary volume descriptor")
	}
	if p[6] != 1 || p[881] != 1 {
		return malformed("its primary volume descriptor has an unknown version")
	}
	block, ok := both16(p[128:])
	if !ok || block < 512 || block > 32768 || block&(block-1) != 0 {
		return malformed("its primary volume descriptor has no valid block size")
	}
	blocks, ok := both32(p[80:])
	if !ok || blocks*block < minISOSectors*sectorSize {
		return malformed("its primary volume descriptor has no valid volume size")
	}
	end := blocks * block
	if end > im.size {
		return truncated(end, im.size)
	}
	if !set.ended {
		return malformed("its volume descriptors have no end")
	}
	root, ok := rootDir(p, block, end)
	if !ok {
		return malformed("its root directory has no valid place")
	}
	dir, err := im.readDir(root)
	if err != nil {
		return err
	}
	if len(dir) < minRecord || dir[0] < minRecord || dir[32] != 1 || dir[33] != 0 {
		return malformed("its root directory is not there")
	}
	info.VolumeBytes = end
	info.Label = isoLabel(p[40:72])
	info.Joliet = set.joliet
	info.RockRidge = rockRidge(dir)
	return im.treeArch(dir, block, info)
}

// extent is a piece of the file, in bytes.
type extent struct{ off, size int64 }

// rootDir returns the root directory named by a primary volume descriptor
// whose volume ends at end.
func rootDir(p []byte, block, end int64) (extent, bool) {
	r := p[rootRecord : rootRecord+minRecord]
	at, ok1 := both32(r[2:])
	size, ok2 := both32(r[10:])
	if !ok1 || !ok2 || r[0] != minRecord || r[25]&2 == 0 {
		return extent{}, false
	}
	off := at * block
	return extent{off, size}, at >= firstDescriptor && size >= minRecord && off+size <= end
}

// isoLabel cleans a volume identifier. Its bytes have no declared encoding;
// what is not UTF-8 is shown as "_".
func isoLabel(b []byte) string { return clean(string(b), maxLabel) }

// readDir reads the first maxDirBytes of a directory.
func (im *image) readDir(e extent) ([]byte, error) {
	return im.read(e.off, int(min(e.size, maxDirBytes)))
}

// rockRidge reports whether the "." record of a root directory carries System
// Use entries of Rock Ridge.
func rockRidge(dir []byte) bool {
	end := min(int(dir[0]), len(dir))
	if end < minRecord+7 || string(dir[34:36]) != "SP" || dir[38] != 0xBE || dir[39] != 0xEF {
		return false
	}
	for at := minRecord; at+4 <= end && dir[at+2] >= 4; at += int(dir[at+2]) {
		switch string(dir[at : at+2]) {
		case "PX", "RR":
			return true
		}
	}
	return false
}

// loaderArch has the removable-media loader names of the UEFI specification.
var loaderArch = map[string]string{
	"BOOTX64.EFI":         "x86_64",
	"BOOTIA32.EFI":        "i386",
	"BOOTAA64.EFI":        "arm64",
	"BOOTARM.EFI":         "arm",
	"BOOTRISCV64.EFI":     "riscv64",
	"BOOTLOONGARCH64.EFI": "loongarch64",
}

// treeArch adds the processors with a loader in /EFI/BOOT. A tree that cannot
// be followed adds none: it is a hint, not a condition.
func (im *image) treeArch(root []byte, block int64, info *Info) error {
	dir := root
	for _, name := range []string{"EFI", "BOOT"} {
		var next extent
		for r := range records(dir) {
			if r.dir && r.name == name {
				next = extent{r.at * block, r.size}
				break
			}
		}
		if next.off <= 0 || !im.has(next.off, next.size) {
			return nil
		}
		var err error
		if dir, err = im.readDir(next); err != nil {
			return err
		}
	}
	for r := range records(dir) {
		if arch := loaderArch[r.name]; arch != "" && !r.dir {
			info.Arch = append(info.Arch, arch)
		}
	}
	return nil
}

// record is one entry of an ISO 9660 directory; the name is in upper case and
// without its version.
type record struct {
	name     string
	at, size int64
	dir      bool
}

// records yields the entries of a directory. A record never crosses a sector;
// length 0 means that the rest of the sector is empty.
func records(dir []byte) func(yield func(record) bool) {
	return func(yield func(record) bool) {
		for at := 0; at+minRecord <= len(dir); {
			n, name := int(dir[at]), int(dir[at+32])
			if n == 0 {
				at = (at/sectorSize + 1) * sectorSize
				continue
			}
			if n < minRecord || at+n > len(dir) || name+33 > n {
				return
			}
			b := dir[at : at+n]
			full, _, _ := strings.Cut(string(b[33:33+name]), ";")
			r := record{
				name: strings.ToUpper(strings.TrimSuffix(full, ".")),
				at:   int64(le.Uint32(b[2:])), size: int64(le.Uint32(b[10:])),
				dir: b[25]&2 != 0,
			}
			if !yield(r) {
				return
			}
			at += n
		}
	}
}
