package isoimage

import (
	"errors"
	"strings"
	"unicode/utf16"
)

// Tag identifiers of ECMA-167 descriptors.
const (
	tagAnchor      = 2
	tagPointer     = 3
	tagPartition   = 5
	tagLogical     = 6
	tagTerminating = 8
)

const (
	maxSequence   = 32   // descriptors read from one volume descriptor sequence
	maxDescriptor = 4096 // bytes of one that are read; real ones fit in 512
	minDescriptor = 512
	anchorBlock   = 256
)

// udfVolume is what the volume descriptors of UDF say.
type udfVolume struct {
	label string
	end   int64 // where the last claimed byte ends
}

// udf finds the anchor and reads the main volume descriptor sequence, or the
// reserve one when the main one is damaged. hint is the least block size.
func (im *image) udf(hint int64) (udfVolume, error) {
	a, block, err := im.anchor()
	if err != nil {
		return udfVolume{}, err
	}
	if a == nil {
		// The anchor at block 256 is in every image; one that ends before
		// it has been cut off.
		if least := (anchorBlock + 1) * max(hint, sectorSize); im.size < least {
			return udfVolume{}, truncated(least, im.size)
		}
		return udfVolume{}, malformed("its UDF part has no valid anchor")
	}
	var first error
	for _, at := range []int{16, 24} {
		seq := blockExtent(a[at:], block)
		vol, err := im.sequence(seq, block)
		if err == nil {
			return im.whole(vol, blockExtent(a[16:], block), blockExtent(a[24:], block))
		}
		if verdict := (*Error)(nil); !errors.As(err, &verdict) {
			return udfVolume{}, err
		}
		if first == nil {
			first = err
		}
	}
	return udfVolume{}, first
}

// whole holds the claims of vol and of both sequences against the file.
func (im *image) whole(vol udfVolume, seqs ...extent) (udfVolume, error) {
	for _, e := range seqs {
		if e.size > 0 {
			vol.end = max(vol.end, e.off+e.size)
		}
	}
	if vol.end > im.size {
		return vol, truncated(vol.end, im.size)
	}
	return vol, nil
}

// blockExtent reads an extent_ad: length in bytes, then first block.
func blockExtent(b []byte, block int64) extent {
	return extent{off: int64(le.Uint32(b[4:])) * block, size: int64(le.Uint32(b))}
}

// anchor looks for an anchor volume descriptor pointer at the places the
// standard allows, for every block size. The tag carries its own block number,
// so one block size cannot be taken for another. It returns nil when there is
// none.
func (im *image) anchor() (desc []byte, block int64, err error) {
	for _, block := range []int64{2048, 512, 4096, 1024, 8192, 16384, 32768} {
		blocks := im.size / block
		for _, n := range []int64{anchorBlock, blocks - 1, blocks - 1 - anchorBlock, 2 * anchorBlock} {
			if n <= 0 || !im.has(n*block, minDescriptor) {
				continue
			}
			b, err := im.read(n*block, minDescriptor)
			if err != nil {
				return nil, 0, err
			}
			if id, ok := tag(b, n); ok && id == tagAnchor {
				return b, block, nil
			}
		}
	}
	return nil, 0, nil
}

// tag checks a descriptor tag found at block n: its sum, the CRC of what it
// covers, and its own place.
func tag(b []byte, n int64) (id uint16, ok bool) {
	var sum byte
	for i, c := range b[:16] {
		if i != 4 {
			sum += c
		}
	}
	length := int(le.Uint16(b[10:]))
	if sum != b[4] || int64(le.Uint32(b[12:])) != n || 16+length > len(b) {
		return 0, false
	}
	return le.Uint16(b), crc16(b[16:16+length]) == le.Uint16(b[8:])
}

// crc16 is the CRC of ECMA-167 7.2.6: polynomial 0x1021, start value 0.
func crc16(b []byte) uint16 {
	var crc uint16
	for _, c := range b {
		crc ^= uint16(c) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
	}
	return crc
}

// sequence walks a volume descriptor sequence. Of repeated descriptors the one
// with the highest number holds; of partitions, the one that ends last counts.
func (im *image) sequence(e extent, block int64) (udfVolume, error) {
	var vol udfVolume
	logical, partitions, latest := false, 0, uint32(0)
	for n := 0; n < maxSequence && e.size >= block; n++ {
		if !im.has(e.off, block) {
			return vol, truncated(e.off+block, im.size)
		}
		b, err := im.read(e.off, int(min(block, maxDescriptor)))
		if err != nil {
			return vol, err
		}
		id, ok := tag(b, e.off/block)
		if !ok {
			return vol, malformed("its UDF volume descriptors are broken")
		}
		e.off, e.size = e.off+block, e.size-block
		number := le.Uint32(b[16:])
		switch id {
		case tagPartition:
			partitions++
			start, blocks := int64(le.Uint32(b[188:])), int64(le.Uint32(b[192:]))
			vol.end = max(vol.end, (start+blocks)*block)
		case tagLogical:
			if int64(le.Uint32(b[212:])) != block {
				return vol, malformed("its UDF part has no valid block size")
			}
			if !logical || number >= latest {
				logical, latest, vol.label = true, number, dstring(b[84:212])
			}
		case tagPointer:
			e = blockExtent(b[20:], block) // the rest is there; a circle ends with n
		case tagTerminating:
			e.size = 0
		}
	}
	if !logical || partitions == 0 {
		return vol, malformed("its UDF volume descriptors are incomplete")
	}
	return vol, nil
}

// dstring decodes an OSTA CS0 string in its fixed field: the first byte says
// 8 or 16 bits a character, the last one how many bytes are used.
func dstring(b []byte) string {
	used := int(b[len(b)-1])
	if used < 2 || used >= len(b) {
		return ""
	}
	var s strings.Builder
	text := b[1:used]
	switch b[0] {
	case 8, 254:
		for _, c := range text {
			s.WriteRune(rune(c))
		}
	case 16, 255:
		units := make([]uint16, 0, len(text)/2)
		for i := 0; i+1 < len(text); i += 2 {
			units = append(units, be.Uint16(text[i:]))
		}
		s.WriteString(string(utf16.Decode(units)))
	}
	return clean(s.String(), maxLabel)
}
