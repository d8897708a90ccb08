// Package event defines the append-only record of everything that happens.
// Each event is written in the transaction that makes it true; VPS events,
// webhooks, streams and the audit trail read the same table, each at its own
// position.
package event

import "time"

// Level is how serious an event is. The words are the published contract's.
type Level string

// The levels.
const (
	Info    Level = "INFO"
	Warning Level = "WARNING"
	Error   Level = "ERROR"
)

// State is the step of an asynchronous operation an event stands for.
type State string

// The states of an operation, in order. What is not asynchronous has only
// Completed.
const (
	Scheduled State = "Scheduled"
	Started   State = "Started"
	Completed State = "Completed"
)

// Event is one row of the record.
type Event struct {
	Seq      int64  // position in the record, ascending in commit order
	ID       string // UUID
	At       time.Time
	ClientID int64
	DeviceID int64 // 0: no device
	VolumeID string
	ISOID    string
	TaskID   string
	Type     string // dotted upper-case words, such as VOLUME.CREATE
	Level    Level
	State    State
	Text     string // a reason code on failures, else empty
}
