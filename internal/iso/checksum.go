package iso

import (
	"encoding/hex"
	"strings"
)

// digestBytes is the length of each checksum that distributions publish.
var digestBytes = map[string]int{"sha256": 32, "sha512": 64, "md5": 16}

// ParseChecksum splits "sha256:HEX" into algorithm and lower-case digits.
// ErrChecksumForm.
func ParseChecksum(s string) (algorithm, digest string, err error) {
	algorithm, digest, ok := strings.Cut(strings.TrimSpace(s), ":")
	algorithm, digest = strings.ToLower(algorithm), strings.ToLower(digest)
	raw, herr := hex.DecodeString(digest)
	if !ok || herr != nil || digestBytes[algorithm] == 0 || len(raw) != digestBytes[algorithm] {
		return "", "", ErrChecksumForm
	}
	return algorithm, digest, nil
}
