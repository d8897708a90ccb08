package cli

import (
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// readyTimeout is how long a server may take to say that it is ready.
const readyTimeout = 10 * time.Second

func (s *shell) ready() *cobra.Command {
	cmd := s.verb("ready", "Tell whether a server can be used", exact(), func(cmd *cobra.Command, _ []string) error {
		base, err := s.base()
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, strings.TrimSuffix(base, apiPath)+"/readyz", nil)
		if err != nil {
			return err
		}
		doer := &http.Client{
			Transport: s.http, Timeout: readyTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		rsp, err := doer.Do(r)
		if err != nil {
			return unreachable(err)
		}
		defer rsp.Body.Close()
		if rsp.StatusCode != http.StatusOK {
			return failed(Failed, "not_ready", "The server is not ready (status %d).", rsp.StatusCode)
		}
		return s.line("ready")
	})
	cmd.Long = `Tell whether a server can be used: its database can be written. Needs no API key.

Exit status: 0 ready, 1 not ready or not reached. For scripts, load balancers and containers.`
	cmd.Example = "  drivebay ready\n  drivebay ready --url https://drivebay.example.org"
	s.urlFlag(cmd)
	return cmd
}
