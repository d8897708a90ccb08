package isoimage

import (
	"bytes"
	"sync"
	"testing"
	"unicode/utf8"
)

// fuzzBases are the images that FuzzInspect changes; number 0 is the fuzzed
// bytes themselves.
var fuzzBases = sync.OnceValue(func() [][]byte {
	bridge := with(full(), func(s *spec) { s.udf = true; s.udfLabel = []byte("\x08B") })
	return [][]byte{
		nil, build(full()), build(udfOnly()), build(bridge),
		build(with(udfOnly(), func(s *spec) { s.block = 512 })),
	}
})

// patched applies changes of 8 bytes each to a copy of base: a sector, an
// offset in it, and 4 bytes to put there. Sums are made right again after each
// change, so that the code behind the checks is reached too, unless the top
// bit of the sector is set.
func patched(base, changes []byte) []byte {
	b := bytes.Clone(base)
	for ; len(changes) >= 8; changes = changes[8:] {
		sec, off := int(le.Uint16(changes)), int(le.Uint16(changes[2:]))%(sectorSize-4)
		raw := sec&0x8000 != 0
		sec = sec & 0x7FFF % imageSectors
		d := sector(b, sec)
		copy(d[off:], changes[4:8])
		switch {
		case raw:
		case sec == secCatalog:
			fixCatalog(d)
		case sec >= secMain && sec < secReserve+3 || sec == secAnchor:
			retag(b, sec)
		}
	}
	return b
}

func FuzzInspect(f *testing.F) {
	for base := range byte(5) {
		f.Add(base, uint32(0), []byte{})
		f.Add(base, uint32(1000), []byte{16, 0, 80, 0, 1, 2, 3, 4})
	}
	f.Add(byte(0), uint32(0), []byte("<!doctype html><title>x"))
	f.Fuzz(func(t *testing.T, base byte, cut uint32, data []byte) {
		bases := fuzzBases()
		b := data
		if n := int(base) % len(bases); n > 0 {
			b = patched(bases[n], data)
		}
		if cut > 0 {
			b = b[:int(cut)%(len(b)+1)]
		}
		info, err := inspectBytes(t, b)
		if err != nil {
			checkVerdict(t, err)
			return
		}
		checkInfo(t, info, int64(len(b)))
	})
}

func checkVerdict(t *testing.T, err error) {
	t.Helper()
	switch reasonOf(err) {
	case ReasonNotISO, ReasonTruncated, ReasonMalformed:
	default:
		t.Errorf("error without a verdict: %v", err)
	}
	if text := err.Error(); !utf8.ValidString(text) || len(text) > 1000 {
		t.Errorf("bad text %q", text)
	}
}

func checkInfo(t *testing.T, info Info, size int64) {
	t.Helper()
	if info.VolumeBytes <= 0 || info.VolumeBytes > size {
		t.Errorf("volume of %d bytes in a file of %d", info.VolumeBytes, size)
	}
	if !utf8.ValidString(info.Label) || utf8.RuneCountInString(info.Label) > maxLabel {
		t.Errorf("bad label %q", info.Label)
	}
	if (info.BIOS || info.UEFI) && !info.Bootable || info.Bootable != (info.BootNote == "") {
		t.Errorf("contradiction: %+v", info)
	}
	if (CheckBootable(info) == nil) != info.Bootable || len(info.Arch) > len(loaderArch) {
		t.Errorf("contradiction: %+v", info)
	}
	switch info.Format {
	case "iso9660", "udf", "iso9660+udf":
	default:
		t.Errorf("format %q", info.Format)
	}
}
