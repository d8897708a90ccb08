package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/api"
)

func (s *shell) node() *cobra.Command {
	return s.noun("node", "The servers of this installation", s.nodeList())
}

func (s *shell) nodeList() *cobra.Command {
	return s.verb("list", "List the servers and what each is doing", exact(), func(cmd *cobra.Command, _ []string) error {
		c, err := s.remote()
		if err != nil {
			return err
		}
		list, raw, err := read[[]api.Node](c.AdminListNodes(cmd.Context()))
		if err != nil {
			return err
		}
		return s.show(raw, []string{"NAME", "ROLE", "FACILITIES", "ALIVE", "TASKS", "VERSION", "SEEN"}, table(list, func(n api.Node) []string {
			facilities := strings.Join(n.Facilities, ",")
			if facilities == "" {
				facilities = "all"
			}
			return []string{n.Name, string(n.Role), facilities, yesNo(n.Alive), number(n.Tasks), n.Version, n.SeenAt.Format(time.RFC3339)}
		}))
	})
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
