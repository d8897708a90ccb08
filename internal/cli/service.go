package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

func (s *shell) service() *cobra.Command {
	return s.noun("service", "What is billed", s.serviceList(), s.serviceGet(), s.serviceTypes())
}

var serviceColumns = columns[client.Service]{
	{head: "SERVICE", cell: func(v client.Service) string { return number(v.ID) }},
	{head: "STATUS", cell: func(v client.Service) string { return v.Status }},
	{head: "PRODUCT", cell: func(v client.Service) string { return v.ProductName }},
	{head: "FACILITY", flex: true, cell: func(v client.Service) string { return v.FacilityName }},
	{head: "BILLED", cell: func(v client.Service) string { return money(v.BilledPrice) }},
	{head: "NEXT", cell: func(v client.Service) string { return money(v.NextPrice) }},
	{head: "RENEWS", cell: func(v client.Service) string { return day(v.RenewDate) }},
	{head: "RENEWAL", more: true, cell: func(v client.Service) string { return date(v.RenewDate) }},
	{head: "TYPE", more: true, cell: func(v client.Service) string { return v.TypeCode }},
	{head: "PERIOD", more: true, cell: func(v client.Service) string { return v.Period }},
	{head: "VOLUME", more: true, cell: func(v client.Service) string { return v.VolumeID }},
	{head: "CREATED", more: true, cell: func(v client.Service) string { return date(v.Created) }},
	{head: "LAST RENEWAL", more: true, cell: func(v client.Service) string { return date(v.LastRenew) }},
	{head: "ENDED", more: true, cell: func(v client.Service) string { return date(v.EndDate) }},
}

func (s *shell) serviceList() *cobra.Command {
	var o client.ServiceListOptions
	cmd := serviceColumns.lists(s, "list", "List services, newest first", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Service, []byte, error) {
		list, raw, err := whole(func(body client.CallOption) ([]client.Service, error) { return c.Service.List(ctx, o, body) })
		if len(list) == 0 {
			raw = []byte("[]") // other servers answer 404 for none
		}
		return list, raw, err
	})
	cmd.Long = "List services, newest first, with the price of the running month and that of the next. It needs a key with the permission billing."
	cmd.Example = "  drivebay service list --status active\n  drivebay service list -o columns=service,volume,next"
	cmd.Flags().StringVar(&o.Status, "status", "", "only those that are active, deactivated, pending, suspended or cancelled")
	cmd.Flags().StringVar(&o.TypeCode, "type", "", "only those of this type, by its code")
	complete(cmd, "status", fixed("active", "deactivated", "pending", "suspended", "cancelled"))
	return cmd
}

func (s *shell) serviceGet() *cobra.Command {
	cmd := serviceColumns.shows(s, "get SERVICE", "Show a service", exact("SERVICE"), func(ctx context.Context, c *client.Client, args []string) (client.Service, []byte, error) {
		id, err := idArg("a service", args[0])
		if err != nil {
			return client.Service{}, nil, err
		}
		return whole(func(body client.CallOption) (client.Service, error) { return c.Service.Get(ctx, id, body) })
	})
	cmd.Example = "  drivebay service get 12"
	cmd.ValidArgsFunction = completed(s.serviceIDs)
	return cmd
}

// idArg reads an argument that is an id in numbers.
func idArg(of, arg string) (int64, error) {
	id, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || id < 1 {
		return 0, misuse("The id of %s is a number, not %q.", of, arg)
	}
	return id, nil
}

var serviceTypeColumns = columns[client.ServiceType]{
	{head: "CODE", cell: func(t client.ServiceType) string { return t.Code }},
	{head: "NAME", cell: func(t client.ServiceType) string { return t.Name }},
}

func (s *shell) serviceTypes() *cobra.Command {
	cmd := serviceTypeColumns.lists(s, "types", "List the types of services", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.ServiceType, []byte, error) {
		return whole(func(body client.CallOption) ([]client.ServiceType, error) { return c.Service.Types(ctx, body) })
	})
	cmd.Example = "  drivebay service types"
	return cmd
}

func (s *shell) charge() *cobra.Command {
	return s.noun("charge", "The ledger of charges", s.chargeList())
}

var chargeColumns = columns[client.Charge]{
	{head: "CHARGE", cell: func(c client.Charge) string { return number(c.ChargeID) }},
	{head: "CLIENT", cell: func(c client.Charge) string { return number(c.ClientID) }},
	{head: "KIND", cell: func(c client.Charge) string { return c.Kind }},
	{head: "AMOUNT", cell: func(c client.Charge) string { return money(c.Amount) }},
	{head: "VOLUME", cell: func(c client.Charge) string { return c.VolumeID }},
	{head: "SERVICE", more: true, cell: func(c client.Charge) string { return number(c.ServiceID) }},
	{head: "FROM", more: true, cell: func(c client.Charge) string { return date(c.PeriodStart) }},
	{head: "UNTIL", more: true, cell: func(c client.Charge) string { return date(c.PeriodEnd) }},
	{head: "CREATED", more: true, cell: func(c client.Charge) string { return date(c.CreatedAt) }},
}

func (s *shell) chargeList() *cobra.Command {
	var o client.ChargeListOptions
	cmd := chargeColumns.lists(s, "list", "List charges, newest first", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Charge, []byte, error) {
		return whole(func(body client.CallOption) ([]client.Charge, error) { return c.Admin.Charge.List(ctx, o, body) })
	})
	cmd.Example = "  drivebay charge list --client 7 --limit 20"
	f := cmd.Flags()
	f.Int64Var(&o.ClientID, "client", 0, "only this client's")
	f.StringVar(&o.VolumeID, "volume", "", "only this volume's, which may be gone")
	f.Int64Var(&o.Before, "before", 0, "only those with smaller ids")
	f.IntVar(&o.Limit, "limit", 0, "how many at most (default: the server's own limit)")
	complete(cmd, "volume", s.volumeIDs)
	return cmd
}
