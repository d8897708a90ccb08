// Package reconcile compares what the database says with what is on the
// storage and in the guests, and what is paid for. It reports what differs as
// findings, and repairs what can be repaired without taking anything away.
//
// Compare is the rule, a pure function. A look (Service.look) reads the rows,
// then the storage, then the rows again, and keeps only what is wrong by both
// readings and that no task was working on. Two looks, a grace time apart,
// confirm a finding; only a confirmed one is repaired, by a task in the lane of
// the device or volume it is about.
//
// What a guest starts from, and whether it runs, are no findings: operators may
// change both for good reasons.
package reconcile

import (
	"time"

	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/task"
)

// Class says what kind of difference a finding is. The words are stable.
type Class string

// The classes.
const (
	OrphanDisk    Class = "orphan_disk"
	MissingDisk   Class = "missing_disk"
	SizeMismatch  Class = "size_mismatch"
	AttachWrong   Class = "attach_mismatch"
	MissingGuest  Class = "missing_guest"
	MediaWrong    Class = "media_mismatch"
	OrphanISO     Class = "orphan_iso"
	MissingISO    Class = "missing_iso"
	Unbilled      Class = "unbilled"
	Overbilled    Class = "overbilled"
	PriceMismatch Class = "price_mismatch"
	Stuck         Class = "stuck_transient"
	Unavailable   Class = "backend_unavailable"
)

// Classes are all classes, in the order they are listed.
var Classes = []Class{
	Unavailable, OrphanDisk, MissingDisk, SizeMismatch, MissingGuest, AttachWrong, MediaWrong, OrphanISO, MissingISO,
	Unbilled, Overbilled, PriceMismatch, Stuck,
}

// remedies is what an operator reads beside a finding: what --repair does, or
// what is left to do by hand.
var remedies = map[Class]string{
	Unavailable:   "Bring the facility's host or storage back; nothing else is known of it until then.",
	OrphanDisk:    "Repair quarantines it; delete it from there after the retention time, or find out whose it is.",
	MissingDisk:   "Restore the disk under the volume's id, or delete the volume.",
	SizeMismatch:  "Repair grows a disk that is smaller than its volume. A larger one is left: resize the volume to a size that covers it.",
	MissingGuest:  "Bring the guest back, or detach what the device has and delete the device; nothing on a host is needed for that.",
	AttachWrong:   "Repair makes the guest as the volume's row says.",
	MediaWrong:    "Repair makes the drive as the device's row says; a tray that the guest locks must be released by the guest.",
	OrphanISO:     "Repair quarantines it, or gives it back to the ready ISO that has it; delete it from there after the retention time.",
	MissingISO:    "Restore the image on the storage, or delete the ISO and import it again.",
	Unbilled:      "Repair opens a service from now on; what was not charged before stays so.",
	Overbilled:    "Repair ends the service; what was charged is not given back by itself.",
	PriceMismatch: "Find out which of the two is right; the ledger has every change.",
	Stuck:         "Repair returns it to rest by looking at the storage. A task that nobody runs needs a node with workers for its queue.",
}

// Remedy is the way out of findings of the class, one or two sentences.
func (c Class) Remedy() string { return remedies[c] }

// Finding is one difference.
type Finding struct {
	ID           int64 // of its row; 0 while it is in none
	Class        Class
	FacilityCode string // "" for what belongs to none: a task
	// Object is what it is about: a volume's, device's, ISO's or task's id, the
	// SHA-256 of an image, or the code of a facility.
	Object string
	Detail string // one sentence, in which the two sides stand
	// FirstSeen to LastSeen it was seen in every look. Confirmed: in two at
	// least, a grace time apart.
	FirstSeen, LastSeen time.Time
	Looks               int
	Confirmed           bool

	seen // by the look that found it; not kept
}

// seen is what a repair needs to know of what a look has seen.
type seen struct {
	what  what
	bytes int64    // of the disk or image
	there bool     // a content's image is on the storage
	refs  []string // the guests that have the volume
}

// what tells the objects of one class apart.
type what int

const (
	aVolume what = iota
	aDevice
	anISO
	aContent
	aTask
)

func (f Finding) key() string { return string(f.Class) + " " + f.Object }

// HeldKind says what is in quarantine.
type HeldKind string

// The kinds: a disk, by its volume id, and an image, by its SHA-256.
const (
	HeldDisk HeldKind = "disk"
	HeldISO  HeldKind = "iso"
)

// Held is a disk or image on the storage that nothing in the database names.
// It is left untouched until an operator deletes it.
type Held struct {
	ID           int64
	FacilityCode string
	Kind         HeldKind
	Object       string
	Bytes        int64
	FirstSeen    time.Time
	At           time.Time // when it was quarantined
}

// What is refused.
var (
	ErrHeldNotFound = fault.New(fault.NotFound, "quarantine_not_found", "There is nothing in quarantine under this id")
	ErrHeldTooShort = fault.New(fault.Conflict, "quarantine_retained", "What is in quarantine is kept for the retention time")
	ErrHeldInUse    = fault.New(fault.Conflict, "quarantine_in_use", "A volume or ISO has it again")
	ErrHeldDeleting = fault.New(fault.Conflict, "quarantine_deleting", "It is being deleted already")
	ErrAbandoned    = fault.New(fault.Conflict, "abandoned", "The work on it ended without a result; delete it and try again")
	// ErrNoRepair: what was to be repaired cannot be told from what is there.
	ErrNoRepair = fault.New(fault.Conflict, "repair_unsafe", "What is there does not say what is right, so nothing was changed")
)

// The kinds of tasks. The first two come back by themselves, for each facility
// and for tasks; the third is asked for. Repairs belong to the client of what
// they repair.
const (
	KindPeriodic     task.Kind = "reconcile"
	KindTasks        task.Kind = "reconcile.tasks"
	KindRun          task.Kind = "reconcile.run"
	KindRepairVolume task.Kind = "volume.repair"
	KindRepairDevice task.Kind = "device.repair"
	KindRepairISO    task.Kind = "iso.repair"
	KindDiscard      task.Kind = "quarantine.delete"
)
