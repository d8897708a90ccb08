package local

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
)

func TestDamagedGuestIsNamed(t *testing.T) {
	t.Parallel()
	const good = `{"format":1,"ref":"vm","vcpu":1,"memoryMB":1,"running":true,"volumes":["a"],"iso":"","trayLocked":false,"holds":[]}`
	for name, text := range map[string]string{
		"empty":     "",
		"cut":       good[:40],
		"newer":     `{"format":2,"ref":"vm"}`,
		"unknown":   strings.Replace(good, `"vcpu"`, `"cpus"`, 1),
		"otherName": strings.Replace(good, `"vm"`, `"other"`, 1),
		"twice":     strings.Replace(good, `["a"]`, `["a","a"]`, 1),
		"path":      strings.Replace(good, `["a"]`, `["../a"]`, 1),
		"image":     strings.Replace(good, `"iso":""`, `"iso":"x"`, 1),
		"shared":    strings.Replace(good, `["a"]`, `["both"]`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d := open(t, dir)
			ok(t, d.EnsureVM(t.Context(), backend.VM{Ref: "neighbour"}))
			ok(t, d.EnsureVolume(t.Context(), backend.VolumeSpec{ID: "both", Bytes: 1}))
			ok(t, d.EnsureAttached(t.Context(), "neighbour", "both"))
			ok(t, d.Close())
			ok(t, os.WriteFile(filepath.Join(dir, "vms", "vm.json"), []byte(text), 0o600))
			before := content(t, dir)
			d, err := Open(dir, Options{})
			if err == nil {
				_ = d.Close()
				t.Fatal("a damaged file was taken")
			}
			if !strings.Contains(err.Error(), "guest vm") && name != "shared" {
				t.Errorf("the error does not name the guest: %v", err)
			}
			if after := content(t, dir); len(after) != len(before) {
				t.Errorf("the folder changed: %v", after)
			}
			ok(t, os.Remove(filepath.Join(dir, "vms", "vm.json")))
			open(t, dir) // and the lock was given back
		})
	}
}

// A guest's file in the form a person writes is taken, and is as any other from
// the first change on.
func TestGuestWrittenByHand(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), t.Context()
	ok(t, open(t, dir).Close())
	ok(t, os.WriteFile(filepath.Join(dir, "vms", "vm.json"),
		[]byte(`{"format":1,"ref":"vm","vcpu":1,"memoryMB":1,"running":true,"volumes":["a"],"iso":"","trayLocked":false,"holds":[]}`), 0o600))
	d := open(t, dir)
	want := backend.VMView{Ref: "vm", Running: true, VolumeIDs: []string{"a"}}
	for _, running := range []bool{true, false} {
		got, err := d.Inspect(ctx, "vm")
		want.Running, want.Starts = running, ""
		if running {
			want.Starts = "0" // it was not us who started it
		}
		if ok(t, err); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		ok(t, d.Power(ctx, "vm", backend.PowerOff))
		ok(t, d.Close())
		d = open(t, dir)
	}
}

// A power cut may leave any part of the last write to a guest's file. The guest
// is then as before or after the change, and goes on from there.
func TestTornWriteToAGuest(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), t.Context()
	path := filepath.Join(dir, "vms", "vm.json")
	d := open(t, dir)
	ok(t, d.EnsureVM(ctx, backend.VM{Ref: "vm"}))
	r := rand.New(rand.NewPCG(1, 2))
	torn := 0
	for round := range 60 {
		// The first change after a start writes the file anew.
		ok(t, d.EnsureVM(ctx, backend.VM{Ref: "vm", VCPU: round}))
		ok(t, d.EnsureVM(ctx, backend.VM{Ref: "vm", VCPU: round + 1}))
		file, err := os.Stat(path)
		ok(t, err)
		before, err := os.ReadFile(path)
		ok(t, err)
		old, err := d.Inspect(ctx, "vm")
		ok(t, err)
		id := fmt.Sprintf("v-%d", round)
		ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: id, Bytes: 1}))
		ok(t, d.EnsureAttached(ctx, "vm", id))
		after, err := os.ReadFile(path)
		ok(t, err)
		changed, err := d.Inspect(ctx, "vm")
		ok(t, err)
		ok(t, d.Close())
		now, err := os.Stat(path)
		ok(t, err)
		if os.SameFile(file, now) { // else it was too long, and written anew
			torn++
			// Disks write in sectors, in any order.
			for at := 0; at < len(after); at += 512 {
				if r.IntN(3) == 0 {
					copy(after[at:at+512], before[at:])
				}
			}
			ok(t, os.WriteFile(path, after, 0o600))
		}
		d = open(t, dir)
		got, err := d.Inspect(ctx, "vm")
		ok(t, err)
		if !reflect.DeepEqual(got, old) && !reflect.DeepEqual(got, changed) {
			t.Fatalf("round %d: the guest is neither as before nor as after: %+v", round, got)
		}
	}
	if torn < 40 {
		t.Errorf("only %d writes were torn", torn)
	}
}

// Every byte of a slot counts: with any one of them changed it is not taken.
func TestSlotKnowsItself(t *testing.T) {
	t.Parallel()
	g := &record{Ref: "vm", Volumes: []string{"a", "b"}}
	text, err := encodeSlot(g, 7)
	ok(t, err)
	if s := decodeSlot(padded(text, minSlot)); s.guest == nil || !s.guest.equal(g) || s.change != 7 {
		t.Fatalf("a whole slot is read as %+v", s)
	}
	for i := range len(text) - 1 {
		b := padded(text, minSlot)
		for _, c := range []byte{0, ' ', b[i] ^ 1, b[i] ^ 32} {
			was := b[i]
			if b[i] = c; c != was && decodeSlot(b).guest != nil {
				t.Errorf("taken with %q for %q at %d of %s", c, was, i, text)
			}
			b[i] = was
		}
	}
}

func FuzzDecodeGuest(f *testing.F) {
	for _, text := range []string{
		`{"format":1,"ref":"vm","vcpu":1,"memoryMB":1,"running":true,"volumes":["a","b"],"iso":"","trayLocked":false,"holds":["a"]}`,
		`{"format":1,"ref":"../vm"}`,
		`{"format":1,"ref":"vm","volumes":["b","a"]}`,
		`{"format":3}`,
		`[]`,
	} {
		f.Add([]byte(text), []byte(nil))
	}
	for _, change := range []uint64{1, 2} {
		text, err := encodeSlot(&record{Ref: "vm", Volumes: []string{"a"}}, change)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(padded(text, minSlot), padded([]byte("{}"), minSlot))
		f.Add(padded([]byte("x"), minSlot), padded(text, minSlot))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s, err := decodeGuest(bytes.NewReader(append(first, second...)))
		if err != nil {
			return
		}
		if !backend.ValidID(s.guest.Ref) || slices.ContainsFunc(s.guest.Volumes, func(id string) bool { return !backend.ValidID(id) }) {
			t.Fatalf("took %+v", s.guest)
		}
		b, err := encodeSlot(s.guest, s.change)
		ok(t, err)
		if again := decodeSlot(padded(b, slotSize(len(b)))); again.guest == nil || !again.guest.equal(s.guest) {
			t.Fatalf("%+v became %+v", s.guest, again.guest)
		}
	})
}
