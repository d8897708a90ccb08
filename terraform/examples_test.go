package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/client"
)

// TestExamples applies all examples, as they are written, as one configuration.
func TestExamples(t *testing.T) {
	t.Parallel()
	s, o := startServer(t), newOrigin(t)
	files, err := filepath.Glob("examples/*/*/*.tf")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no examples (%v)", err)
	}
	w := s.workspace()
	for _, file := range append(files, "examples/provider/provider.tf") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		if name != "provider.tf" { // which replaces our own
			name = strings.ReplaceAll(filepath.ToSlash(file), "/", "-")
		}
		w.write(name, string(b))
	}
	id := s.do(s.api.Volume.Create(t.Context(), client.VolumeCreate{DeviceID: 1002, SizeGiB: 50})).VolumeID()
	s.do(s.api.Volume.Detach(t.Context(), id, 1002))
	w.env = append(w.env, "TF_VAR_archive_volume_id="+id, "TF_VAR_installer_url="+o.URL+"/installer.iso")

	w.must("fmt", "-check")
	w.apply()
	state := w.state()
	for _, file := range files { // each has what its folder says
		kind := filepath.Base(filepath.Dir(file))
		if strings.Contains(file, "data-sources") {
			kind = "data." + kind
		}
		found := false
		for name := range state {
			found = found || strings.HasPrefix(name, kind+".")
		}
		if !found {
			t.Errorf("%s makes no %s", file, kind)
		}
	}
	w.destroy()
	if v := s.volume(id); v.DeviceID != nil {
		t.Fatalf("the volume made by hand is still attached: %+v", v)
	}
}
