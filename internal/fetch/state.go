package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// State is a checkpoint: what is durable of a download, and how far its retry
// budget is used. It is plain data, to be stored as JSON, and holds no
// credentials. Its fields are for Fetch; a caller may read Bytes and Total.
type State struct {
	// Source tells another URL from this one: the SHA-256 of its text.
	Source string `json:"source"`
	// Bytes are on the disk, from the start of the file. Total is the whole
	// length, -1 while it is not known.
	Bytes int64 `json:"bytes"`
	Total int64 `json:"total"`
	// ETag (a strong one) and LastModified say which version the bytes are of.
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
	ContentType  string `json:"contentType,omitempty"`
	FinalURL     string `json:"finalUrl,omitempty"` // redacted
	// Hashes are the marshalled digests of the Bytes, by algorithm.
	Hashes map[string][]byte `json:"hashes,omitempty"`
	// Failures is how many attempts failed since the last progress. It is part
	// of the state so that a restart gives no new budget. It goes back to zero
	// when the download gets refillBytes beyond Mark, the furthest point at
	// which that happened; a source that lets us begin again and again never
	// gets beyond it twice.
	Failures int   `json:"failures,omitempty"`
	Mark     int64 `json:"mark,omitempty"`
	// NoRange is set once the source's ranges proved wrong: never ask again.
	NoRange bool `json:"noRange,omitempty"`
	// Check is a digest of the rest. A state that fails it is not used.
	Check string `json:"check"`
}

func sourceID(rawURL string) string {
	sum := sha256.Sum256([]byte(rawURL))
	return hex.EncodeToString(sum[:])
}

// complete reports whether all bytes of a known length are there.
func (s *State) complete() bool { return s.Total > 0 && s.Bytes == s.Total }

// zero forgets the bytes, and keeps the budget.
func (s *State) zero() {
	*s = State{Source: s.Source, Total: -1, Failures: s.Failures, Mark: s.Mark, NoRange: s.NoRange}
}

// usable reports whether s is intact and belongs to the source.
func (s *State) usable(source string, maxBytes int64) bool {
	return s != nil && s.Source == source && s.Check == s.check() && s.Failures >= 0 && s.Mark >= 0 &&
		s.Bytes >= 0 && s.Bytes <= maxBytes && s.Total >= -1 && (s.Total < 0 || s.Bytes <= s.Total)
}

func (s *State) check() string {
	c := *s
	c.Check = ""
	text, err := json.Marshal(c)
	if err != nil {
		return "" // cannot be: State is plain data
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
