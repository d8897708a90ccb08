// Package isoimage says what an image file is before it is offered to a VPS:
// ISO 9660, UDF or both, whole or cut short, bootable by what. It reads at most
// MaxRead bytes and trusts nothing it finds; it knows no domain.
package isoimage

import (
	"io"
	"slices"
)

// MaxRead is the most bytes one Inspect reads from an image, whatever is in it.
const MaxRead = 4 << 20

// sectorSize is the unit of ISO 9660 descriptors and of El Torito addresses.
const sectorSize = 2048

// Info is what an image says about itself.
type Info struct {
	// Format is "iso9660", "udf" or "iso9660+udf".
	Format string
	// Label is the volume label: printable UTF-8, at most 128 characters, no
	// space around it, maybe empty. Where both file systems have one, UDF's.
	Label string
	// VolumeBytes is where the volume ends by its own descriptors. It is at
	// most the file's size; files often have padding behind it.
	VolumeBytes int64
	// Bootable is true when an El Torito catalogue has an entry that firmware
	// can start. BootNote is the reason when it is false.
	Bootable bool
	BootNote string
	// BIOS and UEFI say which firmware finds something to start.
	BIOS, UEFI bool
	// Arch has the processors with an UEFI loader in /EFI/BOOT of the image or
	// of its EFI boot image, sorted: "arm", "arm64", "i386", "loongarch64",
	// "riscv64", "x86_64". A BIOS loader adds none.
	Arch []string
	// Hybrid is true when the image has a partition table too, so that it can
	// be written to a USB stick.
	Hybrid bool
	// Joliet and RockRidge are the extensions of the ISO 9660 part.
	Joliet, RockRidge bool
}

// Inspect reads the descriptors of an image of size bytes. An error about the
// content is an *Error; any other error comes from r and says nothing about
// the image. r is read in pieces of at most 64 KiB, MaxRead bytes in total.
func Inspect(r io.ReaderAt, size int64) (Info, error) {
	im := &image{r: r, size: size, left: MaxRead}
	head, err := im.read(0, headBytes)
	if err != nil {
		return Info{}, err
	}
	// A disk image with an ISO inside its first blocks must never be taken for
	// one: whoever opens it by its signature would follow its backing file.
	if found := diskFormat(head); found != "" {
		return Info{}, notISO(found, "")
	}
	set, err := im.descriptors()
	if err != nil {
		return Info{}, err
	}
	if !set.iso && !set.udf {
		return Info{}, im.whatElse(head)
	}
	info := Info{Hybrid: partitioned(head)}
	if err := im.volumes(set, &info); err != nil {
		return Info{}, err
	}
	if end := partitionEnd(head); end > im.size+partitionSlack {
		return Info{}, truncated(end, im.size)
	}
	if err := im.boot(set, &info); err != nil {
		return Info{}, err
	}
	slices.Sort(info.Arch)
	info.Arch = slices.Compact(info.Arch)
	return info, nil
}

// volumes fills in what the file systems of set say.
func (im *image) volumes(set descriptorSet, info *Info) error {
	if set.iso {
		if err := im.iso9660(set, info); err != nil {
			return err
		}
		info.Format = "iso9660"
	}
	if !set.udf {
		return nil
	}
	vol, err := im.udf(set.blockHint)
	if err != nil {
		return err
	}
	info.Format = "udf"
	if set.iso {
		info.Format = "iso9660+udf"
	}
	if vol.label != "" {
		info.Label = vol.label
	}
	info.VolumeBytes = max(info.VolumeBytes, vol.end)
	return nil
}

// CheckBootable reports whether firmware can start the image. The error is an
// *Error with ReasonNotBootable and says why not.
func CheckBootable(info Info) error {
	if info.Bootable {
		return nil
	}
	note := info.BootNote
	if note == "" {
		note = noteNoRecord
	}
	return &Error{Reason: ReasonNotBootable, Text: "the image cannot be booted: " + note}
}
