package isoimage

import (
	"bytes"
	"slices"
	"testing"
)

// The three table widths differ in how a chain is followed. The images here
// are built by hand with a folder in two clusters.
func TestFATWidths(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		sectors uint32
		bits    int
	}{
		{"FAT12", 2880, 12},
		{"FAT16", 20000, 16},
		{"FAT32", 80000, 32},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const table, tableSectors = 512, 100
			b := make([]byte, 300*512)
			le.PutUint16(b[11:], 512)
			b[13], b[16] = 1, 2
			le.PutUint16(b[14:], 1)
			le.PutUint32(b[32:], tt.sectors)
			root := (1 + 2*tableSectors) * 512
			data := root
			if tt.bits == 32 {
				le.PutUint32(b[36:], tableSectors)
				le.PutUint32(b[44:], 2)
			} else {
				le.PutUint16(b[22:], tableSectors)
				le.PutUint16(b[17:], 16)
				data += 512
			}
			link := func(c, to int) {
				switch at := b[table+c*tt.bits/8:]; {
				case tt.bits == 32:
					le.PutUint32(at, uint32(to)|0xF0000000)
				case tt.bits == 16:
					le.PutUint16(at, uint16(to))
				case c&1 == 1:
					le.PutUint16(at, le.Uint16(at)&0xF|uint16(to)<<4)
				default:
					le.PutUint16(at, le.Uint16(at)&0xF000|uint16(to)&0xFFF)
				}
			}
			const end = 0x0FFFFFFF
			for c, to := range map[int]int{2: end, 3: end, 4: 7, 7: 5, 5: end} {
				link(c, to)
			}
			entry := func(at, n int, name string, attr byte, cluster uint16) {
				e := b[at+n*32:]
				copy(e, name)
				e[11] = attr
				le.PutUint16(e[26:], cluster)
			}
			cluster := func(c int) int { return data + (c-2)*512 }
			entry(root, 0, "EFI        ", 0x10, 3)
			entry(cluster(3), 0, "BOOT       ", 0x10, 4)
			for i := range 16 {
				entry(cluster(4), i, "FILE       ", 0x20, 9)
				entry(cluster(7), i, "FILE       ", 0x20, 9)
			}
			entry(cluster(4), 3, "BOOTX64 EFI", 0x20, 9)
			entry(cluster(7), 15, "BOOTARM EFI", 0x20, 9)
			entry(cluster(5), 0, "BOOTLO~1EFI", 0x20, 9)
			entry(cluster(5), 1, "BOOTIA32EFI", 0x10, 9) // a folder
			entry(cluster(5), 2, "BOOTAA64EFI", 0x08, 9) // a label

			im := &image{r: bytes.NewReader(b), size: int64(len(b)), left: MaxRead}
			fs, ok, err := im.openFAT(0)
			if !ok || err != nil || fs.bits != tt.bits || fs.end != int64(tt.sectors)*512 {
				t.Fatalf("opened %+v, %v, %v", fs, ok, err)
			}
			got, err := fs.loaders()
			if want := []string{"x86_64", "arm", "loongarch64"}; err != nil || !slices.Equal(got, want) {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
			// A chain that bites its tail ends all the same.
			link(5, 4)
			if _, err := fs.loaders(); err != nil || im.left < MaxRead/2 {
				t.Errorf("circle: %v, %d bytes left", err, im.left)
			}
		})
	}
}
