package billing

import (
	"math"
	"testing"
	"time"
)

// at reads a moment; the tests write them as the API does.
func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestAnniversary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		start string
		n     int
		want  string
	}{
		{"2026-01-15T10:20:30.123456Z", 0, "2026-01-15T10:20:30.123456Z"},
		{"2026-01-15T10:20:30.123456789Z", 1, "2026-02-15T10:20:30.123456Z"},
		{"2026-01-31T23:59:59.999999Z", 1, "2026-02-28T23:59:59.999999Z"},
		{"2026-01-31T00:00:00Z", 2, "2026-03-31T00:00:00Z"},
		{"2026-01-31T00:00:00Z", 3, "2026-04-30T00:00:00Z"},
		{"2026-01-31T00:00:00Z", 12, "2027-01-31T00:00:00Z"},
		{"2024-01-31T12:00:00Z", 1, "2024-02-29T12:00:00Z"},
		{"2024-01-30T12:00:00Z", 1, "2024-02-29T12:00:00Z"},
		{"2023-01-29T12:00:00Z", 1, "2023-02-28T12:00:00Z"},
		{"2023-01-29T12:00:00Z", 13, "2024-02-29T12:00:00Z"},
		{"2024-02-29T12:00:00Z", 12, "2025-02-28T12:00:00Z"},
		{"2024-02-29T12:00:00Z", 48, "2028-02-29T12:00:00Z"},
		{"2000-01-31T00:00:00Z", 1, "2000-02-29T00:00:00Z"},
		{"2100-01-31T00:00:00Z", 1, "2100-02-28T00:00:00Z"},
		{"2025-12-31T00:00:00Z", 1, "2026-01-31T00:00:00Z"},
		{"2025-12-31T00:00:00Z", 2, "2026-02-28T00:00:00Z"},
		{"2025-12-01T00:00:00Z", 1, "2026-01-01T00:00:00Z"},
		{"2025-11-30T00:00:00Z", 15, "2027-02-28T00:00:00Z"},
		{"2026-03-31T00:00:00Z", -1, "2026-02-28T00:00:00Z"},
		{"2026-01-31T00:00:00Z", -1, "2025-12-31T00:00:00Z"},
		// The day is that in UTC, whatever zone the moment came in.
		{"2026-02-01T01:00:00+02:00", 1, "2026-02-28T23:00:00Z"},
	} {
		got := Anniversary(at(c.start), c.n)
		if !got.Equal(at(c.want)) || got.Location() != time.UTC {
			t.Errorf("%s + %d months = %v, want %s", c.start, c.n, got, c.want)
		}
	}
}

func TestProrate(t *testing.T) {
	t.Parallel()
	// A period of 30 days, 2,592,000 seconds.
	start, end := at("2026-04-01T00:00:00Z"), at("2026-05-01T00:00:00Z")
	after := func(d time.Duration) time.Time { return start.Add(d) }
	const day = 24 * time.Hour
	for _, c := range []struct {
		name     string
		diff     Cents
		from, to time.Time
		want     Cents
	}{
		{"whole period", 500, start, end, 500},
		{"half of it", 500, after(15 * day), end, 250},
		{"a tie goes up", 1, after(15 * day), end, 1},
		{"a tie below zero goes up", -1, after(15 * day), end, 0},
		{"more than half below zero", -1, after(15*day - time.Second), end, -1},
		{"a second short of a tie", 1, after(15*day + time.Second), end, 0},
		{"a microsecond short of a tie", 1, after(15*day + time.Microsecond), end, 0},
		{"one second of a cent a second", 2_592_000, after(30*day - time.Second), end, 1},
		{"a span in the middle", 3000, after(10 * day), after(20 * day), 1000},
		{"cut to the period", 500, start.Add(-day), end.Add(day), 500},
		{"empty", 500, end, end, 0},
		{"backwards", 500, end, start, 0},
		{"before the period", 500, start.Add(-2 * day), start.Add(-day), 0},
		{"no difference", 0, start, end, 0},
		{"largest", math.MaxInt64, start, end, math.MaxInt64},
		{"smallest", math.MinInt64, start, end, math.MinInt64},
		{"half of the largest", math.MaxInt64, after(15 * day), end, math.MaxInt64/2 + 1},
	} {
		if got := Prorate(c.diff, c.from, c.to, start, end); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if got := Prorate(500, start, end, start, start); got != 0 {
		t.Errorf("empty period: %d, want 0", got)
	}
	if got := Prorate(500, start, end, end, start); got != 0 {
		t.Errorf("backward period: %d, want 0", got)
	}
}
