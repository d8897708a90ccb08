package libvirttest

import (
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"libvirt.org/go/libvirtxml"
)

// Linux is a guest with an OS: it lists its disks and does as it is told.
// Where it does not come to what a method waits for, the test ends.
type Linux struct {
	*Guest

	mu   sync.Mutex
	last int // order
}

// Disk is a disk as its guest sees it.
type Disk struct {
	Serial   string
	Bytes    int64
	ReadOnly bool
}

// CD is the medium in the guest's drive; the zero value is none.
type CD struct {
	Label string // of the ISO 9660 volume
	Bytes int64
}

// LinuxGuest starts a guest with an OS of 160 MiB and returns once it is up.
// The drive is of SCSI by default, or of IDE: the kernel knows no SATA.
func (d *Daemon) LinuxGuest(t testing.TB, o GuestOptions) *Linux {
	t.Helper()
	var err error
	if o.kernel, o.initrd, err = d.install(kernelDir(t)); err != nil {
		t.Fatal(err)
	}
	if o.CDBus == "" {
		o.CDBus = "scsi"
	}
	l := &Linux{Guest: d.NewGuest(t, o)}
	if !o.Off {
		l.WaitBoots(1)
	}
	return l
}

// linux makes a definition that of a guest with an OS, with a second serial
// line for orders.
func (g *Guest) linux(domain *libvirtxml.Domain, o GuestOptions) {
	domain.Memory.Value = 160
	domain.OS.Kernel, domain.OS.Initrd = o.kernel, o.initrd
	domain.OS.Cmdline = "console=ttyS0 quiet loglevel=2 mitigations=off tsc=reliable no_timer_check random.trust_cpu=on panic=-1"
	domain.Devices.Serials = append(domain.Devices.Serials, libvirtxml.DomainSerial{
		Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind", Path: g.orders}},
		Target: &libvirtxml.DomainSerialTarget{Port: new(uint(1))},
	})
}

// lines are the whole lines the guest has said since its process started.
func (l *Linux) lines() []string {
	text := strings.ReplaceAll(l.Serial(), "\r", "")
	return strings.Split(text[:strings.LastIndex(text, "\n")+1], "\n")
}

// Boots is how often the guest has come up since its process started.
func (l *Linux) Boots() int {
	boots := 0
	for _, line := range l.lines() {
		if line == "guest ready" {
			boots++
		}
	}
	return boots
}

// WaitBoots returns once the guest has come up n times.
func (l *Linux) WaitBoots(n int) {
	l.t.Helper()
	l.until(fmt.Sprintf("is up for the %dth time", n), func() bool { return l.Boots() >= n })
}

// state is the last list of disks the guest has made, and the medium in its
// drive. ok is false while it is not up.
func (l *Linux) state() (disks []Disk, cd CD, ok bool) {
	lines := l.lines()
	end := len(lines) - 1
	for ; end >= 0 && lines[end] != "state end"; end-- {
		if lines[end] == "guest ready" {
			return nil, CD{}, false
		}
	}
	if end < 0 {
		return nil, CD{}, false
	}
	begin := end
	for begin > 0 && lines[begin] != "state" {
		begin--
	}
	for _, line := range lines[begin:end] {
		words := append(strings.SplitN(line, " ", 5), "", "", "") // a serial number or label may be empty
		bytes, _ := strconv.ParseInt(words[2], 10, 64)            // the guest writes numbers
		switch words[0] {
		case "disk":
			disks = append(disks, Disk{Serial: words[4], Bytes: bytes, ReadOnly: words[3] == "ro"})
		case "cd":
			cd = CD{Label: strings.TrimSpace(words[3] + " " + words[4]), Bytes: bytes}
		}
	}
	return disks, cd, true
}

// Disks are the disks the guest sees now, in the order of its names.
func (l *Linux) Disks() []Disk {
	l.t.Helper()
	var disks []Disk
	l.until("lists its disks", func() (ok bool) {
		disks, _, ok = l.state()
		return ok
	})
	return disks
}

// WaitDisk returns once the guest sees the disk with a serial number, that
// large. Of a virtio disk it sees the number's first 20 bytes.
func (l *Linux) WaitDisk(serial string, bytes int64) {
	l.t.Helper()
	l.until(fmt.Sprintf("sees disk %s of %d bytes", serial, bytes), func() bool {
		disks, _, _ := l.state()
		return slices.ContainsFunc(disks, func(d Disk) bool { return d.Serial == serial && d.Bytes == bytes })
	})
}

// WaitNoDisk returns once the guest sees no disk with a serial number.
func (l *Linux) WaitNoDisk(serial string) {
	l.t.Helper()
	l.until("sees no disk "+serial, func() bool {
		disks, _, ok := l.state()
		return ok && !slices.ContainsFunc(disks, func(d Disk) bool { return d.Serial == serial })
	})
}

// WaitCD returns once the guest sees this medium in its drive.
func (l *Linux) WaitCD(want CD) {
	l.t.Helper()
	l.until(fmt.Sprintf("sees CD %+v", want), func() bool {
		_, cd, ok := l.state()
		return ok && cd == want
	})
}

// Write has the guest write to the disk with a serial number, past every cache.
func (l *Linux) Write(serial string, offset int64, data []byte) {
	l.t.Helper()
	l.tell("write %s %d %s", serial, offset, hex.EncodeToString(data))
}

// Read has the guest read from the disk with a serial number, past every cache.
func (l *Linux) Read(serial string, offset int64, n int) []byte {
	l.t.Helper()
	data, err := hex.DecodeString(l.tell("read %s %d %d", serial, offset, n))
	if err != nil {
		l.t.Fatal(err)
	}
	return data
}

// Hold has the guest keep the disk with a serial number open, for itself alone.
func (l *Linux) Hold(serial string, on bool) {
	l.t.Helper()
	l.tell("%s %s", map[bool]string{true: "hold", false: "release"}[on], serial)
}

// LockTray has the guest lock the tray of its drive, or unlock it.
func (l *Linux) LockTray(on bool) {
	l.t.Helper()
	l.tell("%s", map[bool]string{true: "lock", false: "unlock"}[on])
}

// Eject has the guest open the tray.
func (l *Linux) Eject() {
	l.t.Helper()
	l.tell("eject")
}

// Reboot has the guest restart by itself, and returns once it is up again.
func (l *Linux) Reboot() {
	l.t.Helper()
	boots := l.Boots()
	defer l.send("0 reboot")()
	l.WaitBoots(boots + 1)
}

// Poweroff has the guest turn itself off, and returns once it is.
func (l *Linux) Poweroff() {
	l.t.Helper()
	defer l.send("0 poweroff")()
	l.until("is off", func() bool { return !l.Running() })
}

// tell gives the guest an order and returns its answer.
func (l *Linux) tell(format string, args ...any) string {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	defer l.send(fmt.Sprintf("%d ", l.last) + fmt.Sprintf(format, args...))()
	var answer string
	l.until(fmt.Sprintf("answers "+format, args...), func() bool {
		for _, line := range l.lines() {
			if text, ok := strings.CutPrefix(line, fmt.Sprintf("answer %d ", l.last)); ok {
				answer = text
				return true
			}
		}
		return false
	})
	text, ok := strings.CutPrefix(answer, "ok ")
	if !ok {
		l.t.Fatalf("%s was told %q: %s", l.Name, fmt.Sprintf(format, args...), answer)
	}
	return strings.TrimSpace(text)
}

// send writes a line to the guest's second serial line. done is for when the
// guest has acted: what it has not taken by then is lost.
func (l *Linux) send(line string) (done func()) {
	l.t.Helper()
	conn, err := net.Dial("unix", l.orders)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := fmt.Fprintln(conn, line); err != nil {
		l.t.Error(err)
	}
	return func() { _ = conn.Close() } // nothing is left to say
}
