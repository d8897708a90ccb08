package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

// spending is how a command treats what its change costs.
type spending struct {
	yes    bool
	dryRun bool
	most   string // the highest monthly price; "" for any
}

func spendFlags(cmd *cobra.Command, sp *spending) {
	f := cmd.Flags()
	f.BoolVarP(&sp.yes, "yes", "y", false, "do not ask; needed without a terminal")
	f.BoolVar(&sp.dryRun, "dry-run", false, "show what it would do and cost, and do nothing")
}

func mostFlag(cmd *cobra.Command, sp *spending) {
	cmd.Flags().StringVar(&sp.most, "max-price", "", "refuse it where a month costs more, such as 9.99")
}

// order is a change of a volume: what it asks for, before anything is sent.
type order struct {
	method string
	path   []string
	body   map[string]any
	query  []client.CallOption
	what   string // "A volume of 100 GiB on device 1001": the beginning of a sentence
}

// quote is what the server says an order would do and cost.
type quote struct {
	Action             string     `json:"action"`
	VolumeID           *string    `json:"volumeId"`
	DeviceID           *int64     `json:"deviceId"`
	FacilityCode       string     `json:"facilityCode"`
	SizeBefore         int64      `json:"sizeBefore"`
	SizeAfter          int64      `json:"sizeAfter"`
	Online             *bool      `json:"online"`
	MonthlyPriceBefore float64    `json:"monthlyPriceBefore"`
	MonthlyPriceAfter  float64    `json:"monthlyPriceAfter"`
	ChargedNow         float64    `json:"chargedNow"`
	RenewalsDue        float64    `json:"renewalsDue"`
	PaidUntil          *time.Time `json:"paidUntil"`
	NextRenewalAt      *time.Time `json:"nextRenewalAt"`
	NextRenewalAmount  *float64   `json:"nextRenewalAmount"`
	At                 time.Time  `json:"at"`
}

var quoteColumns = columns[quote]{
	{head: "ACTION", cell: func(q quote) string { return q.Action }},
	{head: "VOLUME", more: true, cell: func(q quote) string { return optText(q.VolumeID) }},
	{head: "DEVICE", cell: func(q quote) string { return optNumber(q.DeviceID) }},
	{head: "FACILITY", more: true, cell: func(q quote) string { return q.FacilityCode }},
	{head: "GIB BEFORE", cell: func(q quote) string { return number(q.SizeBefore) }},
	{head: "GIB AFTER", cell: func(q quote) string { return number(q.SizeAfter) }},
	{head: "MONTHLY BEFORE", cell: func(q quote) string { return money(q.MonthlyPriceBefore) }},
	{head: "MONTHLY AFTER", cell: func(q quote) string { return money(q.MonthlyPriceAfter) }},
	{head: "CHARGED NOW", cell: func(q quote) string { return money(q.ChargedNow) }},
	{head: "RENEWALS DUE", more: true, cell: func(q quote) string { return money(q.RenewalsDue) }},
	{head: "PAID UNTIL", more: true, cell: func(q quote) string { return optDate(q.PaidUntil) }},
	{head: "NEXT RENEWAL", more: true, cell: func(q quote) string { return optDate(q.NextRenewalAt) }},
	{head: "NEXT AMOUNT", more: true, cell: func(q quote) string { return optMoney(q.NextRenewalAmount) }},
	{head: "ONLINE", more: true, cell: func(q quote) string { return optYesNo(q.Online) }},
	{head: "AT", more: true, cell: func(q quote) string { return date(q.At) }},
}

// settle shows what an order would do and cost, and asks. It reports false
// where the command ends with that.
func (s *shell) settle(ctx context.Context, c *client.Client, o *order, sp spending, price func() (float64, bool, error)) (bool, error) {
	if err := o.limit(sp.most); err != nil {
		return false, err
	}
	quoted, err := quotes(ctx, c)
	if err != nil {
		return false, err
	}
	if !quoted {
		return s.settleByList(o, sp, price)
	}
	q, raw, err := ask(ctx, c, o)
	if err != nil {
		return false, err
	}
	if sp.dryRun {
		return false, quoteColumns.one(s, raw, q)
	}
	if q.MonthlyPriceAfter <= q.MonthlyPriceBefore && q.ChargedNow <= 0 && q.SizeAfter > 0 {
		return true, nil
	}
	lines := q.sentences(o.what)
	return s.agree(ctx, sp, lines)
}

// settleByList does so with the price list, where the server gives no quotes.
func (s *shell) settleByList(o *order, sp spending, price func() (float64, bool, error)) (bool, error) {
	if sp.dryRun {
		return false, failed(Failed, "no_quotes", "The server cannot say what would happen: it has no dry run.")
	}
	if sp.most != "" {
		return false, failed(Failed, "no_quotes", "The server cannot hold --max-price: it knows no highest price.")
	}
	if o.method == "DELETE" {
		return s.agree(context.Background(), sp, []string{o.what + " is deleted with its data."})
	}
	monthly, known, err := price()
	if err != nil {
		return false, err
	}
	if !known {
		return s.agree(context.Background(), sp, []string{o.what + ": the server's price list does not say what it costs."})
	}
	return s.agree(context.Background(), sp, []string{fmt.Sprintf("%s costs %s a month.", o.what, money(monthly))})
}

// limit puts the highest price into an order.
func (o *order) limit(most string) error {
	if most == "" {
		return nil
	}
	v, err := amount("max-price", most)
	if err == nil {
		o.body["maxMonthlyPrice"] = v
	}
	return err
}

// quotes reports whether the server gives quotes. A server that does not would
// carry out an order with dryRun, so it is asked with one that nobody can carry
// out: it names neither device nor size. One that knows the parameter complains
// about it too.
func quotes(ctx context.Context, c *client.Client) (bool, error) {
	err := c.Do(ctx, "POST", []string{"vps", "volume"}, struct{}{}, nil, client.WithQuery("dryRun", "unknown"), client.WithoutRetries())
	var e *client.Error
	switch {
	case err == nil || !errors.As(err, &e):
		return false, err
	case errors.Is(err, client.ErrForbidden), errors.Is(err, client.ErrUnavailable), errors.Is(err, client.ErrRateLimited), e.Status == 0:
		e.Uncertain = false // nobody can have carried it out
		return false, err   // as the order would have failed
	}
	_, knows := e.Fields["dryRun"]
	return knows && e.Status == 400, nil
}

// ask gets the quote for an order from a server that gives them. An order that
// would be refused is refused.
func ask(ctx context.Context, c *client.Client, o *order) (quote, []byte, error) {
	var raw []byte
	var got struct {
		quote
		TaskID string `json:"taskId"`
	}
	opts := append([]client.CallOption{client.WithQuery("dryRun", "true"), client.WithBody(&raw), client.WithoutRetries()}, o.query...)
	if err := c.Do(ctx, o.method, o.path, o.body, &got, opts...); err != nil {
		return quote{}, nil, err
	}
	if got.TaskID != "" { // several servers behind one address, of which one is old
		f := failed(Failed, "not_dry", "The server did it instead of saying what it would do: task %s.", got.TaskID)
		f.TaskID = got.TaskID
		return quote{}, nil, f
	}
	return got.quote, raw, nil
}

// place makes the order.
func (o *order) place(ctx context.Context, c *client.Client, key string) (client.Task, []byte, error) {
	return change(key, func(opts ...client.CallOption) (t client.Task, err error) {
		err = c.Do(ctx, o.method, o.path, o.body, &t, append(opts, o.query...)...)
		if err == nil && t.ID == "" {
			err = failed(Failed, "bad_answer", "The server's answer is not what the API promises: it names no task.")
		}
		return t, err
	})
}

// sentences say what a quote says.
func (q quote) sentences(what string) []string {
	var lines []string
	switch {
	case q.SizeAfter == 0:
		lines = append(lines, what+" is deleted with its data.", "Nothing is refunded"+q.until()+".")
	case q.MonthlyPriceBefore > 0 || q.SizeBefore > 0:
		lines = append(lines, fmt.Sprintf("%s costs %s a month, after %s.", what, money(q.MonthlyPriceAfter), money(q.MonthlyPriceBefore)))
	default:
		lines = append(lines, fmt.Sprintf("%s costs %s a month.", what, money(q.MonthlyPriceAfter)))
	}
	if q.SizeAfter > 0 {
		line := fmt.Sprintf("Charged now: %s", money(q.ChargedNow))
		if q.NextRenewalAt != nil && q.NextRenewalAmount != nil {
			line += fmt.Sprintf("; next: %s on %s", money(*q.NextRenewalAmount), q.NextRenewalAt.UTC().Format(time.DateOnly))
		}
		lines = append(lines, line+".")
	}
	if q.RenewalsDue > 0 {
		lines = append(lines, fmt.Sprintf("Months that are due in any case: %s.", money(q.RenewalsDue)))
	}
	if q.Online != nil && !*q.Online {
		lines = append(lines, "The device has to be powered off and on to see the change.")
	}
	return lines
}

func (q quote) until() string {
	if q.PaidUntil == nil || q.MonthlyPriceBefore == 0 {
		return ""
	}
	return "; it is paid until " + q.PaidUntil.UTC().Format(time.DateOnly)
}

// agree shows the lines and asks whether to go on. A no is a failure.
func (s *shell) agree(ctx context.Context, sp spending, lines []string) (bool, error) {
	tell := s.say
	if !sp.yes {
		tell = s.tell
	}
	if s.format == formatJSON && !sp.yes && !s.typed { // standard error is for the error in JSON
		tell = s.say
	}
	for _, line := range lines {
		tell("%s", line)
	}
	if sp.yes {
		return true, nil
	}
	if !s.typed {
		return false, misuse("This has to be confirmed: without a terminal, give --yes.")
	}
	if _, err := io.WriteString(s.err, "Go on? [y/N] "); err != nil {
		return false, err
	}
	answer, err := s.readLine(ctx)
	if err != nil {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, failed(Failed, "declined", "Nothing was changed.")
}

// readLine reads a line that is typed, until ctx ends.
func (s *shell) readLine(ctx context.Context) (string, error) {
	type got struct {
		line string
		err  error
	}
	read := make(chan got, 1)
	go func() { // it may outlive the command, which then ends the process
		line, err := bufio.NewReader(s.in).ReadString('\n')
		read <- got{line, err}
	}()
	select {
	case g := <-read:
		if g.err != nil && !errors.Is(g.err, io.EOF) {
			return "", g.err
		}
		return g.line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
