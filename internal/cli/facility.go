package cli

import (
	"regexp"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/api"
)

func (s *shell) facility() *cobra.Command {
	return s.noun("facility", "The places that have devices and volumes", s.facilityList(), s.facilitySet())
}

var facilityColumns = []string{"CODE", "TITLE", "CITY", "STATE", "COUNTRY"}

func facilityRow(l api.Location) []string {
	return []string{l.Code, l.Title, l.Location.City, l.Location.State, l.Location.Country}
}

func (s *shell) facilityList() *cobra.Command {
	return s.verb("list", "List facilities", exact(), func(cmd *cobra.Command, _ []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		list, raw, err := read[[]api.Location](c.AdminListFacilities(cmd.Context()))
		if err != nil {
			return err
		}
		return s.show(raw, facilityColumns, table(list, facilityRow))
	})
}

func (s *shell) facilitySet() *cobra.Command {
	var put api.FacilityPut
	var state string
	cmd := s.verb("set CODE", "Make a facility, or change what is said of it", exact("CODE"), func(cmd *cobra.Command, args []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		put.State = given(state)
		l, raw, err := read[api.Location](c.AdminPutFacility(cmd.Context(), args[0], put))
		if err != nil {
			return err
		}
		return s.show(raw, facilityColumns, [][]string{facilityRow(l)})
	})
	cmd.Example = `  drivebay facility set TPA1 --title "Tampa 1" --city Tampa --state Florida --country US`
	cmd.Flags().StringVar(&put.Title, "title", "", "its name for people")
	cmd.Flags().StringVar(&put.City, "city", "", "the city it is in")
	cmd.Flags().StringVar(&state, "state", "", "the state or region it is in")
	cmd.Flags().StringVar(&put.Country, "country", "", "the country it is in, in two letters")
	must(cmd, "title", "city", "country")
	return cmd
}

func (s *shell) price() *cobra.Command {
	return s.noun("price", "The volume sizes on sale and what a month of each costs", s.priceList(), s.priceSet(), s.priceDelete())
}

var priceColumns = []string{"FACILITY", "SIZE GIB", "MONTHLY"}

func priceRow(p api.Price) []string {
	return []string{p.FacilityCode, number(p.Size), money(p.MonthlyPrice)}
}

func (s *shell) priceList() *cobra.Command {
	var facility string
	cmd := s.verb("list", "List what is on sale", exact(), func(cmd *cobra.Command, _ []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		list, raw, err := read[[]api.Price](c.AdminListPrices(cmd.Context(), &api.AdminListPricesParams{FacilityCode: given(facility)}))
		if err != nil {
			return err
		}
		return s.show(raw, priceColumns, table(list, priceRow))
	})
	cmd.Flags().StringVar(&facility, "facility", "", "only this facility's")
	return cmd
}

// priceForm is an amount with at most two decimals, as the contract has it.
var priceForm = regexp.MustCompile(`^[0-9]{1,7}(\.[0-9]{1,2})?$`)

func (s *shell) priceSet() *cobra.Command {
	var monthly string
	cmd := s.verb("set FACILITY SIZE", "Sell a size (in GiB), or change its price", exact("FACILITY", "SIZE"), func(cmd *cobra.Command, args []string) error {
		size, err := sizeArg(args[1])
		if err != nil {
			return err
		}
		amount, err := strconv.ParseFloat(monthly, 64)
		if err != nil || !priceForm.MatchString(monthly) {
			return misuse("--monthly is an amount with at most two decimals, not %q.", monthly)
		}
		c, err := s.remote()
		if err != nil {
			return err
		}
		p, raw, err := read[api.Price](c.AdminPutPrice(cmd.Context(), args[0], size, api.PricePut{MonthlyPrice: amount}))
		if err != nil {
			return err
		}
		return s.show(raw, priceColumns, [][]string{priceRow(p)})
	})
	cmd.Long = "Sell a size, or change its price. Volumes that run keep the price they have."
	cmd.Example = "  drivebay price set TPA1 100 --monthly 9.99"
	cmd.Flags().StringVar(&monthly, "monthly", "", "the price of a month, such as 9.99")
	must(cmd, "monthly")
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
		if _, _, err := read[struct{}](c.AdminDeletePrice(cmd.Context(), args[0], size)); err != nil {
			return err
		}
		s.say("%d GiB are no longer on sale in %s.", size, args[0])
		return nil
	})
	cmd.Long = "Sell a size no longer. Volumes of that size go on at the price they have."
	return cmd
}

func sizeArg(arg string) (int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 {
		return 0, misuse("A size is a number of GiB, not %q.", arg)
	}
	return n, nil
}
