package isoimage

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/fault"
)

func TestCorrupt(t *testing.T) {
	t.Parallel()
	bridge := with(full(), func(s *spec) { s.udf = true })
	primary := func(off int, v ...byte) func([]byte) {
		return func(b []byte) { copy(sector(b, secPrimary)[off:], v) }
	}
	number := func(off int, v uint32) func([]byte) {
		return func(b []byte) { put32(sector(b, secPrimary)[off:], v) }
	}
	// tagged changes a descriptor of UDF and makes its sums right again, in
	// both sequences where it stands in both.
	tagged := func(change func(d []byte), secs ...int) func([]byte) {
		return func(b []byte) {
			for _, sec := range secs {
				change(sector(b, sec))
				retag(b, sec)
			}
		}
	}
	both := func(off int, v uint32) func([]byte) {
		return tagged(func(d []byte) { le.PutUint32(d[off:], v) }, secMain, secReserve)
	}
	part := func(off int, v uint32) func([]byte) {
		return tagged(func(d []byte) { le.PutUint32(d[off:], v) }, secMain+1, secReserve+1)
	}
	tests := []struct {
		name   string
		spec   spec
		change func(b []byte)
		want   fault.Reason
	}{
		{"first identifier", full(), primary(1, 'X'), ReasonNotISO},
		{"primary type", full(), primary(0, 3), ReasonMalformed},
		{"primary version", full(), primary(6, 2), ReasonMalformed},
		{"file structure version", full(), primary(881, 9), ReasonMalformed},
		{"block size zero", full(), primary(128, 0, 0, 0, 0), ReasonMalformed},
		{"block size odd", full(), func(b []byte) { put16(sector(b, secPrimary)[128:], 2047) }, ReasonMalformed},
		{"block size 256", full(), func(b []byte) { put16(sector(b, secPrimary)[128:], 256) }, ReasonMalformed},
		{"block size 4096 claims twice as much", full(), func(b []byte) { put16(sector(b, secPrimary)[128:], 4096) }, ReasonTruncated},
		{"block size of two minds", full(), primary(131, 4), ReasonMalformed},
		{"volume size zero", full(), number(80, 0), ReasonMalformed},
		{"volume size 17", full(), number(80, 17), ReasonMalformed},
		{"volume size one more", full(), number(80, imageSectors+1), ReasonTruncated},
		{"volume size huge", full(), number(80, math.MaxUint32), ReasonTruncated},
		{"volume size of two minds", full(), primary(87, 1), ReasonMalformed},
		{"root record length", full(), primary(rootRecord, 33), ReasonMalformed},
		{"root is no folder", full(), primary(rootRecord+25, 0), ReasonMalformed},
		{"root outside", full(), number(rootRecord+2, imageSectors), ReasonMalformed},
		{"root far outside", full(), number(rootRecord+2, math.MaxUint32), ReasonMalformed},
		{"root in the system area", full(), number(rootRecord+2, 3), ReasonMalformed},
		{"root extent of two minds", full(), primary(rootRecord+9, 1), ReasonMalformed},
		{"root length zero", full(), number(rootRecord+10, 0), ReasonMalformed},
		{"root length huge", full(), number(rootRecord+10, math.MaxUint32), ReasonMalformed},
		{"root length of two minds", full(), primary(rootRecord+17, 1), ReasonMalformed},
		{"root is zeros", full(), func(b []byte) { clear(sector(b, secRoot)) }, ReasonMalformed},
		{"root is something else", full(), func(b []byte) { sector(b, secRoot)[33] = 'A' }, ReasonMalformed},
		{"no terminator", plain(), func(b []byte) { sector(b, secBoot)[0] = 254 }, ReasonMalformed},
		{"no terminator, garbage", plain(), func(b []byte) { copy(sector(b, secBoot), "garbage") }, ReasonMalformed},
		{"catalogue outside", full(), func(b []byte) { le.PutUint32(sector(b, secBoot)[71:], imageSectors) }, ReasonMalformed},
		{"catalogue far outside", full(), func(b []byte) { le.PutUint32(sector(b, secBoot)[71:], math.MaxUint32) }, ReasonMalformed},
		{"catalogue in the system area", full(), func(b []byte) { le.PutUint32(sector(b, secBoot)[71:], 0) }, ReasonMalformed},
		{"boot image outside", full(), func(b []byte) { le.PutUint32(sector(b, secCatalog)[40:], imageSectors) }, ReasonMalformed},
		{"boot image of a section outside", full(), func(b []byte) { le.PutUint32(sector(b, secCatalog)[104:], math.MaxUint32) }, ReasonMalformed},
		{"EFI boot image too long", full(), func(b []byte) { le.PutUint16(sector(b, secUEFIImage)[19:], 0xFFFF) }, ReasonTruncated},
		{"partition behind the file", full(), func(b []byte) { le.PutUint32(b[446+12:], 1<<24) }, ReasonTruncated},
		{"GPT behind the file", full(), func(b []byte) { buildGPT(b, 1<<24) }, ReasonTruncated},

		{"UDF identifier", udfOnly(), func(b []byte) { sector(b, 17)[1] = 'X' }, ReasonNotISO},
		{"UDF identifier, bridge", bridge, func(b []byte) { sector(b, 21)[1] = 'X' }, ""},
		{"UDF without beginning", udfOnly(), func(b []byte) { clear(sector(b, 16)) }, ReasonNotISO},
		{"anchor checksum", udfOnly(), func(b []byte) { sector(b, secAnchor)[4]++ }, ReasonMalformed},
		{"anchor CRC", udfOnly(), func(b []byte) { sector(b, secAnchor)[100]++ }, ReasonMalformed},
		{"anchor of a bridge", bridge, func(b []byte) { sector(b, secAnchor)[100]++ }, ReasonMalformed},
		{"anchor elsewhere", udfOnly(), func(b []byte) {
			setTag(sector(b, imageSectors-1), tagAnchor, 9)
			clear(sector(b, secAnchor))
		}, ReasonMalformed},
		{"anchor id", udfOnly(), tagged(func(d []byte) { d[0] = 9 }, secAnchor), ReasonMalformed},
		{"anchor CRC length", udfOnly(), func(b []byte) {
			d := sector(b, secAnchor)
			d[4] += 0xFF - d[11]
			d[11] = 0xFF
		}, ReasonMalformed},
		{"main sequence outside", udfOnly(), tagged(func(d []byte) { le.PutUint32(d[20:], math.MaxUint32) }, secAnchor), ReasonTruncated},
		{"main sequence endless", udfOnly(), tagged(func(d []byte) { le.PutUint32(d[16:], math.MaxUint32) }, secAnchor), ReasonTruncated},
		{"no sequences", udfOnly(), tagged(func(d []byte) { clear(d[16:32]) }, secAnchor), ReasonMalformed},
		{"both sequences broken", udfOnly(), func(b []byte) {
			sector(b, secMain)[90]++
			sector(b, secReserve)[90]++
		}, ReasonMalformed},
		{"main sequence broken", udfOnly(), func(b []byte) { sector(b, secMain)[90]++ }, ""},
		{"main partition broken", udfOnly(), func(b []byte) { sector(b, secMain+1)[90]++ }, ""},
		{"logical block size", udfOnly(), both(212, 512), ReasonMalformed},
		{"logical volume missing", udfOnly(), both(0, 7), ReasonMalformed},
		{"partition missing", udfOnly(), part(0, 7), ReasonMalformed},
		{"partition length", udfOnly(), part(192, imageSectors), ReasonTruncated},
		{"partition length huge", udfOnly(), part(192, math.MaxUint32), ReasonTruncated},
		{"partition start huge", udfOnly(), part(188, math.MaxUint32), ReasonTruncated},
		{"descriptors in circles", udfOnly(), tagged(func(d []byte) {
			le.PutUint16(d, tagPointer)
			le.PutUint32(d[20:], math.MaxUint32>>1)
			le.PutUint32(d[24:], le.Uint32(d[12:]))
		}, secMain, secReserve), ReasonMalformed},
		{"label length", udfOnly(), tagged(func(d []byte) { d[211] = 0xFF }, secMain), ""},
		{"label compression", udfOnly(), tagged(func(d []byte) { d[84] = 7 }, secMain), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := build(tt.spec)
			if _, err := inspectBytes(t, b); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			tt.change(b)
			info, err := inspectBytes(t, b)
			if got := reasonOf(err); got != tt.want || (err != nil) != (tt.want != "") {
				t.Fatalf("got %v (%+v), want reason %q", err, info, tt.want)
			}
		})
	}
}

// Fields that real images get wrong, and the two that carry no meaning here.
func TestTolerated(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(b []byte)
	}{
		{"big-endian volume size empty", func(b []byte) { clear(sector(b, secPrimary)[84:88]) }},
		{"big-endian block size empty", func(b []byte) { clear(sector(b, secPrimary)[130:132]) }},
		{"big-endian root empty", func(b []byte) { clear(sector(b, secPrimary)[rootRecord+6 : rootRecord+10]) }},
		{"volume size smaller than the file", func(b []byte) { put32(sector(b, secPrimary)[80:], 100) }},
		{"512-byte blocks", func(b []byte) {
			p := sector(b, secPrimary)
			put16(p[128:], 512)
			put32(p[80:], imageSectors*4)
			put32(p[rootRecord+2:], secRoot*4)
		}},
		{"partition rounded up to a cylinder", func(b []byte) { le.PutUint32(b[446+12:], imageSectors*4+2047) }},
		{"protective partition over everything", func(b []byte) { buildMBR(b, 0xEE, 1, math.MaxUint32) }},
		{"boot image length", func(b []byte) { le.PutUint16(sector(b, secCatalog)[38:], 0xFFFF) }},
		{"EFI folder outside", func(b []byte) { clear(sector(b, secRoot)[100:]) }},
		{"boot image is no FAT", func(b []byte) { sector(b, secUEFIImage)[13] = 3 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := build(full())
			tt.change(b)
			info, err := inspectBytes(t, b)
			if err != nil || !info.Bootable || !info.UEFI || info.Label != "TEST_DISC" {
				t.Errorf("%+v, %v", info, err)
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	start := (firstDescriptor + 1) * sectorSize // before this nothing says ISO
	for name, s := range map[string]spec{
		"iso9660": full(), "plain": plain(),
		"bridge": with(full(), func(s *spec) { s.udf = true }),
		"udf":    udfOnly(), "udf 512": with(udfOnly(), func(s *spec) { s.block = 512 }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := build(s)
			info, err := inspectBytes(t, b)
			if err != nil {
				t.Fatal(err)
			}
			if s.noISO {
				start := start + sectorSize // and UDF says so in its second sector
				cutAt(t, b, 0, start, ReasonNotISO)
				cutAt(t, b, start, int(info.VolumeBytes), ReasonTruncated)
				return
			}
			cutAt(t, b, 0, start, ReasonNotISO)
			cutAt(t, b, start, int(info.VolumeBytes), ReasonTruncated)
		})
	}
}

// cutAt cuts b at many lengths in [from, to) and wants the reason for each.
func cutAt(t *testing.T, b []byte, from, to int, want fault.Reason) {
	t.Helper()
	lengths := []int{from, from + 1, to - 1}
	for n := from; n < to; n += 1 + (to-from)/97 {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		_, err := inspectBytes(t, b[:n])
		if reasonOf(err) != want {
			t.Errorf("cut at %d: %v, want reason %q", n, err, want)
			continue
		}
		var e *Error
		if errors.As(err, &e); want == ReasonTruncated {
			if e.Size != int64(n) || e.Claimed <= e.Size || !strings.Contains(e.Text, fmt.Sprint(e.Claimed)) || !strings.Contains(e.Text, fmt.Sprint(n)) {
				t.Errorf("cut at %d: %+v does not say both numbers", n, e)
			}
		}
	}
}
