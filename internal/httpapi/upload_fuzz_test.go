package httpapi

import (
	"strconv"
	"testing"
)

// FuzzUploadOffset: what is taken is a number in its plain spelling, leading
// zeros aside, and stays the number it is.
func FuzzUploadOffset(f *testing.F) {
	for _, s := range []string{"", "0", "00", "17", "+1", "-1", " 1", "1 ", "0x1", "1e3", "1_0", "9999999999999999", "99999999999999999", "18446744073709551616", "١"} {
		f.Add(s, "", false)
	}
	f.Add("1", "1", true)
	f.Fuzz(func(t *testing.T, a, b string, twice bool) {
		values := []string{a}
		if twice {
			values = append(values, b)
		}
		n, err := parseOffset(values)
		want, perr := strconv.ParseUint(a, 10, 63)
		if err == nil && (twice || perr != nil || int64(want) != n || n < 0) {
			t.Errorf("%q is taken as %d", values, n)
		}
		if err != nil && !twice && perr == nil && len(a) <= 16 {
			t.Errorf("%q is refused", a)
		}
	})
}
