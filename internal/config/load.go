package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// The settings file is no setting itself: a file cannot name itself.
const (
	fileFlag  = "config"
	fileEnv   = "DRIVEBAY_CONFIG"
	fileUsage = "A YAML file with settings; see drivebay.example.yaml."
)

// AddFlags adds one flag for each setting, and --config, to fs.
func AddFlags(fs *pflag.FlagSet) { addFlags(fs, func(*setting) bool { return true }) }

// AddDatabaseFlags adds --config and the flags that say where the database is.
// Load takes the other settings from their other places.
func AddDatabaseFlags(fs *pflag.FlagSet) {
	addFlags(fs, func(s *setting) bool { return s.key == "database" || s.key == "data_dir" })
}

func addFlags(fs *pflag.FlagSet, take func(*setting) bool) {
	fs.String(fileFlag, "", fileUsage)
	for i := range settings {
		s := &settings[i]
		if !take(s) {
			continue
		}
		f := fs.VarPF(&flagValue{setting: s}, s.flag(), "", s.usage)
		if s.arg == "" {
			f.NoOptDefVal = "true"
		}
		f.DefValue = s.inWords()
	}
}

// flagValue keeps what was written for one setting until Load applies it.
type flagValue struct {
	setting *setting
	values  []string
}

func (v *flagValue) String() string { return strings.Join(v.values, ",") }

func (v *flagValue) Type() string {
	if v.setting.arg == "" {
		return "bool"
	}
	return v.setting.arg
}

// Set refuses what cannot be read, so that a typing error is an error of usage.
func (v *flagValue) Set(value string) error {
	values := v.setting.split(value)
	if err := v.setting.apply(new(Config), values); err != nil {
		return err
	}
	if !v.setting.many {
		v.values = nil
	}
	v.values = append(v.values, values...)
	return nil
}

// split returns the values in one written string. An empty string for a
// setting that is many is no value at all.
func (s *setting) split(value string) []string {
	if !s.many {
		return []string{value}
	}
	var values []string
	for v := range strings.SplitSeq(value, ",") {
		if v = strings.TrimSpace(v); v != "" {
			values = append(values, v)
		}
	}
	return values
}

// Load reads the settings: defaults, then the file that --config or
// DRIVEBAY_CONFIG names, then the environment, then the flags of fs that were
// given. An empty environment variable counts as not set.
//
// fs has the flags of AddFlags or AddDatabaseFlags and is parsed; getenv is os.Getenv. The error
// holds every problem found, whatever its source.
func Load(fs *pflag.FlagSet, getenv func(string) string) (Config, error) {
	c := Default()
	path := getenv(fileEnv)
	if f := fs.Lookup(fileFlag); f != nil && f.Changed {
		path = f.Value.String()
	}
	var errs []error
	if path != "" {
		errs = append(errs, readFile(&c, path)...)
	}
	for i := range settings {
		s := &settings[i]
		if v := getenv(s.env()); v != "" && !s.flagOnly {
			if err := s.apply(&c, s.split(v)); err != nil {
				errs = append(errs, &Problem{Key: s.key, From: s.env(), Text: err.Error()})
			}
		}
		f := fs.Lookup(s.flag())
		if f == nil || !f.Changed {
			continue
		}
		given, ok := f.Value.(*flagValue)
		if !ok {
			return c, fmt.Errorf("flag --%s is not one of AddFlags", s.flag())
		}
		if err := s.apply(&c, given.values); err != nil {
			errs = append(errs, &Problem{Key: s.key, From: "--" + s.flag(), Text: err.Error()})
		}
	}
	return c, errors.Join(append(errs, c.Validate())...)
}
