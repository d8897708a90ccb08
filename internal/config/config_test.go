package config

import (
	"errors"
	"flag"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the reference page and the example file anew")

var equalConfig = cmpopts.EquateComparable(netip.Prefix{})

// load runs Load on a file's text (none if empty), an environment and flags.
func load(t *testing.T, yaml string, env map[string]string, args ...string) (Config, error) {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(fs)
	if yaml != "" {
		path := filepath.Join(t.TempDir(), "drivebay.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		env = maps.Clone(env)
		if env == nil {
			env = map[string]string{}
		}
		env[fileEnv] = path
	}
	if err := fs.Parse(args); err != nil {
		return Config{}, err
	}
	return Load(fs, func(k string) string { return env[k] })
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Listen: "127.0.0.1:8080", DataDir: "./drivebay-data", Role: RoleAll, DrainTimeout: 20 * time.Second,
		TaskWorkers: 16, ImportWorkers: 4, VolumeSizeUnit: GiB, RateLimit: 3600, RateLimitAnonymous: 200,
		ReconcileEvery: 10 * time.Minute, ReconcileGrace: 2 * time.Minute, QuarantineRetention: 7 * 24 * time.Hour,
		LibvirtDiskBus: BusSCSI, LibvirtCDBus: BusSATA, LibvirtDetachTimeout: 30 * time.Second,
		FetchMaxBytes: 16 << 30, LogFormat: LogText, LogLevel: slog.LevelInfo,
	}
	if diff := cmp.Diff(want, c, equalConfig); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Default(), c, equalConfig); diff != "" {
		t.Error("Default differs from Load of nothing: " + diff)
	}
	if got, want := c.DatabaseAddress(), "sqlite:"+filepath.Join("drivebay-data", "drivebay.db"); got != want {
		t.Errorf("DatabaseAddress = %q, want %q", got, want)
	}
}

// other has a value for each key that is valid and not the default.
var other = map[string]string{
	"demo": "false", "listen": "[::1]:9000", "data_dir": "/srv/x", "database": "postgres://u@h/d", "node": "n-2",
	"role": "worker", "facilities": "TPA1,LAX3",
	"drain_timeout": "1m30s", "task_workers": "3", "import_workers": "2", "volume_size_unit": "bytes",
	"rate_limit": "0", "rate_limit_anonymous": "7", "fetch_allow": "10.0.0.0/8,fd00::/8,192.0.2.7",
	"fetch_max_size": "700MB", "upload_dir": "up", "log_format": "json", "log_level": "warn", "metrics_listen": "127.0.0.1:9100",
	"tls_cert": "c.pem", "tls_key": "k.pem",
	"libvirt_host":     "TPA1/a=qemu+ssh://u@a.example.org/system?pool=fast&iso_pool=images&keyfile=%2Fk,LAX3/b=qemu:///system",
	"libvirt_disk_bus": "virtio", "libvirt_cd_bus": "ide", "libvirt_detach_timeout": "1m",
	"reconcile_every": "1h", "reconcile_grace": "5s", "reconcile_repair": "true", "quarantine_retention": "1h",
}

var otherConfig = Config{
	Listen: "[::1]:9000", DataDir: "/srv/x", Database: "postgres://u@h/d", Node: "n-2",
	Role: RoleWorker, Facilities: []string{"TPA1", "LAX3"},
	DrainTimeout: 90 * time.Second, TaskWorkers: 3, ImportWorkers: 2, VolumeSizeUnit: Bytes,
	RateLimit: 0, RateLimitAnonymous: 7,
	FetchAllow: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("192.0.2.7/32"),
	},
	LibvirtHosts: []LibvirtHost{
		{Facility: "TPA1", Name: "a", URI: "qemu+ssh://u@a.example.org/system?keyfile=%2Fk", Pool: "fast", ISOPool: "images"},
		{Facility: "LAX3", Name: "b", URI: "qemu+unix:///system", Pool: "default"},
	},
	LibvirtDiskBus: BusVirtio, LibvirtCDBus: BusIDE, LibvirtDetachTimeout: time.Minute,
	FetchMaxBytes: 700e6, UploadDir: "up", LogFormat: LogJSON, LogLevel: slog.LevelWarn, MetricsListen: "127.0.0.1:9100",
	TLSCert: "c.pem", TLSKey: "k.pem",
	ReconcileEvery: time.Hour, ReconcileGrace: 5 * time.Second, ReconcileRepair: true, QuarantineRetention: time.Hour,
}

// TestEverySource sets every key by each source in turn.
func TestEverySource(t *testing.T) {
	t.Parallel()
	var args []string
	var file strings.Builder
	env := map[string]string{}
	for i := range settings {
		s := &settings[i]
		v, ok := other[s.key]
		if !ok {
			t.Fatalf("no value to try for %s", s.key)
		}
		args = append(args, "--"+s.flag()+"="+v)
		if s.flagOnly {
			continue
		}
		env[s.env()] = v
		if s.many {
			file.WriteString(s.key + ": [" + v + "]\n")
		} else {
			file.WriteString(s.key + ": '" + v + "'\n")
		}
	}
	noDemo := otherConfig
	noDemo.Demo = false
	for name, c := range map[string]struct {
		yaml string
		env  map[string]string
		args []string
		want Config
	}{
		"file":  {yaml: file.String(), want: noDemo},
		"env":   {env: env, want: noDemo},
		"flags": {args: args, want: otherConfig},
	} {
		got, err := load(t, c.yaml, c.env, c.args...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.want, got, equalConfig); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// Each field of Config is reached by some key: none of otherConfig is zero
	// but the limit that was set to 0, and the demo, which a worker cannot be.
	v := reflect.ValueOf(otherConfig)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() && name != "RateLimit" && name != "LogLevel" && name != "Demo" {
			t.Errorf("no setting for Config.%s is tried", name)
		}
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	const yaml = "rate_limit: 1\nnode: file\nfetch_allow: [10.0.0.0/8]\nlog_format: json\n"
	env := map[string]string{"DRIVEBAY_NODE": "env", "DRIVEBAY_RATE_LIMIT": "2", "DRIVEBAY_LOG_FORMAT": ""}
	c, err := load(t, yaml, env, "--rate-limit=3", "--fetch-allow", "192.168.0.0/16", "--fetch-allow=172.16.0.0/12")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.RateLimit, want.Node, want.LogFormat = 3, "env", LogJSON
	want.FetchAllow = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("172.16.0.0/12")}
	if diff := cmp.Diff(want, c, equalConfig); diff != "" {
		t.Error(diff)
	}
	if c, err = load(t, yaml, nil, "--fetch-allow="); err != nil || len(c.FetchAllow) != 0 {
		t.Errorf("an empty flag leaves %v, %v", c.FetchAllow, err)
	}
	if c, err = load(t, "node: \nfetch_allow:\n", nil); err != nil || c.NodeName() != "node" {
		t.Errorf("a key without a value gives %q, %v", c.Node, err)
	}
}

func TestConfigFlagWinsOverEnvironment(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(path, []byte("node: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, "node: b\n", nil, "--config", path)
	if err != nil || c.Node != "a" {
		t.Errorf("node = %q, %v; want a", c.Node, err)
	}
	if _, err := load(t, "", nil, "--config", path+".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
}

// TestProblems looks for the key and the gist of each complaint.
func TestProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, yaml string
		env        map[string]string
		args       []string
		want       []string // each in the error
	}{
		{name: "unknown key", yaml: "listen: 127.0.0.1:1\nrate_limits: 3\n",
			want: []string{"rate_limits (", ":2)", "did you mean rate_limit?"}},
		{name: "kebab key", yaml: "fetch-max-size: 3\n", want: []string{"did you mean fetch_max_size?"}},
		{name: "nothing like it", yaml: "colour_of_the_sky: 3\n", want: []string{"colour_of_the_sky (", "no such setting"}},
		{name: "flag only", yaml: "demo: true\n", want: []string{"demo (", "--demo only"}},
		{name: "key twice", yaml: "node: a\nnode: b\n", want: []string{":2: ", "already defined"}},
		{name: "no mapping", yaml: "- listen\n", want: []string{"key: value"}},
		{name: "two documents", yaml: "node: a\n---\nnode: b\n", want: []string{"second YAML document"}},
		{name: "list for one", yaml: "node: [a]\n", want: []string{"node (", "one value, not a list"}},
		{name: "mapping", yaml: "node: {a: b}\n", want: []string{"node (", "plain value"}},
		{name: "list of lists", yaml: "fetch_allow: [[10.0.0.0/8]]\n", want: []string{"fetch_allow (", "plain values only"}},
		{name: "merge key", yaml: "<<: {node: a}\n", want: []string{"not a key"}},
		{name: "all at once", yaml: "rate_limit: many\nlog_levle: info\ntask_workers: 0\n",
			env:  map[string]string{"DRIVEBAY_DRAIN_TIMEOUT": "20", "DRIVEBAY_TLS_CERT": "c.pem"},
			args: []string{"--listen=8080", "--log-format=xml"},
			want: []string{`rate_limit (`, `"many" is not a whole number`, "did you mean log_level?", "task_workers: 0 is not between",
				`drain_timeout (DRIVEBAY_DRAIN_TIMEOUT): "20"`, "tls_key: ", `listen: "8080"`, `log_format: "xml"`}},
		{name: "port", args: []string{"--listen=127.0.0.1:70000"}, want: []string{"listen: ", "65535"}},
		{name: "postgres", args: []string{"--database=postgres://u:secret@h"}, want: []string{"database: ", "postgres://USER"}},
		{name: "role", args: []string{"--role=boss"}, want: []string{"role: "}},
		{name: "worker alone", args: []string{"--role=worker"}, want: []string{"role: ", "postgres://"}},
		{name: "demo worker", args: []string{"--demo", "--role=worker", "--database=postgres://u@h/d"}, want: []string{"role: ", "demo"}},
		{name: "facility", args: []string{"--facilities=TPA1,no"}, want: []string{"facilities: "}},
		{name: "facility twice", args: []string{"--facilities=TPA1,TPA1"}, want: []string{"facilities: "}},
		{name: "facilities of nobody", args: []string{"--role=api", "--facilities=TPA1", "--database=postgres://u@h/d"}, want: []string{"facilities: "}},
		{name: "memory", args: []string{"--database=sqlite::memory:"}, want: []string{"database: ", "path of a file"}},
		{name: "empty path", args: []string{"--database=sqlite:"}, want: []string{"database: "}},
		{name: "other database", args: []string{"--database=mysql:secret"}, want: []string{"database: ", "sqlite:PATH"}},
		{name: "same port", args: []string{"--metrics-listen=127.0.0.1:8080"}, want: []string{"metrics_listen: ", "same as listen"}},
		{name: "unit", args: []string{"--volume-size-unit=GB"}, want: []string{"volume_size_unit: ", "GiB, bytes"}},
		{name: "node", args: []string{"--node=a/b"}, want: []string{"node: "}},
		{name: "size", args: []string{"--fetch-max-size=0"}, want: []string{"fetch_max_size: "}},
		{name: "data", args: []string{"--data-dir="}, want: []string{"data_dir: "}},
		{name: "disk bus", args: []string{"--libvirt-disk-bus=sata"}, want: []string{"libvirt_disk_bus: ", "scsi, virtio"}},
		{name: "CD bus", args: []string{"--libvirt-cd-bus=virtio"}, want: []string{"libvirt_cd_bus: ", "sata, scsi, ide"}},
		{name: "detach timeout", args: []string{"--libvirt-detach-timeout=0s"}, want: []string{"libvirt_detach_timeout: "}},
	} {
		_, err := load(t, c.yaml, c.env, c.args...)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in: %v", c.name, want, err)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: a secret is in: %v", c.name, err)
		}
	}
}

func TestLibvirtHosts(t *testing.T) {
	t.Parallel()
	for hosts, want := range map[string]string{
		"tpa1/a=qemu+unix:///system":                                             `"tpa1" is not the code`,
		"TPA1/=qemu+unix:///system":                                              `"" is not a name`,
		"TPA1/a=qemu+tcp://h/system":                                             "TPA1/a: its URI begins with none of",
		"TPA1/a=/run/libvirt/sock":                                               "begins with none of",
		"TPA1/a=qemu+unix:///session":                                            "does not end in /system",
		"TPA1/a=qemu+unix://h/system":                                            "names a machine",
		"TPA1/a=qemu+ssh:///system":                                              "names no machine",
		"TPA1/a=qemu+ssh://u:secret@h/system":                                    "holds a password",
		"TPA1/a=qemu+ssh://h/system?pool=a/b":                                    `"a/b" is not the name of a pool`,
		"TPA1/a=qemu+ssh://h/system,TPA1/a=qemu+ssh://i/system":                  "TPA1/a is there twice",
		"TPA1/a=qemu+tls://h/system,LAX3/a=qemu://H/system?pool=x":               "TPA1/a and LAX3/a are the same host",
		"TPA1/a=qemu:///system?socket=/s,TPA1/b=qemu+unix:///system?socket=%2Fs": "TPA1/a and TPA1/b are the same host",
	} {
		_, err := load(t, "", nil, "--libvirt-host="+hosts)
		if err == nil || !strings.Contains(err.Error(), "libvirt_host: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", hosts, err, want)
		}
	}
	if _, err := load(t, "", nil, "--demo", "--libvirt-host=TPA1/x=qemu:///system"); err == nil || !strings.Contains(err.Error(), "the demo in TPA1 are simulated") {
		t.Errorf("a host in the demo's facility: %v", err)
	}
	if _, err := load(t, "", nil, "--demo", "--libvirt-host=LAB1/x=qemu:///system"); err != nil {
		t.Errorf("a host beside the demo: %v", err)
	}
	for _, arg := range []string{"TPA1=qemu:///system", "TPA1/a", "TPA1/a=qemu://%zz/system", "TPA1/a=qemu:///system?pool=%zz"} {
		if _, err := load(t, "", nil, "--libvirt-host="+arg); err == nil {
			t.Errorf("%s was accepted", arg)
		}
	}

	c, err := load(t, "libvirt_host:\n  - TPA1/b=qemu:///system?socket=/a\n  - LAX3/c=qemu://h/system\n  - TPA1/a=qemu:///system?socket=/b\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if at := c.LibvirtAt("TPA1"); len(at) != 2 || at[0].Name != "b" || at[1].Name != "a" || len(c.LibvirtAt("AMS1")) != 0 {
		t.Errorf("hosts of TPA1: %+v", at)
	}
	if codes := c.LibvirtFacilities(); !slices.Equal(codes, []string{"LAX3", "TPA1"}) {
		t.Errorf("facilities: %v", codes)
	}
	if uri := c.LibvirtAt("LAX3")[0].URI; uri != "qemu+tls://h/system" {
		t.Errorf("a URI without transport is %s", uri)
	}
}

// TestFlagSyntax holds that what cannot be read is refused by the flag itself.
func TestFlagSyntax(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{
		"--rate-limit=x", "--rate-limit=1e3", "--drain-timeout=5", "--log-level=loud", "--demo=maybe", "--fetch-max-size=1.5GiB",
		"--fetch-max-size=9000000TiB", "--fetch-max-size=-1", "--fetch-max-size=", "--fetch-allow=10.0.0.1/8", "--fetch-allow=lan",
		"--fetch-allow=::ffff:10.0.0.0/104", "--fetch-allow=fe80::1%eth0", "--no-such-flag",
	} {
		fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		AddFlags(fs)
		if err := fs.Parse([]string{arg}); err == nil {
			t.Errorf("%s was accepted", arg)
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "512B": 512, "16GiB": 16 << 30, "16 GiB": 16 << 30, "700MB": 700e6, "1kB": 1000, "1KiB": 1024,
		"2TB": 2e12, "3TiB": 3 << 40, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
}

// TestTable holds what the rest of the package takes for granted of the rows.
func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i := range settings {
		s := &settings[i]
		if seen[s.key] || s.set == nil || s.usage == "" || s.many != (s.clear != nil) {
			t.Errorf("the row of %q is not complete, or there twice", s.key)
		}
		seen[s.key] = true
		if strings.ToLower(s.key) != s.key || strings.Contains(s.key, "-") {
			t.Errorf("%q is not snake_case", s.key)
		}
		if !strings.HasSuffix(s.meaning(), ".") || strings.Contains(s.meaning(), "|") {
			t.Errorf("%s: %q is not a sentence for a table", s.key, s.meaning())
		}
	}
	if got := reflect.TypeFor[Config]().NumField(); got != len(settings) {
		t.Errorf("Config has %d fields, the table %d rows", got, len(settings))
	}
}

// TestGenerated holds that the reference page and the example file are in step
// with the table.
func TestGenerated(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"../../docs/reference/config.md": Reference(),
		"../../drivebay.example.yaml":    Example(),
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is out of step; run make generate:\n%s", path, diff)
		}
	}
}

func TestExample(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../drivebay.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{}
	if errs := parseYAML(&c, data, "example"); len(errs) > 0 {
		t.Fatal(errs)
	}
	if diff := cmp.Diff(Default(), c, equalConfig); diff != "" {
		t.Error("the example differs from the defaults: " + diff)
	}
	lines := strings.Split(string(data), "\n")
	for i := range settings {
		s := &settings[i]
		at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, s.key+": ") })
		if s.flagOnly != (at < 0) {
			t.Errorf("%s is in the example: %v", s.key, at >= 0)
		}
		if at > 0 && !strings.HasPrefix(lines[at-1], "# ") {
			t.Errorf("%s has no comment", s.key)
		}
	}
}

func FuzzFile(f *testing.F) {
	example, err := os.ReadFile("../../drivebay.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, s := range []string{"fetch_allow:\n  - 10.0.0.0/8\n", "a: &x [*x]\n", "? {a: b}\n: c\n", "node: |\n  a\n", "\"node\": !!str a\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := Default()
		for _, err := range parseYAML(&c, data, "fuzz") {
			if err.Error() == "" {
				t.Error("an error without a sentence")
			}
		}
		_ = c.Validate() // must not panic on whatever was read
	})
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"16GiB", "", "B", "9223372036854775807TiB", "1 kB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize(s); err == nil && n < 0 {
			t.Errorf("parseSize(%q) = %d", s, n)
		}
	})
}
