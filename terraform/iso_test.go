package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/drivebay/drivebay/client"
)

// bootableISO is a small ISO 9660 image with an El Torito catalogue for BIOS.
func bootableISO() []byte {
	const sector, descriptor, catalog, root, loader, sectors = 2048, 16, 20, 21, 22, 24
	b := make([]byte, sectors*sector)
	at := func(n int) []byte { return b[n*sector : (n+1)*sector] }
	both := func(b []byte, v uint32) {
		binary.LittleEndian.PutUint32(b, v)
		binary.BigEndian.PutUint32(b[4:], v)
	}
	folder := make([]byte, 34)
	folder[0], folder[25], folder[32] = 34, 2, 1
	both(folder[2:], root)
	both(folder[10:], sector)

	p := at(descriptor)
	copy(p, "\x01CD001\x01")
	copy(p[40:72], fmt.Sprintf("%-32s", "INSTALLER"))
	both(p[80:], sectors)
	copy(p[120:], "\x01\x00\x00\x01\x01\x00\x00\x01\x00\x08\x08\x00") // one volume of one; sectors of 2048 bytes
	both(p[132:], 10)
	copy(p[156:], folder)
	p[881] = 1
	copy(at(root), folder)

	copy(at(descriptor+1), "\x00CD001\x01EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(at(descriptor + 1)[71:], catalog)
	copy(at(descriptor+2), "\xffCD001\x01")
	c := at(catalog)
	c[0] = 1
	copy(c[28:], "\xaa\x55\x55\xaa\x88") // all words add up to 0; then a bootable entry
	c[38] = 4
	binary.LittleEndian.PutUint32(c[40:], loader)
	copy(at(loader), "\xfaloader")
	return b
}

// origin serves an image, or a web page in its place while it is broken.
type origin struct {
	*httptest.Server
	broken atomic.Bool
	sha256 string
}

func newOrigin(t *testing.T) *origin {
	image := bootableISO()
	o := &origin{sha256: fmt.Sprintf("%x", sha256.Sum256(image))}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if o.broken.Load() {
			fmt.Fprint(w, "<!DOCTYPE html><html><title>Sign in</title></html>")
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(image) // the server asks again if it has to
	}))
	t.Cleanup(o.Close)
	return o
}

const isoName, driveName = "drivebay_iso.installer", "drivebay_iso_attachment.drive"

// isoConfig is an ISO in the drive of device 1001.
func isoConfig(o *origin, description, drive string) string {
	return fmt.Sprintf(`
resource "drivebay_iso" "installer" {
  name          = "installer"
  facility_code = "TPA1"
  url           = "%s/installer.iso?token=secret"
  checksum      = "sha256:%s"
  bootable      = true
  description   = %q
}
resource "drivebay_iso_attachment" "drive" {
  device_id = 1001
  iso_id    = drivebay_iso.installer.id
  %s
}
`, o.URL, o.sha256, description, drive)
}

func (s *server) drive(t *testing.T) string {
	t.Helper()
	d, err := s.api.VPS.Get(t.Context(), 1001)
	if err != nil {
		t.Fatal(err)
	}
	return d.ISOID
}

func TestISO(t *testing.T) {
	t.Parallel()
	s, o := startServer(t), newOrigin(t)
	w := s.workspace()
	w.write("main.tf", isoConfig(o, "one", ""))
	w.apply()
	id := w.id(isoName)
	has := w.has(isoName)
	if has["ready"] != true || has["sha256"] != o.sha256 || has["bios"] != true || has["label"] != "INSTALLER" || s.drive(t) != id {
		t.Fatalf("the state has %v, the drive %q", has, s.drive(t))
	}

	// Taken out by hand, it is put in again.
	s.do(s.api.VPS.DetachISO(t.Context(), 1001, client.ISODetach{}))
	w.tells(w.apply(), "1 to add, 0 to change, 0 to destroy")

	// Another one takes its place.
	w.write("main.tf", isoConfig(o, "two", ""))
	w.tells(w.apply(), "forces replacement")
	if w.id(isoName) == id || s.drive(t) != w.id(isoName) {
		t.Fatalf("the drive has %q, the state %v", s.drive(t), w.has(isoName))
	}

	// Imported, they are what they are; only the URL's secret nobody knows.
	id = w.id(isoName)
	w.must("state", "rm", isoName, driveName)
	w.must("import", isoName, id)
	w.must("import", driveName, "1001")
	if w.has(driveName)["iso_id"] != id || w.has(isoName)["name"] != "installer" {
		t.Fatalf("imported were %v and %v", w.has(driveName), w.has(isoName))
	}
	w.destroy()
	if s.drive(t) != "" {
		t.Fatal("the drive is not empty")
	}
}

// TestBootOnce: a drive that is empty since its ISO has done its work is left
// empty.
func TestBootOnce(t *testing.T) {
	t.Parallel()
	s, o := startServer(t), newOrigin(t)
	w := s.workspace()
	w.write("main.tf", isoConfig(o, "", "boot_once = true"))
	w.apply()
	if w.has(driveName)["attached"] != true {
		t.Fatalf("the state has %v", w.has(driveName))
	}
	s.do(s.api.VPS.DetachISO(t.Context(), 1001, client.ISODetach{})) // as the server does
	w.apply()
	if w.has(driveName)["attached"] != false || s.drive(t) != "" {
		t.Fatalf("the state has %v, the drive %q", w.has(driveName), s.drive(t))
	}
	w.destroy()
}

// TestISONeverReady: the source serves a web page.
func TestISONeverReady(t *testing.T) {
	t.Parallel()
	s, o := startServer(t), newOrigin(t)
	o.broken.Store(true)
	w := s.workspace()
	w.write("main.tf", isoConfig(o, "", ""))
	w.refuses([]string{"The ISO is not ready", "source_is_html"}, "apply", "-auto-approve")
	id, has := w.id(isoName), w.has(isoName)
	if w.state()[isoName].Status != "tainted" || has["reason"] != "source_is_html" || has["ready"] != false {
		t.Fatalf("the state has %v", w.state()[isoName])
	}
	o.broken.Store(false)
	w.must("untaint", isoName) // it would never be ready all the same
	w.tells(w.apply(), "must be replaced")
	if w.id(isoName) == id {
		t.Fatal("the failed ISO was not replaced")
	}
	if list, err := s.api.ISO.List(t.Context(), client.ISOListOptions{FacilityCode: "TPA1"}); err != nil || len(list) != 1 {
		t.Fatalf("the server has %v (%v)", list, err)
	}
	w.destroy()
}
