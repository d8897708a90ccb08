package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The published API leaves the form of some values open. These types take every
// form that its descriptions and clients know of.

// looseTime is a time as RFC 3339, with or without its offset, or as seconds
// since 1970. What is none of these is no time.
type looseTime struct{ time.Time }

var timeForms = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", time.RFC1123, time.RFC1123Z,
}

func (t *looseTime) UnmarshalJSON(b []byte) error {
	t.Time = time.Time{}
	var s string
	if json.Unmarshal(b, &s) == nil {
		for _, form := range timeForms {
			if at, err := time.Parse(form, s); err == nil {
				t.Time = at.UTC()
				return nil
			}
		}
		return nil
	}
	if n, err := strconv.ParseFloat(string(b), 64); err == nil && n > 0 && n < 1e11 {
		t.Time = time.UnixMicro(int64(math.Round(n * 1e6))).UTC()
	}
	return nil
}

// looseInt is a whole number, also when written as a float or in a string.
type looseInt int64

func (i *looseInt) UnmarshalJSON(b []byte) error {
	s := string(bytes.Trim(b, `"`))
	if s == "null" || s == "" {
		return nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		*i = looseInt(n)
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<63 {
		return fmt.Errorf("%q is not a whole number", oneLine(s))
	}
	*i = looseInt(f)
	return nil
}

// looseBool is a boolean, also as a string in any case.
type looseBool bool

func (v *looseBool) UnmarshalJSON(b []byte) error {
	s := strings.ToLower(string(bytes.Trim(b, `"`)))
	switch s {
	case "true", "1":
		*v = true
	case "false", "0", "", "null":
		*v = false
	default:
		return fmt.Errorf("%q is not a boolean", oneLine(s))
	}
	return nil
}

// looseText is a string; of anything else, its JSON.
type looseText string

func (t *looseText) UnmarshalJSON(b []byte) error {
	var s string
	switch {
	case string(b) == "null":
		*t = ""
	case json.Unmarshal(b, &s) == nil:
		*t = looseText(s)
	default:
		*t = looseText(b)
	}
	return nil
}
