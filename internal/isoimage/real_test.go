package isoimage

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/drivebay/drivebay/internal/testneed"
)

// realImages are the facts about the images of scripts/real-isos, which other
// people's programs have made. Sizes differ between releases and are left out.
var realImages = map[string]Info{
	"grub-rescue-cdrom.iso": {Format: "iso9660", Label: "ISOIMAGE", Bootable: true, BIOS: true, Hybrid: true, RockRidge: true},
	"ipxe.iso": {Format: "iso9660", Label: "ISOIMAGE", Bootable: true, BIOS: true, UEFI: true, Arch: []string{"x86_64"},
		Hybrid: true, Joliet: true, RockRidge: true},
	"memtest86+x64.iso": {Format: "iso9660", Label: "MT86PLUS_64", Bootable: true, BIOS: true, UEFI: true, Arch: []string{"x86_64"},
		Hybrid: true, Joliet: true, RockRidge: true},
	"memtest86+ia32.iso": {Format: "iso9660", Label: "MT86PLUS_32", Bootable: true, BIOS: true, UEFI: true, Arch: []string{"i386"},
		Hybrid: true, Joliet: true, RockRidge: true},
	"debian-installer-hybrid.iso": {Format: "iso9660", Label: "DRIVEBAY_HYBRID", Bootable: true, BIOS: true, UEFI: true,
		Arch: []string{"x86_64"}, Hybrid: true, Joliet: true, RockRidge: true},
	"udf-dvd.iso":    {Format: "udf", Label: "Drivebay ☃ dvd", BootNote: noteNoRecord},
	"udf-hd.iso":     {Format: "udf", Label: "Drivebay ☃ hd", BootNote: noteNoRecord},
	"udf-bridge.iso": {Format: "iso9660+udf", Label: "DRIVEBAY_BRIDGE", BootNote: noteNoRecord, Joliet: true, RockRidge: true},
}

func TestRealImages(t *testing.T) {
	const env = "DRIVEBAY_REAL_ISOS"
	dir := os.Getenv(env)
	testneed.Need(t, "isos", dir != "", env+" does not name a folder of real images (scripts/real-isos fills one)")
	for name, want := range realImages {
		t.Run(name, func(t *testing.T) {
			f, err := os.Open(filepath.Join(dir, name))
			testneed.Need(t, "isos", err == nil, name+" is not in the folder of real images (see scripts/real-isos)")
			defer f.Close()
			checkReal(t, f, want)
		})
	}
	// Other images in the folder have to be readable, whatever they are.
	others, err := filepath.Glob(filepath.Join(dir, "*.iso"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range others {
		if _, known := realImages[filepath.Base(path)]; known {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := inspect(t, f, fileSize(t, f))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", info)
		})
	}
}

// checkReal holds the image against want, whole and cut short.
func checkReal(t *testing.T, f *os.File, want Info) {
	t.Helper()
	size := fileSize(t, f)
	got, err := inspect(t, f, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes: %+v", size, got)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Info{}, "VolumeBytes")); diff != "" {
		t.Errorf("info differs (-want +got):\n%s", diff)
	}
	if got.VolumeBytes <= size/10 || got.VolumeBytes > size {
		t.Errorf("the volume has %d bytes, the file %d", got.VolumeBytes, size)
	}
	for _, cut := range []int64{40 << 10, got.VolumeBytes / 2, got.VolumeBytes * 9 / 10, got.VolumeBytes - 1} {
		if _, err := inspect(t, io.NewSectionReader(f, 0, cut), cut); reasonOf(err) != ReasonTruncated {
			t.Errorf("cut at %d of %d: %v", cut, got.VolumeBytes, err)
		}
	}
	// An EFI boot image behind the volume has to be whole too; what follows it
	// is padding of less than 1 MiB.
	if behind := size - 1<<20; got.UEFI && behind > got.VolumeBytes {
		if _, err := inspect(t, io.NewSectionReader(f, 0, behind), behind); reasonOf(err) != ReasonTruncated {
			t.Errorf("cut at %d, in the EFI boot image: %v", behind, err)
		}
	}
}

func fileSize(t *testing.T, f *os.File) int64 {
	t.Helper()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}
