package cli

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// man writes the manual pages. It is for those who make packages.
func (s *shell) man() *cobra.Command {
	cmd := s.verb("man DIR", "Write the manual pages into a folder", exact("DIR"), func(cmd *cobra.Command, args []string) error {
		if err := os.MkdirAll(args[0], 0o755); err != nil {
			return noFile(err)
		}
		root := cmd.Root()
		root.DisableAutoGenTag = true
		return doc.GenManTree(root, &doc.GenManHeader{Title: "DRIVEBAY", Section: "1", Source: "drivebay " + Version(), Manual: "drivebay"}, args[0])
	})
	cmd.Example = "  drivebay man /usr/share/man/man1"
	cmd.Hidden = true
	return cmd
}
