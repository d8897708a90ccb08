package local

import (
	"slices"

	"github.com/drivebay/drivebay/internal/backend"
)

// record is one simulated guest. It is never changed once other goroutines can
// see it: clone, change, save.
type record struct {
	Ref        string   `json:"ref"`
	VCPU       int      `json:"vcpu"`
	MemoryMB   int      `json:"memoryMB"`
	Running    bool     `json:"running"`
	Volumes    []string `json:"volumes"` // sorted
	ISO        string   `json:"iso"`     // "" is an empty drive
	TrayLocked bool     `json:"trayLocked"`
	Holds      []string `json:"holds"` // sorted; volumes it does not release while it runs
}

func (g *record) clone() *record {
	c := *g
	c.Volumes, c.Holds = slices.Clone(g.Volumes), slices.Clone(g.Holds)
	return &c
}

func (g *record) equal(o *record) bool {
	return g.Ref == o.Ref && g.VCPU == o.VCPU && g.MemoryMB == o.MemoryMB &&
		g.Running == o.Running && g.ISO == o.ISO && g.TrayLocked == o.TrayLocked &&
		slices.Equal(g.Volumes, o.Volumes) && slices.Equal(g.Holds, o.Holds)
}

func (g *record) has(volumeID string) bool   { return contains(g.Volumes, volumeID) }
func (g *record) holds(volumeID string) bool { return g.Running && contains(g.Holds, volumeID) }

func (g *record) view() backend.VMView {
	return backend.VMView{Ref: g.Ref, Running: g.Running, VolumeIDs: slices.Clone(g.Volumes), ISOKey: g.ISO}
}

// isSet reports whether ids are valid, sorted and each there once.
func isSet(ids []string) bool {
	for i, id := range ids {
		if !backend.ValidID(id) || i > 0 && ids[i-1] >= id {
			return false
		}
	}
	return true
}

func contains(sorted []string, s string) bool {
	_, ok := slices.BinarySearch(sorted, s)
	return ok
}

// with and without change a sorted list in place.
func with(sorted []string, s string) []string {
	if i, ok := slices.BinarySearch(sorted, s); !ok {
		return slices.Insert(sorted, i, s)
	}
	return sorted
}

func without(sorted []string, s string) []string {
	if i, ok := slices.BinarySearch(sorted, s); ok {
		return slices.Delete(sorted, i, i+1)
	}
	return sorted
}
