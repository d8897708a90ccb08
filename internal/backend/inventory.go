package backend

import "context"

// Inventory is what a driver can do whose guests are made elsewhere.
type Inventory interface {
	// Guests lists every guest of the facility's hosts. Where one of them does
	// not answer: ErrUnavailable, since a guest that is not listed counts as gone.
	Guests(ctx context.Context) ([]Guest, error)
}

// Guest is a guest as its host knows it.
type Guest struct {
	Ref      string // as in the methods of Driver
	Name     string // unique on its host
	Host     string
	Running  bool
	VCPU     int
	MemoryMB int
	// Disks are in the order of the guest's definition; the first is what it
	// boots from. A CD drive is none.
	Disks []GuestDisk
}

// GuestDisk is a disk of a guest, ours or not.
type GuestDisk struct {
	// Source is the file or the RBD image (POOL/IMAGE), as the driver takes it
	// back for a volume that is not named by its id. Two disks of a facility with
	// one source are taken for the same disk.
	Source string
	Format string // how the host reads it, such as "raw"; "" where it does not say
	Bytes  int64  // 0 where the host cannot tell
	Target string // "sda"
	// VolumeID is the volume that the driver has connected it as, "" where it is
	// none of ours.
	VolumeID string
	ReadOnly bool
	// Foreign: it is on storage that the driver cannot keep volumes on, such as a
	// device of the host's.
	Foreign bool
	Shared  bool // other guests may have it at the same time
}
