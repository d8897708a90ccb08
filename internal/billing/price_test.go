package billing

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cents      Cents
		json, text string
		units      float64
	}{
		{0, "0", "0.00", 0},
		{1, "0.01", "0.01", 0.01},
		{10, "0.1", "0.10", 0.1},
		{1000, "10", "10.00", 10},
		{1050, "10.5", "10.50", 10.5},
		{-5, "-0.05", "-0.05", -0.05},
		{-1050, "-10.5", "-10.50", -10.5},
		{math.MaxInt64, "92233720368547758.07", "92233720368547758.07", 92233720368547758.07},
		{math.MinInt64, "-92233720368547758.08", "-92233720368547758.08", -92233720368547758.08},
	} {
		if got := string(c.cents.AppendJSON([]byte("x"))); got != "x"+c.json {
			t.Errorf("AppendJSON(%d) = %q, want x%s", int64(c.cents), got, c.json)
		}
		if got := c.cents.String(); got != c.text {
			t.Errorf("String(%d) = %q, want %q", int64(c.cents), got, c.text)
		}
		if got := c.cents.Units(); got != c.units {
			t.Errorf("Units(%d) = %v, want %v", int64(c.cents), got, c.units)
		}
		if !json.Valid(c.cents.AppendJSON(nil)) {
			t.Errorf("AppendJSON(%d) is no JSON", int64(c.cents))
		}
	}
}

func TestPriceList(t *testing.T) {
	t.Parallel()
	prices := append(DefaultPrices("TPA1"), DefaultPrices("LAX3")[2:]...)
	slices.Reverse(prices)
	before := slices.Clone(prices)

	for _, c := range []struct {
		name string
		got  []Price
		want []int
	}{
		{"all of TPA1", Sold(prices, "TPA1"), []int{50, 100, 200, 500}},
		{"all of LAX3", Sold(prices, "LAX3"), []int{200, 500}},
		{"nothing sold", Sold(prices, "NYC1"), []int{}},
		{"above 100", Larger(prices, "TPA1", 100), []int{200, 500}},
		{"above a size not sold", Larger(prices, "TPA1", 120), []int{200, 500}},
		{"above the largest", Larger(prices, "TPA1", 500), []int{}},
	} {
		if got := Sizes(c.got); c.got == nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		for _, p := range c.got {
			if found, ok := Find(prices, p.FacilityCode, p.SizeGiB); !ok || found != p {
				t.Errorf("%s: Find gives %v, %v for %v", c.name, found, ok, p)
			}
		}
	}
	if _, ok := Find(prices, "LAX3", 50); ok {
		t.Error("a size of another facility was found")
	}
	if diff := cmp.Diff(before, prices); diff != "" {
		t.Errorf("the list was changed: %s", diff)
	}
}
