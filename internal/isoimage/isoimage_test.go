package isoimage

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/internal/fault"
)

// counter is a ReaderAt that counts what is read through it.
type counter struct {
	r       io.ReaderAt
	total   int64
	largest int
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	c.total += int64(len(p))
	c.largest = max(c.largest, len(p))
	return c.r.ReadAt(p, off)
}

// inspect runs Inspect on b and holds it to its promises about reading.
func inspect(t testing.TB, r io.ReaderAt, size int64) (Info, error) {
	t.Helper()
	c := &counter{r: r}
	info, err := Inspect(c, size)
	if c.total > MaxRead {
		t.Errorf("read %d bytes, more than %d", c.total, MaxRead)
	}
	if c.largest > 64<<10 {
		t.Errorf("read %d bytes at once", c.largest)
	}
	return info, err
}

func inspectBytes(t testing.TB, b []byte) (Info, error) {
	t.Helper()
	return inspect(t, bytes.NewReader(b), int64(len(b)))
}

func reasonOf(err error) fault.Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func TestInspect(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		spec spec
		want Info
	}{
		{"plain data", plain(), Info{Format: "iso9660", Label: "PLAIN", VolumeBytes: builtISOBytes, BootNote: noteNoRecord}},
		{"everything", full(), Info{
			Format: "iso9660", Label: "TEST_DISC", VolumeBytes: builtISOBytes, Bootable: true, BIOS: true, UEFI: true,
			Arch: []string{"arm64", "x86_64"}, Hybrid: true, Joliet: true, RockRidge: true,
		}},
		{"BIOS only", spec{label: "B", boot: []bootLine{biosLine}},
			Info{Format: "iso9660", Label: "B", VolumeBytes: builtISOBytes, Bootable: true, BIOS: true}},
		{"UEFI only, in the initial entry", spec{label: "U", boot: []bootLine{uefiLine}, fat: []string{"BOOTRI~1EFI"}},
			Info{Format: "iso9660", Label: "U", VolumeBytes: builtISOBytes, Bootable: true, UEFI: true, Arch: []string{"riscv64"}}},
		{"UEFI in the third section", spec{boot: []bootLine{biosLine, biosLine, {platform: 2, lba: 50}, uefiLine}},
			Info{Format: "iso9660", VolumeBytes: builtISOBytes, Bootable: true, BIOS: true, UEFI: true}},
		{"PowerPC only", spec{boot: []bootLine{{platform: 1, lba: secBIOSImage}}},
			Info{Format: "iso9660", VolumeBytes: builtISOBytes, Bootable: true}},
		{"initial entry not bootable, section is", spec{boot: []bootLine{{platform: 0, mark: 0xFF, lba: 9999}, uefiLine}},
			Info{Format: "iso9660", VolumeBytes: builtISOBytes, Bootable: true, UEFI: true}},
		{"loaders in the tree without a catalogue", spec{tree: []string{"BOOTIA32.EFI", "bootarm.efi", "BOOTLOONGARCH64.EFI", "SHIM.EFI"}},
			Info{Format: "iso9660", VolumeBytes: builtISOBytes, BootNote: noteNoRecord, Arch: []string{"arm", "i386", "loongarch64"}}},
		{"UDF only", udfOnly(), Info{Format: "udf", Label: "UDF disc", VolumeBytes: (imageSectors - 1) * sectorSize, BootNote: noteNoRecord}},
		{"UDF only, 512-byte blocks", with(udfOnly(), func(s *spec) { s.block = 512 }),
			Info{Format: "udf", Label: "UDF disc", VolumeBytes: (imageSectors - 1) * sectorSize, BootNote: noteNoRecord}},
		{"UDF only, 1024-byte blocks", with(udfOnly(), func(s *spec) { s.block = 1024 }),
			Info{Format: "udf", Label: "UDF disc", VolumeBytes: (imageSectors - 1) * sectorSize, BootNote: noteNoRecord}},
		{"UDF with a 16-bit label", with(udfOnly(), func(s *spec) { s.udfLabel = []byte("\x10\x26\x03\x00 \xd8\x3d\xde\x00") }),
			Info{Format: "udf", Label: "☃ 😀", VolumeBytes: (imageSectors - 1) * sectorSize, BootNote: noteNoRecord}},
		{"UDF with Latin-1", with(udfOnly(), func(s *spec) { s.udfLabel = []byte("\x08Caf\xe9") }),
			Info{Format: "udf", Label: "Café", VolumeBytes: (imageSectors - 1) * sectorSize, BootNote: noteNoRecord}},
		{"bridge, bootable", with(full(), func(s *spec) { s.udf = true; s.udfLabel = []byte("\x08WINDOWS") }), Info{
			Format: "iso9660+udf", Label: "WINDOWS", VolumeBytes: builtISOBytes, Bootable: true, BIOS: true, UEFI: true,
			Arch: []string{"arm64", "x86_64"}, Hybrid: true, Joliet: true, RockRidge: true,
		}},
		{"bridge without a UDF label", with(plain(), func(s *spec) { s.udf = true }),
			Info{Format: "iso9660+udf", Label: "PLAIN", VolumeBytes: builtISOBytes, BootNote: noteNoRecord}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := inspectBytes(t, build(tt.spec))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("info differs (-want +got):\n%s", diff)
			}
			// What is behind the volume is nobody's business.
			padded := append(build(tt.spec), bytes.Repeat([]byte{0xFF}, 300<<10)...)
			if got, err := inspectBytes(t, padded); err != nil || !cmp.Equal(got, tt.want) {
				t.Errorf("with padding: %+v, %v", got, err)
			}
		})
	}
}

// A Windows image has a tiny ISO 9660 part that claims only itself.
func TestInspectTinyBridge(t *testing.T) {
	t.Parallel()
	b := build(with(plain(), func(s *spec) { s.udf = true; s.udfLabel = []byte("\x08ESD-ISO") }))
	put32(sector(b, secPrimary)[80:], 60)
	info, err := inspectBytes(t, b)
	if err != nil {
		t.Fatal(err)
	}
	want := Info{Format: "iso9660+udf", Label: "ESD-ISO", VolumeBytes: (imageSectors - 1) * sectorSize, BootNote: noteNoRecord}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Errorf("info differs (-want +got):\n%s", diff)
	}
	short := b[:280*sectorSize]
	if _, err := inspectBytes(t, short); reasonOf(err) != ReasonTruncated {
		t.Errorf("cut inside the UDF part: %v", err)
	}
}

// UDF with 4096-byte blocks keeps its descriptors and its anchor further apart.
func TestInspectLargeBlocks(t *testing.T) {
	t.Parallel()
	b := make([]byte, 400*4096)
	for i, id := range []string{"BEA01", "NSR03", "TEA01"} {
		copy(b[32768+i*4096:], "\x00"+id+"\x01")
	}
	at := func(n int) []byte { return b[n*4096:] }
	copy(at(64)[84:], "\x08big blocks")
	at(64)[211] = 11
	le.PutUint32(at(64)[212:], 4096)
	setTag(at(64), tagLogical, 64)
	le.PutUint32(at(65)[188:], 257)
	le.PutUint32(at(65)[192:], 140)
	setTag(at(65), tagPartition, 65)
	setTag(at(66), tagTerminating, 66)
	le.PutUint32(at(256)[16:], 3*4096)
	le.PutUint32(at(256)[20:], 64)
	setTag(at(256), tagAnchor, 256)
	info, err := inspectBytes(t, b)
	if err != nil || info.Label != "big blocks" || info.VolumeBytes != 397*4096 {
		t.Fatalf("%+v, %v", info, err)
	}
	var e *Error
	if _, err := inspectBytes(t, b[:800<<10]); !errors.As(err, &e) || e.Reason != ReasonTruncated || e.Claimed != 257*4096 {
		t.Errorf("cut before the anchor: %+v", err)
	}
}

func TestCheckBootable(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(b []byte)
		note   string // "" when bootable
	}{
		{"good", func([]byte) {}, ""},
		{"no boot record", func(b []byte) { copy(sector(b, secBoot), "\x02CD001") }, noteNoRecord},
		{"another boot system", func(b []byte) { copy(sector(b, secBoot)[7:], "XX TORITO") }, noteNoRecord},
		{"header id", func(b []byte) { sector(b, secCatalog)[0] = 2; fixCatalog(sector(b, secCatalog)) }, noteCatalog},
		{"checksum", func(b []byte) { sector(b, secCatalog)[4]++ }, noteCatalog},
		{"key 55", func(b []byte) { sector(b, secCatalog)[30] = 0x54; fixCatalog(sector(b, secCatalog)) }, noteCatalog},
		{"key AA", func(b []byte) { sector(b, secCatalog)[31] = 0; fixCatalog(sector(b, secCatalog)) }, noteCatalog},
		{"empty catalogue", func(b []byte) { clear(sector(b, secCatalog)) }, noteCatalog},
		{"not marked bootable", func(b []byte) { sector(b, secCatalog)[32] = 0 }, noteNoEntry},
		{"unknown mark", func(b []byte) { sector(b, secCatalog)[32] = 0x87 }, noteNoEntry},
		{"unknown media", func(b []byte) { sector(b, secCatalog)[33] = 5 }, noteMedia},
		{"empty boot image", func(b []byte) { clear(sector(b, secBIOSImage)) }, noteEmptyImage},
		{"boot image in the descriptors", func(b []byte) { le.PutUint32(sector(b, secCatalog)[40:], 16) }, "a boot image has no valid place (sector 16)"},
		{"boot record in sector 18", func(b []byte) {
			copy(sector(b, 18), sector(b, secBoot))
			copy(sector(b, secBoot), "\x02CD001\x01")
			copy(sector(b, 19), "\xffCD001\x01")
		}, noteSector},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := build(spec{boot: []bootLine{biosLine}})
			tt.change(b)
			info, err := inspectBytes(t, b)
			if err != nil {
				t.Fatal(err)
			}
			err = CheckBootable(info)
			if tt.note == "" {
				if err != nil || !info.Bootable || !info.BIOS || info.BootNote != "" {
					t.Fatalf("%+v, %v", info, err)
				}
				return
			}
			if info.Bootable || info.BIOS || info.UEFI || reasonOf(err) != ReasonNotBootable {
				t.Fatalf("%+v, %v", info, err)
			}
			if want := "the image cannot be booted: " + tt.note; err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
		})
	}
	if err := CheckBootable(Info{}); reasonOf(err) != ReasonNotBootable || !strings.HasSuffix(err.Error(), noteNoRecord) {
		t.Errorf("empty info: %v", err)
	}
}

// The walk over the sections stops at what is no section, and passes over
// extensions of an entry.
func TestCatalogEntries(t *testing.T) {
	t.Parallel()
	b := make([]byte, sectorSize)
	buildCatalog(b, []bootLine{biosLine, uefiLine})
	line := func(n int) []byte { return b[n*entrySize : (n+1)*entrySize] }
	// Two entries in the section, the first with an extension.
	line(2)[2] = 2
	copy(line(4), "\x44\x20")
	copy(line(5), "\x44\x00")
	copy(line(6), "\x88\x00")
	le.PutUint32(line(6)[8:], 77)
	got := catalogEntries(b)
	want := []bootEntry{{0, 0, secBIOSImage}, {platformUEFI, 0, secUEFIImage}, {platformUEFI, 0, 77}}
	if !cmp.Equal(got, want, cmp.AllowUnexported(bootEntry{})) {
		t.Errorf("got %v, want %v", got, want)
	}
	// What follows the last section is not looked at.
	copy(line(7), "\x91\xef\x01")
	copy(line(8), "\x88")
	if got := len(catalogEntries(b)); got != 3 {
		t.Errorf("behind the last section: %d entries", got)
	}
	// A count that reaches far over the sector.
	for n := 3; n < sectorSize/entrySize; n++ {
		copy(line(n), "\x88\x00")
	}
	le.PutUint16(line(2)[2:], 0xFFFF)
	if got := len(catalogEntries(b)); got != 1+61 {
		t.Errorf("full sector: %d entries", got)
	}
	line(3)[0] = 0x33
	if got := len(catalogEntries(b)); got != 1 {
		t.Errorf("unknown line: %d entries", got)
	}
}

func TestReaderFailure(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	b := build(full())
	for n := range 12 {
		r := &failing{r: bytes.NewReader(b), after: n, err: broken}
		_, err := Inspect(r, int64(len(b)))
		if !errors.Is(err, broken) || reasonOf(err) != "" {
			t.Fatalf("read %d: %v, want the reader's own error", n, err)
		}
	}
	// A file shorter than its caller says is the caller's mistake.
	if _, err := Inspect(bytes.NewReader(b[:100]), int64(len(b))); !errors.Is(err, io.ErrUnexpectedEOF) || reasonOf(err) != "" {
		t.Errorf("short reader: %v", err)
	}
}

type failing struct {
	r     io.ReaderAt
	after int
	err   error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.after == 0 {
		return 0, f.err
	}
	f.after--
	return f.r.ReadAt(p, off)
}

// An image that would make the reader read more than it may is damaged.
func TestBudget(t *testing.T) {
	t.Parallel()
	b := build(full())
	im := &image{r: bytes.NewReader(b), size: int64(len(b)), left: 64 << 10}
	if _, err := im.descriptors(); err != nil {
		t.Fatal(err)
	}
	if _, err := im.read(0, 64<<10); reasonOf(err) != ReasonMalformed {
		t.Errorf("over budget: %v", err)
	}
	if im.left < 0 {
		t.Errorf("budget is %d", im.left)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	err := error(truncated(10, 5))
	if !errors.Is(err, &Error{Reason: ReasonTruncated}) || errors.Is(err, &Error{Reason: ReasonMalformed}) || errors.Is(err, io.EOF) {
		t.Error("errors.Is does not go by reason")
	}
	if got := err.Error(); got != "the image is incomplete: its descriptors claim 10 bytes and the file has 5" {
		t.Errorf("got %q", got)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", ""}, {"  A  B \x00\x00", "A B"}, {"Caf\xe9", "Caf_"}, {"café ☃", "café ☃"},
		{"a\x1b[31mb", "a_[31mb"}, {"abc\u202egnp", "abc_gnp"}, {"line\nbreak", "line break"},
		{strings.Repeat("x", 200), strings.Repeat("x", 20)}, {strings.Repeat("y ", 200), strings.Repeat("y ", 9) + "y"},
	}
	for _, tt := range tests {
		if got := clean(tt.in, 20); got != tt.want {
			t.Errorf("clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}
