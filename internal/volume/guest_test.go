package volume_test

import (
	"testing"

	"github.com/drivebay/drivebay/internal/worldtest"
)

// A driver is told for which guest a volume is made.
func TestVolumeIsMadeForItsGuest(t *testing.T) {
	t.Parallel()
	w := worldtest.New(t, worldtest.Options{})
	d := w.Drivers["TPA1"]
	d.ClearCalls()
	k, err := w.Volumes.Create(ctx, mine, 1002, 50)
	if err != nil {
		t.Fatal(err)
	}
	w.Succeeds(k)
	made := 0
	for _, c := range d.Calls() {
		if c.Method == "EnsureVolume" {
			made++
			if c.VolumeID != k.VolumeID || c.Guest != "1002" {
				t.Errorf("made %+v", c)
			}
		}
	}
	if made != 1 {
		t.Errorf("%d volumes were made", made)
	}
}
