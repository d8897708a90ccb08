package taskmodel

import "strings"

// Guards are the rules of the code that can be left out, to see what breaks.
type Guards uint64

// The guards of the database.
const (
	// FenceFinish, FenceSave and FenceRetry: these writes name the lease.
	FenceFinish Guards = 1 << iota
	FenceSave
	FenceRetry
	// FenceState, FenceOwner and FenceAttempt are the three parts of naming it.
	FenceState
	FenceOwner
	FenceAttempt
	// HeadIndex: the unique index on the lane of ready and running tasks.
	HeadIndex
	// LaneLock: accepting and ending lock the lanes they read. On SQLite all
	// transactions exclude each other.
	LaneLock
	// AfterLock: a task that is named in After cannot end until that is committed.
	AfterLock
	// SilentAbort: the database gives up the transaction of a silent client.
	SilentAbort
	// EnqueueBehind and EnqueueAfter: a new task waits for its lane, and for
	// what it comes after.
	EnqueueBehind
	EnqueueAfter
	// FreeSuccessors: the end of a task removes what names it in task_after.
	FreeSuccessors
	// PromoteOthers: the end of a task promotes in the lanes of its successors.
	PromoteOthers
	// PromoteOldest: only the oldest unfinished task of a lane is promoted.
	PromoteOldest
	// PromoteAfter: a task with rows in task_after is not promoted.
	PromoteAfter
	// Reap: lapsed leases are reaped. ReapLapsed: no others are.
	Reap
	ReapLapsed
	// ReleaseStart: a node that starts releases its tasks. ReleaseOwn: only its.
	ReleaseStart
	ReleaseOwn

	// SelfCancel: a node that cannot renew cancels its runs before their leases
	// end. LateClaim: it begins no run from a claim that was answered that late.
	SelfCancel
	LateClaim
	// ClaimInTurn: a node claims only when its claim before was answered, or
	// never will be.
	ClaimInTurn
	// Adopt: leases that no run belongs to are given back. TwoBeats: not those
	// whose claim may still be answered.
	Adopt
	TwoBeats
	// UnlistSelf: a run that ends takes only itself off its node's list.
	UnlistSelf

	// DriverAttempt and DriverSeq: a driver refuses a call of an older attempt,
	// of an older task, than one it performed on the object.
	DriverAttempt
	DriverSeq
	// TouchBeforeEnd: an attempt does not end a task whose object it never
	// touched, so that what an earlier attempt left under way is refused.
	TouchBeforeEnd

	allGuards = TouchBeforeEnd<<1 - 1
)

var guardNames = []string{
	"FenceFinish", "FenceSave", "FenceRetry", "FenceState", "FenceOwner", "FenceAttempt", "HeadIndex", "LaneLock",
	"AfterLock", "SilentAbort", "EnqueueBehind", "EnqueueAfter", "FreeSuccessors", "PromoteOthers", "PromoteOldest",
	"PromoteAfter", "Reap", "ReapLapsed", "ReleaseStart", "ReleaseOwn", "SelfCancel", "LateClaim", "ClaimInTurn", "Adopt", "TwoBeats",
	"UnlistSelf", "DriverAttempt", "DriverSeq", "TouchBeforeEnd",
}

func (g Guards) String() string {
	var out []string
	for i, name := range guardNames {
		if g&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, "+")
}
