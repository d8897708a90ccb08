//go:build linux

// Command guestinit is all that runs in the guests of libvirttest: it says on
// the first serial line which disks there are, whenever that changes, and does
// what the second one asks for.
package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	fmt.Println("guestinit:", run())                 // it returns only what went wrong
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // nothing is left to say it to
}

func run() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m[1], 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	orders, err := openSerial("/dev/ttyS1")
	if err != nil {
		return err
	}
	go obey(orders)
	say("guest ready")
	for shown := ""; ; time.Sleep(100 * time.Millisecond) {
		if now := strings.Join(append(state(), "state end"), "\n"); now != shown {
			shown = now
			say("state\n" + now)
		}
	}
}

// say writes whole lines at once, so that those of others do not get between.
func say(text string) {
	_, _ = os.Stdout.WriteString(text + "\n") // the serial line cannot fail
}

// loadModules loads what /modules holds, in the order of the names.
func loadModules() error {
	names, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// openSerial opens a serial line for bytes as they are, without an echo.
func openSerial(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	settings, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	settings.Iflag, settings.Oflag, settings.Lflag = 0, 0, 0
	settings.Cflag |= unix.CLOCAL
	settings.Cc[unix.VMIN], settings.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, settings); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// obey does what each line asks for, NUMBER WORD..., and answers with the
// number.
func obey(orders *os.File) {
	lines := bufio.NewScanner(orders)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		if answer, err := do(words[1], words[2:]); err != nil {
			say("answer " + words[0] + " error " + err.Error())
		} else {
			say("answer " + words[0] + " ok " + answer)
		}
	}
}
