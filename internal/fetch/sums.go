package fetch

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
)

// sums are the digests of one file, sha256 always among them.
type sums struct {
	names  []string
	hashes []hash.Hash
}

func newSums(extra []string) (*sums, error) {
	s := &sums{}
	for _, name := range append([]string{"sha256"}, extra...) {
		if slices.Contains(s.names, name) {
			continue
		}
		var h hash.Hash
		switch name {
		case "sha256":
			h = sha256.New()
		case "sha512":
			h = sha512.New()
		case "md5":
			h = md5.New() // only to compare with what a distribution publishes
		default:
			return nil, fmt.Errorf("unknown digest %q", name)
		}
		s.names, s.hashes = append(s.names, name), append(s.hashes, h)
	}
	return s, nil
}

func (s *sums) write(p []byte) {
	for _, h := range s.hashes {
		h.Write(p)
	}
}

func (s *sums) reset() {
	for _, h := range s.hashes {
		h.Reset()
	}
}

func (s *sums) hex() map[string]string {
	out := make(map[string]string, len(s.names))
	for i, name := range s.names {
		out[name] = hex.EncodeToString(s.hashes[i].Sum(nil))
	}
	return out
}

// marshal returns the inner states. Their form is Go's: another build may not
// read them.
func (s *sums) marshal() (map[string][]byte, error) {
	out := make(map[string][]byte, len(s.names))
	for i, name := range s.names {
		m, ok := s.hashes[i].(encoding.BinaryMarshaler)
		if !ok {
			return nil, fmt.Errorf("digest %s cannot be saved", name)
		}
		b, err := m.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("save digest %s: %w", name, err)
		}
		out[name] = b
	}
	return out, nil
}

// unmarshal takes up saved states. False means the digests are unusable until
// the next reset.
func (s *sums) unmarshal(saved map[string][]byte) bool {
	for i, name := range s.names {
		u, ok := s.hashes[i].(encoding.BinaryUnmarshaler)
		if !ok || u.UnmarshalBinary(saved[name]) != nil {
			return false
		}
	}
	return true
}

// read digests the first n bytes of f anew.
func (s *sums) read(f io.ReaderAt, n int64) error {
	s.reset()
	buf := make([]byte, blockBytes)
	for off := int64(0); off < n; {
		part := buf[:min(n-off, blockBytes)]
		if _, err := f.ReadAt(part, off); err != nil {
			return err
		}
		s.write(part)
		off += int64(len(part))
	}
	return nil
}
