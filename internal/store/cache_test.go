package store

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// What a reader has read may be remembered only if no change to volumes was
// under way or made since it asked.
func TestCacheTickets(t *testing.T) {
	t.Parallel()
	k := listKey{device: 1, client: 7}
	for name, c := range map[string]struct {
		before, meanwhile func(*volumeCache)
		kept              bool
	}{
		"nothing":         {nil, func(*volumeCache) {}, true},
		"a commit begins": {nil, (*volumeCache).shut, false},
		"a whole commit":  {nil, func(c *volumeCache) { c.shut(); c.open() }, false},
		"a commit ends":   {(*volumeCache).shut, (*volumeCache).open, false},
		"another read":    {nil, func(c *volumeCache) { _, _, tk := c.get("b", noon); c.put(volume.Volume{ID: "b"}, tk, noon) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := newVolumeCache()
			if c.before != nil {
				c.before(cache)
			}
			_, _, one := cache.get("a", noon)
			_, _, many := cache.list(k, noon)
			c.meanwhile(cache)
			cache.put(volume.Volume{ID: "a", Bytes: 1}, one, noon)
			cache.putList(k, []volume.Volume{{ID: "a"}}, many, noon)
			v, known, _ := cache.get("a", noon)
			list, listed, _ := cache.list(k, noon)
			if known != c.kept || listed != c.kept {
				t.Fatalf("remembered: the volume %t, the list %t; want %t", known, listed, c.kept)
			}
			if c.kept && (v.Bytes != 1 || len(list) != 1) {
				t.Errorf("got %+v and %+v", v, list)
			}
		})
	}
}

func TestCacheBounds(t *testing.T) {
	t.Parallel()
	c := newVolumeCache()
	_, _, tk := c.list(listKey{1, 7}, noon)
	c.putList(listKey{1, 7}, make([]volume.Volume, cacheMost-1), tk, noon)
	if _, known, _ := c.list(listKey{1, 7}, noon.Add(cacheTime-1)); !known {
		t.Error("a list that fits is not remembered")
	}
	if _, known, _ := c.list(listKey{1, 7}, noon.Add(cacheTime)); known {
		t.Error("a list is remembered beyond its time")
	}
	c.put(volume.Volume{ID: "a"}, tk, noon)
	if _, known, _ := c.list(listKey{1, 7}, noon); known {
		t.Error("there are more volumes than the limit")
	}
	if _, known, _ := c.get("a", noon); !known {
		t.Error("the newest one went instead of the old ones")
	}
	c.putList(listKey{2, 7}, make([]volume.Volume, cacheMost), tk, noon)
	if _, known, _ := c.list(listKey{2, 7}, noon); known {
		t.Error("a list that is too long was remembered")
	}
}

// Whoever has seen a change, in an answer or in the database, never reads what
// was before it.
func TestCacheIsNeverBehind(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := Open(ctx, filepath.Join(t.TempDir(), "cache.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	world(t, ctx, db)
	s, scope, device := db.Volumes(), access.Scope{Clients: []int64{7}}, int64(1001)
	const changes = 100
	var done atomic.Int64
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for n := int64(0); n < changes; {
				n = done.Load()
				raw, err := s.list(ctx, scope, volume.Filter{DeviceID: &device}) // past the cache
				if err != nil {
					t.Error(err)
					return
				}
				least := max(n, raw[0].Bytes)
				list, err := s.List(ctx, scope, volume.Filter{DeviceID: &device})
				if err != nil || len(list) != 1 || list[0].Bytes < least {
					t.Errorf("list: got %+v, %v; want at least %d", list, err, least)
					return
				}
				least = max(least, list[0].Bytes)
				if v, err := s.Get(ctx, scope, "v"); err != nil || v.Bytes < least {
					t.Errorf("get: got %d, %v; want at least %d", v.Bytes, err, least)
					return
				}
			}
		})
	}
	for n := int64(2); n <= changes; n++ {
		if err := s.Tx(ctx, func(tx volume.Tx) error { return tx.PutVolume(ctx, sized(n)) }); err != nil {
			t.Error(err)
		}
		done.Store(n)
	}
	readers.Wait()
}

func sized(bytes int64) volume.Volume {
	return volume.Volume{ID: "v", ClientID: 7, FacilityCode: "TPA1", Type: volume.DataDisk, State: volume.Attached, Bytes: bytes, CreatedAt: noon}
}

// world has one volume of one byte, attached to device 1001.
func world(t *testing.T, ctx context.Context, db *DB) {
	t.Helper()
	_, err := db.VPS().PutFacility(ctx, vps.Facility{Code: "TPA1"})
	if err == nil {
		_, err = db.Access().AddClient(ctx, access.Client{ID: 7})
	}
	if err == nil {
		err = db.VPS().Tx(ctx, func(tx vps.Tx) error {
			_, err := tx.AddDevice(ctx, vps.Device{ID: 1001, ClientID: 7, FacilityCode: "TPA1", Status: vps.Running, MaxVolumes: 4}, "root", 1)
			return err
		})
	}
	if err == nil {
		err = db.Volumes().Tx(ctx, func(tx volume.Tx) error {
			if err := tx.PutVolume(ctx, sized(1)); err != nil {
				return err
			}
			return tx.Attach(ctx, sized(1), 1001)
		})
	}
	if err != nil {
		t.Fatal(fmt.Errorf("make world: %w", err))
	}
}

// Every way to change a volume is seen at once, by the cache too.
func TestCacheSeesEveryChange(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := Open(ctx, filepath.Join(t.TempDir(), "cache.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	world(t, ctx, db)
	s, scope, device := db.Volumes(), access.Scope{Clients: []int64{7}}, int64(1001)
	look := func() string {
		list, err := s.List(ctx, scope, volume.Filter{DeviceID: &device})
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.Get(ctx, scope, "v")
		return fmt.Sprintln(len(list), v.Bytes, v.DeviceID, err)
	}
	for _, c := range []struct {
		what   string
		change func(volume.Tx) error
		want   string
	}{
		{"as it is", func(volume.Tx) error { return nil }, "1 1 1001 <nil>\n"},
		{"put", func(tx volume.Tx) error { return tx.PutVolume(ctx, sized(2)) }, "1 2 1001 <nil>\n"},
		{"detach", func(tx volume.Tx) error {
			v, err := tx.Volume(ctx, "v")
			if err != nil {
				return err
			}
			return tx.Detach(ctx, v)
		}, "0 2 0 <nil>\n"},
		{"attach", func(tx volume.Tx) error {
			v, err := tx.Volume(ctx, "v")
			if err != nil {
				return err
			}
			return tx.Attach(ctx, v, device)
		}, "1 2 1001 <nil>\n"},
		{"remove", func(tx volume.Tx) error { return tx.RemoveVolume(ctx, "v") }, fmt.Sprintln(0, 0, 0, volume.ErrNotFound)},
	} {
		look() // so that there is something to forget
		if err := s.Tx(ctx, c.change); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if got := look(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
}
