package libvirt

import (
	"encoding/xml"
	"errors"
	"slices"
	"strings"
	"testing"

	lv "github.com/digitalocean/go-libvirt"
	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/internal/backend"
)

var (
	dirPool = &pool{name: "vols", dir: "/srv/vols"}
	rbdPool = &pool{name: "ceph", rbd: &rbdSource{Name: "vols"}}
)

func machineOf(t testing.TB, text string) *machine {
	t.Helper()
	m, err := parseMachine(text)
	ok(t, err)
	return m
}

func TestElements(t *testing.T) {
	const text = `<?xml version="1.0"?><a x='1'><!-- <b> --><b y="2"/>t&lt;<c><b/></c></a>`
	all, err := elements(text)
	ok(t, err)
	var got []string
	for _, e := range all {
		got = append(got, e.path+" "+text[e.start:e.end]+" "+text[e.inner:e.tail])
	}
	want := []string{
		`a <a x='1'><!-- <b> --><b y="2"/>t&lt;<c><b/></c></a> <!-- <b> --><b y="2"/>t&lt;<c><b/></c>`,
		`a/b <b y="2"/> `, `a/c <c><b/></c> <b/>`, `a/c/b <b/> `,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if got := apply(text, []edit{{all[3].start, all[3].end, "new"}, {all[1].start, all[1].end, ""}}); got != `<?xml version="1.0"?><a x='1'><!-- <b> -->t&lt;<c>new</c></a>` {
		t.Fatal(got)
	}
	for _, bad := range []string{"<a>", "</a>", "<a", "<a></a></b>"} {
		if _, err := elements(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestLetters(t *testing.T) {
	for n, want := range map[int]string{0: "a", 25: "z", 26: "aa", 51: "az", 52: "ba", 701: "zz", 702: "aaa"} {
		if got := letters(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

const running = `<domain type='kvm' id='4' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <metadata><drivebay-busy:busy xmlns:drivebay-busy="urn:drivebay:libvirt:busy" volume="v9"/>
  <other:busy xmlns:other="urn:other" volume="v8"/>
  <drivebay-start:start xmlns:drivebay-start="urn:drivebay:libvirt:start:b" id="s2"/>
  <drivebay-start:start xmlns:drivebay-start="urn:drivebay:libvirt:start:a" id="s1"/></metadata>
  <devices>
    <controller type='scsi' index='0' model='lsilogic'/>
    <controller type='scsi' index='1' model='virtio-scsi'/>
    <disk type='file' device='disk'><source file='/srv/vols/root-1.raw'/><target dev='vda' bus='virtio'/>
      <boot order='2'/><address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/></disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><boot order='1' loadparm='x'/><alias name='ua-cdrom0'/></disk>
    <disk type='file' device='disk'><source file='/snap/over.qcow2'/><backingStore type='file'><source file='/srv/vols/v1.raw'/></backingStore>
      <target dev='sdb' bus='scsi'/><alias name='ua-v1'/><address type='drive' controller='1' bus='0' target='1' unit='0'/></disk>
    <disk type='volume' device='disk'><source pool='vols' volume='v2.raw'/><target dev='sdc' bus='scsi'/><address type='drive' controller='1' bus='0' target='3' unit='0'/></disk>
    <disk type='network' device='disk'><source protocol='rbd' name='vols/v3'><host name='mon'/></source><target dev='sdd' bus='scsi'/></disk>
    <interface type='user'><boot order='3'/></interface>
  </devices>
  <qemu:commandline><qemu:arg value='-x'/></qemu:commandline>
</domain>`

func TestWhatAMachineNames(t *testing.T) {
	m := machineOf(t, running)
	if m.busy != "v9" || !slices.Equal(m.starts, []string{"s1", "s2"}) {
		t.Errorf("the marks are %q and %q", m.busy, m.starts)
	}
	for id, want := range map[string]bool{"v1": true, "v2": true, "v3": false, "v9": true, "v8": false, "root-1": true, "v": false} {
		if got := m.names(dirPool, id); got != want {
			t.Errorf("it names %s of the directory: %t", id, got)
		}
	}
	if !m.names(rbdPool, "v3") || m.names(rbdPool, "v2") {
		t.Error("it does not name what it has of the RBD pool")
	}
	g := &guest{live: m, config: machineOf(t, `<domain><devices/></domain>`)}
	if diff := cmp.Diff([]string{"root-1", "v1", "v2"}, g.volumes(dirPool)); diff != "" {
		t.Error(diff)
	}
	if d := m.volume(dirPool, "v1"); d == nil || d.dev != "sdb" || d.drive != (drive{1, 0, 1, 0}) {
		t.Errorf("v1 is %+v", d)
	}
}

func TestSourcesOfPools(t *testing.T) {
	for source, want := range map[string]string{
		"/srv/vols/a.raw": "a", "/srv/vols/a.img": "", "/srv/vols/x/a.raw": "", "/srv/volsa.raw": "", "/srv/vols/..raw": "",
		"pool:vols/b.raw": "b", "pool:other/b.raw": "", "rbd:vols/c": "",
	} {
		if got := dirPool.idOf(source); got != want {
			t.Errorf("%s is %q, want %q", source, got, want)
		}
	}
	for source, want := range map[string]string{"rbd:vols/c": "c", "rbd:vols2/c": "", "pool:ceph/d": "d", "rbd:vols/ns/c": ""} {
		if got := rbdPool.idOf(source); got != want {
			t.Errorf("%s is %q, want %q", source, got, want)
		}
	}
}

func TestFreeSlot(t *testing.T) {
	g := &guest{live: machineOf(t, running), config: machineOf(t, strings.ReplaceAll(running, "dev='sdc'", "dev='sde'"))}
	s, err := g.freeSlot(busSCSI)
	ok(t, err)
	if s.dev != "sdf" || *s.drive != (drive{controller: 1, target: 2}) {
		t.Errorf("the next disk is %s at %+v", s.dev, *s.drive)
	}
	if s, err = g.freeSlot(busVirtio); err != nil || s.dev != "vdb" || s.drive != nil {
		t.Errorf("the next virtio disk is %+v, %v", s, err)
	}
	g.config = machineOf(t, `<domain><devices/></domain>`)
	if _, err = g.freeSlot(busSCSI); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("without a controller: %v", err)
	}
}

func TestVolumeXML(t *testing.T) {
	p, err := parsePool(`<pool type='rbd'><source><host name='m1' port='6789'/><host name='m2'/><name>vols</name>
		<auth type='ceph' username='li"bvirt'><secret uuid='u-1'/></auth></source></pool>`)
	ok(t, err)
	got := volumeXML(p, "v1", slot{bus: busVirtio, dev: "vdb"})
	want := `<disk type='network' device='disk'><driver name='qemu' type='raw' cache='none' discard='unmap'/>` +
		`<source protocol='rbd' name="vols/v1"><host name="m1" port="6789"/><host name="m2"/><auth username="li&#34;bvirt"><secret type='ceph' uuid="u-1"/></auth></source>` +
		`<target dev='vdb' bus='virtio'/><serial>v1</serial><alias name='ua-v1'/></disk>`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	long := strings.Repeat("x", 64)
	text := volumeXML(dirPool, long, slot{bus: busSCSI, dev: "sdb", drive: &drive{0, 0, 7, 0}})
	d, err := parseDisk(text)
	ok(t, err)
	if dirPool.volumeOf(&d) != long || d.drive.target != 7 || !strings.Contains(text, "<serial>"+long[:36]+"</serial>") {
		t.Error(text)
	}
	for _, bad := range []string{"<pool type='logical'/>", "<pool type='dir'/>", "<pool type='rbd'/>", "no"} {
		if _, err := parsePool(bad); err == nil {
			t.Errorf("%s is a pool", bad)
		}
	}
}

func TestMediaXML(t *testing.T) {
	const drive = `<disk type='block' device='cdrom' snapshot='no'><driver name='qemu' type='raw'/><source dev='/dev/sr0' index='1'/><backingStore/><target dev='sda' bus='sata' tray='open'/><readonly/><boot order='2'/></disk>`
	got, err := mediaXML(drive, "/iso/a&b.iso")
	ok(t, err)
	want := `<disk type='file' device="cdrom" snapshot="no"><source file="/iso/a&amp;b.iso" startupPolicy='optional'/><driver name='qemu' type='raw'/><target dev='sda' bus='sata' tray='open'/><readonly/><boot order='2'/></disk>`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, err = mediaXML(got, "")
	ok(t, err)
	if strings.Contains(got, "source") || !strings.Contains(got, "<boot order='2'/>") {
		t.Error(got)
	}
}

// orders are the places in the boot order by target or kind, as libvirt reads them.
func orders(t *testing.T, text string) map[string]string {
	t.Helper()
	var x struct {
		OS struct {
			Boot []struct{} `xml:"boot"`
		} `xml:"os"`
		Devices struct {
			Disks []struct {
				Target struct {
					Dev string `xml:"dev,attr"`
				} `xml:"target"`
				Boot struct {
					Order string `xml:"order,attr"`
				} `xml:"boot"`
			} `xml:"disk"`
			Nets []struct {
				Boot struct {
					Order string `xml:"order,attr"`
				} `xml:"boot"`
			} `xml:"interface"`
		} `xml:"devices"`
	}
	ok(t, xml.Unmarshal([]byte(text), &x))
	if len(x.OS.Boot) > 0 {
		t.Errorf("classes of devices are left: %s", text)
	}
	got := map[string]string{}
	for _, d := range x.Devices.Disks {
		if d.Boot.Order != "" {
			got[d.Target.Dev] = d.Boot.Order
		}
	}
	for _, n := range x.Devices.Nets {
		if n.Boot.Order != "" {
			got["net"] = n.Boot.Order
		}
	}
	return got
}

func TestBootOrder(t *testing.T) {
	const cd, disk, data, net = `<disk type='file' device='cdrom'><target dev='sda' bus='sata'/>%</disk>`,
		`<disk type='file' device='disk'><target dev='vda'/>%</disk>`, `<disk type='file'><target dev='sdb'/>%</disk>`, `<interface type='user'>%</interface>`
	at := func(text, boot string) string { return strings.Replace(text, "%", boot, 1) }
	const b1, b2, b3 = `<boot order='1'/>`, `<boot order='2' loadparm='7'/>`, `<boot order='3'/>`
	domain := func(os string, devices ...string) string {
		return "<domain><os><type>hvm</type>" + os + "</os><devices>" + strings.ReplaceAll(strings.Join(devices, "\n"), "%", "") + "</devices></domain>"
	}
	for name, tt := range map[string]struct {
		text         string
		first        bool
		cdIs, diskIs map[string]string // asked for the CD first, for the disks first
	}{
		"disk, CD": {domain("", at(disk, b1), at(cd, b2), data), false,
			map[string]string{"sda": "1", "vda": "2"}, map[string]string{"vda": "1", "sda": "2"}},
		"CD, net, disk": {domain("", at(cd, b1), at(net, b2), at(disk, b3)), true,
			map[string]string{"sda": "1", "net": "2", "vda": "3"}, map[string]string{"net": "1", "vda": "2", "sda": "3"}},
		"disk, net": {domain("", at(disk, b1), cd, at(net, b2)), false,
			map[string]string{"sda": "1", "vda": "2", "net": "3"}, map[string]string{"vda": "1", "sda": "2", "net": "3"}},
		"only the CD": {domain("", at(cd, b2)), true, map[string]string{"sda": "1"}, map[string]string{}},
		"net alone":   {domain("", at(net, b1), cd), false, map[string]string{"sda": "1", "net": "2"}, map[string]string{"net": "1"}},
		"classes": {domain("<boot dev='hd'/><boot dev='network'/>", cd, disk, data, net), false,
			map[string]string{"sda": "1", "vda": "2", "net": "3"}, map[string]string{"vda": "1", "sda": "2", "net": "3"}},
		"classes, CD first": {domain("<boot dev='cdrom'/><boot dev='hd'/>", cd, disk), true,
			map[string]string{"sda": "1", "vda": "2"}, map[string]string{"vda": "1", "sda": "2"}},
	} {
		m := machineOf(t, tt.text)
		if m.cdFirst() != tt.first {
			t.Errorf("%s: the CD is first: %t", name, !tt.first)
		}
		for first, want := range map[bool]map[string]string{true: tt.cdIs, false: tt.diskIs} {
			text, err := m.withBoot(first, busSATA)
			ok(t, err)
			if diff := cmp.Diff(want, orders(t, text)); diff != "" {
				t.Errorf("%s, CD first %t (-want +got):\n%s", name, first, diff)
			}
			if got := machineOf(t, text).cdFirst(); got != first {
				t.Errorf("%s: the CD is first: %t, want %t", name, got, first)
			}
		}
	}
	if _, err := machineOf(t, domain("", disk)).withBoot(true, busSATA); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("without a drive: %v", err)
	}
	text, err := machineOf(t, running).withBoot(false, busSATA)
	ok(t, err)
	if !strings.Contains(text, "loadparm=\"x\"") || !strings.Contains(text, "<qemu:arg value='-x'/>") {
		t.Errorf("what it does not know is lost:\n%s", text)
	}
}

func TestErrorTable(t *testing.T) {
	answer := func(code lv.ErrorNumber, text string) error { return lv.Error{Code: uint32(code), Message: text} }
	for _, tt := range []struct {
		err  error
		want *backend.Error
	}{
		{answer(1, "internal error: No more available PCI slots"), backend.ErrNoSlot},
		{answer(1, `internal error: unable to execute QEMU command 'blockdev-add': Failed to get "write" lock`), backend.ErrInUse},
		{answer(1, "internal error: Duplicate nodes with node-name='libvirt-2-storage'"), backend.ErrUnavailable},
		{answer(3, "this function is not supported"), backend.ErrUnsupported},
		{answer(9, "operation failed: timed out waiting to open tray of 'sda'"), backend.ErrTrayLocked},
		{answer(9, "operation failed: something"), backend.ErrUnavailable},
		{answer(38, "cannot create path: No space left on device"), backend.ErrNoSpace},
		{answer(42, "Domain not found"), backend.ErrVMNotFound},
		{answer(50, "Storage volume not found"), backend.ErrVolumeNotFound},
		{answer(68, "Timed out during operation"), backend.ErrUnavailable},
		{lv.ErrInterrupted, backend.ErrUnavailable},
	} {
		got := failure("doing", tt.err)
		var e *backend.Error
		if !errors.As(got, &e) || e.Reason != tt.want.Reason {
			t.Errorf("%v is %v, want %s", tt.err, got, tt.want.Reason)
		}
		if e != nil && strings.Contains(e.Text, "QEMU") {
			t.Errorf("a client would see %q", e.Text)
		}
	}
	if err := failure("doing", nil); err != nil {
		t.Error(err)
	}
	if known := backend.ErrShrink.Because(errors.New("x")); failure("doing", known) != error(known) {
		t.Error("an error of backend does not stay")
	}
}

func TestBlockNodes(t *testing.T) {
	const nodes = `[
		{"node-name":"libvirt-3-storage","file":"/srv/vols/v1.raw"}, {"node-name":"libvirt-3-format","file":"/srv/vols/v1.raw"},
		{"node-name":"a","file":"/srv/vols/v11.raw"},
		{"node-name":"b","file":"json:{\"driver\":\"raw\",\"file\":{\"pool\":\"vols\", \"image\": \"v1\",\"driver\":\"rbd\"}}"},
		{"node-name":"c","file":"rbd:vols/v1:id=x"}, {"node-name":"d","file":"rbd:vols/v11"}]`
	for p, want := range map[*pool][]string{dirPool: {"libvirt-3-format", "libvirt-3-storage"}, rbdPool: {"b", "c"}} {
		got, err := nodesIn([]byte(nodes), func(file string) bool { return p.isNodeOf(file, "v1") })
		ok(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := monitorAnswer(`{"error":{"class":"GenericError","desc":"busy"},"id":"x"}`); err == nil || err.Error() != "GenericError: busy" {
		t.Errorf("got %v", err)
	}
}

func TestOptions(t *testing.T) {
	good := Host{Name: "a", URI: "qemu:///system", Pool: "p"}
	for _, uri := range []string{
		"qemu:///system", "qemu+unix:///system?socket=/run/x", "qemu+tls://h:1/system?pkipath=/etc/pki&no_verify=1", "qemu+ssh://root@h/system?keyfile=/k",
	} {
		h := good
		h.URI = uri
		d, err := Open(Options{Hosts: []Host{h}})
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		ok(t, d.Close())
	}
	for _, o := range []Options{
		{}, {Hosts: []Host{{Name: "a", URI: "qemu:///system"}}}, {Hosts: []Host{{URI: "qemu:///system", Pool: "p"}}}, {Hosts: []Host{good, good}},
		{Hosts: []Host{good}, DiskBus: "ide"}, {Hosts: []Host{good}, CDBus: "usb"},
		{Hosts: []Host{{Name: "a", URI: "qemu+tls:///system", Pool: "p"}}}, {Hosts: []Host{{Name: "a", URI: "qemu+ssh:///system", Pool: "p"}}},
		{Hosts: []Host{{Name: "a", URI: "xen:///", Pool: "p"}}}, {Hosts: []Host{{Name: "a", URI: "qemu://h/system", Pool: "p"}}},
		{Hosts: []Host{{Name: "a", URI: "://", Pool: "p"}}},
	} {
		if _, err := Open(o); err == nil {
			t.Errorf("%+v passes", o)
		}
	}
}
