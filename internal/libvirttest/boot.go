package libvirttest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/drivebay/drivebay/internal/testneed"
)

// loader writes the bytes after it, up to a zero, on the first serial line and
// halts. It runs wherever the firmware puts it.
var loader = []byte{
	0xFA,       // cli
	0x0E, 0x1F, // push cs; pop ds
	0xFC,             // cld
	0xE8, 0x00, 0x00, // call +0
	0x5E,             // pop si: where this stands, at 7
	0x83, 0xC6, 0x1D, // add si, 29: the bytes after the loader, at 36
	0xAC,       // next: lodsb
	0x84, 0xC0, // test al, al
	0x74, 0x11, // jz end
	0x88, 0xC3, // mov bl, al
	0xBA, 0xFD, 0x03, // mov dx, 3FDh: the line's state
	0xEC,       // wait: in al, dx
	0xA8, 0x20, // test al, 20h: room for a byte
	0x74, 0xFB, // jz wait
	0x88, 0xD8, // mov al, bl
	0xB2, 0xF8, // mov dl, F8h: the line's data
	0xEE,       // out dx, al
	0xEB, 0xEA, // jmp next
	0xF4,       // end: hlt
	0xEB, 0xFD, // jmp end
}

// BootSector is a sector that, started, writes "started WORD" and a line end
// on the first serial line. The word has at most 100 bytes.
func BootSector(word string) []byte {
	if len(word) > 100 {
		panic("the word of a boot sector is too long: " + word)
	}
	sector := make([]byte, 512)
	n := copy(sector, loader)
	copy(sector[n:], "started "+word+"\r\n")
	sector[510], sector[511] = 0x55, 0xAA
	return sector
}

// BootDisk makes a raw disk of 1 MiB that starts with BootSector(word), and
// returns its path. It lasts as long as the test.
func BootDisk(t testing.TB, word string) string {
	t.Helper()
	disk := make([]byte, 1<<20)
	copy(disk, BootSector(word))
	return file(t, word+".raw", disk)
}

// BootISO makes an ISO 9660 image with a label, of which El Torito starts
// BootSector(word), and returns its path. It lasts as long as the test.
func BootISO(t testing.TB, label, word string) string {
	t.Helper()
	testneed.Need(t, "libvirt", binary("xorriso") != "", "xorriso is not installed (scripts/test-deps installs it on Debian)")
	tree := filepath.Dir(file(t, "boot.bin", append(BootSector(word), make([]byte, 2048-512)...)))
	// xorriso 1.5.4 crashes once in a hundred times, with whatever it is given.
	for tries := 1; ; tries++ {
		path := file(t, label+".iso", nil)
		_, err := output("", "xorriso", "-as", "mkisofs", "-quiet", "-V", label, "-o", path,
			"-b", "boot.bin", "-no-emul-boot", "-boot-load-size", "4", tree)
		if err == nil {
			return path
		}
		if tries == 5 {
			t.Fatal(err)
		}
	}
}

// IPXE is the path of Debian's ISO of iPXE.
func IPXE(t testing.TB) string {
	t.Helper()
	const path = "/usr/lib/ipxe/ipxe.iso"
	_, err := os.Stat(path)
	testneed.Need(t, "libvirt", err == nil, path+" is not there (scripts/test-deps installs it on Debian)")
	return path
}

// file writes a file to a folder of its own that QEMU's user may reach.
func file(t testing.TB, name string, content []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := reachable(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
