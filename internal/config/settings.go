package config

import (
	"cmp"
	"log/slog"
	"strings"
	"time"
)

// setting is one row of the table: where a value lives and how it is read,
// checked and described.
type setting struct {
	key      string   // snake_case, as in the YAML file
	defaults []string // what set is called with when nobody says anything
	shown    string   // the default in words, where defaults do not tell
	arg      string   // what a value is called in the help; "" for a switch
	usage    string   // one sentence, for the help and the reference
	more     string   // further sentences, for the reference and the example
	flagOnly bool     // neither in the file nor in the environment
	many     bool     // repeatable; a list in the file, commas in the environment

	// set puts one value into c. For many settings it appends.
	set func(c *Config, value string) error
	// clear empties a setting that is many.
	clear func(c *Config)
	// check says what is wrong with c's value; "" for nothing.
	check func(c *Config) string
}

func (s *setting) flag() string { return strings.ReplaceAll(s.key, "_", "-") }
func (s *setting) env() string  { return "DRIVEBAY_" + strings.ToUpper(s.key) }

// apply replaces the setting's value. Without values it is emptied.
func (s *setting) apply(c *Config, values []string) error {
	if s.many {
		s.clear(c)
	}
	for _, v := range values {
		if err := s.set(c, v); err != nil {
			return err
		}
	}
	return nil
}

const sqlitePrefix = "sqlite:"

// settings is the table, in the order of the reference page.
var settings = []setting{
	{
		key: "demo", defaults: []string{"false"}, flagOnly: true,
		usage: "Fill an empty data folder with two clients, four devices and keys to try things with.",
		more:  "The keys are in demo.json in the data folder.",
		set:   boolean(func(c *Config) *bool { return &c.Demo }),
	},
	{
		key: "listen", defaults: []string{"127.0.0.1:8080"}, arg: "host:port",
		usage: "Where the API is served.",
		more:  "Port 0 picks a free port; without a host it is served on all addresses.",
		set:   text(func(c *Config) *string { return &c.Listen }),
		check: func(c *Config) string { return checkAddress(c.Listen) },
	},
	{
		key: "tls_cert", defaults: []string{""}, arg: "path",
		usage: "The certificate chain (PEM) to serve the API with TLS.",
		set:   text(func(c *Config) *string { return &c.TLSCert }),
		check: func(c *Config) string { return checkPair(c.TLSCert, c.TLSKey, "tls_key") },
	},
	{
		key: "tls_key", defaults: []string{""}, arg: "path",
		usage: "The private key (PEM) that belongs to tls_cert.",
		set:   text(func(c *Config) *string { return &c.TLSKey }),
		check: func(c *Config) string { return checkPair(c.TLSKey, c.TLSCert, "tls_cert") },
	},
	{
		key: "data_dir", defaults: []string{"./drivebay-data"}, arg: "path",
		usage: "The folder for everything that is kept: the database, volumes and ISO images.",
		more:  "It is made if it is not there.",
		set:   text(func(c *Config) *string { return &c.DataDir }),
		check: func(c *Config) string { return checkPath(c.DataDir) },
	},
	{
		key: "database", defaults: []string{""}, shown: "sqlite:<data_dir>/drivebay.db", arg: "address",
		usage: "The database: sqlite:PATH, or postgres://USER@HOST:PORT/NAME for several servers on one.",
		more: "An empty value is drivebay.db in data_dir. PostgreSQL's own variables and files are heeded too " +
			"(PGPASSWORD, PGPASSFILE), so that the password need not stand here.",
		set:   text(func(c *Config) *string { return &c.Database }),
		check: func(c *Config) string { return checkDatabase(c.Database) },
	},
	{
		key: "node", defaults: []string{""}, shown: "the host's name with PostgreSQL, else node", arg: "name",
		usage: "The stable name of this server, unlike that of every other on the same database.",
		more:  "It takes up its own unfinished tasks again after a restart.",
		set:   text(func(c *Config) *string { return &c.Node }),
		check: func(c *Config) string { return checkNode(c.Node) },
	},
	{
		key: "role", defaults: []string{string(RoleAll)}, arg: "role",
		usage: "What this server does: answer requests (api), run tasks (worker), or all.",
		more:  "With api or worker there has to be another server for the rest, and so PostgreSQL.",
		set:   text(func(c *Config) *Role { return &c.Role }),
		check: checkRole,
	},
	{
		key: "facilities", shown: "all", arg: "code", many: true,
		usage: "A facility whose tasks are run here, for a server near its hosts.",
		more:  "Repeat the flag, or separate several by commas. Without it the tasks of all facilities are run here.",
		set: func(c *Config, v string) error {
			for code := range strings.SplitSeq(v, ",") {
				c.Facilities = append(c.Facilities, strings.TrimSpace(code))
			}
			return nil
		},
		clear: func(c *Config) { c.Facilities = nil },
		check: checkFacilities,
	},
	{
		key: "libvirt_host", shown: "none", arg: "FACILITY/NAME=URI", many: true,
		usage: "A hypervisor of a facility: such a facility's VPS are libvirt's, the others are simulated.",
		more: "The URI is libvirt's: qemu+unix:///system?socket=PATH, qemu+tls://HOST/system or qemu+ssh://USER@HOST/system. Two options " +
			"in it are ours: pool is where volumes are made (default), iso_pool where images are kept (the same pool). " +
			"Repeat the flag, or separate several by commas; a comma in a URI is written %2C. A facility that is not there yet is made.",
		set:   libvirtHost,
		clear: func(c *Config) { c.LibvirtHosts = nil },
		check: checkLibvirtHosts,
	},
	{
		key: "libvirt_disk_bus", defaults: []string{BusSCSI}, arg: "bus",
		usage: "How volumes are connected to libvirt's guests: scsi or virtio.",
		more:  "With virtio the guest has to take part in a detach, and takes fewer volumes.",
		set:   text(func(c *Config) *string { return &c.LibvirtDiskBus }),
		check: func(c *Config) string { return oneOf(c.LibvirtDiskBus, BusSCSI, BusVirtio) },
	},
	{
		key: "libvirt_cd_bus", defaults: []string{BusSATA}, arg: "bus",
		usage: "The bus of the CD drive that ISOs go into, where a libvirt guest has several: sata, scsi or ide.",
		set:   text(func(c *Config) *string { return &c.LibvirtCDBus }),
		check: func(c *Config) string { return oneOf(c.LibvirtCDBus, BusSATA, BusSCSI, BusIDE) },
	},
	{
		key: "libvirt_detach_timeout", defaults: []string{"30s"}, arg: "duration",
		usage: "How long a libvirt guest may take to let go of a volume.",
		more:  "After that the detach fails and the volume stays attached.",
		set:   duration(func(c *Config) *time.Duration { return &c.LibvirtDetachTimeout }),
		check: func(c *Config) string { return within(c.LibvirtDetachTimeout, time.Second, 10*time.Minute) },
	},
	{
		key: "drain_timeout", defaults: []string{"20s"}, arg: "duration",
		usage: "How long requests and tasks may finish when the server is told to stop.",
		more:  "What is not done by then goes on at the next start.",
		set:   duration(func(c *Config) *time.Duration { return &c.DrainTimeout }),
		check: func(c *Config) string { return within(c.DrainTimeout, 0, time.Hour) },
	},
	{
		key: "task_workers", defaults: []string{"16"}, arg: "number",
		usage: "How many tasks on volumes and devices run at once.",
		set:   whole(func(c *Config) *int { return &c.TaskWorkers }),
		check: func(c *Config) string { return within(c.TaskWorkers, 1, 1024) },
	},
	{
		key: "import_workers", defaults: []string{"4"}, arg: "number",
		usage: "How many ISO images are imported at once.",
		set:   whole(func(c *Config) *int { return &c.ImportWorkers }),
		check: func(c *Config) string { return within(c.ImportWorkers, 1, 256) },
	},
	{
		key: "volume_size_unit", defaults: []string{"GiB"}, arg: "unit",
		usage: "What a volume's size is counted in in answers: GiB or bytes.",
		more:  "Requests are always in GiB. See docs/reference/contract.md.",
		set:   text(func(c *Config) *Unit { return &c.VolumeSizeUnit }),
		check: func(c *Config) string { return oneOf(c.VolumeSizeUnit, GiB, Bytes) },
	},
	{
		key: "rate_limit", defaults: []string{"3600"}, arg: "number",
		usage: "How many requests one address may make in an hour with an API key.",
		more:  "0 is no limit.",
		set:   whole(func(c *Config) *int { return &c.RateLimit }),
		check: func(c *Config) string { return within(c.RateLimit, 0, maxRate) },
	},
	{
		key: "rate_limit_anonymous", defaults: []string{"200"}, arg: "number",
		usage: "How many requests one address may make in an hour without an API key.",
		more:  "0 is no limit.",
		set:   whole(func(c *Config) *int { return &c.RateLimitAnonymous }),
		check: func(c *Config) string { return within(c.RateLimitAnonymous, 0, maxRate) },
	},
	{
		key: "reconcile_every", defaults: []string{"10m"}, arg: "duration",
		usage: "How often the database, the storage, the guests and the charges are compared.",
		more:  "0 is never; drivebay doctor does it at any time. See docs/guide/doctor.md.",
		set:   duration(func(c *Config) *time.Duration { return &c.ReconcileEvery }),
		check: func(c *Config) string { return checkEvery(c.ReconcileEvery) },
	},
	{
		key: "reconcile_grace", defaults: []string{"2m"}, arg: "duration",
		usage: "How long a difference must have been seen, in two looks in a row, to be acted upon.",
		set:   duration(func(c *Config) *time.Duration { return &c.ReconcileGrace }),
		check: func(c *Config) string { return within(c.ReconcileGrace, 0, time.Hour) },
	},
	{
		key: "reconcile_repair", defaults: []string{"false"},
		usage: "Repair what the periodic comparison confirms, where that is safe.",
		more:  "Without it differences are only reported. Nothing is deleted either way.",
		set:   boolean(func(c *Config) *bool { return &c.ReconcileRepair }),
	},
	{
		key: "quarantine_retention", defaults: []string{"168h"}, arg: "duration",
		usage: "How long a disk or image that belongs to nothing is kept before an operator may delete it.",
		set:   duration(func(c *Config) *time.Duration { return &c.QuarantineRetention }),
		check: func(c *Config) string { return within(c.QuarantineRetention, 0, 10*365*24*time.Hour) },
	},
	{
		key: "fetch_allow", shown: "none", arg: "CIDR", many: true,
		usage: "A private network or address that ISO images may be downloaded from.",
		more: "Without it only public addresses are reached. Repeat the flag for more; " +
			"one place that sets it replaces what the places before it say.",
		set:   prefix,
		clear: func(c *Config) { c.FetchAllow = nil },
	},
	{
		key: "fetch_max_size", defaults: []string{"16GiB"}, arg: "size",
		usage: "The largest ISO image that is imported or uploaded.",
		more:  "In bytes, or with one of KiB, MiB, GiB, TiB, kB, MB, GB, TB.",
		set:   size(func(c *Config) *int64 { return &c.FetchMaxBytes }),
		check: func(c *Config) string { return checkMaxSize(c.FetchMaxBytes) },
	},
	{
		key: "upload_dir", defaults: []string{""}, shown: "uploads in data_dir", arg: "path",
		usage: "The folder that uploaded ISO images grow in until they are imported.",
		more: "Several servers on one database set it to a folder that all of them see. Without it an upload goes on at the server that " +
			"accepted it, which must run the tasks of the ISO's facility. It is made if it is not there.",
		set:   text(func(c *Config) *string { return &c.UploadDir }),
		check: func(c *Config) string { return checkPath(cmp.Or(c.UploadDir, ".")) },
	},
	{
		key: "log_format", defaults: []string{LogText}, arg: "format",
		usage: "How the log is written on standard error: text or json.",
		set:   text(func(c *Config) *string { return &c.LogFormat }),
		check: func(c *Config) string { return oneOf(c.LogFormat, LogText, LogJSON) },
	},
	{
		key: "log_level", defaults: []string{"info"}, arg: "level",
		usage: "What is logged: debug, info, warn or error.",
		set:   level(func(c *Config) *slog.Level { return &c.LogLevel }),
	},
	{
		key: "metrics_listen", defaults: []string{""}, shown: "off", arg: "host:port",
		usage: "Where /metrics and /debug/pprof are served.",
		more:  "They need no key: keep this address private.",
		set:   text(func(c *Config) *string { return &c.MetricsListen }),
		check: checkMetrics,
	},
}
