package local

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/drivebay/drivebay/internal/backend"
)

const (
	// slotsFormat is a file of two slots, plainFormat one that is a record and
	// nothing else: what a person writes who repairs a guest by hand.
	slotsFormat = 2
	plainFormat = 1
	// minSlot is what disks write at once, or a multiple of it.
	minSlot = 4096
	// maxSlot bounds a guest's file; 100,000 volumes fit.
	maxSlot = 16 << 20
)

// slot is one half of a guest's file. Changes go to the two halves by turns, so
// that the one before stays whole while one is written; which of them counts,
// the number says, and whether it was written to its end, the sum.
type slot struct {
	Format int             `json:"format"`
	Change uint64          `json:"change"`
	Sum    string          `json:"sum"`
	Guest  json.RawMessage `json:"guest"`
}

// stored is a guest as read from its file.
type stored struct {
	guest  *record
	change uint64
	size   int // of a slot; 0 is a file without slots
}

func slotSum(change uint64, guest []byte) string {
	h := sha256.New()
	_, _ = h.Write(strconv.AppendUint(nil, change, 10))
	_, _ = h.Write(guest)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// encodeSlot returns the text of a slot: one line.
func encodeSlot(g *record, change uint64) ([]byte, error) {
	guest, err := json.Marshal(g)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(slot{Format: slotsFormat, Change: change, Sum: slotSum(change, guest), Guest: guest})
	return append(b, '\n'), err
}

// slotSize is what the slots of a new file have for a text of n bytes: room for
// twice as much.
func slotSize(n int) int { return max(1, (2*n+minSlot-1)/minSlot) * minSlot }

// padded is the text with blanks up to size bytes, the last one a new line.
func padded(text []byte, size int) []byte {
	b := bytes.Repeat([]byte{' '}, size)
	copy(b, bytes.TrimSuffix(text, []byte{'\n'}))
	b[size-1] = '\n'
	return b
}

// decodeGuest reads a guest's file. It takes only what was written whole.
func decodeGuest(r io.Reader) (stored, error) {
	b, err := io.ReadAll(io.LimitReader(r, 2*maxSlot+1))
	if err != nil {
		return stored{}, err
	}
	if len(b) > 2*maxSlot {
		return stored{}, errors.New("the file is too long")
	}
	if size := len(b) / 2; size > 0 && len(b)%(2*minSlot) == 0 {
		first, second := decodeSlot(b[:size]), decodeSlot(b[size:])
		if first.guest == nil || second.guest != nil && second.change > first.change {
			first = second
		}
		if first.guest != nil {
			first.size = size
			return first, nil
		}
	}
	g, err := decodePlain(b)
	return stored{guest: g}, err
}

// decodeSlot returns nothing for what is not, byte by byte, a slot as written.
func decodeSlot(b []byte) stored {
	var s slot
	if json.Unmarshal(b, &s) != nil || s.Format != slotsFormat || s.Sum != slotSum(s.Change, s.Guest) {
		return stored{}
	}
	var g record
	if json.Unmarshal(s.Guest, &g) != nil || g.check() != nil {
		return stored{}
	}
	text, err := encodeSlot(&g, s.Change)
	if err != nil || len(text) > len(b) || !bytes.Equal(b, padded(text, len(b))) {
		return stored{}
	}
	return stored{guest: &g, change: s.Change}
}

func decodePlain(b []byte) (*record, error) {
	var version struct {
		Format int `json:"format"`
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&version); err != nil {
		return nil, err
	}
	switch version.Format {
	case plainFormat:
	case slotsFormat:
		return nil, errors.New("neither half of the file is whole")
	default:
		return nil, fmt.Errorf("format %d is not one this version knows", version.Format)
	}
	var plain struct {
		Format int `json:"format"`
		record
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&plain); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more in it than the guest")
	}
	return &plain.record, plain.check()
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
