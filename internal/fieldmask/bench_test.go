package fieldmask

import (
	"strings"
	"testing"
)

// BenchmarkList filters the answer of a list of 50 volumes, mask parsed anew as
// in each request.
func BenchmarkList(b *testing.B) {
	in := []byte("[" + strings.Repeat(disk+",", 49) + disk + "]")
	for _, mask := range []string{"volumeId,deviceId", "{volumeId,type,deviceId,createdAt,facilityCode}", "*"} {
		b.Run(mask, func(b *testing.B) { bench(b, mask, list(volume), in) })
	}
}

// BenchmarkNested filters 50 objects that hold objects and lists.
func BenchmarkNested(b *testing.B) {
	in := []byte("[" + strings.Repeat(data+",", 49) + data + "]")
	bench(b, "nics{ip,vlan{id}},meta{a}", list(model), in)
}

func bench(b *testing.B, mask string, s *Schema, in []byte) {
	var dst []byte
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		m, err := Parse(mask)
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Check(s); err != nil {
			b.Fatal(err)
		}
		if dst, err = m.Apply(dst[:0], s, in); err != nil {
			b.Fatal(err)
		}
	}
}
