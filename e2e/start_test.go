package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/testneed"
)

// What scripts and tests rely on when the server starts and stops.

func TestDemoStart(t *testing.T) {
	t.Parallel()
	s := startDemo(t)
	first := s.demo
	want := demo{URL: first.URL, PID: s.cmd.Process.Pid, APIKey: first.APIKey, AdminKey: first.AdminKey, ClientID: 7, DeviceIDs: []int64{1001, 1002, 1003}}
	want.Other.ClientID, want.Other.APIKey, want.Other.DeviceIDs = 8, first.Other.APIKey, []int64{2001}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("demo.json (-want +got):\n%s", diff)
	}
	if !regexp.MustCompile(`^http://127\.0\.0\.1:[1-9][0-9]*$`).MatchString(first.URL) {
		t.Errorf("port 0 became %s", first.URL)
	}
	places := map[string]string{}
	for _, c := range []*client{s.client(), s.other()} {
		var list []api.VPS
		c.want(http.StatusOK, "GET", "/vps/", nil, &list)
		for _, d := range list {
			places[strconv.FormatInt(d.DeviceID, 10)] = d.FacilityCode + " " + d.Status
		}
	}
	if diff := cmp.Diff(map[string]string{"1001": "TPA1 Running", "1002": "TPA1 Running", "1003": "LAX3 Running", "2001": "TPA1 Running"}, places); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	for _, name := range []string{"demo.json", "drivebay.db", "drivebay.db-wal", "drivebay.db-shm"} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode())
		}
	}
	check(t, s.dir)
	agree(t, s)
}

// TestDemoRestart holds that a second start finds everything again, makes
// nothing twice, and keeps the keys, also after a clean stop.
func TestDemoRestart(t *testing.T) {
	t.Parallel()
	s := startDemo(t)
	first := s.demo
	volume := s.client().newVolume(1001, 50)
	before := shownVolumes(s.client())
	if code := s.stop(); code != 0 {
		t.Fatalf("SIGTERM: exit code %d", code)
	}
	for _, left := range []string{"drivebay.db-wal", "drivebay.db-shm"} {
		if _, err := os.Stat(filepath.Join(s.dir, left)); err == nil {
			t.Errorf("a clean stop left %s", left)
		}
	}
	s.start()
	s.awaitDemo()
	if s.demo.PID == first.PID || s.demo.APIKey != first.APIKey || s.demo.AdminKey != first.AdminKey || s.demo.Other.APIKey != first.Other.APIKey {
		t.Errorf("the second start has %+v after %+v", s.demo, first)
	}
	after := shownVolumes(s.client())
	if diff := cmp.Diff(before, after); diff != "" || after[volume] == "" {
		t.Errorf("volumes after the second start (-before +after):\n%s", diff)
	}
	var keys []api.APIKey
	s.admin().want(http.StatusOK, "GET", "/admin/keys", nil, &keys)
	if len(keys) != 3 {
		t.Errorf("%d keys after the second start, want 3", len(keys))
	}
	check(t, s.dir)
	agree(t, s)
}

// TestDemoKeysLost holds that deleting demo.json makes new keys and ends the
// old ones.
func TestDemoKeysLost(t *testing.T) {
	t.Parallel()
	s := startDemo(t)
	old := s.demo
	s.stop()
	if err := os.Remove(filepath.Join(s.dir, "demo.json")); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.awaitDemo()
	for name, key := range map[string]string{"client": old.APIKey, "other": old.Other.APIKey, "admin": old.AdminKey} {
		t.Log(name)
		newClient(t, s.demo.URL, key).refused(http.StatusForbidden, "key_invalid", "GET", "/vps/", nil)
	}
	s.client().want(http.StatusOK, "GET", "/vps/", nil, nil)
	s.other().want(http.StatusOK, "GET", "/vps/", nil, nil)
	s.admin().want(http.StatusOK, "GET", "/admin/keys", nil, nil)
}

// TestGreeting runs the lines that a start prints, as printed.
func TestGreeting(t *testing.T) {
	t.Parallel()
	needCurl(t)
	s := startDemo(t)
	text := s.out.await(t, s.exited, func(text string) bool { return strings.Count(text, "curl ") >= 3 && strings.HasSuffix(text, "\n") })
	if !strings.Contains(text, s.demo.URL) || !strings.Contains(text, s.demo.APIKey) || strings.Contains(text, s.demo.AdminKey) {
		t.Errorf("the start says\n%s\nwant the URL and the client's key in it, and not the operator's", text)
	}
	lines := regexp.MustCompile(`(?m)^\s*(curl .*)$`).FindAllStringSubmatch(text, -1)
	if len(lines) != 3 {
		t.Fatalf("%d curl lines, want 3:\n%s", len(lines), text)
	}
	for i, want := range []string{"200", "201", "200"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(lines[i][1], "curl ", "curl -s -w '\n%{http_code}' ", 1)).Output()
		body, status := out, ""
		if at := bytes.LastIndexByte(out, '\n'); at >= 0 {
			body, status = out[:at], string(out[at+1:])
		}
		if err != nil || status != want || !json.Valid(body) {
			t.Errorf("%s\nanswers %s, %v, want status %s", lines[i][1], out, err, want)
		}
	}
}

func needCurl(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("curl")
	testneed.Need(t, "curl", err == nil, "curl is not installed")
}

// TestFolderInUse holds that a second process is refused and harms nothing.
func TestFolderInUse(t *testing.T) {
	t.Parallel()
	s := startDemo(t)
	code, stdout, stderr := once(t, nil, s.args...)
	if code != 1 || !strings.Contains(stderr, "is in use by another drivebay") || stdout != "" {
		t.Errorf("a second process on the folder: exit code %d, said %q and %q", code, stdout, stderr)
	}
	s.client().newVolume(1001, 50)
	if d, ok := s.readDemo(); !ok || d.PID != s.cmd.Process.Pid {
		t.Errorf("demo.json is now %+v", d)
	}
	check(t, s.dir)
}

// TestRefusedStarts are starts that cannot work. Each says why in one line.
func TestRefusedStarts(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "drivebay.db"), []byte(strings.Repeat("this is not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		code int
		says string
		env  []string
		args []string
	}{
		"unknown flag":        {2, "--no-such-flag", nil, []string{"serve", "--no-such-flag"}},
		"argument":            {2, `"extra"`, nil, []string{"serve", "extra"}},
		"unknown command":     {2, `"server"`, nil, []string{"server"}},
		"bad value":           {2, "rate_limit", nil, []string{"serve", "--rate-limit=-1"}},
		"bad environment":     {2, "DRIVEBAY_FETCH_ALLOW", []string{"DRIVEBAY_FETCH_ALLOW=everything"}, []string{"serve"}},
		"no settings file":    {2, "none.yaml", nil, []string{"serve", "--config=none.yaml"}},
		"postgres":            {2, "database", nil, []string{"serve", "--database=postgres://localhost"}},
		"no PostgreSQL":       {1, "database", nil, []string{"serve", "--data-dir", t.TempDir(), "--listen=127.0.0.1:0", "--database=postgres://u:sesame@127.0.0.1:1/x"}},
		"data folder is file": {1, "data folder", nil, []string{"serve", "--data-dir", file}},
		"data folder in file": {1, "data folder", nil, []string{"serve", "--data-dir", filepath.Join(file, "data")}},
		"no database":         {1, "not a database", nil, []string{"serve", "--data-dir", foreign, "--listen=127.0.0.1:0"}},
		"port in use":         {1, "address already in use", nil, []string{"serve", "--data-dir", t.TempDir(), "--listen", busy.Addr().String()}},
		"metrics port in use": {1, "address already in use", nil, []string{"serve", "--data-dir", t.TempDir(), "--listen=127.0.0.1:0", "--metrics-listen", busy.Addr().String()}},
		"no certificate":      {1, "certificate", nil, []string{"serve", "--data-dir", t.TempDir(), "--listen=127.0.0.1:0", "--tls-cert=none.pem", "--tls-key=none.key"}},
		"certificate, no key": {2, "tls_key", nil, []string{"serve", "--tls-cert=none.pem"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := once(t, tt.env, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.says) || stdout != "" {
				t.Errorf("exit code %d, said %q and %q, want %d and %q", code, stdout, stderr, tt.code, tt.says)
			}
			if strings.Contains(stderr, "goroutine ") || strings.Contains(stderr, "Usage:") {
				t.Errorf("not one clear sentence:\n%s", stderr)
			}
		})
	}
}

// TestNewerSchema holds that an older program does not touch a newer folder.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	s := startDemo(t)
	s.stop()
	db := writeDB(t, s.dir)
	if _, err := db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9000, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := once(t, nil, s.args...)
	if code != 1 || !strings.Contains(stderr, "9000") || !strings.Contains(stderr, "newer") {
		t.Errorf("exit code %d, said %q", code, stderr)
	}
}

func TestProbesAndMetrics(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "--metrics-listen=127.0.0.1:0", "--log-format=json")
	s.client().newVolume(1001, 50)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 404, "/debug/pprof/": 404, "/": 404} {
		if a := get(t, http.DefaultClient, s.demo.URL+path); a.status != want || !json.Valid(a.body) {
			t.Errorf("%s without a key: %v, want %d in JSON", path, a, want)
		}
	}
	var metrics struct {
		Msg string `json:"msg"`
		URL string `json:"url"`
	}
	for _, line := range strings.Split(tail(s.log, 1<<20), "\n") {
		if strings.Contains(line, `"msg":"metrics"`) {
			if err := json.Unmarshal([]byte(line), &metrics); err != nil {
				t.Fatal(err)
			}
		}
	}
	a := get(t, http.DefaultClient, metrics.URL)
	for _, want := range []string{"drivebay_http_requests_total{", "drivebay_tasks", "drivebay_database", "go_goroutines", "process_resident_memory_bytes"} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("/metrics has no %s:\n%.2000s", want, a.body)
		}
	}
	if a := get(t, http.DefaultClient, strings.TrimSuffix(metrics.URL, "/metrics")+"/debug/pprof/goroutine?debug=1"); a.status != 200 {
		t.Errorf("pprof: %.200s", a)
	}
}

func get(t *testing.T, c *http.Client, url string) answer {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: b}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key, pool := selfSigned(t)
	s := startDemo(t, "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(s.demo.URL, "https://127.0.0.1:") {
		t.Fatalf("the URL is %s", s.demo.URL)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(tr.CloseIdleConnections)
	c := s.client()
	c.http = &http.Client{Transport: tr}
	c.newVolume(1001, 50)
	old := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11}}
	if resp, err := (&http.Client{Transport: old}).Get(s.demo.URL + "/healthz"); err == nil {
		resp.Body.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

// selfSigned makes a certificate for 127.0.0.1 and returns the paths of its
// files, and who trusts it.
func selfSigned(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, b := range map[string][]byte{cert: chain, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(chain)
	return cert, key, pool
}
