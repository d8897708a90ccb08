package app

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
)

// serveMetrics answers /metrics and the profiles on a listener of their own:
// neither needs a key, so neither is on the public one.
func (s *Server) serveMetrics() error {
	if s.cfg.MetricsListen == "" {
		return nil
	}
	l, err := net.Listen("tcp", s.cfg.MetricsListen)
	if err != nil {
		return fmt.Errorf("listen for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s.admin = newHTTPServer(mux, s.log)
	s.adminAddr = l.Addr().String()
	s.log.Info("metrics", "url", "http://"+s.adminAddr+"/metrics")
	go func() { s.report(s.admin.Serve(l)) }()
	return nil
}
