package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/drivebay/drivebay/internal/backend"
)

const (
	recordFormat = 1
	// maxRecord bounds a guest's file; 100,000 volumes fit.
	maxRecord = 16 << 20
)

// record is one simulated guest as it stands in its file. It is never changed
// once other goroutines can see it: clone, change, save.
type record struct {
	Format     int      `json:"format"`
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
	return g.Format == o.Format && g.Ref == o.Ref && g.VCPU == o.VCPU && g.MemoryMB == o.MemoryMB &&
		g.Running == o.Running && g.ISO == o.ISO && g.TrayLocked == o.TrayLocked &&
		slices.Equal(g.Volumes, o.Volumes) && slices.Equal(g.Holds, o.Holds)
}

func (g *record) has(volumeID string) bool   { return contains(g.Volumes, volumeID) }
func (g *record) holds(volumeID string) bool { return g.Running && contains(g.Holds, volumeID) }

func (g *record) view() backend.VMView {
	return backend.VMView{Ref: g.Ref, Running: g.Running, VolumeIDs: slices.Clone(g.Volumes), ISOKey: g.ISO}
}

func (g *record) encode() ([]byte, error) {
	b, err := json.Marshal(g)
	return append(b, '\n'), err
}

// decodeRecord reads a guest's file. It takes only what encode can have made.
func decodeRecord(r io.Reader) (*record, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxRecord+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxRecord {
		return nil, errors.New("the file is too long")
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return nil, err
	}
	if version.Format != recordFormat {
		return nil, fmt.Errorf("format %d is not one this version knows", version.Format)
	}
	var g record
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&g); err != nil {
		return nil, err
	}
	return &g, g.check()
}

func (g *record) check() error {
	switch {
	case !backend.ValidID(g.Ref):
		return errors.New("the guest has no valid name")
	case g.ISO != "" && !backend.ValidKey(g.ISO):
		return errors.New("the image in the drive has no valid name")
	case !isSet(g.Volumes) || !isSet(g.Holds):
		return errors.New("a list of volumes has a name twice, unsorted or not valid")
	}
	return nil
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
