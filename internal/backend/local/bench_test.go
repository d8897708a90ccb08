//go:build unix

package local

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
)

// BenchmarkFsync is the baseline: one fsync of a file and one of its folder.
func BenchmarkFsync(b *testing.B) {
	dir, err := os.Open(b.TempDir())
	ok(b, err)
	defer dir.Close()
	i := 0
	for b.Loop() {
		f, err := os.Create(filepath.Join(dir.Name(), fmt.Sprint(i)))
		ok(b, err)
		ok(b, f.Truncate(1<<30))
		ok(b, f.Sync())
		ok(b, f.Close())
		ok(b, dir.Sync())
		i++
	}
}

// BenchmarkCreateAttach is a volume made and attached, one after the other; a
// guest takes 100 of them.
func BenchmarkCreateAttach(b *testing.B) {
	d := open(b, b.TempDir())
	ctx := b.Context()
	i := 0
	for b.Loop() {
		ref := fmt.Sprintf("vm-%d", i/100)
		if i%100 == 0 {
			ok(b, d.EnsureVM(ctx, backend.VM{Ref: ref}))
		}
		createAttach(b, ctx, d, ref, fmt.Sprintf("v-%d", i))
		i++
	}
}

// BenchmarkCreateAttachParallel is the same by 8 callers on 20 guests.
func BenchmarkCreateAttachParallel(b *testing.B) {
	d, err := Open(b.TempDir(), Options{MaxVolumes: 1 << 20})
	ok(b, err)
	defer d.Close()
	const guests, callers = 20, 8
	for i := range guests {
		ok(b, d.EnsureVM(b.Context(), backend.VM{Ref: fmt.Sprintf("vm-%d", i)}))
	}
	var (
		next atomic.Int64
		wg   sync.WaitGroup
	)
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				createAttach(b, b.Context(), d, fmt.Sprintf("vm-%d", i%guests), fmt.Sprintf("v-%d", i))
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "volumes/s")
}

func createAttach(b *testing.B, ctx context.Context, d *Driver, ref, id string) {
	if err := d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: 50 << 30}); err != nil {
		b.Error(err)
	}
	if err := d.EnsureAttached(ctx, ref, id); err != nil {
		b.Error(err)
	}
}

// BenchmarkOpen opens a folder with 1,000 guests and 100,000 volumes, and
// BenchmarkInspectAll reads it whole.
func BenchmarkOpen(b *testing.B) {
	dir := largeFolder(b)
	for b.Loop() {
		d, err := Open(dir, Options{})
		ok(b, err)
		ok(b, d.Close())
	}
}

func BenchmarkInspectAll(b *testing.B) {
	d := open(b, largeFolder(b))
	for b.Loop() {
		if n := len(view(b, d).Volumes); n != 100_000 {
			b.Fatal(n)
		}
	}
}

func largeFolder(b *testing.B) string {
	dir := b.TempDir()
	ok(b, open(b, dir).Close())
	for i := range 1000 {
		g := &record{Ref: fmt.Sprintf("vm-%d", i)}
		for n := range 100 {
			id := fmt.Sprintf("v-%06d", i*100+n)
			g.Volumes = append(g.Volumes, id)
			ok(b, os.WriteFile(filepath.Join(dir, "volumes", id+".raw"), []byte{0}, 0o600))
		}
		text, err := encodeSlot(g, 1)
		ok(b, err)
		text = bytes.Repeat(padded(text, slotSize(len(text))), 2)
		ok(b, os.WriteFile(filepath.Join(dir, "vms", g.Ref+".json"), text, 0o600))
	}
	return dir
}
