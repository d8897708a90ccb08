package isoimage

import (
	"hash/crc32"
	"slices"
	"strings"
)

// Where the builder puts things, in sectors. All images are imageSectors long,
// which leaves room for a UDF anchor at 256.
const (
	imageSectors  = 300
	secPrimary    = 16
	secBoot       = 17
	secCatalog    = 40
	secRoot       = 41
	secEFI        = 42
	secEFIBoot    = 43
	secBIOSImage  = 44
	secUEFIImage  = 45 // fatSectors long
	secMain       = 100
	secReserve    = 116
	secAnchor     = 256
	secPartition  = 257
	secRootFile   = 60
	fatSectors    = 64 // of 512 bytes
	builtISOBytes = imageSectors * sectorSize
)

// bootLine is one entry of a catalogue to build.
type bootLine struct {
	platform byte
	mark     byte // markBootable when 0
	media    byte
	lba      uint32
}

// spec says what to build.
type spec struct {
	label     string
	boot      []bootLine
	joliet    bool
	rockRidge bool
	tree      []string // loaders in /EFI/BOOT of the ISO 9660 part
	fat       []string // loaders in the EFI boot image, as 8.3 names of 11 bytes
	mbr, gpt  bool
	noISO     bool
	udf       bool
	udfLabel  []byte // dstring content without its length: compression and text
	block     int    // of UDF: 512, 1024 or 2048 (when 0)
}

var biosLine = bootLine{platform: platformBIOS, lba: secBIOSImage}
var uefiLine = bootLine{platform: platformUEFI, lba: secUEFIImage}

// full is an image with everything.
func full() spec {
	return spec{
		label: "TEST_DISC", boot: []bootLine{biosLine, uefiLine}, joliet: true, rockRidge: true,
		tree: []string{"BOOTX64.EFI", "GRUBX64.EFI"}, fat: []string{"BOOTX64 EFI", "BOOTAA64EFI"}, mbr: true, gpt: true,
	}
}

func plain() spec { return spec{label: "PLAIN"} }

func udfOnly() spec {
	return spec{noISO: true, udf: true, udfLabel: []byte("\x08UDF disc")}
}

func put16(b []byte, v uint16) { le.PutUint16(b, v); be.PutUint16(b[2:], v) }
func put32(b []byte, v uint32) { le.PutUint32(b, v); be.PutUint32(b[4:], v) }

func sector(b []byte, n int) []byte { return b[n*sectorSize : (n+1)*sectorSize] }

// build makes an image.
func build(s spec) []byte {
	b := make([]byte, builtISOBytes)
	next := firstDescriptor
	if !s.noISO {
		next = buildISO(b, s)
	}
	if s.udf {
		buildUDF(b, s, next)
	}
	for n := range imageSectors { // file data, so that nothing is empty by chance
		if n >= secRootFile+20 && n < secMain {
			sector(b, n)[0] = byte(n)
		}
	}
	if s.mbr {
		buildMBR(b, 0x17, 0, imageSectors*4)
	}
	if s.gpt {
		buildGPT(b, imageSectors*4-34)
	}
	return b
}

// buildISO returns the sector behind the last descriptor.
func buildISO(b []byte, s spec) int {
	primary := sector(b, secPrimary)
	copy(primary, "\x01CD001\x01")
	copy(primary[40:72], s.label+strings.Repeat(" ", 32))
	put32(primary[80:], imageSectors)
	put16(primary[120:], 1)
	put16(primary[124:], 1)
	put16(primary[128:], sectorSize)
	put32(primary[132:], 10)
	copy(primary[rootRecord:], isoRecord("\x00", secRoot, sectorSize, true, nil))
	primary[881] = 1
	next := secBoot
	if s.boot != nil {
		record := sector(b, secBoot)
		copy(record, "\x00CD001\x01EL TORITO SPECIFICATION")
		le.PutUint32(record[71:], secCatalog)
		buildCatalog(sector(b, secCatalog), s.boot)
		copy(sector(b, secBIOSImage), "\xfaloader")
		buildFAT(b[secUEFIImage*sectorSize:], s.fat)
		next++
	}
	if s.joliet {
		copy(sector(b, next), "\x02CD001\x01")
		copy(sector(b, next)[88:], "%/E")
		next++
	}
	copy(sector(b, next), "\xffCD001\x01")

	var use []byte
	if s.rockRidge {
		use = []byte("SP\x07\x01\xbe\xef\x00PX\x24\x01" + strings.Repeat("\x00", 32))
	}
	root := isoRecord("\x00", secRoot, sectorSize, true, use)
	root = append(root, isoRecord("\x01", secRoot, sectorSize, true, nil)...)
	if s.tree != nil {
		root = append(root, isoRecord("EFI", secEFI, sectorSize, true, nil)...)
		copy(sector(b, secEFI), isoRecord("BOOT", secEFIBoot, sectorSize, true, nil))
		var dir []byte
		for _, name := range s.tree {
			dir = append(dir, isoRecord(name+";1", secRootFile, 512, false, nil)...)
		}
		copy(sector(b, secEFIBoot), dir)
	}
	copy(sector(b, secRoot), root)
	return next + 1
}

func isoRecord(name string, at, size uint32, dir bool, use []byte) []byte {
	n := 33 + len(name)
	n += n & 1
	r := make([]byte, n, n+len(use))
	put32(r[2:], at)
	put32(r[10:], size)
	if dir {
		r[25] = 2
	}
	r[32] = byte(len(name))
	copy(r[33:], name)
	r = append(r, use...)
	r[0] = byte(len(r))
	return r
}

func buildCatalog(b []byte, lines []bootLine) {
	b[0], b[1], b[30], b[31] = markValidation, lines[0].platform, 0x55, 0xAA
	fixCatalog(b)
	at := entrySize
	for i, l := range lines {
		if i > 0 {
			b[at], b[at+1], b[at+2] = markHeader, l.platform, 1
			if i == len(lines)-1 {
				b[at] = markLastHeader
			}
			at += entrySize
		}
		b[at] = markBootable
		if l.mark != 0 {
			b[at] = l.mark
		}
		b[at+1] = l.media
		b[at+6] = 4
		le.PutUint32(b[at+8:], l.lba)
		at += entrySize
	}
}

// fixCatalog sets the checksum of the validation entry.
func fixCatalog(b []byte) {
	b[28], b[29] = 0, 0
	var sum uint16
	for i := 0; i < entrySize; i += 2 {
		sum += le.Uint16(b[i:])
	}
	le.PutUint16(b[28:], -sum)
}

// buildFAT makes a FAT12 file system: the table in sector 1, the root directory
// in sector 2, clusters of one sector from sector 3 on.
func buildFAT(b []byte, loaders []string) {
	copy(b, "\xeb\x3c\x90mkfatimg")
	le.PutUint16(b[11:], 512)
	b[13] = 1
	le.PutUint16(b[14:], 1)
	b[16] = 1
	le.PutUint16(b[17:], 16)
	le.PutUint16(b[19:], fatSectors)
	le.PutUint16(b[22:], 1)
	// Clusters 2 (EFI) and 3 -> 4 (BOOT, in two pieces).
	copy(b[512:], "\xf8\xff\xff\xff\x4f\x00\xff\x0f\x00")
	entry := func(b []byte, name string, attr byte, cluster uint16) {
		copy(b, name)
		b[11] = attr
		le.PutUint16(b[26:], cluster)
	}
	root, efi, boot := b[2*512:], b[3*512:], b[4*512:]
	entry(root, "LABEL      ", 0x08, 0)
	entry(root[32:], "EFI        ", 0x10, 2)
	entry(efi, ".          ", 0x10, 2)
	entry(efi[32:], "BOOT       ", 0x10, 3)
	for i := range 16 { // fill the first cluster with deleted files
		entry(boot[i*32:], "\xe5OOTARM EFI", 0x20, 9)
	}
	for i, name := range loaders {
		entry(boot[512+i*32:], name, 0x20, 10)
	}
}

func buildMBR(b []byte, kind byte, start, sectors uint32) {
	e := b[446:462]
	e[0], e[4] = 0x80, kind
	le.PutUint32(e[8:], start)
	le.PutUint32(e[12:], sectors)
	b[510], b[511] = 0x55, 0xAA
}

func buildGPT(b []byte, last uint64) {
	h := b[512 : 512+92]
	copy(h, "EFI PART\x00\x00\x01\x00")
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[48:], last)
	clear(h[16:20])
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
}

// buildUDF lays UDF over the image, its recognition descriptors from sector
// next on. Places are those of 2048-byte blocks whatever the block size.
func buildUDF(b []byte, s spec, next int) {
	block := s.block
	if block == 0 {
		block = sectorSize
	}
	for i, id := range []string{"BEA01", "NSR02", "TEA01"} {
		copy(sector(b, next+i), "\x00"+id+"\x01")
	}
	scale := func(sec int) uint32 { return uint32(sec * sectorSize / block) }
	at := func(n uint32) []byte { return b[int(n)*block:] }
	for _, sec := range []int{secMain, secReserve} {
		n := scale(sec)
		logical := at(n)
		label := s.udfLabel
		copy(logical[84:212], label)
		if len(label) > 0 {
			logical[211] = byte(len(label))
		}
		le.PutUint32(logical[212:], uint32(block))
		setTag(logical, tagLogical, n)
		part := at(n + 1)
		copy(part[24:], "\x00+NSR02")
		le.PutUint32(part[188:], scale(secPartition)+1)
		le.PutUint32(part[192:], scale(imageSectors-1)-scale(secPartition)-1)
		setTag(part, tagPartition, n+1)
		setTag(at(n+2), tagTerminating, n+2)
	}
	anchor := at(anchorBlock)
	for i, sec := range []int{secMain, secReserve} {
		le.PutUint32(anchor[16+8*i:], uint32(4*block))
		le.PutUint32(anchor[20+8*i:], scale(sec))
	}
	setTag(anchor, tagAnchor, anchorBlock)
}

// setTag finishes a descriptor of 512 bytes at block n.
func setTag(b []byte, id uint16, n uint32) {
	const covered = 496
	le.PutUint16(b, id)
	le.PutUint16(b[2:], 2)
	le.PutUint16(b[8:], crc16(b[16:16+covered]))
	le.PutUint16(b[10:], covered)
	le.PutUint32(b[12:], n)
	b[4] = 0
	var sum byte
	for _, c := range b[:16] {
		sum += c
	}
	b[4] = sum
}

// retag finishes the descriptor at a sector again after a change.
func retag(b []byte, sec int) {
	d := sector(b, sec)
	setTag(d, le.Uint16(d), uint32(sec))
}

func with(s spec, change func(*spec)) spec {
	s.boot, s.tree, s.fat = slices.Clone(s.boot), slices.Clone(s.tree), slices.Clone(s.fat)
	change(&s)
	return s
}
