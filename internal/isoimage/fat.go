package isoimage

import "strings"

const (
	maxClusters = 32 // of one directory
	maxCluster  = 64 << 10
)

// fat is the FAT file system of an EFI boot image, as far as it takes to list
// /EFI/BOOT.
type fat struct {
	im         *image
	cluster    int   // bytes in a cluster
	bits       int   // of a table entry: 12, 16 or 32
	table      int64 // where things start in the file
	root, data int64
	end        int64  // by its own parameter block
	rootBytes  int    // size of the fixed root directory (12 and 16 bits)
	rootFirst  uint32 // first cluster of the root directory (32 bits)
}

// loaders returns the processors with a loader in /EFI/BOOT. A tree that
// cannot be followed has none: this is a hint, not a condition.
func (fs fat) loaders() ([]string, error) {
	dir, err := fs.rootDir()
	for _, name := range []string{"EFI", "BOOT"} {
		if err != nil {
			return nil, err
		}
		first := uint32(0)
		for name8, e := range fatRecords(dir) {
			if name8 == name && e[11]&0x10 != 0 {
				first = uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:]))
				break
			}
		}
		if first < 2 {
			return nil, nil
		}
		dir, err = fs.chain(first)
	}
	var archs []string
	for name, e := range fatRecords(dir) {
		if arch := shortLoader(name); arch != "" && e[11]&0x10 == 0 {
			archs = append(archs, arch)
		}
	}
	return archs, err
}

// shortLoader is loaderArch for 8.3 names; long names are cut with a "~".
func shortLoader(name string) string {
	switch {
	case strings.HasPrefix(name, "BOOTRI~"):
		return "riscv64"
	case strings.HasPrefix(name, "BOOTLO~"):
		return "loongarch64"
	}
	return loaderArch[name]
}

// openFAT reads the parameter block of the FAT file system at off; ok is false
// when there is none.
func (im *image) openFAT(off int64) (fs fat, ok bool, err error) {
	b, err := im.read(off, 512)
	if err != nil || len(b) < 512 {
		return fat{}, false, err
	}
	fs, ok = parseFAT(b, off)
	fs.im = im
	return fs, ok, nil
}

// parseFAT reads the parameter block b of a file system at off.
func parseFAT(b []byte, off int64) (fat, bool) {
	sector, per := int64(le.Uint16(b[11:])), int64(b[13])
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || per == 0 || per&(per-1) != 0 ||
		per*sector > maxCluster || b[16] == 0 || b[16] > 2 {
		return fat{}, false
	}
	total, table := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	if table == 0 {
		table = int64(le.Uint32(b[36:]))
	}
	fs := fat{cluster: int(per * sector), end: off + total*sector, rootBytes: int(le.Uint16(b[17:])) * 32}
	reserved := int64(le.Uint16(b[14:])) * sector
	fs.table = off + reserved
	fs.root = fs.table + int64(b[16])*table*sector
	rootSize := (int64(fs.rootBytes) + sector - 1) / sector * sector
	fs.data = fs.root + rootSize
	switch count := (total*sector - (fs.data - off)) / int64(fs.cluster); {
	case reserved == 0 || table == 0 || count <= 0:
		return fat{}, false
	case count < 4085:
		fs.bits = 12
	case count < 65525:
		fs.bits = 16
	default:
		fs.bits = 32
		fs.rootFirst = le.Uint32(b[44:])
	}
	return fs, true
}

func (fs fat) rootDir() ([]byte, error) {
	if fs.bits == 32 {
		return fs.chain(fs.rootFirst)
	}
	return fs.im.read(fs.root, min(fs.rootBytes, maxDirBytes))
}

// chain reads a directory from its first cluster on, at most maxDirBytes.
func (fs fat) chain(c uint32) ([]byte, error) {
	var dir []byte
	for n := 0; n < maxClusters && len(dir) < maxDirBytes && c >= 2; n++ {
		b, err := fs.im.read(fs.data+int64(c-2)*int64(fs.cluster), fs.cluster)
		if err != nil {
			return nil, err
		}
		dir = append(dir, b...)
		if c, err = fs.next(c); err != nil {
			return nil, err
		}
	}
	return dir, nil
}

// next follows the table; 0 ends the chain.
func (fs fat) next(c uint32) (uint32, error) {
	b, err := fs.im.read(fs.table+int64(c)*int64(fs.bits)/8, (fs.bits+7)/8)
	if err != nil || len(b) < (fs.bits+7)/8 {
		return 0, err
	}
	var v, end uint32
	switch fs.bits {
	case 12:
		v, end = uint32(le.Uint16(b)), 0xFF7
		if c&1 != 0 {
			v >>= 4
		}
		v &= 0xFFF
	case 16:
		v, end = uint32(le.Uint16(b)), 0xFFF7
	default:
		v, end = le.Uint32(b)&0x0FFFFFFF, 0x0FFFFFF7
	}
	if v >= end {
		v = 0
	}
	return v, nil
}

// fatRecords yields the entries of a FAT directory with their 8.3 name in
// upper case. Deleted ones, labels and parts of long names are left out.
func fatRecords(dir []byte) func(yield func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		for ; len(dir) >= 32 && dir[0] != 0; dir = dir[32:] {
			e := dir[:32]
			if e[0] == 0xE5 || e[11]&0x08 != 0 {
				continue
			}
			name := strings.TrimRight(string(e[:8]), " ")
			if ext := strings.TrimRight(string(e[8:11]), " "); ext != "" {
				name += "." + ext
			}
			if !yield(strings.ToUpper(name), e) {
				return
			}
		}
	}
}
