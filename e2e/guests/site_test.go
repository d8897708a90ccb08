package guests

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/libvirttest"
	"github.com/drivebay/drivebay/internal/testneed"
)

// facility is the one the sites have.
const facility = "TPA1"

const gib = 1 << 30

// site is a server with a facility of one host, and a tenant of it.
type site struct {
	*server
	*client
	t       testing.TB
	d       *libvirttest.Daemon
	isoPool string // a directory pool of libvirt's
	tenant  string // the id of the client
}

// newSite starts a server for the guests of a daemon whose volumes are in a pool
// of libvirt's.
func newSite(t testing.TB, d *libvirttest.Daemon, pool, isoPool string, flags ...string) *site {
	t.Helper()
	q := url.Values{"socket": {d.Socket}, "pool": {pool}, "iso_pool": {isoPool}}
	s := &site{t: t, d: d, isoPool: isoPool}
	s.server = newServer(t, append([]string{"--libvirt-host=" + facility + "/one=qemu+unix:///system?" + q.Encode()}, flags...)...)
	s.tenant = strconv.FormatInt(must[api.ClientAccount](s.server, "client", "create", "--name", "tenant").ClientID, 10)
	key := must[api.NewAPIKey](s.server, "key", "create", "--client", s.tenant, "--name", "theirs", "--permission", "read,volumes,isos")
	s.client = &client{s: s.server, key: key.Key}
	return s
}

// device gives the tenant a device that is the guest, and returns its id.
func (s *site) device(g *libvirttest.Guest) int64 {
	s.t.Helper()
	return must[api.Device](s.server, "device", "create", "--client", s.tenant, "--facility", facility, "--ref", g.UUID).DeviceID
}

// vps reads a device.
func (s *site) vps(device int64) api.VPS {
	s.t.Helper()
	return get[api.VPS](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) { return a.GetVPS(ctx, device) })
}

// volume reads a volume.
func (s *site) volume(id string) api.Volume {
	s.t.Helper()
	return get[api.Volume](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) { return a.GetVolume(ctx, id) })
}

// What follows has a request accepted and returns its task.

func (s *site) create(device int64, size int) api.Task {
	s.t.Helper()
	return get[api.Task](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.CreateVolume(ctx, nil, api.VolumeCreate{DeviceID: device, Size: size})
	})
}

// newVolume is create, waited for. It returns the volume's id.
func (s *site) newVolume(device int64, size int) string {
	s.t.Helper()
	return metaOf(s.t, s.done(s.create(device, size))).VolumeID
}

func (s *site) resize(id string, device int64, size int) api.Task {
	s.t.Helper()
	return get[api.Task](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.ResizeVolume(ctx, id, nil, api.VolumeResize{DeviceID: &device, Size: size})
	})
}

func (s *site) attach(device int64, id string) api.Task {
	s.t.Helper()
	return get[api.Task](s.client, attaching(device, id))
}

func attaching(device int64, id string) func(context.Context, *api.Client) (*http.Response, error) {
	return func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.AttachVolume(ctx, device, id)
	}
}

func (s *site) detach(device int64, id string) api.Task {
	s.t.Helper()
	return get[api.Task](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.DetachVolume(ctx, device, id)
	})
}

// remove asks for the delete of a volume; device is 0 for one that is detached.
func (s *site) remove(id string, device int64) api.Task {
	s.t.Helper()
	return get[api.Task](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		var body api.VolumeDelete
		if device != 0 {
			body.DeviceID = &device
		}
		return a.DeleteVolume(ctx, id, nil, body)
	})
}

func (s *site) power(device int64, action api.PowerAction) api.Task {
	s.t.Helper()
	return get[api.Task](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.PowerVPS(ctx, device, nil, api.VPSPower{Action: &action})
	})
}

func (s *site) insert(device int64, isoID string, once bool) api.Task {
	s.t.Helper()
	return get[api.Task](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.AttachISO(ctx, device, api.ISOAttach{ISOID: isoID, BootOnce: &once})
	})
}

func (s *site) eject(device int64, force bool) api.Task {
	s.t.Helper()
	return get[api.Task](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.DetachISO(ctx, device, api.ISODetach{Force: &force})
	})
}

// importISO imports an image from a loopback web server, and returns the ISO
// once that has ended, well or badly.
func (s *site) importISO(path string, bootable bool) api.ISO {
	s.t.Helper()
	origin := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(path))))
	defer origin.Close()
	iso := get[api.ISO](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.CreateISO(ctx, api.ISOCreate{
			FacilityCode: facility, Name: filepath.Base(path), Bootable: bootable, URL: origin.URL + "/" + url.PathEscape(filepath.Base(path)),
		})
	})
	if iso.TaskID == nil {
		s.t.Fatalf("the new ISO names no task: %+v", iso)
	}
	s.ended(s.task(*iso.TaskID, "10s"))
	return get[api.ISO](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.GetISO(ctx, iso.ISOID, nil)
	})
}

// readyISO is importISO where it has to go well.
func (s *site) readyISO(path string, bootable bool) api.ISO {
	s.t.Helper()
	iso := s.importISO(path, bootable)
	if !iso.Ready {
		s.t.Fatalf("the import of %s ended as %+v", path, iso)
	}
	return iso
}

// healthy fails the test unless a look that repairs leaves nothing open.
func (s *site) healthy() {
	s.t.Helper()
	testneed.Eventually(s.t, "libvirtd answers, which may have crashed", func() bool {
		status, said := s.operator("doctor", "--grace", "0s", "--repair")
		if status != 0 && !strings.Contains(said, "backend_unavailable") {
			s.t.Fatalf("doctor: exit status %d\n%s", status, said)
		}
		return status == 0
	})
}

// length is the length of a file in bytes.
func length(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
