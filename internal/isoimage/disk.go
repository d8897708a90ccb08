package isoimage

import "hash/crc32"

// partitioned reports whether the start of a file holds an MBR or GPT
// partition table.
func partitioned(head []byte) bool { return hasMBR(head) || hasGPT(head) }

// partitionSlack is how far a partition may end behind the file: the tables of
// hybrid images are often rounded up to a whole cylinder, of 8 MiB at most.
const partitionSlack = 8 << 20

// partitionEnd returns where the last partition claims to end, 0 without a
// partition table. It counts in sectors of 512 bytes, as all hybrids do.
func partitionEnd(head []byte) int64 {
	var end int64
	if hasMBR(head) {
		for e := range mbrEntries(head) {
			if e[4] != 0xEE { // GPT's placeholder may claim anything
				end = max(end, int64(le.Uint32(e[8:]))+int64(le.Uint32(e[12:])))
			}
		}
	}
	if hasGPT(head) {
		// A last sector this far out is no disk's.
		if last := le.Uint64(head[512+48:]); last < 1<<40 {
			end = max(end, int64(last)+1)
		}
	}
	return end * 512
}

// mbrEntries yields the lines of a partition table that are in use. Type 0
// with the active flag is in use too: GRUB's images have it.
func mbrEntries(head []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for at := 446; at < 510; at += 16 {
			e := head[at : at+16]
			if le.Uint32(e[12:]) > 0 && (e[4] != 0 || e[0] == 0x80) && !yield(e) {
				return
			}
		}
	}
}

// hasMBR wants the signature, plausible flags in all four lines and one line
// in use.
func hasMBR(head []byte) bool {
	if len(head) < 512 || head[510] != 0x55 || head[511] != 0xAA {
		return false
	}
	for at := 446; at < 510; at += 16 {
		if head[at] != 0 && head[at] != 0x80 {
			return false
		}
	}
	for range mbrEntries(head) {
		return true
	}
	return false
}

func hasGPT(head []byte) bool {
	if len(head) < 1024 || string(head[512:520]) != "EFI PART" {
		return false
	}
	size := le.Uint32(head[524:])
	if size < 92 || size > 512 {
		return false
	}
	b := make([]byte, size)
	copy(b, head[512:])
	sum := le.Uint32(b[16:])
	clear(b[16:20])
	return crc32.ChecksumIEEE(b) == sum
}
