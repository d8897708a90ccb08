//go:build unix

package local

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
)

// A guest's file from before guests had a boot order is read as it was written.
func TestGuestWithoutBootOrder(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), t.Context()
	ok(t, open(t, dir).Close())
	const guest = `{"ref":"vm","vcpu":2,"memoryMB":512,"running":true,"volumes":["a"],"iso":"","trayLocked":false,"holds":null}`
	text := fmt.Sprintf(`{"format":2,"change":7,"sum":%q,"guest":%s}`+"\n", slotSum(7, []byte(guest)), guest)
	ok(t, os.WriteFile(filepath.Join(dir, "vms", "vm.json"), bytes.Repeat(padded([]byte(text), minSlot), 2), 0o600))

	d := open(t, dir)
	want := backend.VMView{Ref: "vm", Running: true, VolumeIDs: []string{"a"}, Starts: "0"}
	got, err := d.Inspect(ctx, "vm")
	if ok(t, err); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	pending, err := d.SetBoot(ctx, "vm", true)
	if ok(t, err); !pending {
		t.Error("the guest runs from its disks, and the order is not pending")
	}
	ok(t, d.Power(ctx, "vm", backend.PowerOff))
	ok(t, d.Power(ctx, "vm", backend.PowerStart))
	ok(t, d.Close())
	want.CDFirst, want.Starts = true, "1"
	got, err = open(t, dir).Inspect(ctx, "vm")
	if ok(t, err); !reflect.DeepEqual(got, want) {
		t.Fatalf("after a restart: %+v, want %+v", got, want)
	}
}
