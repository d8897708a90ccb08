package local

import (
	"slices"
	"strconv"

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

	// What came later is left out where it is nothing, so that files from
	// before it are read as they were written.
	Deaf    bool   `json:"deaf,omitempty"`    // it ignores that it is asked to shut down
	CDFirst bool   `json:"cdFirst,omitempty"` // at its next start
	FromCD  bool   `json:"fromCD,omitempty"`  // what cdFirst was at its last start
	Starts  uint64 `json:"starts,omitempty"`
}

func (g *record) clone() *record {
	c := *g
	c.Volumes, c.Holds = slices.Clone(g.Volumes), slices.Clone(g.Holds)
	return &c
}

func (g *record) equal(o *record) bool {
	return g.Ref == o.Ref && g.VCPU == o.VCPU && g.MemoryMB == o.MemoryMB &&
		g.Running == o.Running && g.ISO == o.ISO && g.TrayLocked == o.TrayLocked &&
		g.Deaf == o.Deaf && g.CDFirst == o.CDFirst && g.FromCD == o.FromCD && g.Starts == o.Starts &&
		slices.Equal(g.Volumes, o.Volumes) && slices.Equal(g.Holds, o.Holds)
}

func (g *record) has(volumeID string) bool   { return contains(g.Volumes, volumeID) }
func (g *record) holds(volumeID string) bool { return g.Running && contains(g.Holds, volumeID) }

// start turns the guest on. It starts from the CD if that is first now and has
// a medium, which is all that a simulated guest does about it.
func (g *record) start() {
	if !g.Running {
		g.Running, g.FromCD = true, g.CDFirst
		g.Starts++
	}
}

func (g *record) view() backend.VMView {
	v := backend.VMView{Ref: g.Ref, Running: g.Running, VolumeIDs: slices.Clone(g.Volumes), ISOKey: g.ISO, CDFirst: g.CDFirst}
	if g.Running {
		v.Starts = strconv.FormatUint(g.Starts, 10)
	}
	return v
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
