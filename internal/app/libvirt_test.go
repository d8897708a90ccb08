package app

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/adopt"
	"github.com/drivebay/drivebay/internal/config"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/vps"
)

// TestHostFacilities: a facility that the settings name hosts for is made, once,
// and is libvirt's; the others stay local. Hosts need not be up for a start.
func TestHostFacilities(t *testing.T) {
	t.Parallel()
	ctx, h := t.Context(), newHouse(t)
	h.cfg.LibvirtHosts = []config.LibvirtHost{
		{Facility: "LAB1", Name: "h1", URI: "qemu+unix:///system?socket=" + filepath.Join(t.TempDir(), "none"), Pool: "default"},
	}
	var log bytes.Buffer
	s, err := Start(ctx, h.cfg, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if d := must(s.drivers.Driver("TPA1"))(t); d.Info().Name != "local" {
		t.Errorf("TPA1 is %s's", d.Info().Name)
	}
	_, err = s.Adopt.Import(ctx, adopt.Request{FacilityCode: "LAB1", ClientID: 7, All: true})
	if fault.KindOf(err) != fault.Unavailable || fault.ReasonOf(err) != "backend_unavailable" {
		t.Errorf("of a host that is down: %v", err)
	}
	if _, err := os.Stat(filepath.Join(h.cfg.DataDir, "facilities", "LAB1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a facility with hosts has a folder: %v", err)
	}
	must(s.VPS.PutFacility(ctx, vps.Facility{Code: "LAB1", Title: "The lab", City: "Tampa", Country: "US"}))(t)
	h.stop(s)
	if said := log.String(); strings.Count(said, "made the facility of libvirt_host") != 1 || !strings.Contains(said, "facility=LAB1") {
		t.Errorf("the log says: %s", said)
	}

	s = h.start()
	defer h.stop(s)
	if f := must(s.VPS.Store.Facility(ctx, "LAB1"))(t); f.Title != "The lab" {
		t.Errorf("at the second start it is %+v", f)
	}
}
