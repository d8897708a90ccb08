package libvirt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"testing"

	"github.com/drivebay/drivebay/internal/libvirttest"
	"github.com/drivebay/drivebay/internal/testneed"
)

// TestReads: images are read whole, or given up in the middle, again and again.
func TestReads(t *testing.T) {
	libvirttest.Need(t)
	r := newRig(t, libvirttest.Shared(t))
	d := r.open(t, Options{})
	ctx := t.Context()
	key := importISO(t, d, string(make([]byte, 2<<20)))
	c, err := d.hosts[0].conn(ctx)
	ok(t, err)
	p, err := c.isoPool(ctx)
	ok(t, err)
	f, err := p.lookup(ctx, imageFile(key))
	ok(t, err)
	for range testneed.Rounds(5, 40) {
		sum := sha256.New()
		ok(t, f.read(ctx, func(r io.Reader) error {
			_, err := io.Copy(sum, r)
			return err
		}))
		if got := hex.EncodeToString(sum.Sum(nil)); got != key {
			t.Fatalf("read %s, want %s", got, key)
		}
		enough := errors.New("enough")
		if err := f.read(ctx, func(r io.Reader) error {
			_, err := io.CopyN(io.Discard, r, 1<<20)
			return errors.Join(err, enough)
		}); !errors.Is(err, enough) {
			t.Fatalf("a read given up: %v", err)
		}
	}
	ok(t, d.DeleteISO(ctx, key))
}
