package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

func (s *shell) node() *cobra.Command {
	return s.noun("node", "The servers of this installation", s.nodeList())
}

var nodeColumns = columns[client.Node]{
	{head: "NAME", cell: func(n client.Node) string { return n.Name }},
	{head: "ROLE", cell: func(n client.Node) string { return string(n.Role) }},
	{head: "FACILITIES", flex: true, cell: func(n client.Node) string {
		if len(n.Facilities) == 0 {
			return "all"
		}
		return strings.Join(n.Facilities, ",")
	}},
	{head: "ALIVE", cell: func(n client.Node) string { return yesNo(n.Alive) }},
	{head: "TASKS", cell: func(n client.Node) string { return number(n.Tasks) }},
	{head: "VERSION", flex: true, cell: func(n client.Node) string { return n.Version }},
	{head: "SEEN", cell: func(n client.Node) string { return date(n.SeenAt) }},
	{head: "URL", more: true, cell: func(n client.Node) string { return optText(n.URL) }},
	{head: "STARTED", more: true, cell: func(n client.Node) string { return date(n.StartedAt) }},
}

func (s *shell) nodeList() *cobra.Command {
	cmd := nodeColumns.lists(s, "list", "List the servers and what each is doing", exact(), func(ctx context.Context, c *client.Client, _ []string) ([]client.Node, []byte, error) {
		return whole(func(body client.CallOption) ([]client.Node, error) { return c.Admin.Node.List(ctx, body) })
	})
	cmd.Example = "  drivebay node list"
	return cmd
}
