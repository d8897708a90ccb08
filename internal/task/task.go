// Package task runs durable work. A task is a row that was written in the
// transaction that accepted the request; an Engine leases it, runs its Handler
// and ends it in the same transaction as its effect. DESIGN.md beside this
// file has the rules.
package task

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/drivebay/drivebay/internal/fault"
)

// Kind names what a task does. Its upper-case form is the type of its events.
type Kind string

// EventType is the type of the events a task of this kind leaves.
func (k Kind) EventType() string { return strings.ToUpper(string(k)) }

// Queue is a pool of workers. Tasks of different queues do not wait for each
// other's workers, only for their lanes.
type Queue string

// The queues: quick work on devices and volumes; downloads, which take long;
// and the server's own periodic work.
const (
	Quick     Queue = "quick"
	Imports   Queue = "imports"
	Housework Queue = "housework"
)

// State is where a task stands. Waiting: behind another one of its lane, or
// behind a task it comes after. Ready: may run at RunAt. The last two are final.
type State string

// The states.
const (
	Waiting State = "waiting"
	Ready   State = "ready"
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
)

// Ended reports whether s is final.
func (s State) Ended() bool { return s == Done || s == Failed }

// Result is the word the contract has for s: Pending, Success or Failed.
func (s State) Result() string {
	switch s {
	case Done:
		return "Success"
	case Failed:
		return "Failed"
	default:
		return "Pending"
	}
}

// Task is one accepted piece of work.
type Task struct {
	Seq  int64  // order of acceptance; lanes run in it
	ID   string // UUID
	Kind Kind
	// Lane is what the task has to itself while it runs: at most one task of
	// a lane is ready or running, and a lane runs in order of acceptance.
	Lane  string
	Queue Queue
	State State

	ClientID int64 // 0: the server's own work, shown to operators by its id
	DeviceID int64 // 0: none
	VolumeID string
	ISOID    string
	// Facility is where the work is done, and so which workers may do it; "":
	// anywhere.
	Facility string
	Args     json.RawMessage // what the request asked for, a JSON object

	Attempt  int64 // fencing token: grows with every lease
	Failures int   // attempts that ended in a temporary error
	Progress int   // 0-100
	Message  string
	// Checkpoint is what the handler saved last; nil at first.
	Checkpoint []byte
	Cancel     bool // someone asked for an early end

	Reason fault.Reason // of a Failed task
	Error  string       // its sentence

	CreatedAt time.Time
	UpdatedAt time.Time
	StartedAt time.Time // first lease; zero before
	RunAt     time.Time // not before this time
}

// New is a task to be enqueued.
type New struct {
	Kind     Kind
	Lane     string
	Queue    Queue
	ClientID int64
	DeviceID int64
	VolumeID string
	ISOID    string
	Facility string
	Args     any // marshalled to a JSON object; nil means {}
	// After are tasks that must have ended before this one may run, whatever
	// their result. They were accepted earlier, so no circle can form.
	After []Task
	RunAt time.Time     // zero: now
	Delay time.Duration // later than that, by the store's clock
}

// Lease names one run of a task by one node. Every write of that run carries
// it, and is refused once another node holds a later one.
type Lease struct {
	TaskID  string
	Owner   string
	Attempt int64
}

// Outcome is how a task ends.
type Outcome struct {
	State   State // Done or Failed
	Reason  fault.Reason
	Error   string
	Message string
}

// Success is the outcome of a task that did what it was asked.
var Success = Outcome{State: Done}

// DeviceLane is the lane of everything that touches one device.
func DeviceLane(deviceID int64) string { return "device:" + itoa(deviceID) }

// VolumeLane is the lane of work on a volume that is attached nowhere.
func VolumeLane(volumeID string) string { return "volume:" + volumeID }

// ISOLane is the lane of importing and deleting one ISO.
func ISOLane(isoID string) string { return "iso:" + isoID }

// HouseLane is the lane of one kind of the server's own work.
func HouseLane(k Kind) string { return "house:" + string(k) }

// Others returns the tasks that are not in the lane: those a new task of the
// lane must name in After.
func Others(pending []Task, lane string) []Task {
	var out []Task
	for _, t := range pending {
		if t.Lane != lane {
			out = append(out, t)
		}
	}
	return out
}
