//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// state has a line for each disk there is and each CD in a drive:
// disk NAME BYTES MODE SERIAL and cd NAME BYTES LABEL.
func state() []string {
	var lines []string
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		return []string{"error " + err.Error()}
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasPrefix(name, "sr"):
			if line := medium(name); line != "" {
				lines = append(lines, line)
			}
		case strings.HasPrefix(name, "sd"), strings.HasPrefix(name, "vd"):
			mode := "rw"
			if attribute(name, "ro") == "1" {
				mode = "ro"
			}
			lines = append(lines, fmt.Sprintf("disk %s %d %s %s", name, size(name), mode, serial(name)))
		}
	}
	return lines
}

// attribute is what the kernel says of a disk; "" when it is gone meanwhile.
func attribute(name, file string) string {
	text, _ := os.ReadFile(filepath.Join("/sys/block", name, file))
	return strings.TrimSpace(string(text))
}

func size(name string) int64 {
	var sectors int64
	_, _ = fmt.Sscan(attribute(name, "size"), &sectors) // 0 when it is gone
	return sectors * 512
}

func serial(name string) string {
	if s := attribute(name, "serial"); s != "" {
		return s // virtio
	}
	// SCSI: the page of this number, after its head of 4 bytes.
	page, _ := os.ReadFile(filepath.Join("/sys/block", name, "device/vpd_pg80"))
	if len(page) < 4 {
		return ""
	}
	return strings.Trim(string(page[4:]), " \x00")
}

// medium is the line of the CD in a drive, "" when there is none. Each look
// opens the drive: the kernel notices another medium only then.
func medium(name string) string {
	f, err := os.OpenFile("/dev/"+name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	const driveStatus, discOK = 0x5326, 4 // CDROM_DRIVE_STATUS, CDS_DISC_OK
	if status, err := call(f, driveStatus, 0x7fffffff); err != nil || status != discOK {
		return ""
	}
	label := make([]byte, 32)
	if _, err := f.ReadAt(label, 16*2048+40); err != nil {
		return "" // it was taken out just now
	}
	return fmt.Sprintf("cd %s %d %s", name, size(name), strings.TrimSpace(string(label)))
}

// call is an ioctl with a number; it returns what the kernel answers.
func call(f *os.File, request, argument uintptr) (uintptr, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var answer uintptr
	var errno unix.Errno
	if err := raw.Control(func(fd uintptr) {
		answer, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, argument)
	}); err != nil {
		return 0, err
	}
	if errno != 0 {
		return 0, errno
	}
	return answer, nil
}

// find is the device of the disk with a serial number.
func find(want string) (string, error) {
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if s := serial(e.Name()); s != "" && s == want {
			return "/dev/" + e.Name(), nil
		}
	}
	return "", fmt.Errorf("no disk has serial %s", want)
}

// transfer writes data at an offset of a disk, or reads over it, past every
// cache: the disk itself has it afterwards.
func transfer(serial string, offset int64, data []byte, write bool) error {
	path, err := find(serial)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT|unix.O_SYNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	const unit = 4096
	from := offset / unit * unit
	length := (offset + int64(len(data)) - from + unit - 1) / unit * unit
	block, err := unix.Mmap(-1, 0, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(block) }() // of this function alone
	if _, err := f.ReadAt(block, from); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !write {
		copy(data, block[offset-from:])
		return nil
	}
	copy(block[offset-from:], data)
	_, err = f.WriteAt(block, from)
	return err
}
