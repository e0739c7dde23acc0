// Package protocol holds the messages between the supervisor at home and the
// pod on an execution node. Calls of guest threads go over lanes in the form
// of package syscallfwd; these are the rest, over the control stream.
package protocol

import (
	"homing/checkpoint"
	"homing/checkpoint/transfer"
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
	Requeue    = "signal.back"    // T node → home: RequeueRequest → Empty: a signalfd is to read them
	Wanted     = "signal.wanted"  // A node → home: WantedMessage
	Died       = "died"           // A node → home: DiedMessage
	FileGet    = "file.get"       // T node → home: FileRequest → FileReply
	WantHome   = "proc.want"      // T node → home: WantHomeRequest → Empty: it must come home
	Hold       = "call.hold"      // T node → home: HoldRequest → HoldReply
	MoveOpen   = "move.open"      // T home → node: MoveOpenRequest → MoveOpenReply: a connection for a move
	MoveDrop   = "move.drop"      // T home → node: MoveRef → Empty: the move is given up
	Weigh      = "proc.weigh"     // T home → node: ProcRef → WeighReply
	Take       = "proc.take"      // T home → node: TakeRequest → TakeReply: stand still, and send your memory
	Progress   = "move.progress"  // A node → home: ProgressMessage
	Settle     = "proc.settle"    // T node → home: SettleRequest → Empty: they stand still; make copies of files alike
	Thaw       = "proc.thaw"      // T home → node: ProcRefs → Empty: what was taken runs on
	Gone       = "proc.gone"      // T home → node: ProcRefs → Empty: what was taken, or has arrived, runs elsewhere
	Arrive     = "proc.arrive"    // T home → node: ArriveRequest → Empty: what is to arrive is here, and stands still until Run
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
	Gen   uint64  // see ProcRef
	Bulk  uint64  // of the pages that follow on the bulk connection; 0 if they come otherwise, or there are none
	CPU   CPUTime // used away: what home has not seen itself
	Shown CPUTime // what its clocks show besides: used at home

	// Overruns are of timers at home: how often they expired while their signal
	// was pending away, and what was added to the count of the one taken last.
	Overruns map[int32]Overrun `json:",omitempty"`
}

// Overrun is of one timer.
type Overrun struct{ Missed, Last int32 }

// WantHomeRequest asks home to fetch a process; the reply comes when it is there.
type WantHomeRequest struct {
	ProcRef
	Reason string
}

// HeldCall is a call of a guest thread that is about to move.
type HeldCall struct {
	TID    int
	Seq    uint64
	Attach bool // it has been made by CallAttach, which may be on its way yet
}

// HoldRequest asks home to keep the answers to calls until their threads attach
// to them again (CallAttach), from wherever they are then.
type HoldRequest struct{ Calls []HeldCall }

// HoldReply tells which of the calls, in the request's order, have been
// answered already: those answers are on their way.
type HoldReply struct{ Answered []bool }

// MoveRef names a move; home gives the numbers.
type MoveRef struct{ Move uint64 }

// MoveOpenRequest asks a node for a ticket with which the machine of the key Peer
// can make the connection for a move, see kkc.Expectation.
type MoveOpenRequest struct {
	Move    uint64
	Peer    string
	Receive bool   // processes will come by it; else they will go
	Bytes   uint64 // of memory that they have
	Rate    int64  // see TakeRequest
}

// WeighReply says how much memory a process, and those that must go with it, have.
type WeighReply struct{ Bytes uint64 }

// MoveOpenReply carries the ticket.
type MoveOpenReply struct {
	Ticket string
	Fault  string // why memory cannot come later than its process; empty: it can
}

// TakeRequest asks for a process, and with it for those that share memory with
// it: they are to stand still, and their memory is to be sent over the connection
// of the move.
type TakeRequest struct {
	ProcRef
	Reason    string
	Move      uint64
	To        *Peer  // where to connect; nil: what MoveOpen was asked for will come
	Strategy  string // see package transfer
	Rate      int64  // bytes a second while the program runs; 0: no limit
	Bandwidth float64
	Track     string // why the destination takes no memory of a running program; empty: it does
	Fault     string // as in MoveOpenReply, of the destination
}

// Peer is another node.
type Peer struct{ Addr, Pin, Ticket string }

// ProgressMessage tells how far a Take is.
type ProgressMessage struct {
	Move                uint64
	Round               int
	Pages, Bytes, Total uint64
}

// TakeReply tells what has been sent.
type TakeReply struct {
	// Failed is why it has not; then Standing stand still until Thaw, so that home
	// can first take back what it has done for them.
	// Unreached is why the other node could not be reached; nothing was stopped.
	Unreached string
	Failed    string
	Standing  []ProcRef

	Procs     []ProcImage // without their pages
	Strategy  string
	Note      string
	Rounds    []Round
	Bandwidth float64
	Lazy      bool  // memory is still here, and is sent when it is needed
	Frozen    int64 // for how long they have stood still, ns
}

// Round is a passage through the memory.
type Round struct {
	Pages, Bytes, Zero uint64
	Duration           int64 // ns
}

// SettleRequest describes processes that stand still.
type SettleRequest struct{ Procs []ProcImage }

// ArriveRequest waits for the processes of a move.
type ArriveRequest struct {
	Move uint64
	Seq  uint64 // above all numbers of their calls so far
	// Stopped are those that job control has stopped.
	Stopped []int
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

// RequeueRequest are the signals that waited for thread TID and for its process
// when a signalfd for them was made; they are older than what waits at home.
type RequeueRequest struct {
	TID         int
	Own, Shared [][]byte
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

// RoundsOf describes what a transfer did.
func RoundsOf(rounds []transfer.Round) []Round {
	out := make([]Round, len(rounds))
	for i, r := range rounds {
		out[i] = Round{Pages: r.Pages, Bytes: r.Bytes, Zero: r.Zero, Duration: int64(r.Duration)}
	}
	return out
}
