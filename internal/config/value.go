package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const maxRate = 1_000_000_000

// maxFetch keeps sizes clear of overflow wherever they are summed up.
const maxFetch = 1 << 50

func text[T ~string](field func(*Config) *T) func(*Config, string) error {
	return func(c *Config, v string) error {
		*field(c) = T(v)
		return nil
	}
}

func boolean(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", v)
		}
		*field(c) = b
		return nil
	}
}

func whole(field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", v)
		}
		*field(c) = n
		return nil
	}
}

func duration(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 20s or 1m30s", v)
		}
		*field(c) = d
		return nil
	}
}

func level(field func(*Config) *slog.Level) func(*Config, string) error {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	return func(c *Config, v string) error {
		l, ok := levels[v]
		if !ok {
			return fmt.Errorf("%q is not one of debug, info, warn, error", v)
		}
		*field(c) = l
		return nil
	}
}

func size(field func(*Config) *int64) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := parseSize(v)
		if err != nil {
			return err
		}
		*field(c) = n
		return nil
	}
}

// sizeUnits are tried in this order: a longer ending before the one it ends in.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// parseSize reads a number of bytes such as 512, 16GiB or 700 MB.
func parseSize(v string) (int64, error) {
	digits, unit := strings.TrimSpace(v), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(digits, u.name); ok {
			digits, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && int64(n) > math.MaxInt64/unit:
		return 0, fmt.Errorf("%q is too large", v)
	case err != nil:
		return 0, fmt.Errorf("%q is not a size such as 16GiB", v)
	}
	return int64(n) * unit, nil
}

// prefix adds a network, or a single address, to FetchAllow.
func prefix(c *Config, v string) error {
	v = strings.TrimSpace(v)
	p, err := netip.ParsePrefix(v)
	if a, aerr := netip.ParseAddr(v); err != nil && aerr == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a network such as 10.0.0.0/8", v)
	case p.Addr().Is4In6():
		return fmt.Errorf("%q is an IPv4 network in IPv6 form; write it as IPv4", v)
	case p != p.Masked():
		return fmt.Errorf("%q has bits behind its prefix; is it %s or %s/%d?", v, p.Masked(), p.Addr(), p.Addr().BitLen())
	}
	c.FetchAllow = append(c.FetchAllow, p)
	return nil
}

func checkAddress(v string) string {
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Sprintf("%q is not host:port", v)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Sprintf("the port of %q is not a number from 0 to 65535", v)
	}
	if strings.ContainsAny(host, " /\\@\t\r\n\x00") {
		return fmt.Sprintf("%q is not host:port", v)
	}
	return ""
}

func checkMetrics(c *Config) string {
	if c.MetricsListen == "" {
		return ""
	}
	if c.MetricsListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		return "it is the same as listen; choose another port"
	}
	return checkAddress(c.MetricsListen)
}

func checkPair(this, other, otherKey string) string {
	if this == "" && other != "" {
		return "it is missing, but " + otherKey + " is set; set both or neither"
	}
	if strings.ContainsRune(this, 0) {
		return "it is not a path"
	}
	return ""
}

func checkPath(v string) string {
	if v == "" || strings.ContainsRune(v, 0) {
		return "it is not a path"
	}
	return ""
}

// checkDatabase never quotes the value: an address may hold a password.
func checkDatabase(v string) string {
	path, ok := strings.CutPrefix(v, sqlitePrefix)
	switch {
	case v == "":
		return ""
	case isPostgres(v):
		if u, err := url.Parse(v); err != nil || len(u.Path) < 2 {
			return "it is not of the form postgres://USER@HOST:PORT/NAME"
		}
		return ""
	case !ok:
		return "it is neither of the form sqlite:PATH nor postgres://USER@HOST:PORT/NAME"
	case strings.HasPrefix(path, ":memory:"), strings.HasPrefix(path, "file:"), strings.HasPrefix(path, "//"):
		return "write the path of a file after sqlite:"
	}
	return checkPath(path)
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// checkEvery takes no pause so short that looking would be all that is done.
func checkEvery(v time.Duration) string {
	if v == 0 {
		return ""
	}
	return within(v, time.Minute, 7*24*time.Hour)
}

func isPostgres(v string) bool {
	return strings.HasPrefix(v, "postgres://") || strings.HasPrefix(v, "postgresql://")
}

func checkRole(c *Config) string {
	if text := oneOf(c.Role, RoleAll, RoleAPI, RoleWorker); text != "" || c.Role == RoleAll {
		return text
	}
	switch {
	case !c.Postgres():
		return fmt.Sprintf("%q needs a database that other servers use too; set database to postgres://...", c.Role)
	case c.Demo:
		return fmt.Sprintf("a demo does all, not only %q", c.Role)
	}
	return ""
}

var facilityCode = regexp.MustCompile(`^[A-Z][A-Z0-9]{1,15}$`)

func checkFacilities(c *Config) string {
	for i, code := range c.Facilities {
		if !facilityCode.MatchString(code) {
			return fmt.Sprintf("%q is not the code of a facility", code)
		}
		if slices.Contains(c.Facilities[:i], code) {
			return code + " is there twice"
		}
	}
	if len(c.Facilities) > 0 && c.Role == RoleAPI {
		return "a server with the role api runs no tasks"
	}
	return ""
}

func checkNode(v string) string {
	if v == "" {
		return ""
	}
	if !nodeName.MatchString(v) {
		return fmt.Sprintf("%q is not a name of 1 to 63 letters, digits, dots, dashes and underscores", v)
	}
	return ""
}

func checkMaxSize(n int64) string {
	if n < 1 || n > maxFetch {
		return "it is not between 1 byte and 1024TiB"
	}
	return ""
}

func within[T cmp.Ordered](v, low, high T) string {
	if v < low || v > high {
		return fmt.Sprintf("%v is not between %v and %v", v, low, high)
	}
	return ""
}

func oneOf[T ~string](v T, allowed ...T) string {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		if v == a {
			return ""
		}
		names[i] = string(a)
	}
	return fmt.Sprintf("%q is not one of %s", string(v), strings.Join(names, ", "))
}
