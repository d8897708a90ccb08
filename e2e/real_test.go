package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/testneed"
)

// TestRealImports takes images that other people's programs made through the
// whole life of an ISO: import, attach, detach, delete.
func TestRealImports(t *testing.T) {
	dir := os.Getenv("DRIVEBAY_REAL_ISOS")
	images, err := filepath.Glob(filepath.Join(dir, "*.iso"))
	if err != nil {
		t.Fatal(err)
	}
	testneed.Need(t, "isos", dir != "" && len(images) > 0,
		"DRIVEBAY_REAL_ISOS does not name a folder of real images (scripts/real-isos fills one)")
	s := startDemo(t, allow)
	o := newOrigin(t)
	o.mux.Handle("/", http.FileServer(http.Dir(dir)))
	c := s.client()
	for _, path := range images {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			c := *c
			c.t = t
			bootable := !strings.HasPrefix(name, "udf")
			iso := c.importISO("TPA1", o.URL+"/"+name, bootable)
			if task := c.ended(*iso.TaskID); task.Result != "Success" {
				t.Fatalf("import of %s: %s", name, task.Message)
			}
			iso = c.iso(iso.ISOID)
			if st, err := os.Stat(path); err != nil || !iso.Ready || iso.Size == nil || *iso.Size != st.Size() {
				t.Errorf("imported as %+v, want it ready with %v bytes (%v)", iso, st, err)
			}
			if iso.SHA256 == nil || *iso.SHA256 != hashFile(t, path) {
				t.Errorf("SHA-256 %v is not the file's", iso.SHA256)
			}
			if bootable && !*iso.BIOS && !*iso.UEFI {
				t.Error("boots neither BIOS nor UEFI")
			}
			c.succeed("POST", "/vps/1001/attachiso", map[string]any{"isoId": iso.ISOID})
			c.refused(http.StatusConflict, "iso_attached", "DELETE", "/vps/iso/"+iso.ISOID, nil)
			c.succeed("POST", "/vps/1001/detachiso", nil)
			c.succeed("DELETE", "/vps/iso/"+iso.ISOID, nil)
		})
	}
	s.stop()
	check(t, s.dir)
}
