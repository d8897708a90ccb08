package cli

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drivebay/drivebay/client"
)

// readyTimeout is how long a server may take to say that it is ready.
const readyTimeout = 10 * time.Second

func (s *shell) ready() *cobra.Command {
	cmd := s.verb("ready", "Tell whether a server can be used", exact(), func(cmd *cobra.Command, _ []string) error {
		a, err := s.find()
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, root(a.URL)+"/readyz", nil)
		if err != nil {
			return err
		}
		doer := &http.Client{
			Transport: s.http, Timeout: readyTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		rsp, err := doer.Do(r)
		if err != nil {
			return noAnswer(err)
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

// noAnswer is why nothing came, without the address, which is the user's own.
func noAnswer(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return failed(Failed, client.ReasonUnreachable, "The server does not answer: %s.", strings.TrimSuffix(err.Error(), "."))
}
