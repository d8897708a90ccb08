package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/app"
	"github.com/drivebay/drivebay/internal/config"
)

// FuzzRequest sends requests to a server inside the test's own process, so that
// what they reach guides the search. The answer is judged as in
// TestRandomRequests.
func FuzzRequest(f *testing.F) {
	if testing.Short() {
		f.Skip("a server is not started under -short")
	}
	for _, seed := range [][4]string{
		{"GET", "/api/v2/vps/volume?deviceId=1001", "volumeId,size", ""},
		{"GET", "/api/v2//vps/volume/?facilityCode=TPA1&clientId=7", "*", ""},
		{"POST", "/api/v2/vps/volume", "{taskId}", `{"size": 50, "deviceId": 1001}`},
		{"PUT", "/api/v2/vps/volume/01a2088f-0000-7000-8000-000000000000", "", `{"size": 1e2, "SIZE": 100}`},
		{"DELETE", "/api/v2/vps/volume/x%2Fy?deviceId=1001", "", `{"deviceId": null}`},
		{"POST", "/api/v2/vps/iso", "", `{"facilityCode":"TPA1","bootable":"True","name":"n","description":"","url":"http://127.0.0.1/x"}`},
		{"POST", "/api/v2/vps/1001/attachiso", "a{b{c}}", `{"isoId": "x"}`},
		{"HEAD", "/api/v2/network/status/1001", "", ""},
		{"GET", "/api/v2/service?status=all&orderId=0", "serviceOptions{name}", ""},
		{"GET", "/api/v2/service/1?includeZeroPriceOptions=maybe", "", ""},
		{"OPTIONS", "/api/v2/vps/-1/events?limit=99999999999999999999", "", ""},
		{"PATCH", "/healthz", "", "x"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	url, key := inProcess(f)
	c := newClient(f, url, key)
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	f.Fuzz(func(t *testing.T, method, target, mask, body string) {
		if method == http.MethodConnect || !strings.HasPrefix(target, "/") || strings.ContainsFunc(target, notInTarget) || strings.ContainsFunc(mask, notInHeader) || len(body) > 1<<16 {
			t.Skip("no HTTP client sends this")
		}
		req, err := http.NewRequestWithContext(t.Context(), method, url+target, strings.NewReader(body))
		if err != nil {
			t.Skip("no HTTP client sends this")
		}
		req.Header.Set("X-API-KEY", key)
		req.Header.Set("X-Fields", mask)
		a, err := c.send(req)
		if err != nil {
			t.Fatalf("%s %q: %v", method, target, err)
		}
		if wrong := judge(method, a); wrong != "" {
			t.Errorf("%s %q %q %q\n%s", method, target, mask, body, wrong)
		}
	})
}

// notInTarget is what ends a request's first line early: net/http answers such a
// line by itself.
func notInTarget(r rune) bool { return r <= ' ' || r == 0x7f }

// notInHeader is what a header's value cannot hold.
func notInHeader(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// inProcess starts a demo server in this process and returns its URL and a key
// that may do everything but import, which would go out to the network.
func inProcess(f *testing.F) (url, key string) {
	f.Helper()
	cfg := config.Default()
	cfg.Demo, cfg.DataDir, cfg.Listen = true, f.TempDir(), "127.0.0.1:0"
	cfg.RateLimit, cfg.RateLimitAnonymous = 0, 0
	s, err := app.Start(f.Context(), cfg, app.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience) // the test's own has ended
		defer cancel()
		if err := s.Close(ctx); err != nil {
			f.Error(err)
		}
	})
	_, key, err = s.Access.CreateKey(f.Context(), access.NewKey{
		ClientID: 7, Name: "fuzz", Permissions: []access.Permission{access.Read, access.Volumes, access.Billing},
	})
	if err != nil {
		f.Fatal(err)
	}
	return s.URL(), key
}
