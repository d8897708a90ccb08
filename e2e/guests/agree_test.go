package guests

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"

	"libvirt.org/go/libvirtxml"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

// agree fails the test where the rows of a device, the guest's two definitions
// and its QEMU say different things of its volumes, their sizes and its drive.
// Nothing may be under way.
func (s *site) agree(g *libvirttest.Guest, device int64) {
	s.t.Helper()
	rows := map[string]int64{} // bytes by volume
	for _, v := range get[[]api.Volume](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
		return a.ListVolumes(ctx, &api.ListVolumesParams{DeviceID: &device})
	}) {
		if rows[v.VolumeID] = v.SizeBytes; v.State != api.VolumeStateAttached {
			s.t.Errorf("volume %s is %s", v.VolumeID, v.State)
		}
	}
	want := slices.Sorted(maps.Keys(rows))
	medium := ""
	if id := s.vps(device).ISOID; id != nil {
		medium = *get[api.ISO](s.client, func(ctx context.Context, a *api.Client) (*http.Response, error) {
			return a.GetISO(ctx, *id, nil)
		}).SHA256
	}
	for _, inactive := range []bool{false, true} {
		ids, cd := disksOf(g.XML(inactive))
		if !slices.Equal(ids, want) || cd != medium {
			s.t.Errorf("rows: %v and %q in the drive; definition, inactive %t: %v and %q", want, medium, inactive, ids, cd)
		}
	}
	if nodes := s.nodes(g); !maps.Equal(nodes, rows) {
		s.t.Errorf("rows: %v; QEMU: %v", rows, nodes)
	}
}

// disksOf are the volumes in a definition, sorted, and the SHA-256 of the image
// in the drive, "" when there is none.
func disksOf(domain *libvirtxml.Domain) (ids []string, medium string) {
	for _, disk := range domain.Devices.Disks {
		source := ""
		if disk.Source != nil && disk.Source.File != nil {
			source = disk.Source.File.File
		} else if disk.Source != nil && disk.Source.Network != nil {
			source = disk.Source.Network.Name
		}
		if disk.Device == "cdrom" {
			medium = sha256Pattern.FindString(path.Base(source))
		} else if id := idPattern.FindString(path.Base(source)); id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, medium
}

var (
	sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}`)
	idPattern     = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
)

// nodes are the volumes the guest's QEMU has open, with their sizes in bytes.
func (s *site) nodes(g *libvirttest.Guest) map[string]int64 {
	s.t.Helper()
	text := g.Monitor(`{"execute": "query-named-block-nodes", "arguments": {"flat": true}}`)
	var answer struct {
		Return []struct {
			File  string `json:"file"`
			Image struct {
				Bytes int64 `json:"virtual-size"`
			} `json:"image"`
		} `json:"return"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		s.t.Fatalf("read QEMU's block nodes: %v", err)
	}
	nodes := map[string]int64{}
	for _, n := range answer.Return {
		if id := idPattern.FindString(n.File); id != "" {
			nodes[id] = n.Image.Bytes
		}
	}
	return nodes
}
