package isoimage

import "fmt"

const (
	entrySize    = 32
	bootSector   = 17 // where BIOS firmware looks for the boot record, and only there
	platformBIOS = 0x00
	platformUEFI = 0xEF
	maxFATs      = 4 // EFI boot images looked into for loaders

	markValidation = 0x01
	markBootable   = 0x88
	markNotBoot    = 0x00
	markExtension  = 0x44
	markHeader     = 0x90
	markLastHeader = 0x91
)

// Why an image is not bootable.
const (
	noteNoRecord   = "it has no El Torito boot record"
	noteCatalog    = "its boot catalogue is damaged"
	noteNoEntry    = "its boot catalogue has no bootable entry"
	noteEmptyImage = "its boot image is empty"
	noteMedia      = "its boot image has an unknown kind"
	noteSector     = "its boot record is not in sector 17, where BIOS firmware looks for it"
)

// bootEntry is one bootable line of a catalogue.
type bootEntry struct {
	platform byte
	media    byte
	lba      uint32
}

// boot reads the El Torito catalogue and fills in what can be started. What
// points outside the file is ReasonMalformed; a catalogue that firmware would
// refuse makes the image not bootable, with the reason in BootNote.
func (im *image) boot(set descriptorSet, info *Info) error {
	if set.catalogSector == 0 {
		info.BootNote = noteNoRecord
		return nil
	}
	at := int64(set.catalog) * sectorSize
	if !im.has(at, sectorSize) || set.catalog <= firstDescriptor {
		return malformed("its boot catalogue lies outside the file")
	}
	b, err := im.read(at, sectorSize)
	if err != nil {
		return err
	}
	if !validCatalog(b) {
		info.BootNote = noteCatalog
		return nil
	}
	info.BootNote = noteNoEntry
	var efi []int64 // where EFI boot images start
	for _, e := range catalogEntries(b) {
		note, err := im.checkEntry(e, set.catalogSector)
		if err != nil {
			return err
		}
		if note != "" {
			info.BootNote = note
			continue
		}
		info.Bootable = true
		switch e.platform {
		case platformBIOS:
			info.BIOS = true
		case platformUEFI:
			efi = append(efi, int64(e.lba)*sectorSize)
		}
	}
	info.UEFI = len(efi) > 0
	if info.Bootable {
		info.BootNote = ""
	}
	return im.bootFATs(efi[:min(len(efi), maxFATs)], info)
}

// bootFATs looks into the EFI boot images that start at the offsets. One that
// ends behind the file is ReasonTruncated: it may be a partition of its own
// behind the ISO 9660 volume, of which no other descriptor tells.
func (im *image) bootFATs(offsets []int64, info *Info) error {
	for _, off := range offsets {
		fs, ok, err := im.openFAT(off)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if fs.end > im.size {
			return truncated(fs.end, im.size)
		}
		archs, err := fs.loaders()
		if err != nil {
			return err
		}
		info.Arch = append(info.Arch, archs...)
	}
	return nil
}

// validCatalog checks the validation entry: its key bytes, and that its 16
// words add up to 0.
func validCatalog(b []byte) bool {
	if b[0] != markValidation || b[30] != 0x55 || b[31] != 0xAA {
		return false
	}
	var sum uint16
	for i := 0; i < entrySize; i += 2 {
		sum += le.Uint16(b[i:])
	}
	return sum == 0
}

// catalogEntries lists the bootable entries in one sector of catalogue: the
// initial one, then those of the sections. Firmware reads no further either.
func catalogEntries(b []byte) []bootEntry {
	var list []bootEntry
	take := func(e []byte, platform byte) {
		if e[0] == markBootable {
			list = append(list, bootEntry{platform, e[1] & 0x0F, le.Uint32(e[8:])})
		}
	}
	take(b[entrySize:], b[1])
	at := 2 * entrySize
	for at+entrySize <= len(b) {
		header := b[at : at+entrySize]
		if header[0] != markHeader && header[0] != markLastHeader {
			break
		}
		at += entrySize
		for n := int(le.Uint16(header[2:])); n > 0 && at+entrySize <= len(b); at += entrySize {
			e := b[at : at+entrySize]
			switch e[0] {
			case markBootable, markNotBoot:
				take(e, header[1])
				n--
			case markExtension: // belongs to the entry before it
			default:
				return list
			}
		}
		if header[0] == markLastHeader {
			break
		}
	}
	return list
}

// checkEntry returns why firmware could not start e, or "". A boot image
// outside the file is ReasonMalformed.
func (im *image) checkEntry(e bootEntry, recordSector int64) (note string, err error) {
	at := int64(e.lba) * sectorSize
	// Sizes in catalogues are often wrong (they count what the BIOS loads), so
	// only the place is held against the file.
	if !im.has(at, 512) {
		return "", malformed("a boot image lies outside the file (sector %d)", e.lba)
	}
	if e.lba <= firstDescriptor {
		return fmt.Sprintf("a boot image has no valid place (sector %d)", e.lba), nil
	}
	if e.media > 4 {
		return noteMedia, nil
	}
	if e.platform == platformBIOS && recordSector != bootSector {
		return noteSector, nil
	}
	b, err := im.read(at, sectorSize)
	if err != nil {
		return "", err
	}
	if zero(b) {
		return noteEmptyImage, nil
	}
	return "", nil
}
