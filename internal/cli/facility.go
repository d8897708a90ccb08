package cli

import (
	"context"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

func (s *shell) location() *cobra.Command {
	return s.noun("location", "The facilities to choose from", s.locationList())
}

var facilityColumns = columns[client.Location]{
	{head: "CODE", cell: func(l client.Location) string { return l.Code }},
	{head: "TITLE", flex: true, cell: func(l client.Location) string { return l.Title }},
	{head: "CITY", flex: true, cell: func(l client.Location) string { return l.Location.City }},
	{head: "STATE", flex: true, cell: func(l client.Location) string { return l.Location.State }},
	{head: "COUNTRY", cell: func(l client.Location) string { return l.Location.Country }},
}

func (s *shell) locationList() *cobra.Command {
	cmd := facilityColumns.lists(s, "list", "List facilities", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Location, []byte, error) {
		return whole(func(body client.CallOption) ([]client.Location, error) { return c.Location.List(ctx, body) })
	})
	cmd.Example = "  drivebay location list"
	return cmd
}

func (s *shell) facility() *cobra.Command {
	return s.noun("facility", "The places that have devices and volumes", s.facilityList(), s.facilitySet())
}

func (s *shell) facilityList() *cobra.Command {
	cmd := facilityColumns.lists(s, "list", "List facilities", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Location, []byte, error) {
		return whole(func(body client.CallOption) ([]client.Location, error) { return c.Admin.Facility.List(ctx, body) })
	})
	cmd.Example = "  drivebay facility list"
	return cmd
}

func (s *shell) facilitySet() *cobra.Command {
	var put client.FacilityPut
	var state string
	cmd := facilityColumns.puts(s, "set CODE", "Make a facility, or change what is said of it", exact("CODE"),
		func(ctx context.Context, c *client.Client, args []string) (client.Location, []byte, error) {
			put.State = given(state)
			return whole(func(body client.CallOption) (client.Location, error) {
				return c.Admin.Facility.Put(ctx, args[0], put, body)
			})
		})
	cmd.Example = `  drivebay facility set TPA1 --title "Tampa 1" --city Tampa --state Florida --country US`
	cmd.Flags().StringVar(&put.Title, "title", "", "its name for people")
	cmd.Flags().StringVar(&put.City, "city", "", "the city it is in")
	cmd.Flags().StringVar(&state, "state", "", "the state or region it is in")
	cmd.Flags().StringVar(&put.Country, "country", "", "the country it is in, in two letters")
	must(cmd, "title", "city", "country")
	cmd.ValidArgsFunction = completed(s.facilityCodes)
	return cmd
}

func (s *shell) price() *cobra.Command {
	return s.noun("price", "The volume sizes on sale and what a month of each costs", s.priceList(), s.priceSet(), s.priceDelete())
}

var priceColumns = columns[client.Price]{
	{head: "FACILITY", cell: func(p client.Price) string { return p.FacilityCode }},
	{head: "SIZE GIB", cell: func(p client.Price) string { return number(p.Size) }},
	{head: "MONTHLY", cell: func(p client.Price) string { return money(p.MonthlyPrice) }},
}

func (s *shell) priceList() *cobra.Command {
	var facility string
	cmd := priceColumns.lists(s, "list", "List what is on sale", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Price, []byte, error) {
		return whole(func(body client.CallOption) ([]client.Price, error) { return c.Admin.Price.List(ctx, facility, body) })
	})
	cmd.Example = "  drivebay price list --facility TPA1"
	cmd.Flags().StringVar(&facility, "facility", "", "only this facility's")
	complete(cmd, "facility", s.facilityCodes)
	return cmd
}

// priceForm is an amount with at most two decimals, as the contract has it.
var priceForm = regexp.MustCompile(`^[0-9]{1,7}(\.[0-9]{1,2})?$`)

// amount reads a flag that is an amount of money.
func amount(flag, v string) (float64, error) {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !priceForm.MatchString(v) {
		return 0, misuse("--%s is an amount with at most two decimals, not %q.", flag, v)
	}
	return f, nil
}

func (s *shell) priceSet() *cobra.Command {
	var monthly string
	cmd := priceColumns.puts(s, "set FACILITY SIZE", "Sell a size (in GiB), or change its price", exact("FACILITY", "SIZE"),
		func(ctx context.Context, c *client.Client, args []string) (client.Price, []byte, error) {
			size, err := sizeArg(args[1])
			if err != nil {
				return client.Price{}, nil, err
			}
			price, err := amount("monthly", monthly)
			if err != nil {
				return client.Price{}, nil, err
			}
			return whole(func(body client.CallOption) (client.Price, error) {
				return c.Admin.Price.Put(ctx, args[0], size, price, body)
			})
		})
	cmd.Long = "Sell a size, or change its price. Volumes that run keep the price they have."
	cmd.Example = "  drivebay price set TPA1 100 --monthly 9.99"
	cmd.Flags().StringVar(&monthly, "monthly", "", "the price of a month, such as 9.99")
	must(cmd, "monthly")
	cmd.ValidArgsFunction = completed(s.facilityCodes)
	return cmd
}

func (s *shell) priceDelete() *cobra.Command {
	cmd := s.verb("delete FACILITY SIZE", "Sell a size (in GiB) no longer", exact("FACILITY", "SIZE"), func(cmd *cobra.Command, args []string) error {
		size, err := sizeArg(args[1])
		if err != nil {
			return err
		}
		c, err := s.remote()
		if err != nil {
			return err
		}
		if err := c.Admin.Price.Delete(cmd.Context(), args[0], size); err != nil {
			return err
		}
		s.say("%d GiB are no longer on sale in %s.", size, args[0])
		return nil
	})
	cmd.Long = "Sell a size no longer. Volumes of that size go on at the price they have."
	cmd.Example = "  drivebay price delete TPA1 100"
	cmd.ValidArgsFunction = completed(s.facilityCodes)
	return cmd
}

func sizeArg(arg string) (int64, error) {
	n, err := strconv.ParseInt(arg, 10, 32)
	if err != nil || n < 1 {
		return 0, misuse("A size is a number of GiB, not %q.", arg)
	}
	return n, nil
}
