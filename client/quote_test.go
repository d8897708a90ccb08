package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/client"
)

const quoteJSON = `{"action":"volume.resize","at":"2026-01-31T12:00:00Z","chargedNow":2.5,"deviceId":1001,"facilityCode":"TPA1",
"monthlyPriceAfter":10,"monthlyPriceBefore":5,"nextRenewalAmount":10,"nextRenewalAt":"2026-02-28T12:00:00Z","online":true,
"paidUntil":"2026-02-28T12:00:00Z","renewalsDue":0,"sizeAfter":100,"sizeBefore":50,"volumeId":"v"}`

const unknownDryRun = `{"errors":{"dryRun":"not a boolean","size":"missing"},"message":"Input payload validation failed","reason":"invalid","requestId":"r"}`

// TestQuotes: a quote is asked for where the server is known to give them, and
// never of one that would make the change instead.
func TestQuotes(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(context.Context, client.VolumeService) (client.Quote, error){
		"POST": func(ctx context.Context, s client.VolumeService) (client.Quote, error) {
			return s.QuoteCreate(ctx, client.VolumeCreate{DeviceID: 1001, SizeGiB: 100})
		},
		"PUT": func(ctx context.Context, s client.VolumeService) (client.Quote, error) {
			return s.QuoteResize(ctx, "v", client.VolumeResize{DeviceID: 1001, SizeGiB: 100})
		},
		"DELETE": func(ctx context.Context, s client.VolumeService) (client.Quote, error) {
			return s.QuoteDelete(ctx, "v", client.VolumeDelete{DeviceID: 1001})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			answers := []*http.Response{
				respond(400, "application/json", unknownDryRun), respond(200, "application/json", quoteJSON), respond(200, "application/json", quoteJSON),
			}
			c := newClient(t, func(r *http.Request) (*http.Response, error) {
				asked = append(asked, r.Method+" "+r.URL.RawQuery)
				return answers[len(asked)-1], nil
			})
			for range 2 {
				q, err := ask(t.Context(), c.Volume)
				if err != nil || q.ChargedNow != 2.5 || q.SizeAfter != 100 || q.NextRenewalAt == nil {
					t.Fatalf("%+v, %v", q, err)
				}
			}
			if len(asked) != 3 || asked[0] != "POST dryRun=unknown" || !strings.HasPrefix(asked[1], name+" ") || !strings.Contains(asked[1], "dryRun=true") || asked[2] != asked[1] {
				t.Errorf("asked %q", asked)
			}
		})
	}
}

func TestNoQuotes(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]*http.Response{
		"does not know it":  respond(400, "application/json", `{"errors":{"size":"missing"},"message":"Input payload validation failed"}`),
		"another method":    respond(405, "text/html", "<html>"),
		"is not allowed":    respond(403, "application/json", `{"code":403,"message":"no"}`),
		"is away":           respond(503, "application/json", `{"code":503,"message":"later"}`),
		"does it all":       respond(201, "application/json", taskJSON),
		"complains of else": respond(409, "application/json", unknownDryRun),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			c := newClient(t, func(*http.Request) (*http.Response, error) {
				if n++; n > 1 {
					t.Error("asked for more")
				}
				return first, nil
			})
			_, err := c.Volume.QuoteCreate(t.Context(), client.VolumeCreate{DeviceID: 1001, SizeGiB: 100})
			var e *client.Error
			if !errors.As(err, &e) || e.Uncertain {
				t.Errorf("%v", err)
			}
		})
	}
	n := 0
	c := newClient(t, func(*http.Request) (*http.Response, error) {
		if n++; n == 1 {
			return respond(400, "application/json", unknownDryRun), nil
		}
		return respond(201, "application/json", taskJSON), nil
	})
	if _, err := c.Volume.QuoteDelete(t.Context(), "v", client.VolumeDelete{}); err == nil || !strings.Contains(err.Error(), "instead") {
		t.Errorf("a server that made the change: %v", err)
	}
}
