// Package protocol holds the messages between the supervisor at home and the
// pod on an execution node. Calls of guest threads go over lanes in the form
// of package syscallfwd; these are the rest, over the control stream.
package protocol

import (
	"homing/checkpoint"
	"homing/internal/linux"
)

// Message types. T: transaction with a reply; A: asynchronous, kept in order.
const (
	Clock      = "clock"          // T home → node: Empty → ClockReply
	PodOpen    = "pod.open"       // T home → node: PodOpenRequest → PodOpenReply
	ProcStart  = "proc.start"     // T home → node: ProcImage → Empty
	Signal     = "signal"         // A home → node: SignalMessage
	Kill       = "kill"           // A home → node: ProcRef: the shadow is dead
	Stop       = "stop"           // A home → node: ProcRef: job control stopped the shadow
	Continue   = "continue"       // A home → node: ProcRef
	Stopped    = "stopped"        // A node → home: ProcRef: no thread of it runs
	Abandon    = "abandon"        // A node → home: AbandonMessage
	SignalDone = "signal.done"    // A node → home: SignalRef: the signal has been taken over
	Default    = "signal.default" // A node → home: DefaultMessage: let the home kernel act
	Wanted     = "signal.wanted"  // A node → home: WantedMessage
	Died       = "died"           // A node → home: DiedMessage
	FileGet    = "file.get"       // T node → home: FileRequest → FileReply
	WantHome   = "proc.want"      // T node → home: WantHomeRequest → Empty: it must come home
	Hold       = "call.hold"      // T node → home: HoldRequest → HoldReply
	Take       = "proc.take"      // T home → node: TakeRequest → TakeReply: stand still, and hand over the image
	Thaw       = "proc.thaw"      // T home → node: ProcRefs → Empty: what was taken runs on
	Gone       = "proc.gone"      // T home → node: ProcRefs → Empty: what was taken, or has arrived, runs elsewhere
	Arrive     = "proc.arrive"    // T home → node: ArriveRequest → Empty: processes that stand still until Run
	Run        = "proc.run"       // T home → node: ProcRefs → Empty
	Core       = "core"           // A home → node: DefaultMessage: bring the process home to dump core
	Refused    = "refused"        // A node → home: DiedMessage: the guest of an executed program cannot start
	Report     = "report"         // A node → home: ReportMessage
)

// Empty is the reply of transactions that only succeed or fail.
type Empty struct{}

// ClockReply are a node's clocks, in nanoseconds.
type ClockReply struct{ Monotonic, Boottime, Realtime int64 }

// PodOpenRequest prepares the namespaces for a job.
type PodOpenRequest struct {
	Job      int
	UID, GID int
	// How far home's clocks are ahead of the node's, ns.
	Monotonic, Boottime, Realtime int64
}

// PodOpenReply says what the node has.
type PodOpenReply struct{ VDSO []linux.Mapping }

// ProcImage carries a process. Its pages follow on the bulk connection.
type ProcImage struct {
	Image checkpoint.Image
	Gen   uint64 // see ProcRef
	Bulk  uint64 // 0 if there are no pages
	CPU   CPUTime
	// Stopped: job control has stopped it.
	Stopped bool
}

// WantHomeRequest asks home to fetch a process; the reply comes when it is there.
type WantHomeRequest struct {
	ProcRef
	Reason string
}

// HeldCall is a call of a guest thread that is about to move.
type HeldCall struct {
	TID int
	Seq uint64
}

// HoldRequest asks home to keep the answers to calls until their threads attach
// to them again (CallAttach), from wherever they are then.
type HoldRequest struct{ Calls []HeldCall }

// HoldReply tells which of the calls, in the request's order, have been
// answered already: those answers are on their way.
type HoldReply struct{ Answered []bool }

// TakeRequest asks for a process, and with it for those that share memory with it.
type TakeRequest struct {
	ProcRef
	Reason string
}

// TakeReply carries what was taken.
type TakeReply struct {
	Procs  []ProcImage
	Frozen int64 // node's CLOCK_MONOTONIC when they began to stand still, ns
}

// ArriveRequest carries processes to a node: several if they share memory.
type ArriveRequest struct {
	Procs []ProcImage
	Seq   uint64 // above all numbers of their calls so far
}

// ProcRefs name processes that move together.
type ProcRefs struct{ Procs []ProcRef }

// CPUTime is processor time in nanoseconds, and what else of getrusage(2)
// belongs to a body.
type CPUTime struct {
	User, System   int64
	MaxRSS         int64 // KiB
	MinFlt, MajFlt int64
}

// Plus adds up; of the peaks it takes the larger.
func (t CPUTime) Plus(u CPUTime) CPUTime {
	return CPUTime{t.User + u.User, t.System + u.System, max(t.MaxRSS, u.MaxRSS), t.MinFlt + u.MinFlt, t.MajFlt + u.MajFlt}
}

// ProcRef names a process. Numbers are used again, and messages may be faster
// than the process itself: Gen counts the job's processes from 0, its first.
type ProcRef struct {
	PID int
	Gen uint64
}

// SignalMessage carries a signal that arrived at a shadow.
type SignalMessage struct {
	ID       uint64
	PID, TID int
	Gen      uint64 // see ProcRef
	Directed bool   // at the thread TID, not at the process
	SignalFD bool   // a signalfd at home reads it, if the guest blocks it
	Info     []byte
}

// SignalRef says that a signal has been dealt with.
type SignalRef struct {
	ID   uint64
	Keep bool // it stays pending at home, where a signalfd reads it
	// Block: it was the answer to a call of a thread that blocks it; it is
	// dropped, and the call is made again with it blocked.
	Block bool
}

// AbandonMessage asks home to interrupt call Seq of thread TID; the answer is
// the call's reply.
type AbandonMessage struct {
	TID int
	Seq uint64
}

// DefaultMessage asks home to let signal ID (0: one that arose on the node)
// take its default action.
type DefaultMessage struct {
	ID       uint64
	PID, TID int
	Info     []byte
}

// WantedMessage says that a guest waits for signals which it may ignore.
type WantedMessage struct {
	PID int
	Set uint64
}

// DiedMessage says that a guest's body is gone without having been told to.
type DiedMessage struct {
	PID    int
	Gen    uint64 // see ProcRef
	Signal int
	Reason string // empty: killed together with its parent, nothing to tell anybody
	CPU    CPUTime
}

// FileRequest asks for a file's content over the bulk connection.
type FileRequest struct {
	File checkpoint.File
	Bulk uint64
}

// FileReply is the SHA-256 of what was sent.
type FileReply struct{ SHA256 []byte }

// ReportMessage is what a node tells of a job from time to time.
type ReportMessage struct {
	CPU   map[int]CPUTime
	Calls uint64
}

// BulkThreshold is from how many bytes on the data of a call go over the bulk
// connection.
const BulkThreshold = 128 << 10

// Flags of a syscallfwd.Reply.
const (
	ReplyExec       = 1 << 0 // execve succeeded: Outs is an encoded image with its pages
	ReplyRepatriate = 1 << 1 // the call must be made at home natively; Outs is the reason
	ReplyGone       = 1 << 2 // the shadow thread is dead
	ReplyFile       = 1 << 3 // Outs describes the file to map
	ReplyBulk       = 1 << 5 // the data of the call follow on the bulk connection; Outs is the transfer's number
	ReplyHome       = 1 << 4 // the process went home by itself (a privileged program); Outs is the reason
)
