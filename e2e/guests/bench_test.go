package guests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	lv "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"

	"github.com/drivebay/drivebay/internal/libvirttest"
	"github.com/drivebay/drivebay/internal/testneed"
)

// BenchmarkStack takes turns at the same change of a running guest, asked for
// through the API until its task has ended, and made by libvirt's own calls. It
// reports the median of each, in milliseconds.
func BenchmarkStack(b *testing.B) {
	libvirttest.Need(b)
	d := libvirttest.Shared(b)
	pool, isos := d.NewPool(b, ""), d.NewPool(b, "")
	ours, theirs := d.NewGuest(b, libvirttest.GuestOptions{}), d.NewGuest(b, libvirttest.GuestOptions{})
	s := newSite(b, d, pool, isos)
	device := s.device(ours)
	iso := s.readyISO(libvirttest.BootISO(b, "MEDIUM", "medium"), false)
	w := newDirect(b, d, theirs)

	var volume string
	var size int
	renew := func() { // a volume is grown twice
		if volume != "" {
			s.done(s.remove(volume, device))
		}
		volume, size = s.newVolume(device, 50), 50
	}
	sizes := map[int]int{50: 100, 100: 200}
	b.Run("attach", func(b *testing.B) {
		renew()
		s.done(s.detach(device, volume))
		turns(b,
			side{func() { s.done(s.attach(device, volume)) }, func() { s.done(s.detach(device, volume)) }},
			side{w.attach, w.detach})
		s.done(s.attach(device, volume))
	})
	b.Run("detach", func(b *testing.B) {
		renew()
		w.attach()
		turns(b,
			side{func() { s.done(s.detach(device, volume)) }, func() { s.done(s.attach(device, volume)) }},
			side{w.detach, w.attach})
		w.detach()
	})
	b.Run("grow", func(b *testing.B) {
		renew()
		w.attach()
		turns(b,
			side{func() { size = sizes[size]; s.done(s.resize(volume, device, size)) }, func() {
				if sizes[size] == 0 {
					renew()
				}
			}},
			side{w.grow, func() {}})
		w.detach()
	})
	insert, eject := func() { s.done(s.insert(device, iso.ISOID, false)) }, func() { s.done(s.eject(device, false)) }
	b.Run("insert", func(b *testing.B) {
		turns(b, side{insert, eject}, side{w.insert, w.eject})
	})
	b.Run("eject", func(b *testing.B) {
		insert()
		w.insert()
		turns(b, side{eject, insert}, side{w.eject, w.insert})
		eject()
	})
}

// side is one side of a comparison: what is measured, and what makes it possible
// again.
type side struct{ do, again func() }

// turns measures both sides by turns and reports their medians.
func turns(b *testing.B, ours, direct side) {
	took := map[string][]time.Duration{}
	for range b.N {
		for name, s := range map[string]side{"ours-ms": ours, "direct-ms": direct} {
			begun := time.Now()
			s.do()
			took[name] = append(took[name], time.Since(begun))
			s.again()
		}
	}
	for name, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, name)
	}
	b.ReportMetric(0, "ns/op")
}

// direct changes a guest by libvirt's calls alone, on one connection that is open.
type direct struct {
	b      *testing.B
	g      *libvirttest.Guest
	l      *lv.Libvirt
	dom    lv.Domain
	disk   string // XML
	medium string // path
	size   uint64
}

const both = uint32(lv.DomainAffectLive | lv.DomainAffectConfig)

func newDirect(b *testing.B, d *libvirttest.Daemon, g *libvirttest.Guest) *direct {
	b.Helper()
	w := &direct{b: b, g: g, l: d.Connect(b), medium: libvirttest.BootISO(b, "MEDIUM", "medium"), size: gib}
	d.NewPool(b, filepath.Dir(w.medium)) // its guests can read it then
	path := filepath.Join(d.PoolDir(d.NewPool(b, "")), "direct.raw")
	f, err := os.Create(path)
	w.ok(err)
	w.ok(f.Truncate(gib))
	w.ok(f.Close())
	w.disk = fmt.Sprintf(`<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' discard='unmap'/><source file='%s'/>`+
		`<target dev='sdz' bus='scsi'/><serial>direct</serial><alias name='ua-direct'/></disk>`, path)
	w.dom, err = w.l.DomainLookupByUUID(lv.UUID(uuid.MustParse(g.UUID)))
	w.ok(err)
	return w
}

func (w *direct) ok(err error) {
	w.b.Helper()
	if err != nil {
		w.b.Fatal(err)
	}
}

func (w *direct) attach() { w.ok(w.l.DomainAttachDeviceFlags(w.dom, w.disk, both)) }

// detach is a detach that can be trusted: it waits until the guest's definition
// is rid of the disk.
func (w *direct) detach() {
	w.ok(w.l.DomainDetachDeviceAlias(w.dom, "ua-direct", uint32(lv.DomainAffectLive)))
	testneed.Eventually(w.b, "the guest lets go of the disk", func() bool {
		for _, d := range w.g.XML(false).Devices.Disks {
			if d.Serial == "direct" {
				return false
			}
		}
		return true
	})
	w.ok(w.l.DomainDetachDeviceAlias(w.dom, "ua-direct", uint32(lv.DomainAffectConfig)))
}

func (w *direct) grow() {
	w.size += gib
	w.ok(w.l.DomainBlockResize(w.dom, "sdz", w.size, lv.DomainBlockResizeBytes))
}

func (w *direct) insert() { w.media(fmt.Sprintf("<source file='%s'/>", w.medium)) }
func (w *direct) eject()  { w.media("") }

func (w *direct) media(source string) {
	w.b.Helper()
	for _, d := range w.g.XML(false).Devices.Disks {
		if d.Device == "cdrom" {
			text := fmt.Sprintf("<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>%s<target dev='%s' bus='%s'/><readonly/></disk>",
				source, d.Target.Dev, d.Target.Bus)
			w.ok(w.l.DomainUpdateDeviceFlags(w.dom, text, lv.DomainDeviceModifyFlags(both)))
		}
	}
}
