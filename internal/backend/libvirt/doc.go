// Package libvirt is a backend driver for real guests: QEMU under libvirt, on
// one or more hosts, with volumes in directories or on Ceph RBD. It needs
// libvirt 9 or later on the hosts and nothing but their sockets here.
//
// A guest's ref is the UUID of its domain. Guests are made by others; the driver
// finds them on the hosts of its facility, and again where one was moved. Volume
// ID is the file ID.raw of a host's directory pool, or the image ID of its RBD
// pool; in a guest its disk has the alias ua-ID. Nothing is kept here: what is
// asked for is read from libvirt each time, done, and left to be read again.
//
// DESIGN.md, beside this file, has the rules and what each is against.
package libvirt
