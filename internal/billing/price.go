// Package billing holds the rules of money and time: what a volume costs, for
// which month it is paid, and what a change charges. It is pure: no database,
// no clock of its own.
//
// A volume is paid a month in advance from the moment it exists, and renewed
// on its own anniversary. A resize charges the price difference for the rest
// of the running month at once. A delete ends the service; the running month is
// not refunded. So for every paid month the charges are the integral of the
// price over that month, with the last price held from the delete to its end,
// each charge rounded once, half up to the cent.
package billing

import (
	"cmp"
	"slices"
	"strconv"
)

// Cents is an amount in hundredths of the currency unit. A negative amount is a
// credit.
type Cents int64

// Units is the amount in currency units, as the API shows prices. It is for
// showing only; no rule reckons with it.
func (c Cents) Units() float64 { return float64(c) / 100 }

// AppendJSON appends the amount in currency units as a JSON number without
// needless digits: 10, 10.5, -0.05. It is exact.
func (c Cents) AppendJSON(dst []byte) []byte {
	n := uint64(c)
	if c < 0 {
		dst, n = append(dst, '-'), -n
	}
	dst = strconv.AppendUint(dst, n/100, 10)
	tens, ones := byte(n/10%10), byte(n%10)
	if tens == 0 && ones == 0 {
		return dst
	}
	dst = append(dst, '.', '0'+tens)
	if ones != 0 {
		dst = append(dst, '0'+ones)
	}
	return dst
}

// String is the amount in currency units with two decimals, for texts.
func (c Cents) String() string {
	n, sign := uint64(c), ""
	if c < 0 {
		n, sign = -n, "-"
	}
	return sign + strconv.FormatUint(n/100, 10) + "." + string([]byte{'0' + byte(n/10%10), '0' + byte(n%10)})
}

// Price is one line of the price list: a size sold at a facility.
type Price struct {
	FacilityCode string
	SizeGiB      int
	Monthly      Cents // for one month; never negative
	ProductID    int   // names the size as a product, in services and invoices
}

// DefaultPrices is the list of a facility that has none of its own.
func DefaultPrices(facility string) []Price {
	return []Price{
		{FacilityCode: facility, SizeGiB: 50, Monthly: 500, ProductID: 1050},
		{FacilityCode: facility, SizeGiB: 100, Monthly: 1000, ProductID: 1100},
		{FacilityCode: facility, SizeGiB: 200, Monthly: 2000, ProductID: 1200},
		{FacilityCode: facility, SizeGiB: 500, Monthly: 5000, ProductID: 1500},
	}
}

// Sold returns the prices of a facility, smallest size first. It is empty, not
// nil, when nothing is sold there. Prices stays as it is.
func Sold(prices []Price, facility string) []Price { return Larger(prices, facility, 0) }

// Larger returns the prices of a facility for sizes above sizeGiB, smallest
// first: what a volume of that size can grow to.
func Larger(prices []Price, facility string, sizeGiB int) []Price {
	out := make([]Price, 0, len(prices))
	for _, p := range prices {
		if p.FacilityCode == facility && p.SizeGiB > sizeGiB {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Price) int { return cmp.Compare(a.SizeGiB, b.SizeGiB) })
	return out
}

// Find returns the price of a size at a facility; ok is false when it is not sold.
func Find(prices []Price, facility string, sizeGiB int) (p Price, ok bool) {
	i := slices.IndexFunc(prices, func(p Price) bool {
		return p.FacilityCode == facility && p.SizeGiB == sizeGiB
	})
	if i < 0 {
		return Price{}, false
	}
	return prices[i], true
}

// Sizes returns the sizes in GiB of a list, in its order.
func Sizes(prices []Price) []int {
	out := make([]int, len(prices))
	for i, p := range prices {
		out[i] = p.SizeGiB
	}
	return out
}
