package config

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// LibvirtHost is one hypervisor of a facility.
type LibvirtHost struct {
	Facility string
	Name     string
	// URI is how it is reached, with its transport and without our own options:
	// qemu+unix:///system, qemu+tls://HOST/system, qemu+ssh://USER@HOST/system.
	URI     string
	Pool    string // where volumes are made
	ISOPool string // where images are kept; "": in Pool
}

// The buses of libvirt_disk_bus and libvirt_cd_bus.
const (
	BusSCSI   = "scsi"
	BusVirtio = "virtio"
	BusSATA   = "sata"
	BusIDE    = "ide"
)

// defaultPool is the pool that libvirt's own tools make and use.
const defaultPool = "default"

// LibvirtAt returns the hosts of a facility, in the order of the settings; none
// if the facility is not libvirt's.
func (c Config) LibvirtAt(facility string) (hosts []LibvirtHost) {
	for _, h := range c.LibvirtHosts {
		if h.Facility == facility {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// LibvirtFacilities are the codes of the facilities that have hosts, sorted.
func (c Config) LibvirtFacilities() (codes []string) {
	for _, h := range c.LibvirtHosts {
		codes = append(codes, h.Facility)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// libvirtHost reads FACILITY/NAME=URI. What is wrong is never said with the
// URI, which may hold a password.
func libvirtHost(c *Config, v string) error {
	place, raw, ok := strings.Cut(v, "=")
	facility, name, named := strings.Cut(place, "/")
	if !ok || !named {
		return fmt.Errorf("a host is written FACILITY/NAME=URI, such as TPA1/h1=qemu+tls://h1.example.org/system?pool=default")
	}
	h := LibvirtHost{Facility: strings.TrimSpace(facility), Name: strings.TrimSpace(name)}
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return fmt.Errorf("what is behind %s= is not a URI", place)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fmt.Errorf("the options of %s are not of the form ?name=value&name=value", place)
	}
	h.Pool, h.ISOPool = cmp.Or(q.Get("pool"), defaultPool), q.Get("iso_pool")
	q.Del("pool")
	q.Del("iso_pool")
	u.RawQuery = q.Encode()
	if u.Scheme == "qemu" { // as libvirt reads it
		u.Scheme = map[bool]string{true: "qemu+unix", false: "qemu+tls"}[u.Host == ""]
	}
	h.URI = u.String()
	c.LibvirtHosts = append(c.LibvirtHosts, h)
	return nil
}

// checkLibvirtHosts holds that each host is named once and served once: two
// facilities with one host would each find the other's disks and guests.
func checkLibvirtHosts(c *Config) string {
	names, places := map[string]bool{}, map[string]string{}
	for _, h := range c.LibvirtHosts {
		place := h.Facility + "/" + h.Name
		if text := h.check(); text != "" {
			return place + ": " + text
		}
		if c.Demo && slices.Contains(demoFacilities, h.Facility) {
			return place + ": the VPS of the demo in " + h.Facility + " are simulated; give the host another facility"
		}
		if names[place] {
			return place + " is there twice"
		}
		names[place] = true
		u, _ := url.Parse(h.URI) // checked above
		where := strings.ToLower(u.Scheme+" "+u.Host) + " " + u.Path + " " + u.Query().Get("socket")
		if other, taken := places[where]; taken {
			return fmt.Sprintf("%s and %s are the same host", other, place)
		}
		places[where] = place
	}
	return ""
}

// demoFacilities are those that --demo makes.
var demoFacilities = []string{"TPA1", "LAX3"}

func (h LibvirtHost) check() string {
	u, err := url.Parse(h.URI)
	if err != nil {
		return "its URI cannot be read"
	}
	_, password := u.User.Password()
	switch {
	case !facilityCode.MatchString(h.Facility):
		return fmt.Sprintf("%q is not the code of a facility", h.Facility)
	case !nodeName.MatchString(h.Name):
		return fmt.Sprintf("%q is not a name of 1 to 63 letters, digits, dots, dashes and underscores", h.Name)
	case u.Scheme != "qemu+unix" && u.Scheme != "qemu+tls" && u.Scheme != "qemu+ssh":
		return "its URI begins with none of qemu+unix://, qemu+tls:// and qemu+ssh://"
	case u.Path != "/system":
		return "its URI does not end in /system, before the options"
	case u.Scheme == "qemu+unix" && u.Host != "":
		return "its URI names a machine, and a unix socket is on this one; write qemu+unix:///system"
	case u.Scheme != "qemu+unix" && u.Hostname() == "":
		return "its URI names no machine"
	case password:
		return "its URI holds a password; use a key or a certificate"
	case u.Fragment != "":
		return "its URI has something behind #"
	}
	for _, pool := range []string{h.Pool, h.ISOPool} {
		if strings.ContainsAny(pool, "/\x00\n") {
			return fmt.Sprintf("%q is not the name of a pool", pool)
		}
	}
	return ""
}
