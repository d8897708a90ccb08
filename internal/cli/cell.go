package cli

import (
	"strconv"
	"strings"
	"time"
)

// How values stand in the cells of tables. What is not known is "".

func number[T ~int | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

func optNumber(n *int64) string {
	if n == nil {
		return ""
	}
	return number(*n)
}

func optText(v *string) string {
	if v == nil {
		return ""
	}
	return *v
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// day is the date alone, for lists.
func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

func optDate(t *time.Time) string {
	if t == nil {
		return ""
	}
	return date(*t)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func optYesNo(b *bool) string {
	if b == nil {
		return ""
	}
	return yesNo(*b)
}

func money(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

func optMoney(v *float64) string {
	if v == nil {
		return ""
	}
	return money(*v)
}

// byteSize is a number of bytes for people.
func byteSize(n int64) string {
	if n < 1<<10 {
		return number(n) + " B"
	}
	v, units := float64(n)/(1<<10), []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for v >= 1023.95 && len(units) > 1 {
		v, units = v/(1<<10), units[1:]
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + " " + units[0]
}

func optBytes(n int64) string {
	if n == 0 {
		return ""
	}
	return byteSize(n)
}

func words[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return strings.Join(out, ",")
}

func numbers(list []int64) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = number(v)
	}
	return strings.Join(out, ",")
}

// age is how long ago t was, in its largest unit.
func age(t time.Time) string {
	d := time.Since(t)
	switch {
	case t.IsZero():
		return ""
	case d < time.Minute:
		return number(int64(max(d, 0)/time.Second)) + "s"
	case d < time.Hour:
		return number(int64(d/time.Minute)) + "m"
	case d < 48*time.Hour:
		return number(int64(d/time.Hour)) + "h"
	}
	return number(int64(d/(24*time.Hour))) + "d"
}

// given returns a pointer to v if it is not its type's zero value, for fields
// that are left out of a request otherwise.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
