package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/drivebay/drivebay/api"
)

// charge is a line of the ledger, with the price of its service now; times are
// microseconds.
type charge struct {
	service, monthly int64
	kind, task       string
	amount           int64
	from, to, at     int64
}

// checkLedger looks at all services there ever were, and recomputes what each
// must have cost. The server's own arithmetic is not used.
func (c *checker) checkLedger() {
	c.t.Helper()
	c.none("a charge and its service differ", `SELECT c.id FROM charge c LEFT JOIN service s ON s.id = c.service_id
		WHERE s.id IS NULL OR s.client_id <> c.client_id OR s.volume_id <> c.volume_id`)
	c.none("a charge names a task that did not succeed", `SELECT c.id || ' ' || c.kind FROM charge c LEFT JOIN task t ON t.id = c.task_id
		WHERE c.kind <> 'renew' AND (t.id IS NULL OR t.state <> 'done' OR t.kind <> 'volume.' || c.kind OR t.volume_id <> c.volume_id)`)
	c.none("a create or resize succeeded and was not charged once", `SELECT t.id || ' ' || t.kind FROM task t
		LEFT JOIN charge c ON c.task_id = t.id WHERE t.state = 'done' AND t.kind IN ('volume.create', 'volume.resize')
		GROUP BY t.id HAVING count(c.id) <> 1`)
	c.none("a service was not charged for each of its months", `SELECT s.id FROM service s
		LEFT JOIN charge c ON c.service_id = s.id AND c.kind IN ('create', 'renew') GROUP BY s.id
		HAVING count(c.id) <> s.periods OR min(c.from_at) <> s.started_at OR max(c.to_at) <> s.period_end
			OR sum(c.kind = 'create') <> 1`)
	c.none("a volume has two services", `SELECT volume_id FROM service GROUP BY volume_id HAVING count(*) > 1`)
	c.none("a service is neither active nor cancelled", `SELECT id || ' ' || status FROM service
		WHERE status NOT IN ('active', 'cancelled') OR (status = 'cancelled') <> (cancelled_at IS NOT NULL)`)
	c.none("a create, resize or delete succeeded and its service does not show it", `
		SELECT t.id || ' ' || t.kind FROM task t LEFT JOIN service s ON s.volume_id = t.volume_id
		WHERE t.state = 'done' AND t.kind IN ('volume.create', 'volume.resize', 'volume.delete')
			AND (s.id IS NULL OR t.kind = 'volume.delete' AND s.status = 'active')`)
	lines := rows(c, func(k *charge) []any {
		return []any{&k.service, &k.monthly, &k.kind, &k.task, &k.amount, &k.from, &k.to, &k.at}
	}, `SELECT s.id, s.monthly_cents, c.kind, c.task_id, c.amount_cents, c.from_at, c.to_at, c.at
		FROM charge c JOIN service s ON s.id = c.service_id ORDER BY s.id, c.id`)
	prices := c.acceptedPrices()
	for len(lines) > 0 {
		n := 1
		for n < len(lines) && lines[n].service == lines[0].service {
			n++
		}
		c.checkCharges(lines[:n], prices)
		lines = lines[n:]
	}
}

// checkCharges follows the price of one service over its charges.
func (c *checker) checkCharges(lines []charge, prices map[string]int64) {
	c.t.Helper()
	const second = 1_000_000
	var monthly, start, end int64 // the price, and the month paid last
	for _, k := range lines {
		var want int64
		switch k.kind {
		case "create":
			monthly, start, end = prices[k.task], k.from, k.to
			want = monthly
		case "renew":
			if k.from != end {
				c.t.Errorf("service %d was renewed from %d, want from %d", k.service, k.from, end)
			}
			want, start, end = monthly, k.from, k.to
		case "resize":
			if k.to != end || k.from < start || k.from > k.at || k.at-k.from >= second {
				c.t.Errorf("service %d was charged for a resize at %d from %d to %d, want from its second to %d", k.service, k.at, k.from, k.to, end)
			}
			want = share(prices[k.task]-monthly, end-k.from, end-start)
			monthly = prices[k.task]
		}
		if k.amount != want {
			c.t.Errorf("service %d was charged %d cents for a %s (task %s), want %d", k.service, k.amount, k.kind, k.task, want)
		}
	}
	if got := lines[0].monthly; got != monthly {
		c.t.Errorf("service %d costs %d cents a month, want %d by its charges", lines[0].service, got, monthly)
	}
}

// acceptedPrices is the monthly price in cents that each create and resize was
// accepted at, by task.
func (c *checker) acceptedPrices() map[string]int64 {
	c.t.Helper()
	type accepted struct{ id, args string }
	out := map[string]int64{}
	for _, a := range rows(c, func(a *accepted) []any { return []any{&a.id, &a.args} },
		`SELECT id, args FROM task WHERE kind IN ('volume.create', 'volume.resize')`) {
		var args struct {
			Monthly int64 `json:"monthlyCents"`
		}
		if err := json.Unmarshal([]byte(a.args), &args); err != nil {
			c.t.Fatalf("arguments of task %s: %v", a.id, err)
		}
		out[a.id] = args.Monthly
	}
	return out
}

// share is amount times part/whole, rounded half up to the cent. Amounts here
// are not negative and far below what would overflow.
func share(amount, part, whole int64) int64 {
	n, d := 2*amount*part+whole, 2*whole
	if q := n / d; n%d >= 0 {
		return q
	}
	return n/d - 1 // of a credit: down, where Go's division goes towards zero
}

// hashFile is the SHA-256 of a file in lower-case hex, "" if it is not there.
func hashFile(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestQuotes asks what a volume costs at each turn of its life, and then does
// it at that price. The clock runs, so a resize may be charged a little less.
func TestQuotes(t *testing.T) {
	t.Parallel()
	s := startDemo(t)
	c, admin := s.client(), newClient(t, s.demo.URL, s.demo.AdminKey)
	path, id := "/vps/volume", ""
	for _, o := range []struct {
		method string
		body   map[string]any
		sum    float64 // charged for the volume by then, at most
	}{
		{"POST", map[string]any{"deviceId": 1001, "size": 50}, 5},
		{"PUT", map[string]any{"deviceId": 1001, "size": 500}, 50},
		{"DELETE", map[string]any{"deviceId": 1001}, 50},
	} {
		before := c.do("GET", "/network/status", nil)
		var q api.Quote
		c.want(http.StatusOK, o.method, path+"?dryRun=true", o.body, &q)
		if after := c.do("GET", "/network/status", nil); after.String() != before.String() {
			t.Errorf("%s: tasks before and after the dry run:\n%s\n%s", o.method, before, after)
		}
		if o.method != "DELETE" {
			o.body["maxMonthlyPrice"] = q.MonthlyPriceAfter - 0.01
			c.refused(http.StatusConflict, "price_changed", o.method, path, o.body)
			o.body["maxMonthlyPrice"] = q.MonthlyPriceAfter
		}
		id = metaOf(t, c.succeed(o.method, path, o.body)).VolumeID
		path = "/vps/volume/" + id
		var charges []api.Charge
		admin.want(http.StatusOK, "GET", "/admin/charges?volumeId="+id, nil, &charges)
		var sum float64
		for _, k := range charges {
			sum += k.Amount
		}
		if newest := charges[0]; o.method != "DELETE" && (newest.Amount > q.ChargedNow || newest.Amount < q.ChargedNow-0.05) || sum > o.sum || sum < o.sum-0.05 {
			t.Errorf("%s: charged %+v, by the quote %+v", o.method, charges, q)
		}
	}
	check(t, s.dir)
}
