package billing

import "testing"

func TestQuoteOf(t *testing.T) {
	t.Parallel()
	now := at("2026-02-14T11:00:00.1234567Z")
	none := Service{}
	first, create := Open(Opening{Price: price(50, 500), At: now})
	same(t, QuoteOf(now, none, first, create), Quote{
		At: at("2026-02-14T11:00:00.123456Z"), After: 500, Charged: 500, PaidUntil: at("2026-03-14T11:00:00.123456Z"), RenewsAt: at("2026-03-14T11:00:00.123456Z"),
	})

	s := open("2026-01-31T11:00:00Z")
	now = at("2026-03-15T11:00:00Z") // half of a month of which nothing is paid
	grown, charges := s.Resize(now, price(100, 1000), "t2")
	same(t, QuoteOf(now, s, grown, charges...), Quote{
		At: now, Before: 500, After: 1000, Charged: 258, Due: 500, PaidUntil: at("2026-03-31T11:00:00Z"), RenewsAt: at("2026-03-31T11:00:00Z"),
	})

	cheaper, charges := s.Resize(at("2026-02-14T11:00:00Z"), price(100, 300), "t2")
	same(t, QuoteOf(at("2026-02-14T11:00:00Z"), s, cheaper, charges...), Quote{
		At: at("2026-02-14T11:00:00Z"), Before: 500, After: 300, Charged: -100, PaidUntil: at("2026-02-28T11:00:00Z"), RenewsAt: at("2026-02-28T11:00:00Z"),
	})

	ended, charges := s.Cancel(now)
	same(t, QuoteOf(now, s, ended, charges...), Quote{At: now, Before: 500, Due: 500, PaidUntil: at("2026-03-31T11:00:00Z")})
}
