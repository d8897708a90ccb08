package backend

// ValidID reports whether s may name a volume or a guest: 1 to 64 ASCII
// letters, digits and hyphens. Such a name is also safe as part of a file name.
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
		default:
			return false
		}
	}
	return true
}

// ValidKey reports whether s may name an image: a SHA-256 as 64 lower-case
// hexadecimal digits.
func ValidKey(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
