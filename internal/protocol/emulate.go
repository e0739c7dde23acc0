package protocol

// What class emulate of the system calls needs: files of /proc that describe a
// process's memory and processor time, and the accounting of the latter.
const (
	// ProcUsage asks a node what a guest used in all, once it has ended.
	ProcUsage = "proc.usage" // T home → node: ProcRef → CPUTime
)

// CallFill is the number, unknown to any kernel, of the call that turns
// descriptor Args[0] into one that reads as Data. Args[1]: close-on-exec;
// Args[2]: more of the text follows in another call.
const CallFill = 1 << 20

// MaxText bounds the text of a CallFill.
const MaxText = 256 << 20

// CallProc is a flag of an open: if the file turns out to describe a process
// that is away, say so (ReplyProc).
const CallProc = 1 << 0

// CallTTY is a flag of an ioctl on a terminal: Args[5] holds those of SIGTTIN
// and SIGTTOU that the caller blocks.
const CallTTY = 1 << 1

// CallAttach is a flag of any call: it was made before its thread moved, perhaps;
// if home knows its number this is the place where the answer goes now.
const CallAttach = 1 << 2

// ReplyProc is a flag of a syscallfwd.Reply: the file opened, descriptor Ret, is
// the one of /proc that Outs, a ProcFile, names.
const ReplyProc = 1 << 16

// ProcFile is a file /proc/PID/Name, or /proc/PID/task/TID/Name.
type ProcFile struct {
	PID, TID int    // TID is 0 for the process's own
	Name     string // last component
	Home     string // what it says at home, if that is needed
	Closed   bool   // the descriptor was closed again: only the true process will do
}
