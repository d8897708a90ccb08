package httpapi

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
)

// sink is a response writer that costs nothing.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

// quiet answers without keeping anything.
type quiet struct{ api.StrictServerInterface }

func (quiet) GetVolume(context.Context, api.GetVolumeRequestObject) (api.GetVolumeResponseObject, error) {
	return volumeAnswer{}, nil
}

func (quiet) ListVolumes(context.Context, api.ListVolumesRequestObject) (api.ListVolumesResponseObject, error) {
	return volumesAnswer{}, nil
}

func (quiet) CreateVolume(context.Context, api.CreateVolumeRequestObject) (api.CreateVolumeResponseObject, error) {
	return api.CreateVolume201JSONResponse{}, nil
}

// BenchmarkTransport shows what a request costs around its handler, with log,
// metrics and rate limit on.
func BenchmarkTransport(b *testing.B) {
	keys := &keyring{keys: map[string]access.Key{}}
	token := keys.add(nil, access.Read, access.Volumes)
	d, err := Deps{
		Log: slog.New(slog.NewJSONHandler(io.Discard, nil)), Metrics: NewMetrics(""), RateLimit: 1 << 30,
		Access: access.NewService(keys, slog.New(slog.DiscardHandler), time.Now),
	}.withDefaults()
	if err != nil {
		b.Fatal(err)
	}
	h, err := newHandler(d, quiet{})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ name, method, path, body, mask string }{
		{"get", "GET", "/vps/volume/v1", "", ""},
		{"get masked", "GET", "/vps/volume/v1", "", "volumeId,size"},
		{"list", "GET", "/vps/volume?deviceId=1001", "", ""},
		{"post", "POST", "/vps/volume", `{"size":50,"deviceId":1001}`, ""},
		{"refused", "POST", "/vps/volume", `{"size":"x"}`, ""},
		{"unknown", "GET", "/nope", "", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			r, err := http.NewRequest(c.method, "http://x"+base+c.path, nil)
			if err != nil {
				b.Fatal(err)
			}
			r.RemoteAddr = "192.0.2.1:1000"
			r.Header.Set("X-API-KEY", token)
			if c.mask != "" {
				r.Header.Set("X-Fields", c.mask)
			}
			body := bytes.NewReader([]byte(c.body))
			for b.Loop() {
				if c.body != "" {
					body.Reset([]byte(c.body))
					r.Body, r.ContentLength = io.NopCloser(body), int64(len(c.body))
				}
				h.ServeHTTP(&sink{h: http.Header{}}, r)
			}
		})
	}
}
