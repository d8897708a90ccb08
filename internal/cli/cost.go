package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

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
	note(cmd, quoteNote, "yes")
	f := cmd.Flags()
	f.BoolVarP(&sp.yes, "yes", "y", false, "do not ask; needed without a terminal")
	f.BoolVar(&sp.dryRun, "dry-run", false, "show what it would do and cost, and do nothing")
}

func mostFlag(cmd *cobra.Command, sp *spending) {
	cmd.Flags().StringVar(&sp.most, "max-price", "", "refuse it where a month costs more, such as 9.99")
}

// order is a change of a volume, before anything is sent.
type order struct {
	what  string // the beginning of a sentence: "A volume of 100 GiB on device 1001"
	quote func(most *float64, opts ...client.CallOption) (client.Quote, error)
	place func(most *float64, opts ...client.CallOption) (client.Task, error)
	price func() (float64, bool, error) // from the price list; nil for what costs nothing
}

var quoteColumns = columns[client.Quote]{
	{head: "ACTION", cell: func(q client.Quote) string { return string(q.Action) }},
	{head: "VOLUME", cell: func(q client.Quote) string { return optText(q.VolumeID) }},
	{head: "DEVICE", cell: func(q client.Quote) string { return optNumber(q.DeviceID) }},
	{head: "FACILITY", cell: func(q client.Quote) string { return q.FacilityCode }},
	{head: "GIB BEFORE", cell: func(q client.Quote) string { return number(q.SizeBefore) }},
	{head: "GIB AFTER", cell: func(q client.Quote) string { return number(q.SizeAfter) }},
	{head: "MONTHLY BEFORE", cell: func(q client.Quote) string { return money(q.MonthlyPriceBefore) }},
	{head: "MONTHLY AFTER", cell: func(q client.Quote) string { return money(q.MonthlyPriceAfter) }},
	{head: "CHARGED NOW", cell: func(q client.Quote) string { return money(q.ChargedNow) }},
	{head: "RENEWALS DUE", cell: func(q client.Quote) string { return money(q.RenewalsDue) }},
	{head: "PAID UNTIL", cell: func(q client.Quote) string { return date(q.PaidUntil) }},
	{head: "NEXT RENEWAL", cell: func(q client.Quote) string { return optDate(q.NextRenewalAt) }},
	{head: "NEXT AMOUNT", cell: func(q client.Quote) string { return optMoney(q.NextRenewalAmount) }},
	{head: "ONLINE", cell: func(q client.Quote) string { return optYesNo(q.Online) }},
	{head: "AT", cell: func(q client.Quote) string { return date(q.At) }},
}

// spend shows what an order would do and cost, asks, and places it. A dry run
// ends with showing: ok is false then. What was agreed to is the highest price
// that the order is placed with.
//
// With --yes and a key of the user's own it is placed at once: it may be the
// repeat of one that was carried out, which has no quote any more.
func (s *shell) spend(ctx context.Context, c *client.Client, o order, sp spending, key string) (t client.Task, raw []byte, ok bool, err error) {
	var most *float64
	if sp.most != "" {
		v, err := amount("max-price", sp.most)
		if err != nil {
			return t, nil, false, err
		}
		most = &v
	}
	if !sp.yes || sp.dryRun || key == "" || most != nil {
		switch quotes, err := c.Volume.Quotes(ctx); {
		case err != nil:
			return t, nil, false, err
		case !quotes:
			if err := s.listPrice(ctx, o, sp); err != nil {
				return t, nil, false, err
			}
		case sp.dryRun:
			q, raw, err := whole(func(body client.CallOption) (client.Quote, error) { return o.quote(most, body) })
			if err == nil {
				err = quoteColumns.one(s, raw, q)
			}
			return t, nil, false, err
		case !sp.yes || key == "":
			q, err := o.quote(most)
			if err != nil {
				return t, nil, false, err
			}
			if most == nil {
				most = &q.MonthlyPriceAfter
			}
			if err := s.agreeTo(ctx, q, o.what, sp); err != nil {
				return t, nil, false, err
			}
		}
	}
	t, raw, err = change(key, func(opts ...client.CallOption) (client.Task, error) { return o.place(most, opts...) })
	return t, raw, err == nil, err
}

// agreeTo asks whether a quote is agreed to, unless it costs nothing and keeps
// all data.
func (s *shell) agreeTo(ctx context.Context, q client.Quote, what string, sp spending) error {
	if q.MonthlyPriceAfter <= q.MonthlyPriceBefore && q.ChargedNow <= 0 && q.SizeAfter > 0 {
		return nil
	}
	return s.agree(ctx, sp, sentences(q, what))
}

// listPrice asks with the price of the price list, where the server gives no
// quotes.
func (s *shell) listPrice(ctx context.Context, o order, sp spending) error {
	switch {
	case sp.dryRun:
		return failed(Failed, client.ReasonNoQuotes, "The server cannot say what would happen: it has no dry run.")
	case sp.most != "":
		return failed(Failed, client.ReasonNoQuotes, "The server cannot hold --max-price: it knows no highest price.")
	case o.price == nil:
		return s.agree(ctx, sp, []string{o.what + " is deleted with its data."})
	}
	monthly, known, err := o.price()
	switch {
	case err != nil:
		return err
	case !known:
		return s.agree(ctx, sp, []string{o.what + ": the server's price list does not say what it costs."})
	}
	return s.agree(ctx, sp, []string{fmt.Sprintf("%s costs %s a month.", o.what, money(monthly))})
}

// sentences say what a quote says.
func sentences(q client.Quote, what string) []string {
	var lines []string
	until := ""
	if q.MonthlyPriceBefore > 0 {
		until = "; it is paid until " + day(q.PaidUntil)
	}
	switch {
	case q.SizeAfter == 0:
		lines = append(lines, what+" is deleted with its data.", "Nothing is refunded"+until+".")
	case q.MonthlyPriceBefore > 0 || q.SizeBefore > 0:
		lines = append(lines, fmt.Sprintf("%s costs %s a month, after %s.", what, money(q.MonthlyPriceAfter), money(q.MonthlyPriceBefore)))
	default:
		lines = append(lines, fmt.Sprintf("%s costs %s a month.", what, money(q.MonthlyPriceAfter)))
	}
	if q.SizeAfter > 0 {
		line := fmt.Sprintf("Charged now: %s", money(q.ChargedNow))
		if q.NextRenewalAt != nil && q.NextRenewalAmount != nil {
			line += fmt.Sprintf("; next: %s on %s", money(*q.NextRenewalAmount), day(*q.NextRenewalAt))
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

// agree shows the lines and asks whether to go on. A no is a failure.
func (s *shell) agree(ctx context.Context, sp spending, lines []string) error {
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
		return nil
	}
	if !s.typed {
		return misuse("This has to be confirmed: without a terminal, give --yes.")
	}
	if _, err := io.WriteString(s.err, "Go on? [y/N] "); err != nil {
		return err
	}
	answer, err := s.readLine(ctx)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return failed(Failed, "declined", "Nothing was changed.")
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
