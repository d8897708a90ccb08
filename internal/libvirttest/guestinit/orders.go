//go:build linux

package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// held are the disks kept open, by serial number.
var held = map[string]*os.File{}

// do obeys one order.
func do(what string, with []string) (string, error) {
	order, ok := orders[what]
	if !ok || len(with) != order.words {
		return "", fmt.Errorf("%s with %d words is no order", what, len(with))
	}
	return order.do(with)
}

// orders are what a guest can be asked for, and with how many words.
var orders = map[string]struct {
	words int
	do    func(with []string) (string, error)
}{
	"write":    {3, writeDisk},                                                                                // SERIAL OFFSET HEX
	"read":     {3, readDisk},                                                                                 // SERIAL OFFSET LENGTH
	"hold":     {1, hold},                                                                                     // SERIAL
	"release":  {1, release},                                                                                  // SERIAL
	"lock":     {0, func([]string) (string, error) { return "", drive(0x5329, 1) }},                           // CDROM_LOCKDOOR
	"unlock":   {0, func([]string) (string, error) { return "", drive(0x5329, 0) }},                           // CDROM_LOCKDOOR
	"eject":    {0, func([]string) (string, error) { return "", drive(0x5309, 0) }},                           // CDROMEJECT
	"reboot":   {0, func([]string) (string, error) { return "", unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) }}, // inside its process
	"poweroff": {0, func([]string) (string, error) { return "", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }},
}

func writeDisk(with []string) (string, error) {
	offset, err := strconv.ParseInt(with[1], 10, 64)
	if err != nil {
		return "", err
	}
	data, err := hex.DecodeString(with[2])
	if err != nil {
		return "", err
	}
	return "", transfer(with[0], offset, data, true)
}

func readDisk(with []string) (string, error) {
	offset, err := strconv.ParseInt(with[1], 10, 64)
	if err != nil {
		return "", err
	}
	length, err := strconv.Atoi(with[2])
	if err != nil {
		return "", err
	}
	data := make([]byte, length)
	if err := transfer(with[0], offset, data, false); err != nil {
		return "", err
	}
	return hex.EncodeToString(data), nil
}

func hold(with []string) (string, error) {
	path, err := find(with[0])
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return "", err
	}
	held[with[0]] = f
	return "", nil
}

func release(with []string) (string, error) {
	f, ok := held[with[0]]
	if !ok {
		return "", fmt.Errorf("disk %s is not held", with[0])
	}
	delete(held, with[0])
	return "", f.Close()
}

// drive asks the CD drive for something.
func drive(request, argument uintptr) error {
	f, err := os.OpenFile("/dev/sr0", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = call(f, request, argument)
	return err
}
