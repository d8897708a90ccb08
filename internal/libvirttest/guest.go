package libvirttest

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	libvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"libvirt.org/go/libvirtxml"
)

// GuestOptions says what a guest is like. The zero value is a q35 machine of
// 64 MiB with an empty SATA drive and nothing to start from.
type GuestOptions struct {
	CDBus string // "sata", which is "", "scsi" or "ide"; with "ide" the machine is a pc
	Root  string // path of the raw file it starts from first, "" for none
	ISO   string // path of the image in its drive at first, "" for none
	Ports int    // PCIe slots for what is plugged in later; 0: 12
	Off   bool   // it is defined and not started
	Text  bool   // what it writes on its screen as text is on its serial line too

	kernel, initrd string // what a guest with an OS starts from
}

// CDAlias is the alias of a guest's only drive.
const CDAlias = "ua-cdrom0"

// Guest is a virtual machine without KVM, destroyed and forgotten after the
// test that made it.
type Guest struct {
	UUID, Name string

	d              *Daemon
	t              testing.TB
	serial, orders string // files of its serial lines, wherever it moves
}

// NewGuest defines a guest and starts it.
func (d *Daemon) NewGuest(t testing.TB, o GuestOptions) *Guest {
	t.Helper()
	g := &Guest{UUID: uuid.NewString(), Name: d.next("guest"), d: d, t: t}
	g.serial = filepath.Join(d.dir, "guests", g.Name+".log")
	g.orders = filepath.Join(d.dir, "guests", g.Name+".sock")
	g.define(g.domain(o))
	t.Cleanup(g.remove)
	if !o.Off {
		g.Start()
	}
	return g
}

// define makes the guest known to its daemon.
func (g *Guest) define(domain *libvirtxml.Domain) {
	g.t.Helper()
	text, err := domain.Marshal()
	if err != nil {
		g.t.Fatal(err)
	}
	g.d.must(g.t, "define "+g.Name, func(conn *libvirt.Libvirt) error {
		_, err := conn.DomainDefineXMLFlags(text, libvirt.DomainDefineValidate)
		return err
	})
}

// Move makes another daemon know the guest, which is off, in place of its own.
// For a moment neither knows it.
func (g *Guest) Move(to *Daemon) {
	g.t.Helper()
	domain := g.XML(true)
	g.must("undefine", func(conn *libvirt.Libvirt, domain libvirt.Domain) error {
		return conn.DomainUndefineFlags(domain, 0)
	})
	g.d = to
	g.define(domain)
}

// remove destroys and undefines the guest where it still is.
func (g *Guest) remove() {
	if g.d.down.Load() {
		return // its daemon ends with all of it
	}
	err := g.call(func(conn *libvirt.Libvirt, domain libvirt.Domain) error {
		if err := conn.DomainDestroy(domain); err != nil && !is(err, libvirt.ErrOperationInvalid) {
			return err
		}
		return conn.DomainUndefineFlags(domain, 0)
	})
	if err != nil && !is(err, libvirt.ErrNoDomain) {
		g.t.Errorf("remove %s: %v", g.Name, err)
	}
}

// is reports whether libvirt answered with a code.
func is(err error, code libvirt.ErrorNumber) bool {
	var answer libvirt.Error
	return errors.As(err, &answer) && answer.Code == uint32(code)
}

// call runs f with the guest as its daemon knows it.
func (g *Guest) call(f func(*libvirt.Libvirt, libvirt.Domain) error) error {
	return g.d.call(func(conn *libvirt.Libvirt) error {
		domain, err := conn.DomainLookupByUUID(libvirt.UUID(uuid.MustParse(g.UUID)))
		if err != nil {
			return err
		}
		return f(conn, domain)
	})
}

func (g *Guest) must(what string, f func(*libvirt.Libvirt, libvirt.Domain) error) {
	g.t.Helper()
	if err := g.call(f); err != nil {
		g.t.Fatalf("%s %s: %v", what, g.Name, err)
	}
}

// Monitor asks the guest's QEMU something, and returns its answer.
func (g *Guest) Monitor(command string) (answer string) {
	g.t.Helper()
	g.must("ask the QEMU of", func(conn *libvirt.Libvirt, domain libvirt.Domain) (err error) {
		answer, err = conn.QEMUDomainMonitorCommand(domain, command, 0)
		return err
	})
	return answer
}

// Start starts the guest's process. What it wrote on its serial line before is
// gone.
func (g *Guest) Start() {
	g.t.Helper()
	g.must("start", func(conn *libvirt.Libvirt, domain libvirt.Domain) error { return conn.DomainCreate(domain) })
}

// Destroy ends the guest's process at once.
func (g *Guest) Destroy() {
	g.t.Helper()
	g.must("destroy", func(conn *libvirt.Libvirt, domain libvirt.Domain) error { return conn.DomainDestroy(domain) })
}

// Crash ends the guest's processes without a word to libvirt, but those it has
// ended before, and returns their numbers. There may be none.
func (g *Guest) Crash(before []int) (ended []int) {
	for _, id := range processes(g.UUID) {
		if slices.Contains(before, id) {
			continue // it takes a moment
		}
		if err := syscall.Kill(id, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			g.t.Error(err)
		}
		ended = append(ended, id)
	}
	return ended
}

// processes are the numbers of those with a text among their arguments.
func processes(text string) (found []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline") // a pattern without a mistake
	for _, path := range all {
		// One that has ended meanwhile cannot be read.
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), text) {
			if id, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				found = append(found, id)
			}
		}
	}
	return found
}

// Reset restarts the guest inside its process.
func (g *Guest) Reset() {
	g.t.Helper()
	g.must("reset", func(conn *libvirt.Libvirt, domain libvirt.Domain) error { return conn.DomainReset(domain, 0) })
}

// Suspend stops the guest's processors, so that it answers nothing, and Resume
// lets them go on.
func (g *Guest) Suspend() {
	g.t.Helper()
	g.must("suspend", func(conn *libvirt.Libvirt, domain libvirt.Domain) error { return conn.DomainSuspend(domain) })
}

// Resume ends Suspend.
func (g *Guest) Resume() {
	g.t.Helper()
	g.must("resume", func(conn *libvirt.Libvirt, domain libvirt.Domain) error { return conn.DomainResume(domain) })
}

// Attach plugs a disk into the running guest and into its definition.
func (g *Guest) Attach(disk *libvirtxml.DomainDisk) {
	g.t.Helper()
	text, err := disk.Marshal()
	if err != nil {
		g.t.Fatal(err)
	}
	g.must("attach to", func(conn *libvirt.Libvirt, domain libvirt.Domain) error {
		return conn.DomainAttachDeviceFlags(domain, text, uint32(libvirt.DomainAffectLive|libvirt.DomainAffectConfig))
	})
}

// Update changes a device of the running guest, such as what is in its drive,
// and its definition.
func (g *Guest) Update(disk *libvirtxml.DomainDisk) {
	g.t.Helper()
	text, err := disk.Marshal()
	if err != nil {
		g.t.Fatal(err)
	}
	g.must("update", func(conn *libvirt.Libvirt, domain libvirt.Domain) error {
		return conn.DomainUpdateDeviceFlags(domain, text, libvirt.DomainDeviceModifyLive|libvirt.DomainDeviceModifyConfig)
	})
}

// XML is the guest as it runs, or as its next start will have it.
func (g *Guest) XML(inactive bool) *libvirtxml.Domain {
	g.t.Helper()
	flags := libvirt.DomainXMLSecure
	if inactive {
		flags |= libvirt.DomainXMLInactive
	}
	domain := &libvirtxml.Domain{}
	g.must("read", func(conn *libvirt.Libvirt, found libvirt.Domain) error {
		text, err := conn.DomainGetXMLDesc(found, flags)
		if err != nil {
			return err
		}
		return domain.Unmarshal(text)
	})
	return domain
}

// Running reports whether the guest has a process.
func (g *Guest) Running() bool {
	g.t.Helper()
	var active int32
	g.must("look at", func(conn *libvirt.Libvirt, domain libvirt.Domain) (err error) {
		active, err = conn.DomainIsActive(domain)
		return err
	})
	return active != 0
}

// escape is what moves a terminal's cursor or sets its colours. A screen that is
// drawn anew has some in the middle of its words.
var escape = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

// Serial is the text the guest has written on its serial line since its start.
func (g *Guest) Serial() string {
	g.t.Helper()
	text, err := os.ReadFile(g.serial)
	if err != nil && !os.IsNotExist(err) {
		g.t.Fatal(err)
	}
	return string(escape.ReplaceAll(text, nil))
}

// WaitSerial returns once the guest has written text on its serial line.
func (g *Guest) WaitSerial(text string) {
	g.t.Helper()
	g.until("writes "+text, func() bool { return strings.Contains(g.Serial(), text) })
}

// until waits for a condition of the guest.
func (g *Guest) until(what string, true func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(limit); !true(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("%s, after %v, has not come to this: it %s; on its serial line:\n%s", g.Name, limit, what, g.Serial())
		}
	}
}

// Configure adds a disk to the guest's definition, for its next start.
func (g *Guest) Configure(disk *libvirtxml.DomainDisk) {
	g.t.Helper()
	text, err := disk.Marshal()
	if err != nil {
		g.t.Fatal(err)
	}
	g.must("configure", func(conn *libvirt.Libvirt, domain libvirt.Domain) error {
		return conn.DomainAttachDeviceFlags(domain, text, uint32(libvirt.DomainAffectConfig))
	})
}
