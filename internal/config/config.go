// Package config holds the settings of a server. They come from defaults, then
// a YAML file, then environment variables, then flags; the later one wins.
//
// One table (settings.go) drives all of these, the checks, the reference page
// and the example file, so that a setting cannot be in one and not in another.
package config

import (
	"cmp"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Unit is what a volume's size is counted in where an answer shows it.
type Unit string

// The units of volume_size_unit.
const (
	GiB   Unit = "GiB"
	Bytes Unit = "bytes"
)

// Role is what a server does.
type Role string

// The roles: both answer requests and run tasks, or one of these.
const (
	RoleAll    Role = "all"
	RoleAPI    Role = "api"
	RoleWorker Role = "worker"
)

// The forms of log_format.
const (
	LogText = "text"
	LogJSON = "json"
)

// Config is the whole of a server's settings. Default and Load make one; the
// meaning of each field is in the settings table under the same name.
type Config struct {
	Listen         string // host:port
	DataDir        string
	Database       string // "" for drivebay.db in DataDir; see DatabaseAddress
	Demo           bool
	Node           string // "": see NodeName
	Role           Role
	Facilities     []string // whose tasks are run here; none: all
	DrainTimeout   time.Duration
	TaskWorkers    int
	ImportWorkers  int
	VolumeSizeUnit Unit

	RateLimit          int // requests an hour and address with a key; 0 is no limit
	RateLimitAnonymous int // the same without a key

	ReconcileEvery      time.Duration // 0: never by itself
	ReconcileGrace      time.Duration
	ReconcileRepair     bool
	QuarantineRetention time.Duration

	LibvirtHosts         []LibvirtHost // a facility with at least one is libvirt's
	LibvirtDiskBus       string
	LibvirtCDBus         string
	LibvirtDetachTimeout time.Duration

	FetchAllow    []netip.Prefix
	FetchMaxBytes int64
	UploadDir     string // "": see UploadFolder

	LogFormat     string
	LogLevel      slog.Level
	MetricsListen string // host:port; "" is off

	TLSCert string // both paths are set, or neither is
	TLSKey  string
}

// Default returns the settings of a server that was told nothing. They are
// valid.
func Default() Config {
	var c Config
	for i := range settings {
		s := &settings[i]
		if err := s.apply(&c, s.defaults); err != nil {
			panic("config: default of " + s.key + ": " + err.Error()) // a test reads them all
		}
	}
	return c
}

// DatabaseAddress is sqlite:PATH or postgres://... The caller has called
// Validate.
func (c Config) DatabaseAddress() string {
	if c.Database != "" {
		return c.Database
	}
	return sqlitePrefix + filepath.Join(c.DataDir, "drivebay.db")
}

// UploadFolder is where uploads grow. shared says that other servers see it
// too.
func (c Config) UploadFolder() (path string, shared bool) {
	if c.UploadDir != "" {
		return c.UploadDir, true
	}
	return filepath.Join(c.DataDir, "uploads"), false
}

// Postgres reports whether the database is PostgreSQL, which other servers may
// use too.
func (c Config) Postgres() bool { return isPostgres(c.Database) }

// NodeName is the name this server goes by. With a database that others use
// too, the host's name is a better guess than one that all of them have.
func (c Config) NodeName() string {
	if c.Node != "" || !c.Postgres() {
		return cmp.Or(c.Node, "node")
	}
	host, err := os.Hostname()
	if err != nil || !nodeName.MatchString(host) {
		return "node"
	}
	return host
}

// Problem is one setting that cannot be used.
type Problem struct {
	Key  string // as in the YAML file
	From string // where the value came from; "" when the value itself is wrong
	Text string
}

// Error names the key, where it was read, and what is wrong with it.
func (p *Problem) Error() string {
	if p.From == "" {
		return p.Key + ": " + p.Text
	}
	return p.Key + " (" + p.From + "): " + p.Text
}

// Validate checks every setting and returns all problems at once, each one a
// *Problem. It reads no file and opens no socket.
func (c Config) Validate() error {
	var errs []error
	for i := range settings {
		s := &settings[i]
		if s.check == nil {
			continue
		}
		if text := s.check(&c); text != "" {
			errs = append(errs, &Problem{Key: s.key, Text: text})
		}
	}
	return errors.Join(errs...)
}
